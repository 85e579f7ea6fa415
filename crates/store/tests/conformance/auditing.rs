use clawback_domain::{
    AttemptToken, Money, PullId, PurchaseId, Time,
    answer::Answer,
    event::EventType,
    evidence::{Evidence, Verdict},
    item::{Item, Pull},
    purchase::{Happened, Pending, Purchase, Resolution, Rules, State},
    reason::{Failure, FailureCode, ReviewCode},
};
use clawback_store::{
    Sent, StoredEvent,
    audit::{Books, Finding, MOST_NAMED, Scope, Sums},
};
use uuid::Uuid;

use crate::{build::*, letters, stage::Stage};

pub async fn audit(store: &Stage, now: Time) -> Books {
    store.audit(Scope { since: None, now }).await.unwrap()
}

/// Each purchase once, with what is wrong with it.
pub fn findings(books: &Books) -> Vec<(PurchaseId, Finding)> {
    books.differences.iter().map(|difference| (PurchaseId(difference.subject), difference.finding.clone())).collect()
}

/// Of one purchase of acme, and of nothing else, one thing is wrong.
fn only(books: &Books, purchase: &Purchase, finding: &Finding) {
    assert_eq!(findings(books), [(purchase.id, finding.clone())]);
    assert_eq!(books.differences[0].partner, Some(purchase.partner.clone()));
    assert_eq!(books.found.iter().collect::<Vec<_>>(), [(&finding.code(), &1)]);
    assert!(!books.are_sound());
}

pub async fn send_all(store: &Stage) {
    let events = store.events(None, 0, 10_000).await.unwrap();
    let sent = |stored: &StoredEvent| Sent { event: stored.event.id, at: at(1), unrouted: false };
    store.mark_sent(events.iter().map(sent).collect()).await.unwrap();
}

fn evidence() -> Evidence {
    Evidence { doubt: "no answer".into(), looks: vec![], verdict: "seen".into(), ..Evidence::default() }
}

/// Called at 0, and nothing came back.
async fn in_doubt(store: &Stage, request: &str) -> (Purchase, AttemptToken) {
    let initiating = stored(&**store, called(acme(), request, at(0))).await;
    let token = attempt_of(&initiating).token;
    (applied(&**store, then(&initiating, Happened::DeadlinePassed, at(100))).await, token)
}

pub async fn empty_books_are_sound(store: Stage) {
    let books = audit(&store, at(0)).await;
    assert_eq!(books, Books::default());
    assert!(books.are_sound());
}

/// Every state, every way to it, two partners.
pub async fn sound_books_have_no_differences(store: Stage) {
    stored(&*store, accepted(acme(), "accepted", at(0))).await;
    stored(&*store, called(acme(), "initiating", at(0))).await;
    pending(&*store, acme(), "pending", at(0)).await;
    in_doubt(&store, "reconciling").await;
    in_review(&*store, acme(), "review", at(0)).await;
    fulfilled(&*store, acme(), "fulfilled", at(0)).await;
    let row = stored(&*store, accepted(acme(), "cancelled", at(0))).await;
    applied(&*store, cancelled(&row, at(1))).await;

    let row = stored(&*store, called(beta(), "busy at first", at(0))).await;
    let row = applied(&*store, answered(&row, Answer::Busy { retry_after: None }, at(1))).await;
    let attempt = row.attempt(AttemptToken(Uuid::max()), at(9), &Rules::default());
    let row = applied(&*store, then(&row, Happened::Initiated(attempt), at(9))).await;
    let row = applied(&*store, answered(&row, done("s-9"), at(10))).await;
    applied(&*store, fulfilment(&row, at(11))).await;
    let row = in_review(&*store, beta(), "settled later", at(0)).await;
    applied(&*store, fulfilment(&row, at(11))).await;
    send_all(&store).await;

    let books = audit(&store, at(120)).await;
    assert_eq!(findings(&books), []);
    assert!(books.are_sound());
    let acmes = Sums { accepted: 7, fulfilled: 1, failed: 1, review: 1, open: 4, attempts: 5, ..Sums::default() };
    let betas = Sums { accepted: 2, fulfilled: 2, attempts: 3, sessions: 2, paid: 2, pulls: 4, ..Sums::default() };
    let expected = [(acme(), Sums { sessions: 3, paid: 3, pulls: 2, ..acmes }), (beta(), betas)];
    assert_eq!(books.partners.iter().map(|(partner, sums)| (partner.clone(), *sums)).collect::<Vec<_>>(), expected);
    assert_eq!((books.total().accepted, books.total().attempts, books.total().pulls), (9, 8, 6));
}

/// To the millionth, and beyond what 64 bits hold.
pub async fn the_worth_of_pulls_is_added_exactly(store: Stage) {
    let prices = [None, Some(0), Some(1), Some(8_500_000), Some(99_999_999), Some(120_000), Some(i64::MAX), Some(i64::MAX)];
    for (n, pair) in prices.chunks(2).enumerate() {
        let row = pending(&*store, acme(), &format!("r-{n}"), at(0)).await;
        let mut change = fulfilment(&row, at(1));
        for (pull, price) in change.pulls.iter_mut().zip(pair) {
            pull.item = Item { buyback_price: price.map(Money::usd), ..pull.item.clone() };
        }
        applied(&*store, change).await;
    }
    let sums = audit(&store, at(2)).await.partners[&acme()];
    let expected = prices.iter().flatten().map(|price| i128::from(*price)).sum();
    assert_eq!((sums.pulls, sums.priced, sums.worth), (8, 7, expected));
    assert_eq!(sums.worth(), None, "that is more than money can say");
}

/// By the price of the attempt that bought; what failed cost nothing, and a price that nobody knew is not made up.
pub async fn what_was_spent_is_added_exactly(store: Stage) {
    let prices = [Some(59_990_000), Some(1), None, Some(i64::MAX), Some(i64::MAX)];
    for (n, price) in prices.into_iter().enumerate() {
        let row = stored(&*store, called_at(acme(), &format!("r-{n}"), price.map(Money::usd))).await;
        applied(&*store, answered(&row, done(&format!("s-{n}")), at(1))).await;
    }
    let row = stored(&*store, called_at(acme(), "failed", Some(Money::usd(5)))).await;
    let refused = Answer::Refused { code: FailureCode::UnknownPack, message: "VM not found".into(), status: 400 };
    applied(&*store, answered(&row, refused, at(1))).await;
    stored(&*store, called_at(acme(), "under way", Some(Money::usd(7)))).await;
    let sums = audit(&store, at(2)).await.partners[&acme()];
    let expected = prices.iter().flatten().map(|price| i128::from(*price)).sum();
    assert_eq!((sums.paid, sums.paid_known, sums.spent), (5, 4, expected));
    assert_eq!(sums.spent(), None, "that is more than money can say");
}

pub async fn a_purchase_with_too_few_or_too_many_pulls_is_named(store: Stage) {
    let short = pending(&*store, acme(), "short", at(0)).await;
    let mut change = fulfilment(&short, at(1));
    let pull = change.pulls.pop().expect("two were bought");
    applied(&*store, change).await;
    send_all(&store).await;
    let wrong = |drawn| Finding::Pulls { state: "fulfilled".into(), amount: 2, drawn };
    only(&audit(&store, at(2)).await, &short, &wrong(1));

    let long = pending(&*store, beta(), "long", at(0)).await;
    let mut change = fulfilment(&long, at(1));
    let template = change.pulls[0].clone();
    let id = PullId::of(long.id, 2);
    change.pulls.push(Pull { id, position: 2, item: pull.item, ..template });
    applied(&*store, change).await;
    send_all(&store).await;
    let mut expected = vec![(short.id, wrong(1)), (long.id, wrong(3))];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(findings(&audit(&store, at(2)).await), expected);
}

/// Then the evidence tells how many there are, but none is not a recovery.
pub async fn a_recovered_purchase_may_have_another_number_of_pulls(store: Stage) {
    let (some, _) = in_doubt(&store, "some").await;
    let (none, _) = in_doubt(&store, "none").await;
    for (row, items) in [(&some, vec![item("one")]), (&none, vec![])] {
        let looked =
            Happened::Looked { verdict: Verdict::Recovered(items.into_iter().map(Into::into).collect()), evidence: evidence() };
        applied(&*store, then(row, looked, at(200))).await;
    }
    send_all(&store).await;
    only(&audit(&store, at(201)).await, &none, &Finding::Pulls { state: "fulfilled".into(), amount: 2, drawn: 0 });
}

pub async fn an_attempt_that_is_counted_and_not_stored_is_named(store: Stage) {
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    let mut change = put(&row, row.state.clone());
    as_purchase_mut(&mut change.after).attempts = 3;
    applied(&*store, change).await;
    only(&audit(&store, at(2)).await, &row, &Finding::Attempts { state: "pending".into(), counted: 3, stored: 1 });
}

pub async fn a_called_purchase_without_any_attempt_is_named(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let failure = Failure { code: FailureCode::Cancelled, message: String::new(), upstream_status: None };
    let failed = stored(&*store, accepted(acme(), "r-2", at(0))).await;
    applied(&*store, put(&failed, State::Failed { failure, session: None, evidence: None })).await;
    let pending = Pending { session: session("s"), since: at(0), polls: 0, cancelled: false };
    applied(&*store, put(&row, State::Pending(pending))).await;
    send_all(&store).await;
    only(&audit(&store, at(2)).await, &row, &Finding::Attempts { state: "pending".into(), counted: 0, stored: 0 });
}

pub async fn a_session_of_a_purchase_that_has_another_is_an_orphan(store: Stage) {
    let (row, token) = in_doubt(&store, "r-1").await;
    let unclear = Verdict::Unclear(ReviewCode::UnknownOutcome, "who knows".into());
    let row = applied(&*store, then(&row, Happened::Looked { verdict: unclear, evidence: evidence() }, at(200))).await;
    let resolution = Resolution::Session(session("told by a person"));
    let resolved = Happened::Resolved { resolution, by: "ann".into(), why: "support said so".into() };
    let row = applied(&*store, then(&row, resolved, at(300))).await;
    send_all(&store).await;
    assert!(audit(&store, at(301)).await.are_sound());

    store.record_fact(fact(token, done("its own"), at(302))).await.unwrap();
    let books = audit(&store, at(303)).await;
    let known = Some("told by a person".to_owned());
    only(&books, &row, &Finding::Orphan { attempt: 1, session: "its own".into(), known });
    assert_eq!(books.orphans(), 1);
}

pub async fn a_session_of_a_purchase_that_failed_without_one_is_an_orphan(store: Stage) {
    let (row, token) = in_doubt(&store, "r-1").await;
    let failure = Failure { code: FailureCode::Refused, message: String::new(), upstream_status: None };
    let row = applied(&*store, put(&row, State::Failed { failure, session: None, evidence: None })).await;
    send_all(&store).await;
    store.record_bare_session(token, session("late"), at(200)).await.unwrap();
    let books = audit(&store, at(201)).await;
    only(&books, &row, &Finding::Orphan { attempt: 1, session: "late".into(), known: None });
}

pub async fn the_session_of_what_was_recovered_without_one_is_no_orphan(store: Stage) {
    let (row, token) = in_doubt(&store, "r-1").await;
    let verdict = Verdict::Recovered(vec![item("a").into(), item("b").into()]);
    applied(&*store, then(&row, Happened::Looked { verdict, evidence: evidence() }, at(200))).await;
    store.record_fact(fact(token, done("late"), at(201))).await.unwrap();
    send_all(&store).await;
    assert_eq!(findings(&audit(&store, at(202)).await), []);
}

pub async fn an_open_purchase_is_overdue_after_an_hour(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    fulfilled(&*store, acme(), "a final one is never due", at(0)).await;
    send_all(&store).await;
    assert_eq!(findings(&audit(&store, at(3600)).await), []);
    only(&audit(&store, at(3601)).await, &row, &Finding::Overdue { state: "accepted".into(), due_at: at(0) });
}

pub async fn an_event_is_stuck_after_a_minute(store: Stage) {
    let row = fulfilled(&*store, acme(), "r-1", at(0)).await;
    assert_eq!(findings(&audit(&store, at(60)).await), []);
    let kind = "clawback.purchase.fulfilled".to_owned();
    only(&audit(&store, at(61)).await, &row, &Finding::Unsent { kind, sequence: 1, time: at(0) });
    send_all(&store).await;
    assert_eq!(findings(&audit(&store, at(61)).await), []);
}

pub async fn the_event_of_a_dead_letter_may_be_stuck_too(store: Stage) {
    let letter = letters::letter("rubbish", acme(), at(0));
    let (subject, event) = (letter.id.0, event(letter.id.0, 1, acme(), at(0)));
    assert!(store.bury(letter, event).await.unwrap());
    let books = audit(&store, at(61)).await;
    let kind = "clawback.command.rejected".to_owned();
    assert_eq!(findings(&books), [(PurchaseId(subject), Finding::Unsent { kind, sequence: 1, time: at(0) })]);
    assert!(store.audit(Scope { since: Some(at(1)), now: at(61) }).await.unwrap().are_sound(), "that was before");
}

pub async fn an_end_that_is_told_as_something_else_is_named(store: Stage) {
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    let mut change = fulfilment(&row, at(1));
    change.event.as_mut().expect("an end is told").kind = EventType::PurchaseReview;
    applied(&*store, change).await;
    send_all(&store).await;
    let finding = Finding::Events { state: "fulfilled".into(), sequence: 1, stored: 1, finals: 0, last: 0 };
    only(&audit(&store, at(2)).await, &row, &finding);
}

/// Not even that of a final purchase, whose row would never change again.
pub async fn an_event_that_is_gone_is_missed(store: Stage) {
    let ours = in_review(&*store, acme(), "review", at(0)).await;
    let theirs = fulfilled(&*store, beta(), "done", at(0)).await;
    send_all(&store).await;
    if !store.write_past_us("DELETE FROM events").await {
        return;
    }
    let gone = |state: &str| Finding::Events { state: state.into(), sequence: 1, stored: 0, finals: 0, last: 0 };
    let mut expected = vec![(ours.id, gone("review")), (theirs.id, gone("fulfilled"))];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(findings(&audit(&store, at(2)).await), expected);
}

pub async fn a_purchase_that_is_gone_is_missed(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    stored(&*store, accepted(acme(), "r-2", at(0))).await;
    if !store.write_past_us("DELETE FROM orders WHERE request_id = 'r-1'").await {
        return;
    }
    let books = audit(&store, at(2)).await;
    assert_eq!(findings(&books), [(row.id, Finding::Vanished { accepted_at: at(0) })]);
    assert_eq!((books.differences[0].partner.clone(), books.total().accepted), (None, 1));
}

pub async fn a_state_that_is_none_counts_nowhere(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    stored(&*store, accepted(acme(), "r-2", at(0))).await;
    if !store.write_past_us("UPDATE orders SET state = 'lost' WHERE request_id = 'r-1'").await {
        return;
    }
    let books = audit(&store, at(2)).await;
    only(&books, &row, &Finding::UnknownState { state: "lost".into() });
    assert_eq!((books.total().accepted, books.total().open, books.total().difference()), (2, 1, 1));
}

pub async fn an_open_purchase_that_is_never_due_is_named(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    if !store.write_past_constraints("UPDATE orders SET due_at = NULL, look_at = NULL").await {
        return;
    }
    only(&audit(&store, at(9000)).await, &row, &Finding::NeverDue { state: "accepted".into() });
}

pub async fn since_leaves_out_what_was_accepted_before(store: Stage) {
    let old = stored(&*store, accepted(acme(), "old", at(0))).await;
    let new = stored(&*store, accepted(beta(), "new", at(10))).await;
    let since = |seconds| Scope { since: Some(at(seconds)), now: at(9000) };
    let overdue = |row: &Purchase| (row.id, Finding::Overdue { state: "accepted".into(), due_at: row.created_at });
    let books = store.audit(since(10)).await.unwrap();
    assert_eq!(findings(&books), [overdue(&new)]);
    assert_eq!(books.partners.keys().cloned().collect::<Vec<_>>(), [beta()]);
    assert_eq!(findings(&store.audit(since(11)).await.unwrap()), []);
    let mut both = vec![overdue(&old), overdue(&new)];
    both.sort_by_key(|(id, _)| *id);
    assert_eq!(findings(&store.audit(since(0)).await.unwrap()), both);
}

pub async fn of_many_differences_all_are_counted_and_some_are_named(store: Stage) {
    let many = MOST_NAMED as usize + 7;
    at_once((0..many).map(|n| {
        let store = store.shared();
        async move { store.insert(accepted(acme(), &format!("r-{n}"), at(0))).await.unwrap() }
    }))
    .await;
    let books = audit(&store, at(9000)).await;
    assert_eq!((books.found["overdue"], books.differences.len()), (many as u64, MOST_NAMED as usize));
    assert!(books.differences.is_sorted_by_key(|difference| difference.subject));
}
