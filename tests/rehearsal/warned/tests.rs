//! A window that shut as it should passes, and every lie about it is found.

use chrono::TimeDelta;
use clawback_domain::{
    OrderId,
    command::parse_sellback,
    item::{Expiry, PullSale},
    order::StateName,
    sellback::Sellback,
    trace::TraceContext,
    warning::{Lead, Row as WarningRow},
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::rehearsal::story::Story;

const LEAD: u32 = 60;

/// One item that nobody sold: it was warned of, and its window shut.
struct Watch {
    story: Story,
    held: Vec<Held>,
    shut_at: Time,
}

impl Watch {
    fn sound() -> Self {
        let mut story = Story::of(&[0]);
        let pull = &mut story.row().pulls[0];
        let (lead, shut_at) = (Lead::seconds(LEAD), pull.created_at + TimeDelta::seconds(90));
        pull.sight.expiry = Expiry::At(shut_at);
        pull.sight.expiry_read_at = Some(pull.created_at);
        let pull = pull.clone();
        let held = vec![Held { item_id: pull.item.item_id.to_string(), expires_at: Some(shut_at) }];
        let mut watch = Self { story, held, shut_at };
        let event = watch.tell(EventType::BuybackExpiring, lead.before(shut_at));
        watch.tell(EventType::BuybackExpired, shut_at);
        watch.story.books.warnings.push(Warning {
            partner: pull.partner,
            user: pull.user_id,
            row: WarningRow { pull: pull.id, lead, expiry: shut_at, state: RowState::Sent },
            event: Some(event),
            late: true,
            verified: true,
            updated_at: shut_at,
        });
        watch
    }

    /// Of the pull. Partners hear the user's name where the store has an id.
    fn tell(&mut self, kind: EventType, time: Time) -> clawback_domain::EventId {
        let pull = self.story.row().pulls[0].id;
        let id = self.story.told(kind, Uuid::nil(), time, json!({"items": [{"pull_id": pull}]}));
        self.story.books.heard.last_mut().unwrap()["subject"] = json!("user-0");
        id
    }

    fn row(&mut self) -> &mut Warning {
        &mut self.story.books.warnings[0]
    }

    /// It was sold a while before it was warned of; nobody holds it any more.
    fn sell(&mut self, known: bool) {
        let sold_at = self.shut_at - TimeDelta::seconds(80);
        let pull = &mut self.story.row().pulls[0];
        let (user, item, by) = (pull.user_id.clone(), pull.item.item_id.clone(), OrderId(Uuid::new_v4()));
        pull.sale = Some(PullSale { by, at: sold_at });
        let sale = json!({"user_id": user, "item_id": item, "amount": 1, "sold_at": sold_at.to_rfc3339()});
        self.story.books.ledger.sellbacks.push(serde_json::from_value(sale).unwrap());
        self.story.told(EventType::SellbackCompleted, by.0, sold_at, json!({}));
        self.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpired);
        self.story.books.heard.retain(|event| event["type"] != EventType::BuybackExpired.as_str());
        self.held.clear();
        if known {
            self.story.books.events.iter_mut().for_each(|stored| stored.position *= -1);
        }
    }

    /// A sale is asked for that a person must look into.
    fn doubt(&mut self) {
        let pull = self.story.row().pulls[0].clone();
        let command = json!({"request_id": "sell", "user_id": pull.user_id, "pull_id": pull.id}).to_string();
        let command = parse_sellback(None, command.as_bytes()).unwrap();
        let sellback = Sellback::accept(pull.partner, command, pull.created_at, TraceContext::start(Uuid::new_v4(), 1));
        assert_eq!(sellback.state.name(), StateName::Accepted);
        self.story.books.sellbacks.insert(sellback.id, sellback);
    }

    fn findings(&self) -> (Warned, Vec<String>) {
        self.story.books.warning_findings(&self.held, self.shut_at + TimeDelta::seconds(10))
    }
}

#[test]
fn a_sound_window_has_no_findings() {
    let watch = Watch::sound();
    assert_eq!(watch.findings(), (Warned { sent: 1, late: 1, overtaken: 0, closed: 1 }, Vec::new()));
    assert_eq!(watch.story.books.findings(&watch.story.orders).1, [""; 0]);
}

#[test]
fn what_is_sold_may_have_been_warned_of_until_that_was_known() {
    let mut watch = Watch::sound();
    watch.sell(false);
    assert_eq!(watch.findings(), (Warned { sent: 1, late: 1, overtaken: 0, closed: 0 }, Vec::new()));
}

#[test]
fn what_may_be_sold_need_not_be_told_to_have_shut() {
    let mut watch = Watch::sound();
    watch.doubt();
    let is_end = |kind: &str| kind == EventType::BuybackExpired.as_str();
    watch.story.books.events.retain(|stored| !is_end(stored.event.kind.as_str()));
    watch.story.books.heard.retain(|event| event["type"].as_str().is_none_or(|kind| !is_end(kind)));
    assert_eq!(watch.findings().1, [""; 0]);
}

#[test]
fn a_window_that_is_open_still_need_not_be_told() {
    let mut watch = Watch::sound();
    watch.held[0].expires_at = Some(watch.shut_at + TimeDelta::days(3));
    watch.story.row().pulls[0].sight.expiry = Expiry::At(watch.shut_at + TimeDelta::days(3));
    watch.row().row.expiry = watch.shut_at + TimeDelta::days(3);
    watch.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpired);
    watch.story.books.heard.retain(|event| event["type"] != EventType::BuybackExpired.as_str());
    assert_eq!(watch.findings(), (Warned { sent: 1, late: 1, overtaken: 0, closed: 0 }, Vec::new()));
}

/// A lie, and what the audit says of it.
type Lie = (&'static str, fn(&mut Watch));

const LIES: [Lie; 16] = [
    ("no partner heard it", |watch| drop(watch.story.books.heard.pop())),
    ("it is not stored", |watch| drop(watch.story.books.events.pop())),
    ("it is told of in", |watch| {
        let again = watch.shut_at - TimeDelta::seconds(50);
        watch.tell(EventType::BuybackExpiring, again);
    }),
    ("it is told of in []", |watch| watch.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpiring)),
    ("two lead times", |watch| {
        let again = watch.shut_at - TimeDelta::seconds(50);
        let id = watch.tell(EventType::BuybackExpiring, again);
        watch.story.books.events.last_mut().unwrap().event.id = watch.row().event.unwrap();
        assert_ne!(Some(id), watch.row().event);
        let mut other = watch.row().clone();
        other.row.lead = Lead::seconds(80);
        watch.story.books.warnings.push(other);
    }),
    ("when its window had shut", |watch| watch.row().row.expiry = watch.shut_at - TimeDelta::seconds(LEAD.into())),
    ("when that was known", |watch| watch.sell(true)),
    ("which was told 2 times", |watch| {
        watch.tell(EventType::BuybackExpired, watch.shut_at);
    }),
    ("which was told 0 times", |watch| {
        watch.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpired)
    }),
    ("and was told before", |watch| watch.held[0].expires_at = Some(watch.shut_at + TimeDelta::seconds(1))),
    ("it is sold, or open", |watch| watch.held.clear()),
    ("planned for ever", |watch| watch.row().row.state = RowState::Planned),
    ("and forgotten", |watch| watch.row().row.state = RowState::Skipped(Skipped::Gone)),
    ("nothing was planned", |watch| {
        watch.story.books.warnings.clear();
        watch.story.row().pulls[0].sight.expiry_read_at = Some(watch.shut_at - TURN_LOST);
    }),
    ("the store NotRead", |watch| watch.story.row().pulls[0].sight.expiry = Expiry::NotRead),
    ("which nobody drew", |watch| watch.story.books.rows.clear()),
];

#[test]
fn every_lie_is_found() {
    for (finding, tell) in LIES {
        let mut watch = Watch::sound();
        tell(&mut watch);
        let found = watch.findings().1;
        assert!(found.iter().any(|one| one.contains(finding)), "{finding:?} is not in {found:?}");
    }
}

#[test]
fn what_a_turn_that_died_did_not_plan_was_overtaken() {
    let mut watch = Watch::sound();
    watch.story.books.warnings.clear();
    watch.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpiring);
    watch.story.books.heard.retain(|event| event["type"] != EventType::BuybackExpiring.as_str());
    assert_eq!(watch.findings(), (Warned { overtaken: 1, closed: 1, ..Warned::default() }, Vec::new()));
}

#[test]
fn what_was_read_too_late_is_not_forgotten() {
    let mut watch = Watch::sound();
    let late = watch.shut_at - TimeDelta::seconds(30);
    watch.story.row().pulls[0].sight.expiry_read_at = Some(late);
    watch.row().row.state = RowState::Skipped(Skipped::PastWhenRead);
    watch.story.books.events.retain(|stored| stored.event.kind != EventType::BuybackExpiring);
    watch.story.books.heard.retain(|event| event["type"] != EventType::BuybackExpiring.as_str());
    assert_eq!(watch.findings(), (Warned { closed: 1, ..Warned::default() }, Vec::new()));
}
