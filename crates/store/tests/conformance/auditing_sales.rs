//! The books of sellbacks: counted apart from purchases, and held against what hangs on them as those are.

use clawback_domain::{
    Money, OrderId,
    answer::Answer,
    change::Insertion,
    event::EventType,
    order::AnyOrder,
    sellback::{Happened, SaleVerdict, Sellback, Sold, State},
};
use clawback_store::audit::{Books, Finding, SaleSums, Sums};

use crate::{
    auditing::{audit, findings, send_all},
    build::*,
    sale::*,
    stage::Stage,
};

/// Of one sellback, and of nothing else, one thing is wrong.
fn only(books: &Books, row: &Sellback, finding: &Finding) {
    assert_eq!(findings(books), [(row.id, finding.clone())]);
    assert_eq!(books.differences[0].partner, Some(row.partner.clone()));
    assert!(!books.are_sound());
}

fn unknown() -> Answer {
    Answer::Unknown { why: "reset".into(), status: None }
}

async fn in_doubt(store: &Stage, request: &str) -> Sellback {
    let row = selling(&**store, acme(), request, &format!("item of {request}"), at(0)).await;
    moved(&**store, told(&row, unknown(), at(1))).await
}

pub async fn sound_books_of_sellbacks_have_no_differences(store: Stage) {
    fulfilled(&*store, acme(), "bought", at(0)).await;
    keep(&*store, Insertion::of(sellback(acme(), "accepted", "a", at(0)))).await;
    selling(&*store, acme(), "selling", "b", at(0)).await;
    in_doubt(&store, "reconciling").await;
    let row = in_doubt(&store, "review").await;
    moved(&*store, sale_then(&row, looked(in_question()), at(2))).await;
    let row = in_doubt(&store, "by evidence").await;
    moved(&*store, sale_then(&row, looked(SaleVerdict::Sold), at(2))).await;
    let row = in_doubt(&store, "still there").await;
    moved(&*store, sale_then(&row, looked(SaleVerdict::NotSold), at(2))).await;
    let row = selling(&*store, acme(), "not found", "c", at(0)).await;
    moved(&*store, told(&row, not_found(), at(1))).await;
    let row = in_doubt(&store, "settled later").await;
    let row = moved(&*store, sale_then(&row, looked(in_question()), at(2))).await;
    moved(&*store, told(&row, sold_for(2_000_001), at(3))).await;
    let row = selling(&*store, beta(), "of another partner", "c", at(0)).await;
    moved(&*store, told(&row, sold_for(1), at(1))).await;
    send_all(&store).await;

    let books = audit(&store, at(120)).await;
    assert_eq!(findings(&books), []);
    assert!(books.are_sound());
    let ours = SaleSums { accepted: 8, sold: 2, estimated: 1, failed: 2, review: 1, open: 3, brought: 10_500_001 };
    assert_eq!(books.partners[&acme()].sellbacks, ours);
    assert_eq!(books.total().sellbacks, SaleSums { accepted: 9, sold: 3, brought: 10_500_002, ..ours });
    let Sums { accepted, fulfilled, attempts, sessions, paid, .. } = books.partners[&acme()];
    assert_eq!((accepted, fulfilled, attempts, sessions, paid), (1, 1, 1, 1, 1), "purchases are counted without them");
    assert_eq!(books.partners[&beta()], Sums { sellbacks: books.partners[&beta()].sellbacks, ..Sums::default() });
}

pub async fn what_sellbacks_brought_is_added_to_the_millionth(store: Stage) {
    let amounts = [Some(i64::MAX), Some(i64::MAX), Some(1), Some(999_999), Some(0), Some(1_000_000), Some(100_001), None];
    for (n, amount) in amounts.into_iter().enumerate() {
        let row = keep(&*store, Insertion::of(sellback(acme(), &format!("r-{n}"), "a", at(0)))).await;
        let (item_id, estimated) = (item_id("a"), n % 3 == 0);
        let sold = Sold { item_id, pull: None, amount: amount.map(Money::usd), estimated, evidence: None };
        moved(&*store, put_sale(&row, State::Sold(sold))).await;
    }
    let sums = audit(&store, at(1)).await.total().sellbacks;
    assert_eq!((sums.sold, sums.estimated, sums.difference()), (8, 3, 0));
    assert_eq!(sums.brought, 2 * i128::from(i64::MAX) + 1 + 999_999 + 1_000_000 + 100_001);
    assert_eq!(sums.brought(), None, "more than money can say");
}

pub async fn a_sold_sellback_without_its_attempt_is_named(store: Stage) {
    let row = selling(&*store, acme(), "r-1", "a", at(0)).await;
    let mut change = told(&row, sold_for(1), at(1));
    if let AnyOrder::Sellback(after) = &mut change.after {
        after.attempts = 3;
    }
    let row = moved(&*store, change).await;
    let uncalled = keep(&*store, Insertion::of(sellback(acme(), "r-2", "b", at(0)))).await;
    let sold = Sold { item_id: item_id("b"), pull: None, amount: None, estimated: true, evidence: None };
    let uncalled = moved(&*store, put_sale(&uncalled, State::Sold(sold))).await;
    send_all(&store).await;
    let attempts = |counted, stored| Finding::Attempts { state: "sold".into(), counted, stored };
    let mut expected = vec![(row.id, attempts(3, 1)), (uncalled.id, attempts(0, 0))];
    expected.sort_by_key(|(id, _): &(OrderId, _)| *id);
    assert_eq!(findings(&audit(&store, at(2)).await), expected);
}

pub async fn an_open_sellback_is_overdue_after_an_hour(store: Stage) {
    let row = keep(&*store, Insertion::of(sellback(acme(), "r-1", "a", at(0)))).await;
    assert_eq!(findings(&audit(&store, at(3600)).await), []);
    only(&audit(&store, at(3601)).await, &row, &Finding::Overdue { state: "accepted".into(), due_at: at(0) });
}

pub async fn a_sale_that_is_told_as_something_else_is_named(store: Stage) {
    let row = selling(&*store, acme(), "r-1", "a", at(0)).await;
    let mut change = told(&row, sold_for(1), at(1));
    change.event.as_mut().expect("an end is told").kind = EventType::PurchaseFulfilled;
    let row = moved(&*store, change).await;
    send_all(&store).await;
    let finding = Finding::Events { state: "sold".into(), sequence: 1, stored: 1, finals: 1, last: 0 };
    only(&audit(&store, at(2)).await, &row, &finding);
}

pub async fn an_event_of_a_sellback_that_is_gone_is_missed(store: Stage) {
    let row = selling(&*store, acme(), "sold", "a", at(0)).await;
    let sold = moved(&*store, told(&row, sold_for(1), at(1))).await;
    let row = in_doubt(&store, "review").await;
    let review = moved(&*store, sale_then(&row, looked(in_question()), at(2))).await;
    send_all(&store).await;
    if !store.write_past_us("DELETE FROM events").await {
        return;
    }
    let gone = |state: &str| Finding::Events { state: state.into(), sequence: 1, stored: 0, finals: 0, last: 0 };
    let mut expected = vec![(sold.id, gone("sold")), (review.id, gone("review"))];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(findings(&audit(&store, at(3)).await), expected);
}

pub async fn an_event_of_a_sellback_may_be_stuck(store: Stage) {
    let row = selling(&*store, acme(), "r-1", "a", at(0)).await;
    let row = moved(&*store, told(&row, sold_for(1), at(1))).await;
    let kind = "clawback.sellback.completed".to_owned();
    only(&audit(&store, at(62)).await, &row, &Finding::Unsent { kind, sequence: 1, time: at(1) });
}

/// A purchase's state is none of a sellback's.
pub async fn a_state_that_is_no_sellbacks_counts_nowhere(store: Stage) {
    keep(&*store, Insertion::of(sellback(acme(), "r-1", "a", at(0)))).await;
    keep(&*store, Insertion::of(sellback(acme(), "r-2", "a", at(0)))).await;
    if !store.write_past_us("UPDATE orders SET state = 'pending', attempts = 0 WHERE request_id = 'r-1'").await {
        return;
    }
    let books = audit(&store, at(2)).await;
    assert_eq!((books.total().sellbacks.accepted, books.total().sellbacks.open), (2, 1));
    assert_eq!(books.total().sellbacks.difference(), 1);
    assert!(!books.are_sound());
}

pub async fn sellbacks_accepted_before_are_left_out(store: Stage) {
    let row = selling(&*store, acme(), "old", "a", at(0)).await;
    moved(&*store, told(&row, sold_for(5), at(1))).await;
    let row = keep(&*store, Insertion::of(sellback(acme(), "new", "a", at(10)))).await;
    let ended = Happened::Cancelled { by: "ann".into(), why: "a test".into() };
    moved(&*store, sale_then(&row, ended, at(11))).await;
    send_all(&store).await;
    let since = clawback_store::audit::Scope { since: Some(at(10)), now: at(20) };
    let books = store.audit(since).await.unwrap();
    assert_eq!(books.total().sellbacks, SaleSums { accepted: 1, failed: 1, ..SaleSums::default() });
    assert_eq!(findings(&books), []);
}
