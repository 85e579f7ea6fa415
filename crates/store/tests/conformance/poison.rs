//! One row that can never be written, among many that can, in one batch.

use clawback_domain::{answer::Answer, change::Change, reason::WaitCode};
use clawback_store::{Applied, Inserted, StoreError};

use crate::{build::*, stage::Stage};

const GOOD: i64 = 99;

pub async fn a_poisoned_insert_among_99_good_ones_is_refused_alone(store: Stage) {
    for (n, (kind, spoil)) in INSERTS.iter().enumerate() {
        let mut insertions: Vec<_> = (0..=GOOD).map(|row| called(acme(), &format!("{n}-{row}"), at(row))).collect();
        let bad = 37;
        spoil(&mut insertions[bad]);
        let results = at_once(insertions.iter().cloned().map(|insertion| {
            let store = store.shared();
            async move { store.insert(insertion).await }
        }))
        .await;
        for (row, result) in results.iter().enumerate() {
            match result {
                Err(StoreError::Refused(_)) if row == bad => {}
                Ok(Inserted::New) if row != bad => {}
                other => panic!("{kind}: row {row} came to {other:?}"),
            }
        }
        let bad = insertions[bad].order.id();
        assert_eq!(store.purchase(bad).await.unwrap(), None, "{kind}");
        assert!(store.timeline(bad).await.unwrap().is_empty() && store.attempts(bad).await.unwrap().is_empty(), "{kind}");
        let good = &insertions[99];
        assert_eq!(store.attempts(good.order.id()).await.unwrap().len(), 1);
        assert_eq!(store.timeline(good.order.id()).await.unwrap(), good.entries);
    }
}

type Spoil<T> = (&'static str, fn(&mut T));

const INSERTS: [Spoil<clawback_domain::change::Insertion>; 3] = [
    ("a NUL in the timeline", |insertion| insertion.entries[0].note = "a\0b".into()),
    ("not final and never due", |insertion| as_purchase_mut(&mut insertion.order).due_at = None),
    ("one version told twice", |insertion| {
        let again = insertion.entries[1].clone();
        insertion.entries.push(again);
    }),
];

const CHANGES: [Spoil<Change>; 4] = [
    ("a NUL in the timeline", |change| change.entry.as_mut().unwrap().note = "a\0b".into()),
    ("final and yet due", |change| as_purchase_mut(&mut change.after).due_at = Some(at(0))),
    ("a pull drawn twice", |change| {
        let again = change.pulls[0].clone();
        change.pulls.push(again);
    }),
    ("a version that was told already", |change| change.entry.as_mut().unwrap().version = 1),
];

pub async fn a_poisoned_change_among_99_good_ones_is_refused_alone(store: Stage) {
    for (n, (kind, spoil)) in CHANGES.iter().enumerate() {
        let rows = at_once((0..=GOOD).map(|row| {
            let store = store.shared();
            async move { pending(&*store, acme(), &format!("{n}-{row}"), at(row)).await }
        }))
        .await;
        let mut changes: Vec<_> = rows.iter().map(|row| fulfilment(row, at(200))).collect();
        let bad = 61;
        spoil(&mut changes[bad]);
        let results = apply_all(&store, &changes).await;
        for (row, result) in results.iter().enumerate() {
            match result {
                Err(StoreError::Refused(_)) if row == bad => {}
                Ok(Applied::Committed) if row != bad => {}
                other => panic!("{kind}: row {row} came to {other:?}"),
            }
        }
        assert_eq!(read(&*store, rows[bad].id).await, rows[bad], "{kind}");
        assert!(store.pulls(rows[bad].id).await.unwrap().is_empty(), "{kind}");
        assert_eq!(store.last_event(rows[bad].id.0).await.unwrap(), None, "{kind}");
        for good in changes.iter().enumerate().filter(|(row, _)| *row != bad).map(|(_, change)| change) {
            assert_eq!(store.pulls(good.after.id()).await.unwrap(), good.pulls);
            assert!(store.last_event(good.after.id().0).await.unwrap().is_some());
        }
    }
}

async fn apply_all(store: &Stage, changes: &[Change]) -> Vec<Result<Applied, StoreError>> {
    at_once(changes.iter().cloned().map(|change| {
        let store = store.shared();
        async move { store.apply(change).await }
    }))
    .await
}

pub async fn a_poisoned_fact_among_99_good_ones_is_refused_alone(store: Stage) {
    let rows = at_once((0..=GOOD).map(|row| {
        let store = store.shared();
        async move { stored(&*store, called(acme(), &format!("r-{row}"), at(row))).await }
    }))
    .await;
    let bad = 13;
    let results = at_once(rows.iter().cloned().enumerate().map(|(n, row)| {
        let store = store.shared();
        let why = if n == bad { "a\0b" } else { "cut" };
        let answer = Answer::Unknown { why: why.into(), status: None };
        async move { store.record_fact(fact(attempt_of(&row).token, answer, at(1))).await }
    }))
    .await;
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(matches!(results[n], Err(StoreError::Refused(_))), n == bad, "{n}: {:?}", results[n]);
        assert_eq!(store.attempts(row.id).await.unwrap()[0].fact.is_some(), n != bad, "{n}");
    }
}

/// What the upstream sent cannot be stored: the bare session can.
pub async fn of_a_refused_change_not_even_the_fact_is_written(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&initiating).token;
    let mut opened = answered(&initiating, done("s-1"), at(1));
    opened.entry.as_mut().unwrap().note = "a\0b".into();
    assert!(matches!(store.apply(opened).await, Err(StoreError::Refused(_))));
    assert_eq!(read(&*store, initiating.id).await, initiating);
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, None);
    store.record_bare_session(token, session("s-1"), at(2)).await.unwrap();
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, Some(fact(token, done("s-1"), at(2))));
}

pub async fn a_refused_row_can_be_written_again_rightly(store: Stage) {
    let mut bad = accepted(acme(), "r-1", at(0));
    as_purchase_mut(&mut bad.order).due_at = None;
    assert!(matches!(store.insert(bad).await, Err(StoreError::Refused(_))));
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let mut bad = held(&row, WaitCode::Paused, None, at(1));
    as_purchase_mut(&mut bad.after).due_at = None;
    assert!(matches!(store.apply(bad).await, Err(StoreError::Refused(_))));
    let after = applied(&*store, held(&row, WaitCode::Paused, None, at(1))).await;
    assert_eq!(read(&*store, row.id).await, after);
}
