//! Stories that went as they should, for lies to be told in.

use chrono::Utc;
use clawback_domain::{
    AttemptToken, EventId, ItemId, PartnerId, SessionId, Time,
    answer::{Answer, Fulfilment, StatusAnswer},
    change::{Change, Fact},
    clock::micros,
    command::parse_purchase,
    event::{Event, EventType},
    item::Item,
    order::{AnyOrder, Machine},
    purchase::{Attempt, Decision, Happened, Purchase, Rules, decide},
    trace::TraceContext,
};
use clawback_store::{AttemptRecord, StoredEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Books, Order, Row, orders};

/// Purchases that went as they should, and what all parties have of them.
pub struct Story {
    pub orders: Vec<Order>,
    pub books: Books,
}

impl Story {
    /// These orders, by their numbers.
    pub fn of(numbers: &[usize]) -> Self {
        let all = orders(41, &["acme".to_owned()]).unwrap();
        let orders: Vec<Order> = numbers.iter().map(|&number| all[number].clone()).collect();
        let (mut story, mut bought) = (Self { orders: Vec::new(), books: Books::default() }, Vec::new());
        for order in &orders {
            let (row, event, purchase) = fulfilled(order);
            bought.push(purchase);
            story.tell(event);
            story.books.rows.insert(order.id, row);
        }
        story.books.ledger = serde_json::from_value(json!({"purchases": bought, "sellbacks": []})).unwrap();
        Self { orders, ..story }
    }

    /// The event is stored and heard.
    pub fn tell(&mut self, event: Event) {
        self.books.heard.push(serde_json::from_str(&event.body).unwrap());
        let position = self.books.events.len() as i64 + 1;
        self.books.events.push(StoredEvent { position, event, sent_at: Some(Utc::now()), unrouted: false });
    }

    /// An event with just enough in it.
    pub fn told(&mut self, kind: EventType, subject: Uuid, time: Time, data: Value) -> EventId {
        let id = EventId(Uuid::new_v4());
        let body = json!({"id": id.to_string(), "type": kind.as_str(), "subject": subject.to_string(), "data": data});
        let partner = PartnerId::new("acme").unwrap();
        let body = body.to_string().into();
        self.tell(Event { id, kind, partner, subject, sequence: 1, request_id: None, time, trace: None, body });
        id
    }

    /// The first.
    pub fn row(&mut self) -> &mut Row {
        self.books.rows.first_entry().unwrap().into_mut()
    }
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

pub fn record(purchase: &Purchase, attempt: Attempt, answer: Answer) -> AttemptRecord {
    let fact = Fact { token: attempt.token, answer, at: attempt.started_at };
    AttemptRecord { order: purchase.id, attempt, fact: Some(fact) }
}
