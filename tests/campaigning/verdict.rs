//! What a campaign comes to: everything that can be read at its end, held against each other and against the sandbox's ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_domain::{
    answer::Answer,
    evidence::{Rival, Standing},
    purchase::{State, StateName},
};
use clawback_tests::rehearsal::{Books, Order, Row, Tally};
use serde_json::{Value, json};

use crate::{site::Spoilt, troubles::Struck};

/// Enough to see a pattern in what is wrong.
const SHOWN: usize = 20;

const REJECTED: &str = "clawback.command.rejected";

/// What happened, beside the books.
#[derive(Debug, Default)]
pub struct Record {
    pub cycles: usize,
    pub seed: u64,
    pub kills: BTreeMap<String, usize>,
    /// Troubles that did not come to pass.
    pub missed: BTreeMap<String, usize>,
    /// Processes restarted by hand, because they could not get over a trouble by themselves.
    pub restarted_by_hand: BTreeMap<String, usize>,
    /// Shortest first, and from what.
    pub recoveries: Vec<(Duration, &'static str)>,
    /// What went wrong on the way.
    pub wrong: Vec<String>,
    pub seconds: u64,
}

impl Record {
    /// Counts what became of a trouble; what there is to say of it.
    pub fn count(&mut self, trouble: &str, struck: Struck) -> String {
        let again = |counts: &mut BTreeMap<String, usize>, by: usize| *counts.entry(trouble.to_owned()).or_default() += by;
        match struck {
            Struck::Hit => {
                again(&mut self.kills, 1);
                String::new()
            }
            Struck::Restarted(count) => {
                again(&mut self.kills, 1);
                again(&mut self.restarted_by_hand, count);
                format!(", {count} processes restarted by hand")
            }
            Struck::Missed(why) => {
                again(&mut self.missed, 1);
                format!(", MISSED: {why}")
            }
        }
    }
}

/// What the books say.
#[derive(Debug, Default)]
pub struct Verdict {
    tally: Tally,
    lost: usize,
    bought_twice: usize,
    sold_twice: usize,
    recovered: usize,
    reviews: Reviews,
    wrong: Vec<String>,
}

/// Purchases that a person must look into at the end.
///
/// What was not bought is *unavoidable*: nothing is there to be found, and nothing proves that nothing will come. So is what was bought
/// beside another doubt of its user and pack: the inventory does not tell whose it is. All others are *avoidable*.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reviews {
    not_bought: usize,
    /// Bought, and so may have been others that nobody knows of.
    ambiguous: usize,
    bought: usize,
    /// An answer is stored that settles it.
    answered: usize,
}

impl Reviews {
    fn count(&mut self, row: &Row, bought: bool) {
        let answer = row.attempts.last().and_then(|record| record.fact.as_ref()).map(|fact| &fact.answer);
        let kind = match (answer, bought) {
            (Some(Answer::Unknown { .. }) | None, false) => &mut self.not_bought,
            (Some(Answer::Unknown { .. }) | None, true) if has_rivals(row) => &mut self.ambiguous,
            (Some(Answer::Unknown { .. }) | None, true) => &mut self.bought,
            (Some(_), _) => &mut self.answered,
        };
        *kind += 1;
    }

    fn json(&self) -> Value {
        json!({
            "avoidable": self.bought + self.answered,
            "unavoidable": self.not_bought + self.ambiguous,
            "of": {
                "not_bought": self.not_bought, "ambiguous": self.ambiguous, "bought": self.bought, "answered": self.answered,
            },
        })
    }
}

/// Whether the last look was made beside other doubts.
fn has_rivals(row: &Row) -> bool {
    let State::Review(review) = &row.purchase.state else { return false };
    let doubtful = |rival: &Rival| matches!(rival.standing, Standing::Unknown | Standing::InReview);
    review.evidence.as_ref().is_some_and(|evidence| evidence.rivals.iter().any(doubtful))
}

impl Verdict {
    pub fn on(mut books: Books, orders: &[Order], spoilt: &[Spoilt]) -> Self {
        let mut wrong = rejections(&mut books, spoilt);
        let (tally, findings) = books.findings(orders);
        wrong.extend(findings);
        let bought = books.ledger.times_bought();
        let mut verdict = Self {
            tally,
            bought_twice: books.ledger.bought_twice().len() + books.ledger.unnamed().len(),
            sold_twice: books.ledger.sold_twice().len(),
            lost: orders.iter().filter(|order| is_lost(&books, order)).count(),
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
    pub fn json(&self, record: &Record, commands: usize) -> Value {
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
            "commands": commands,
            "fulfilled": self.tally.fulfilled,
            "recovered": self.recovered,
            "failed": self.tally.failed,
            "lost": self.lost,
            "bought_twice": self.bought_twice,
            "sold_twice": self.sold_twice,
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
        let verdict = Verdict::on(books(&[]), &orders, &[]);
        assert_eq!(verdict.lost, 1);
        assert!(!verdict.is_sound(&Record::default()));
        assert!(Verdict::on(books(&[]), &[], &[]).is_sound(&Record::default()));
    }

    #[test]
    fn what_went_wrong_on_the_way_breaks_a_sound_verdict() {
        let record = Record { wrong: vec!["worker-3 ended by itself".into()], ..Record::default() };
        assert!(!Verdict::on(books(&[]), &[], &[]).is_sound(&record));
    }
}
