//! Sound stories pass, and every lie is found.

use std::sync::Arc;

use chrono::Utc;
use clawback_domain::{
    AttemptToken, ItemId, PartnerId, SessionId,
    answer::{Fulfilment, StatusAnswer},
    change::{Change, Fact},
    clock::micros,
    command::parse_purchase,
    event::Event,
    item::Item,
    order::{AnyOrder, Machine},
    purchase::{Attempt, Decision, Happened, Pending, Purchase, Rules, decide},
    reason::{Failure, FailureCode},
    trace::TraceContext,
};
use clawback_store::StoredEvent;
use serde_json::{Value, json};
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
        Self::of(&[0])
    }

    /// Two orders of one user for the same, whose outcomes were unknown and whose items were found in the inventory.
    fn recovered() -> Self {
        let mut story = Self::of(&[0, 40]);
        for row in story.books.rows.values_mut() {
            let State::Fulfilled(fulfilled) = &mut row.purchase.state else { panic!("{row:?}") };
            (fulfilled.session, fulfilled.recovered) = (None, true);
        }
        story
    }

    /// The same, each taken for the other.
    fn exchanged() -> Self {
        let mut story = Self::recovered();
        let (first, second) = (story.item(0).clone(), story.item(1).clone());
        (*story.item(0), *story.item(1)) = (second.clone(), first.clone());
        for event in &mut story.books.heard {
            let own = if event["data"]["items"][0]["item_id"] == first.as_str() { &second } else { &first };
            event["data"]["items"][0]["item_id"] = json!(own.as_str());
        }
        story
    }

    /// Of the only pull of a row.
    fn item(&mut self, row: usize) -> &mut ItemId {
        &mut self.books.rows.values_mut().nth(row).unwrap().pulls[0].item.item_id
    }

    fn of(numbers: &[usize]) -> Self {
        let all = orders(41, &["acme".to_owned()]).unwrap();
        let orders: Vec<Order> = numbers.iter().map(|&number| all[number].clone()).collect();
        let (mut books, mut bought) = (empty(), Vec::new());
        for order in &orders {
            let (row, event, purchase) = fulfilled(order);
            bought.push(purchase);
            books.heard.push(serde_json::from_str(&event.body).unwrap());
            books.events.push(StoredEvent { position: 1, event, sent_at: Some(Utc::now()), unrouted: false });
            books.rows.insert(order.id, row);
        }
        books.ledger = serde_json::from_value(json!({"purchases": bought, "sellbacks": []})).unwrap();
        Self { orders, books }
    }

    fn row(&mut self) -> &mut Row {
        self.books.rows.first_entry().unwrap().into_mut()
    }
}

fn empty() -> Books {
    let ledger = serde_json::from_value(json!({"purchases": [], "sellbacks": []})).unwrap();
    Books { rows: BTreeMap::new(), ledger, events: Vec::new(), heard: Vec::new() }
}

/// An order that went as it should: its row, its event, and what the ledger has of it.
fn fulfilled(order: &Order) -> (Row, Event, Value) {
    let now = micros(Utc::now());
    let command = parse_purchase(None, order.command().to_string().as_bytes()).unwrap();
    let trace = TraceContext::start(Uuid::new_v4(), 1);
    let accepted = Purchase::accept(PartnerId::new("acme").unwrap(), command, now, trace);
    let attempt = accepted.attempt(AttemptToken(Uuid::new_v4()), now, &Rules::default());
    let (session, item) = (format!("session of {}", order.request), format!("item of {}", order.request));
    let session_id = SessionId::new(&session).unwrap();
    let answer = Answer::Done { session: session_id.clone(), nfts: Vec::new() };
    let nfts = vec![Item::bare(ItemId::new(&item).unwrap())];
    let fulfilment = Fulfilment { session: session_id, user_id: None, public_id: None, tx_hash: None, nfts };
    let called = bought_by(after(&accepted, Happened::Initiated(attempt)).after);
    let pending = bought_by(after(&called, Happened::Answered { token: attempt.token, answer: answer.clone() }).after);
    let change = after(&pending, Happened::Polled(StatusAnswer::Fulfilled(fulfilment)));
    let bought = json!({
        "session_id": session, "user_id": order.user, "pack_id": order.pack, "amount": order.amount,
        "items": [{"item_id": item, "buyback_price": 1}], "purchased_at": now.to_rfc3339(),
        "client_ref": accepted.reference(&attempt),
    });
    let row =
        Row { attempts: vec![record(&accepted, attempt, answer)], purchase: bought_by(change.after), pulls: change.pulls };
    (row, change.event.unwrap(), bought)
}

fn bought_by(order: AnyOrder) -> Purchase {
    Purchase::of(order).expect("a purchase stays one")
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
    AttemptRecord { order: purchase.id, attempt, fact: Some(fact) }
}

#[test]
fn a_sound_story_has_no_findings() {
    let Story { orders, books } = Story::sound();
    assert_eq!(books.audit(&orders).unwrap(), Tally { fulfilled: 1, failed: 0, reviews: 0 });
}

#[test]
fn equal_purchases_recovered_from_an_inventory_may_exchange_their_items() {
    for Story { orders, books } in [Story::recovered(), Story::exchanged()] {
        assert_eq!(books.audit(&orders).unwrap(), Tally { fulfilled: 2, failed: 0, reviews: 0 });
    }
}

#[test]
fn recovered_items_are_one_purchases_and_bought_for_an_equal_one() {
    let lies: [Lie; 3] = [
        ("which no equal one bought", |story| *story.item(0) = ItemId::new("another").unwrap()),
        ("2 purchases have the items", |story| *story.item(0) = story.item(1).clone()),
        // Only a recovered one may.
        ("the ledger has", |story| {
            let session = SessionId::new(&story.books.ledger.purchases[0].session_id).unwrap();
            let State::Fulfilled(fulfilled) = &mut story.row().purchase.state else { panic!("it is fulfilled") };
            (fulfilled.session, fulfilled.recovered) = (Some(session), false);
        }),
    ];
    let stories = [Story::recovered(), Story::recovered(), Story::exchanged()];
    for ((finding, tell), mut story) in lies.into_iter().zip(stories) {
        tell(&mut story);
        let found = story.books.audit(&story.orders).expect_err(finding).to_string();
        assert!(found.contains(finding), "{finding:?} is not in {found:?}");
    }
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
        story.row().purchase.state = State::Failed { failure, session: None, evidence: None };
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
