//! A sound sale passes, and every lie about it is found.

use chrono::Utc;
use clawback_domain::{
    command::parse_sellback,
    event::EventType,
    item::PullSale,
    reason::{Failure, FailureCode},
    sellback::Sold as SoldState,
    trace::TraceContext,
};
use uuid::Uuid;

use super::*;
use crate::rehearsal::story::Story;

/// One item that was bought and sold back.
struct Deal {
    asked: Vec<Asked>,
    story: Story,
}

impl Deal {
    fn sound() -> Self {
        let mut story = Story::of(&[0]);
        let pull = story.row().pulls[0].clone();
        let asked = Asked::of(0, &pull).unwrap();
        let command = parse_sellback(None, asked.commands().next().unwrap().to_string().as_bytes()).unwrap();
        let (now, trace) = (pull.created_at, TraceContext::start(Uuid::new_v4(), 1));
        let amount = Some(Money::usd(8_500_000));
        let sold = SoldState { item_id: pull.item.item_id.clone(), pull: None, amount, estimated: false, evidence: None };
        let accepted = Sellback::accept(pull.partner.clone(), command, now, trace);
        story.books.sellbacks.insert(asked.id, Sellback { state: State::Sold(sold), ..accepted });
        story.row().pulls[0].sale = Some(PullSale { by: asked.id, at: now });
        let sale = json!({"user_id": pull.user_id, "item_id": asked.item, "amount": 8.50, "sold_at": now.to_rfc3339()});
        story.books.ledger.sellbacks.push(serde_json::from_value(sale).unwrap());
        story.told(EventType::SellbackCompleted, asked.id.0, now, json!({}));
        Self { asked: vec![asked], story }
    }

    fn sellback(&mut self) -> &mut Sellback {
        self.story.books.sellbacks.first_entry().unwrap().into_mut()
    }

    fn sold(&mut self) -> &mut SoldState {
        let State::Sold(sold) = &mut self.sellback().state else { panic!("it is sold") };
        sold
    }
}

#[test]
fn a_sound_sale_has_no_findings_and_leaves_its_purchase_sound() {
    let Deal { asked, story } = Deal::sound();
    assert_eq!(story.books.audit_sales(&asked).unwrap(), Sales { sold: 1, ..Sales::default() });
    assert_eq!(story.books.findings(&story.orders).1, [""; 0]);
    // Where nobody asked for any sale it is one finding after the other.
    assert!(story.books.audit(&story.orders).is_err());
}

#[test]
fn an_estimated_amount_need_not_be_the_ledgers() {
    let mut deal = Deal::sound();
    (deal.sold().estimated, deal.sold().amount) = (true, None);
    let expected = Sales { sold: 1, estimated: 1, ..Sales::default() };
    assert_eq!(deal.story.books.audit_sales(&deal.asked).unwrap(), expected);
}

#[test]
fn a_sale_that_does_not_end_or_has_no_row_is_lost() {
    let mut deal = Deal::sound();
    deal.sellback().state = State::Accepted { waiting: None, unsettled: None };
    assert_eq!(deal.story.books.sale_findings(&deal.asked).0.lost, 1);
    deal.story.books.sellbacks.clear();
    assert_eq!(deal.story.books.sale_findings(&deal.asked).0.lost, 1);
}

/// A lie, and what the audit says of it.
type Lie = (&'static str, fn(&mut Deal));

const LIES: [Lie; 11] = [
    ("lost", |deal| deal.story.books.sellbacks.clear()),
    ("nobody asked for", |deal| deal.asked.clear()),
    ("sold without a command", |deal| deal.asked.clear()),
    ("sold 2 times", |deal| deal.story.books.ledger.sellbacks.extend_from_within(..)),
    ("knows nothing of it", |deal| deal.story.books.ledger.sellbacks.clear()),
    ("the ledger says 8.50", |deal| deal.sold().amount = Some(Money::usd(1))),
    ("it was sold", |deal| {
        let failure = Failure { code: FailureCode::Refused, message: "no".into(), upstream_status: None };
        deal.sellback().state = State::Failed { failure, evidence: None };
    }),
    ("has not ended", |deal| deal.sellback().state = State::Accepted { waiting: None, unsettled: None }),
    ("the partner heard {}", |deal| deal.story.books.heard.clear()),
    ("told {", |deal| {
        let id = deal.asked[0].id.0;
        deal.story.told(EventType::SellbackCompleted, id, Utc::now(), json!({}));
    }),
    ("which nobody asked for", |deal| {
        deal.story.told(EventType::SellbackFailed, Uuid::new_v4(), Utc::now(), json!({}));
    }),
];

#[test]
fn every_lie_is_found() {
    for (finding, tell) in LIES {
        let mut deal = Deal::sound();
        tell(&mut deal);
        let found = deal.story.books.audit_sales(&deal.asked).expect_err(finding).to_string();
        assert!(found.contains(finding), "{finding:?} is not in {found:?}");
    }
}

#[test]
fn half_name_the_pull_half_the_item_and_one_of_ten_comes_twice() {
    let pull = Story::of(&[0]).row().pulls[0].clone();
    let asked: Vec<_> = (0..20).map(|number| Asked::of(number, &pull).unwrap()).collect();
    let by_pull = asked.iter().filter(|one| one.command["pull_id"].is_string()).count();
    let by_item = asked.iter().filter(|one| one.command["item_id"].is_string()).count();
    assert_eq!((by_pull, by_item, asked.iter().flat_map(Asked::commands).count()), (10, 10, 22));
}
