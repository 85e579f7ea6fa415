//! What the machine of sellbacks decides, the model takes: random histories of many sellbacks, each of an item of its own.

use std::sync::Arc;

use clawback_domain::{
    Time,
    answer::Answer,
    change::{Change, Insertion},
    order::{Decision, Rules, StateName},
    reason::{FailureCode, WaitCode, Waiting},
    sellback::{Happened, Resolution, SaleVerdict, Sellback, State, decide},
};
use clawback_store::{
    Applied, Inserted, Store, StoreError,
    memory::{Memory, Snapshot},
};

use crate::{build::*, model::Draw, sale::*, stage::SystemClock};

#[tokio::test]
async fn what_the_machine_of_sellbacks_decides_is_never_refused() {
    let (store, mut reached) = histories().await;
    reached.sort();
    reached.dedup();
    use StateName::{Accepted, Failed, Reconciling, Review, Selling, Sold};
    assert_eq!(reached, [Accepted, Selling, Reconciling, Review, Sold, Failed]);
    assert!(store == histories().await.0, "two equal runs leave two equal stores");
}

async fn histories() -> (Snapshot, Vec<StateName>) {
    let store = Memory::new(Arc::new(SystemClock));
    let mut draw = Draw(11);
    let mut reached = Vec::new();
    for history in 0..1_000 {
        let mut row = sellback(acme(), &format!("r-{history}"), &format!("item-{history}"), at(0));
        assert_eq!(store.insert(Insertion::of(row.clone())).await.unwrap(), Inserted::New);
        let mut now = at(0);
        for _ in 0..14 {
            now += chrono::TimeDelta::seconds(draw.up_to(600) as i64);
            let happened = something(&row, &mut draw, now);
            let what = happened.name();
            if let Decision::Transition(transition) = decide(&row, happened, now, &Rules::default()) {
                let change = Change::of(&row, *transition, what, None);
                let result = store.apply(change.clone()).await;
                assert!(matches!(result, Ok(Applied::Committed)), "{what} of {row:?}: {result:?}");
                row = change.after.sellback().expect("it is one").clone();
            }
            reached.push(row.state.name());
        }
    }
    (store.snapshot(), reached)
}

fn something(row: &Sellback, draw: &mut Draw, now: Time) -> Happened {
    let why = || "a history".to_owned();
    let next = sale(row, None, now);
    let token = row.state.sale().map_or(next.attempt.token, |sale| sale.attempt.token);
    let answer = draw.one_of([
        sold_for(7),
        Answer::Sold { amount: None },
        not_found(),
        Answer::Unauthorized { message: why() },
        Answer::Busy { retry_after: None },
        Answer::NeverSent { why: why() },
        Answer::Unknown { why: why(), status: Some(504) },
    ]);
    let verdict = draw.one_of([SaleVerdict::Wait(why()), SaleVerdict::Sold, SaleVerdict::NotSold, in_question()]);
    let resolution = draw.one_of([Resolution::Sold(None), Resolution::Failed, Resolution::Retry, Resolution::Retry]);
    draw.one_of([
        Happened::Initiated(Box::new(next.clone())),
        Happened::Initiated(Box::new(next)),
        Happened::Held(Waiting { code: WaitCode::NotShown, message: why(), until: None }),
        Happened::Expired,
        Happened::Cancelled { by: why(), why: why() },
        Happened::Unsellable(FailureCode::PriceBelowMinimum, why()),
        Happened::Answered { token, answer: answer.clone() },
        Happened::Answered { token, answer },
        Happened::DeadlinePassed,
        looked(verdict.clone()),
        looked(verdict),
        Happened::Resolved { resolution, by: why(), why: why() },
        Happened::TurnTaken,
        Happened::HandedBack,
        Happened::Panicked { message: why() },
    ])
}

#[tokio::test]
async fn a_write_that_breaks_an_invariant_of_sales_is_refused() {
    let store = Memory::new(Arc::new(SystemClock));
    let row = selling(&store, acme(), "r-1", "item", at(0)).await;
    let done = selling(&store, acme(), "r-2", "another", at(0)).await;
    let done = moved(&store, told(&done, sold_for(1), at(1))).await;
    let mut reopened = put_sale(&done, State::Accepted { waiting: None, unsettled: None });
    if let clawback_domain::order::AnyOrder::Sellback(row) = &mut reopened.after {
        row.due_at = Some(at(2));
    }
    let end = told(&row, sold_for(1), at(1));
    let mut other_kind = told(&row, sold_for(1), at(1));
    other_kind.after = purchase(acme(), "r-1", at(0)).into();
    other_kind.after = other_kind.after.at_version(row.version + 1);
    let cases = [
        ("a final sellback changes", reopened),
        ("an end that is not told", Change { event: None, ..end.clone() }),
        ("a sellback becomes a purchase", other_kind),
    ];
    for (kind, change) in cases {
        let before = store.snapshot();
        let result = store.apply(change).await;
        assert!(matches!(result, Err(StoreError::Refused(_))), "{kind}: {result:?}");
        assert!(store.snapshot() == before, "{kind}: a refused write leaves no trace");
    }
    moved(&store, end).await;
}
