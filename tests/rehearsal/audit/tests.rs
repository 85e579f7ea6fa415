//! Sound stories pass, and every lie is found.

use std::sync::Arc;

use chrono::Utc;
use clawback_domain::{
    AttemptToken, ItemId, SessionId,
    purchase::{Attempt, Pending},
    reason::{Failure, FailureCode},
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::rehearsal::story::{Story, record};

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
