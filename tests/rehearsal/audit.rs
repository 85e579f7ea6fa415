//! The audit: what was ordered, what the store believes, what partners were told and what was really bought must be one story.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use chrono::TimeDelta;
use clawback_domain::{
    PurchaseId, Time,
    answer::Answer,
    purchase::{State, StateName},
};
use clawback_store::AttemptRecord;

use super::{Books, Order, Row};
use crate::ledger::Bought;

/// Between a call's last check and its effect: the upstream shares a busy machine.
pub const UNDER_WAY: TimeDelta = TimeDelta::seconds(2);

/// Enough to see a pattern in what is wrong.
const SHOWN: usize = 12;

/// What an audit without findings counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub fulfilled: usize,
    pub failed: usize,
    pub reviews: usize,
}

/// What was told of one purchase: type and event id.
type Told<'a> = BTreeSet<(&'a str, String)>;

impl Books {
    /// Holds everything against what was ordered: each order has one end, the right one, and it is told once; nothing was bought
    /// that was not ordered, and nothing twice.
    ///
    /// # Errors
    /// What is wrong.
    pub fn audit(&self, orders: &[Order]) -> Result<Tally> {
        let ordered: BTreeMap<PurchaseId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
        let mut bought = BTreeMap::<&str, Vec<&Bought>>::new();
        for purchase in &self.ledger.purchases {
            bought.entry(purchase.purchase_id().unwrap_or_default()).or_default().push(purchase);
        }
        let (stored, heard) = (self.told_by_store(), self.told_by_queues());
        let mut wrong = Vec::new();
        let mut tally = Tally::default();
        for order in orders {
            let id = order.id.to_string();
            let Some(row) = self.rows.get(&order.id) else {
                wrong.push(format!("{}: lost, there is no row", order.request));
                continue;
            };
            let empty = Told::new();
            let bought = bought.remove(id.as_str()).unwrap_or_default();
            let (stored, heard) = (stored.get(&id).unwrap_or(&empty), heard.get(&id).unwrap_or(&empty));
            let findings = [
                told_once(row, stored, heard),
                tried_again_only_without_effect(row),
                sent_in_time(row, &bought),
                tally.ended(order, row, &bought).and_then(|()| self.event_has_the_items(row)),
            ];
            let findings = findings.into_iter().filter_map(Result::err);
            wrong.extend(findings.map(|error| format!("{} ({id}, {}): {error:#}", order.request, row.name())));
        }
        wrong.extend(bought.values().flatten().map(|bought| format!("bought without a command: {bought:?}")));
        wrong.extend(self.rows.keys().filter(|id| !ordered.contains_key(id)).map(|id| format!("nobody ordered {id}")));
        wrong.extend(self.foreign_events(&ordered));
        let shown = wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
        ensure!(wrong.is_empty(), "the audit found {} wrong:\n  {shown}", wrong.len());
        Ok(tally)
    }

    fn told_by_store(&self) -> BTreeMap<String, Told<'_>> {
        let mut told = BTreeMap::<String, Told<'_>>::new();
        for stored in &self.events {
            let event = &stored.event;
            told.entry(event.subject.to_string()).or_default().insert((event.kind.as_str(), event.id.to_string()));
        }
        told
    }

    fn told_by_queues(&self) -> BTreeMap<String, Told<'_>> {
        let mut told = BTreeMap::<String, Told<'_>>::new();
        for event in &self.heard {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            told.entry(text("subject").to_owned()).or_default().insert((text("type"), text("id").to_owned()));
        }
        told
    }

    /// What the partner reads must be what was bought.
    fn event_has_the_items(&self, row: &Row) -> Result<()> {
        let id = row.purchase.id.to_string();
        let events = self.heard.iter().filter(|event| event["subject"] == id.as_str() && event["type"] == FULFILLED);
        for event in events {
            let items = event["data"]["items"].as_array().context("a fulfilled event without items")?;
            let told = sorted(items.iter().map(|item| item["item_id"].as_str().unwrap_or_default()));
            ensure!(told == row.item_ids(), "the event tells of {told:?}, the store of {:?}", row.item_ids());
        }
        Ok(())
    }

    /// Events about nothing that was ordered: rejections of good commands, for example.
    fn foreign_events(&self, ordered: &BTreeMap<PurchaseId, &Order>) -> Vec<String> {
        let known: BTreeSet<String> = ordered.keys().map(ToString::to_string).collect();
        let heard = self.heard.iter().filter(|event| !event["subject"].as_str().is_some_and(|id| known.contains(id)));
        let stored = self.events.iter().map(|stored| &stored.event);
        let stored = stored.filter(|event| !known.contains(&event.subject.to_string()));
        heard.map(|event| format!("heard {event}")).chain(stored.map(|event| format!("stored {}", event.body))).collect()
    }
}

const FULFILLED: &str = "clawback.purchase.fulfilled";
const FAILED: &str = "clawback.purchase.failed";
const REVIEW: &str = "clawback.purchase.review";

impl Tally {
    /// Counts the end of one purchase, and holds it against the ledger.
    fn ended(&mut self, order: &Order, row: &Row, bought: &[&Bought]) -> Result<()> {
        ensure!(bought.len() <= 1, "bought {} times: {bought:?}", bought.len());
        match &row.purchase.state {
            State::Fulfilled(_) => {
                self.fulfilled += 1;
                ensure!(!order.doomed, "the upstream cannot have sold this");
                let [bought] = bought else { bail!("the ledger knows nothing of it") };
                is_what_was_bought(order, row, bought)
            }
            State::Failed { failure, .. } => {
                self.failed += 1;
                ensure!(bought.is_empty(), "failed ({failure:?}), but it was bought: {bought:?}");
                ensure!(order.doomed, "nothing stood in its way, yet it failed: {failure:?}");
                Ok(())
            }
            State::Review(_) => {
                self.reviews += 1;
                Ok(())
            }
            State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_) => {
                bail!("it has not ended: {:?}", row.purchase.state)
            }
        }
    }
}

fn is_what_was_bought(order: &Order, row: &Row, bought: &Bought) -> Result<()> {
    let ledger = sorted(bought.items.iter().map(|item| item.item_id.as_str()));
    ensure!(ledger == row.item_ids(), "the ledger has {ledger:?}, the store {:?}", row.item_ids());
    let same = (order.user.as_str(), order.pack, order.amount) == (&bought.user_id, &bought.pack_id, bought.amount);
    ensure!(same, "ordered {order:?}, bought {bought:?}");
    let session = row.purchase.state.session().map(ToString::to_string);
    ensure!(session.as_deref() == Some(&bought.session_id), "session {session:?} in the store, {bought:?}");
    Ok(())
}

/// One final event, the same in the store and in the queue however often it came; none while a person must decide.
fn told_once(row: &Row, stored: &Told<'_>, heard: &Told<'_>) -> Result<()> {
    ensure!(stored == heard, "the store told {stored:?}, the partner heard {heard:?}");
    let ids = |kind: &str| stored.iter().filter(|(found, _)| *found == kind).count();
    let told = (ids(FULFILLED), ids(FAILED), ids(REVIEW));
    match row.name() {
        StateName::Fulfilled => ensure!((told.0, told.1) == (1, 0), "told {stored:?}"),
        StateName::Failed => ensure!((told.0, told.1) == (0, 1), "told {stored:?}"),
        StateName::Review => ensure!(told == (0, 0, 1), "told {stored:?}"),
        StateName::Accepted | StateName::Initiating | StateName::Pending | StateName::Reconciling => {}
    }
    Ok(())
}

/// Another attempt follows only one that surely had no effect.
fn tried_again_only_without_effect(row: &Row) -> Result<()> {
    let Some((_, earlier)) = row.attempts.split_last() else { return Ok(()) };
    for record in earlier {
        let harmless = record.fact.as_ref().is_some_and(|fact| match &fact.answer {
            Answer::NeverSent { .. } | Answer::Busy { .. } | Answer::Unauthorized { .. } => true,
            Answer::Done { .. } | Answer::Refused { .. } | Answer::Unknown { .. } => false,
        });
        ensure!(harmless, "attempt {} was followed by another, but it came to {:?}", record.attempt.number, record.fact);
    }
    Ok(())
}

/// No call goes out before its attempt is stored, nor after the moment until which it might be sent.
fn sent_in_time(row: &Row, bought: &[&Bought]) -> Result<()> {
    for bought in bought {
        let reference = bought.client_ref.as_deref();
        let of = |record: &&AttemptRecord| reference == Some(&row.purchase.reference(&record.attempt));
        let Some(record) = row.attempts.iter().find(of) else { bail!("the store has no such attempt: {bought:?}") };
        let (at, attempt) = (bought.purchased_at.parse::<Time>()?, record.attempt);
        // The ledger cuts off below milliseconds.
        let begun = attempt.started_at - TimeDelta::milliseconds(1);
        ensure!(at >= begun && at <= attempt.send_by + UNDER_WAY, "bought at {at}, not while it might be sent: {attempt:?}");
    }
    Ok(())
}

fn sorted<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::Utc;
    use clawback_domain::{
        AttemptToken, ItemId, PartnerId, SessionId,
        answer::{Fulfilment, StatusAnswer},
        change::{Change, Fact},
        clock::micros,
        command::parse_purchase,
        item::Item,
        purchase::{Attempt, Decision, Happened, Pending, Purchase, Rules, decide},
        reason::{Failure, FailureCode},
        trace::TraceContext,
    };
    use clawback_store::StoredEvent;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::rehearsal::orders;

    /// One purchase that went as it should, and what all parties have of it.
    struct Story {
        orders: Vec<Order>,
        books: Books,
    }

    impl Story {
        fn sound() -> Self {
            let orders = orders(1, &["acme".to_owned()]).unwrap();
            let now = micros(Utc::now());
            let command = parse_purchase(None, orders[0].command().to_string().as_bytes()).unwrap();
            let trace = TraceContext::start(Uuid::new_v4(), 1);
            let accepted = Purchase::accept(PartnerId::new("acme").unwrap(), command, now, trace);
            let attempt = accepted.attempt(AttemptToken(Uuid::new_v4()), now, &Rules::default());
            let session = SessionId::new("session").unwrap();
            let answer = Answer::Done { session: session.clone(), nfts: Vec::new() };
            let nfts = vec![Item::bare(ItemId::new("item").unwrap())];
            let fulfilment = Fulfilment { session, user_id: None, public_id: None, tx_hash: None, nfts };
            let called = after(&accepted, Happened::Initiated(attempt)).after;
            let pending = after(&called, Happened::Answered { token: attempt.token, answer: answer.clone() }).after;
            let change = after(&pending, Happened::Polled(StatusAnswer::Fulfilled(fulfilment)));
            let bought = json!({
                "session_id": "session", "user_id": orders[0].user, "pack_id": orders[0].pack, "amount": orders[0].amount,
                "items": [{"item_id": "item", "buyback_price": 1}], "purchased_at": now.to_rfc3339(),
                "client_ref": accepted.reference(&attempt),
            });
            let event = change.event.unwrap();
            let row = Row { attempts: vec![record(&accepted, attempt, answer)], purchase: change.after, pulls: change.pulls };
            let books = Books {
                rows: BTreeMap::from([(accepted.id, row)]),
                ledger: serde_json::from_value(json!({"purchases": [bought], "sellbacks": []})).unwrap(),
                heard: vec![serde_json::from_str(&event.body).unwrap()],
                events: vec![StoredEvent { position: 1, event, sent_at: Some(now), unrouted: false }],
            };
            Self { orders, books }
        }

        fn row(&mut self) -> &mut Row {
            self.books.rows.first_entry().unwrap().into_mut()
        }
    }

    fn after(before: &Purchase, happened: Happened) -> Change {
        let name = happened.name();
        let Decision::Transition(transition) = decide(before, happened, before.created_at, &Rules::default()) else {
            panic!("{name} does not fit {before:?}")
        };
        Change::of(before, *transition, name, None)
    }

    fn record(purchase: &Purchase, attempt: Attempt, answer: Answer) -> AttemptRecord {
        let fact = Fact { token: attempt.token, answer, at: attempt.started_at };
        AttemptRecord { purchase: purchase.id, attempt, fact: Some(fact) }
    }

    #[test]
    fn a_sound_story_has_no_findings() {
        let Story { orders, books } = Story::sound();
        assert_eq!(books.audit(&orders).unwrap(), Tally { fulfilled: 1, failed: 0, reviews: 0 });
    }

    /// A lie, and what the audit says of it.
    type Lie = (&'static str, fn(&mut Story));

    const LIES: [Lie; 15] = [
        ("lost", |story| story.books.rows.clear()),
        ("nobody ordered", |story| story.orders.clear()),
        ("bought 2 times", |story| story.books.ledger.purchases.extend_from_within(..)),
        ("knows nothing of it", |story| story.books.ledger.purchases.clear()),
        ("bought without a command", |story| {
            story.books.ledger.purchases.extend_from_within(..);
            story.books.ledger.purchases[1].client_ref = None;
        }),
        ("the ledger has", |story| story.books.ledger.purchases[0].items[0].item_id = "another".into()),
        ("bought Bought", |story| story.books.ledger.purchases[0].user_id = "another".into()),
        ("not while it might be sent", |story| {
            let late = Utc::now() + TimeDelta::minutes(1);
            story.books.ledger.purchases[0].purchased_at = late.to_rfc3339();
        }),
        ("the partner heard {}", |story| story.books.heard.clear()),
        ("the event tells of", |story| story.books.heard[0]["data"]["items"][0]["item_id"] = json!("another")),
        ("told", |story| {
            let mut again = story.books.events[0].clone();
            again.event.id = clawback_domain::EventId(Uuid::new_v4());
            story.books.heard.extend_from_within(..);
            story.books.heard[1]["id"] = json!(again.event.id.to_string());
            story.books.events.push(again);
        }),
        ("stored", |story| {
            let mut foreign = story.books.events[0].clone();
            foreign.event.subject = Uuid::new_v4();
            foreign.event.body = Arc::from("{}");
            story.books.events.push(foreign);
        }),
        ("was followed by another", |story| {
            let row = story.row();
            let unknown = Answer::Unknown { why: "reset".into(), status: None };
            let attempt = Attempt { token: AttemptToken(Uuid::new_v4()), ..row.attempts[0].attempt };
            row.attempts.insert(0, record(&row.purchase, attempt, unknown));
        }),
        ("but it was bought", |story| {
            let failure = Failure { code: FailureCode::Refused, message: "no".into(), upstream_status: None };
            story.row().purchase.state = State::Failed { failure, session: None };
        }),
        ("has not ended", |story| {
            let purchase = &mut story.row().purchase;
            let session = purchase.state.session().unwrap().clone();
            let since = purchase.created_at;
            purchase.state = State::Pending(Pending { session, since, polls: 0, cancelled: false });
        }),
    ];

    #[test]
    fn every_lie_is_found() {
        for (finding, tell) in LIES {
            let mut story = Story::sound();
            tell(&mut story);
            let found = story.books.audit(&story.orders).expect_err(finding).to_string();
            assert!(found.contains(finding), "{finding:?} is not in {found:?}");
        }
    }
}
