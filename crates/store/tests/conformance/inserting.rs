use clawback_domain::{
    AttemptToken,
    change::Insertion,
    pause::CommandKind,
    purchase::{Purchase, StateName},
};
use clawback_store::Inserted;
use uuid::Uuid;

use crate::{build::*, stage::Stage};

pub async fn a_new_command_is_stored_with_its_attempt_and_its_timeline(store: Stage) {
    let insertion = called(acme(), "r-1", at(0));
    let purchase = stored(&*store, insertion.clone()).await;
    assert_eq!(read(&*store, purchase.id).await, *as_purchase(&insertion.order));
    assert_eq!(store.timeline(purchase.id).await.unwrap(), insertion.entries);
    let attempts = store.attempts(purchase.id).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].order, Some(attempts[0].attempt)), (purchase.id, insertion.attempt));
    assert_eq!(attempts[0].fact, None);
}

pub async fn a_command_that_is_not_called_has_no_attempt(store: Stage) {
    let purchase = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    assert_eq!(read(&*store, purchase.id).await, purchase);
    assert!(store.attempts(purchase.id).await.unwrap().is_empty());
    assert_eq!(store.timeline(purchase.id).await.unwrap().len(), 1);
}

pub async fn a_repeat_finds_the_row_as_it_stands_and_writes_nothing(store: Stage) {
    let first = called(acme(), "r-1", at(0));
    let pending = pending(&*store, acme(), "r-1", at(0)).await;
    let repeat = called_by(AttemptToken(Uuid::from_u128(77)), acme(), "r-1", at(9));
    assert_eq!(store.insert(repeat).await.unwrap(), Inserted::Exists(Box::new(pending.clone().into())));
    assert_eq!(read(&*store, pending.id).await, pending);
    let attempts = store.attempts(pending.id).await.unwrap();
    assert_eq!(attempts.iter().map(|row| Some(row.attempt)).collect::<Vec<_>>(), [first.attempt]);
    assert_eq!(store.timeline(pending.id).await.unwrap().len(), 3);
}

pub async fn another_command_under_the_same_request_id_sees_the_digest_of_the_first(store: Stage) {
    let first = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let mut other = command("r-1");
    other.amount = 7;
    let other = Purchase::accept(acme(), other, at(1), trace());
    assert_ne!(other.digest, first.digest);
    let Inserted::Exists(row) = store.insert(Insertion::of(other)).await.unwrap() else { panic!("it exists") };
    let row = as_purchase(&row);
    assert_eq!((row.digest, row.command.amount), (first.digest, 2));
}

pub async fn one_request_id_of_two_partners_is_two_purchases(store: Stage) {
    let ours = stored(&*store, called(acme(), "r-1", at(0))).await;
    let theirs = stored(&*store, called(beta(), "r-1", at(0))).await;
    assert_ne!(ours.id, theirs.id);
    assert_eq!(read(&*store, ours.id).await.partner, acme());
    assert_eq!(read(&*store, theirs.id).await.partner, beta());
}

/// Matched by key, every one of them would be told that it inserted the row, and would call.
pub async fn of_equal_commands_inserted_at_once_exactly_one_is_new(store: Stage) {
    for round in 0..10 {
        let request = format!("r-{round}");
        let insertions: Vec<_> = (1..=16)
            .map(|n| called_by(AttemptToken(Uuid::from_u128(round * 100 + n)), acme(), &request, at(n as i64)))
            .collect();
        let handles = [store.shared(), store.second().await];
        let results = at_once(insertions.iter().cloned().enumerate().map(|(n, insertion)| {
            let store = handles[n % 2].clone();
            async move { store.insert(insertion).await.unwrap() }
        }))
        .await;

        let new: Vec<_> = (0..16).filter(|&n| results[n] == Inserted::New).collect();
        assert_eq!(new.len(), 1, "{results:?}");
        let winner = &insertions[new[0]];
        let as_it_stands = Inserted::Exists(Box::new(winner.order.clone()));
        assert!(results.iter().all(|result| *result == Inserted::New || *result == as_it_stands));
        let attempts = store.attempts(winner.order.id()).await.unwrap();
        assert_eq!(attempts.iter().map(|row| Some(row.attempt)).collect::<Vec<_>>(), [winner.attempt]);
        assert_eq!(store.timeline(winner.order.id()).await.unwrap(), winner.entries);
    }
}

pub async fn five_hundred_commands_at_once_are_all_stored(store: Stage) {
    let insertions: Vec<_> = (0..500).map(|n| called(acme(), &format!("r-{n}"), at(n))).collect();
    let results = at_once(insertions.iter().cloned().map(|insertion| {
        let store = store.shared();
        async move { store.insert(insertion).await.unwrap() }
    }))
    .await;
    assert!(results.iter().all(|result| *result == Inserted::New));
    assert_eq!(store.counts().await.unwrap()[&(acme(), CommandKind::Purchase, StateName::Initiating)], 500);
    for insertion in insertions.iter().step_by(50) {
        assert_eq!(read(&*store, insertion.order.id()).await, *as_purchase(&insertion.order));
        assert_eq!(store.attempts(insertion.order.id()).await.unwrap().len(), 1);
    }
}
