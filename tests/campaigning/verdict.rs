//! What a campaign comes to: everything that can be read at its end, held against each other and against the sandbox's ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_domain::{Time, purchase::StateName};
use clawback_tests::{
    rehearsal::{Asked, Books, Order, Sales, Tally, Warned},
    sandbox::Held,
};
use serde_json::{Value, json};

use crate::{record::Record, reviews::Reviews, site::Spoilt};

/// Enough to see a pattern in what is wrong.
const SHOWN: usize = 20;

const REJECTED: &str = "clawback.command.rejected";

/// What was asked for, and what users have of it in the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asking<'a> {
    pub orders: &'a [Order],
    pub spoilt: &'a [Spoilt],
    pub sales: &'a [Asked],
    /// Every user's inventory.
    pub held: &'a [Held],
    /// When the inventories were read.
    pub at: Time,
}

/// What the books say.
#[derive(Debug, Default)]
pub struct Verdict {
    tally: Tally,
    sales: Sales,
    warned: Warned,
    lost: usize,
    bought_twice: usize,
    sold_twice: usize,
    recovered: usize,
    reviews: Reviews,
    wrong: Vec<String>,
}

impl Verdict {
    pub fn on(mut books: Books, asking: Asking<'_>) -> Self {
        let Asking { orders, spoilt, sales, held, at } = asking;
        let mut wrong = rejections(&mut books, spoilt);
        let (tally, findings) = books.findings(orders);
        wrong.extend(findings);
        let (sales, findings) = books.sale_findings(sales);
        wrong.extend(findings);
        let (warned, findings) = books.warning_findings(held, at);
        wrong.extend(findings);
        let bought = books.ledger.times_bought();
        let mut verdict = Self {
            tally,
            sales,
            warned,
            bought_twice: books.ledger.bought_twice().len() + books.ledger.unnamed().len(),
            sold_twice: books.ledger.sold_twice().len(),
            lost: orders.iter().filter(|order| is_lost(&books, order)).count() + sales.lost,
            wrong,
            ..Self::default()
        };
        for row in books.in_review() {
            verdict.reviews.count(row, bought.contains_key(row.purchase.id.to_string().as_str()));
        }
        verdict.recovered = books.rows.values().filter(|row| row.is_recovered()).count();
        verdict
    }

    /// Whether every promise was kept, on the way and at the end.
    pub fn is_sound(&self, record: &Record) -> bool {
        let broken = self.lost + self.bought_twice + self.sold_twice + self.wrong.len() + record.wrong.len();
        broken == 0
    }

    pub fn show_wrong(&self, record: &Record) {
        for wrong in record.wrong.iter().chain(&self.wrong).take(SHOWN) {
            eprintln!("  {wrong}");
        }
    }

    /// The campaign's last line.
    pub fn json(&self, record: &Record, asking: Asking<'_>) -> Value {
        let seconds = |span: Duration| (span.as_secs_f64() * 10.0).round() / 10.0;
        let at = |place: usize| record.recoveries.get(place).map(|(took, _)| seconds(*took));
        // The longest of each trouble comes last.
        let longest: BTreeMap<_, _> = record.recoveries.iter().map(|(took, trouble)| (*trouble, seconds(*took))).collect();
        json!({
            "cycles": record.cycles,
            "seed": record.seed,
            "kills": record.kills,
            "missed": record.missed,
            "restarted_by_hand": record.restarted_by_hand,
            "commands": asking.orders.len(),
            "fulfilled": self.tally.fulfilled,
            "recovered": self.recovered,
            "failed": self.tally.failed,
            "lost": self.lost,
            "bought_twice": self.bought_twice,
            "sellbacks": asking.sales.len(),
            "sold": self.sales.sold,
            "estimated": self.sales.estimated,
            "not_sold": self.sales.failed,
            "sales_in_review": self.sales.reviews,
            "sold_twice": self.sold_twice,
            "warnings_sent": self.warned.sent,
            "warnings_late": self.warned.late,
            "warnings_overtaken": self.warned.overtaken,
            "windows_closed": self.warned.closed,
            "violations": self.wrong.len() + record.wrong.len(),
            "reviews": self.reviews.json(),
            "recovery_seconds": {
                "p50": at(record.recoveries.len() / 2), "max": at(record.recoveries.len().saturating_sub(1)), "longest_of": longest,
            },
            "seconds": record.seconds,
        })
    }
}

/// No row, or no end, or an end that nobody was told of.
fn is_lost(books: &Books, order: &Order) -> bool {
    let Some(row) = books.rows.get(&order.id) else { return true };
    let id = order.id.to_string();
    let told = || books.heard.iter().any(|event| event["subject"] == id.as_str());
    match row.name() {
        StateName::Fulfilled | StateName::Failed | StateName::Review => !told(),
        StateName::Accepted
        | StateName::Initiating
        | StateName::Pending
        | StateName::Reconciling
        | StateName::Selling
        | StateName::Sold => true,
    }
}

/// Each spoilt command is rejected by one event, however often it came, and nothing else is. Takes those events out of the books.
fn rejections(books: &mut Books, spoilt: &[Spoilt]) -> Vec<String> {
    let mut heard = BTreeMap::<String, BTreeSet<String>>::new();
    books.heard.retain(|event| {
        let is_rejection = event["type"] == REJECTED;
        if is_rejection {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            heard.entry(text(&event["data"]["request_id"])).or_default().insert(text(&event["id"]));
        }
        !is_rejection
    });
    books.events.retain(|stored| stored.event.kind.as_str() != REJECTED);
    let mut wrong = Vec::new();
    for command in spoilt {
        match heard.remove(&command.request).map_or(0, |ids| ids.len()) {
            1 => {}
            told => wrong.push(format!("{}: rejected by {told} events", command.request)),
        }
    }
    wrong.extend(heard.keys().map(|request| format!("{request:?} was rejected, and it was a good command")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(heard: &[(&str, &str)]) -> Books {
        let rejection = |&(request, id): &(&str, &str)| json!({"type": REJECTED, "id": id, "data": {"request_id": request}});
        Books { heard: heard.iter().map(rejection).collect(), ..Books::default() }
    }

    fn check(heard: &[(&str, &str)], wrong: &[&str]) {
        let spoilt = [Spoilt { partner: "acme".into(), request: "spoilt".into() }];
        let mut books = books(heard);
        assert_eq!(rejections(&mut books, &spoilt), wrong, "{heard:?}");
        assert!(books.heard.is_empty());
    }

    #[test]
    fn a_spoilt_command_is_rejected_by_one_event_and_a_good_one_by_none() {
        check(&[("spoilt", "1")], &[]);
        check(&[("spoilt", "1"), ("spoilt", "1")], &[]);
        check(&[("spoilt", "1"), ("spoilt", "2")], &["spoilt: rejected by 2 events"]);
        check(&[], &["spoilt: rejected by 0 events"]);
        check(&[("spoilt", "1"), ("good", "2")], &["\"good\" was rejected, and it was a good command"]);
    }

    #[test]
    fn an_order_without_a_row_is_lost_and_breaks_the_verdict() {
        let orders = clawback_tests::rehearsal::orders(1, &["acme".to_owned()]).unwrap();
        let verdict = Verdict::on(books(&[]), Asking { orders: &orders, ..Asking::default() });
        assert_eq!(verdict.lost, 1);
        assert!(!verdict.is_sound(&Record::default()));
        assert!(Verdict::on(books(&[]), Asking::default()).is_sound(&Record::default()));
    }

    #[test]
    fn an_event_of_no_sale_and_one_of_no_window_break_the_verdict() {
        for kind in
            ["clawback.sellback.completed", "clawback.sellback.failed", "clawback.buyback.expiring", "clawback.buyback.expired"]
        {
            let heard = vec![json!({"type": kind, "id": "1", "subject": "s", "data": {"items": []}})];
            let verdict = Verdict::on(Books { heard, ..Books::default() }, Asking::default());
            assert_eq!(verdict.wrong.len(), 1, "{kind}: {:?}", verdict.wrong);
            assert!(!verdict.is_sound(&Record::default()));
        }
    }

    #[test]
    fn a_sale_of_the_ledger_that_nobody_asked_for_breaks_the_verdict() {
        let sale = json!({"user_id": "u", "item_id": "i", "amount": 1, "sold_at": "2026-01-01T00:00:00Z"});
        let ledger = serde_json::from_value(json!({"purchases": [], "sellbacks": [sale]})).unwrap();
        let verdict = Verdict::on(Books { ledger, ..Books::default() }, Asking::default());
        assert_eq!((verdict.sold_twice, verdict.wrong.len()), (1, 1), "{:?}", verdict.wrong);
        assert!(!verdict.is_sound(&Record::default()));
    }

    #[test]
    fn what_went_wrong_on_the_way_breaks_a_sound_verdict() {
        let record = Record { wrong: vec!["worker-3 ended by itself".into()], ..Record::default() };
        assert!(!Verdict::on(books(&[]), Asking::default()).is_sound(&record));
    }
}
