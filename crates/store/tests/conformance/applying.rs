use clawback_domain::{
    AttemptToken,
    change::Change,
    pause::CommandKind,
    purchase::{Happened, Rules, StateName},
    reason::WaitCode,
};
use clawback_store::{Applied, Draft};
use uuid::Uuid;

use crate::{build::*, stage::Stage};

pub async fn a_change_fits_the_version_it_was_computed_from(store: Stage) {
    let accepted = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let held = applied(&*store, held(&accepted, WaitCode::Paused, None, at(1))).await;
    assert_eq!(read(&*store, held.id).await, held);
    assert_eq!(held.version, accepted.version + 1);
}

pub async fn a_change_brings_everything_with_it(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let opened = answered(&initiating, done("s-1"), at(1));
    let pending = applied(&*store, opened.clone()).await;
    let told = fulfilment(&pending, at(2));
    let fulfilled = applied(&*store, told.clone()).await;

    assert_eq!(read(&*store, fulfilled.id).await, fulfilled);
    assert_eq!(store.pulls(fulfilled.id).await.unwrap(), told.pulls);
    assert_eq!(store.event(told.event.as_ref().unwrap().id).await.unwrap().unwrap().event, told.event.unwrap());
    let timeline = store.timeline(fulfilled.id).await.unwrap();
    assert_eq!(timeline[2..], [opened.entry.unwrap(), told.entry.unwrap()]);
    assert_eq!(store.attempts(fulfilled.id).await.unwrap()[0].fact, opened.fact);
}

pub async fn what_joins_a_draft_in_time_is_one_write_with_it(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let opened = answered(&initiating, done("s-1"), at(1));
    let told = fulfilment(as_purchase(&opened.after), at(2));
    let draft = Draft::new(opened.clone());
    draft.open().expect("nobody has taken it").join(told.clone());

    assert_eq!(store.apply_draft(draft.clone()).await.unwrap(), Applied::Committed);
    assert!(draft.open().is_none(), "what is written cannot grow");
    let written = draft.into_change();
    assert_eq!(written.after, told.after.at_version(initiating.version + 1));
    assert_eq!(read(&*store, initiating.id).await, *as_purchase(&written.after));
    assert_eq!(store.pulls(initiating.id).await.unwrap(), told.pulls);
    assert_eq!(store.last_event(initiating.id.0).await.unwrap().map(|stored| stored.event), told.event);
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, opened.fact);
    let (first, last) = (opened.entry.unwrap(), told.entry.unwrap());
    let line = store.timeline(initiating.id).await.unwrap().pop().unwrap();
    assert_eq!((line.version, line.from, line.to), (written.after.version(), first.from, last.to));
    assert_eq!(line.note, format!("{}; {}", first.note, last.note));
}

/// Of a hundred drafts that grow while the store takes them, each is written as it was when it was taken.
pub async fn a_draft_is_written_as_it_was_when_it_was_taken(store: Stage) {
    let writes = (0..100).map(|n| {
        let store = store.shared();
        async move {
            let initiating = stored(&*store, called(acme(), &format!("r-{n}"), at(0))).await;
            let opened = answered(&initiating, done("s-1"), at(1));
            let told = fulfilment(as_purchase(&opened.after), at(2));
            let draft = Draft::new(opened);
            // Some before, some after it is taken.
            let (applied, joined) = grown(&*store, &draft, told, n % 10).await;
            assert_eq!(applied, Applied::Committed);
            let row = read(&*store, initiating.id).await;
            assert_eq!(row.state.name(), if joined { StateName::Fulfilled } else { StateName::Pending });
            assert_eq!(row, *as_purchase(&draft.into_change().after));
        }
    });
    at_once(writes).await;
}

pub async fn a_lost_change_leaves_nothing_but_its_fact(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let late = answered(&initiating, done("s-1"), at(50));
    let other = applied(&*store, then(&initiating, Happened::DeadlinePassed, at(45))).await;
    let before = store.timeline(initiating.id).await.unwrap();

    assert_eq!(store.apply(late.clone()).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, initiating.id).await, other);
    assert_eq!(store.timeline(initiating.id).await.unwrap(), before);
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, late.fact);
}

pub async fn a_change_of_a_purchase_that_is_not_there_is_lost(store: Stage) {
    let nowhere = purchase(acme(), "r-1", at(0));
    assert_eq!(store.apply(cancelled(&nowhere, at(1))).await.unwrap(), Applied::Lost);
    assert_eq!(store.purchase(nowhere.id).await.unwrap(), None);
    assert!(store.timeline(nowhere.id).await.unwrap().is_empty());
    assert_eq!(store.last_event(nowhere.id.0).await.unwrap(), None);
}

pub async fn a_change_cannot_skip_a_version(store: Stage) {
    let accepted = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let mut skipping = held(&accepted, WaitCode::Paused, None, at(1));
    as_purchase_mut(&mut skipping.after).version += 1;
    skipping.entry.as_mut().unwrap().version += 1;
    assert_eq!(store.apply(skipping).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, accepted.id).await, accepted);
}

/// In one batch PostgreSQL would apply one and both callers would believe.
pub async fn of_changes_of_one_row_at_once_exactly_one_wins(store: Stage) {
    for round in 0..10 {
        let accepted = stored(&*store, accepted(acme(), &format!("r-{round}"), at(0))).await;
        let changes: Vec<_> = (1..=16).map(|n| held(&accepted, WaitCode::Permit, Some(at(n)), at(n))).collect();
        let handles = [store.shared(), store.second().await];
        let results = at_once(changes.iter().cloned().enumerate().map(|(n, change)| {
            let store = handles[n % 2].clone();
            async move { store.apply(change).await.unwrap() }
        }))
        .await;
        let winners: Vec<_> = (0..16).filter(|&n| results[n] == Applied::Committed).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(read(&*store, accepted.id).await, *as_purchase(&changes[winners[0]].after));
        let timeline = store.timeline(accepted.id).await.unwrap();
        assert_eq!((timeline.len(), timeline.last()), (2, changes[winners[0]].entry.as_ref()));
    }
}

/// One is cancelled while it is called; one is fulfilled twice, with other items: events, pulls, attempts and timeline are the
/// winner's alone.
pub async fn nothing_of_the_losers_is_written(store: Stage) {
    for round in 0..10 {
        let waiting = stored(&*store, accepted(acme(), &format!("called-{round}"), at(0))).await;
        let attempt = waiting.attempt(AttemptToken(Uuid::from_u128(round)), at(1), &Rules::default());
        let rivals = [cancelled(&waiting, at(1)), then(&waiting, Happened::Initiated(attempt), at(1))];
        let winner = race(&store, &rivals).await;
        let begun: Vec<_> = store.attempts(waiting.id).await.unwrap().iter().map(|row| row.attempt).collect();
        assert_eq!(begun, winner.attempt.as_slice());
        assert_eq!(store.last_event(waiting.id.0).await.unwrap().map(|stored| stored.event), winner.event);

        let pending = pending(&*store, acme(), &format!("fulfilled-{round}"), at(0)).await;
        let mut other = fulfilment(&pending, at(1));
        other.pulls.iter_mut().for_each(|pull| pull.item = item("another"));
        let winner = race(&store, &[fulfilment(&pending, at(1)), other]).await;
        assert_eq!(store.pulls(pending.id).await.unwrap(), winner.pulls);
    }
}

/// Applies all at once and hands back the one that was committed.
async fn race(store: &Stage, rivals: &[Change]) -> Change {
    let results = at_once(rivals.iter().cloned().map(|change| {
        let store = store.shared();
        async move { store.apply(change).await.unwrap() }
    }))
    .await;
    let winners: Vec<_> = (0..rivals.len()).filter(|&n| results[n] == Applied::Committed).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    let winner = rivals[winners[0]].clone();
    assert_eq!(read(&**store, winner.after.id()).await, *as_purchase(&winner.after));
    assert_eq!(store.timeline(winner.after.id()).await.unwrap().last(), winner.entry.as_ref());
    winner
}

pub async fn rows_that_are_written_again_and_again_count_every_write(store: Stage) {
    const WRITERS: i64 = 8;
    const WRITES: i64 = 10;
    let first = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    at_once((0..WRITERS).map(|_| {
        let store = store.shared();
        let id = first.id;
        async move {
            let mut written = 0;
            while written < WRITES {
                let row = read(&*store, id).await;
                let back = then(&row, Happened::HandedBack, at(row.version));
                written += i64::from(store.apply(back).await.unwrap() == Applied::Committed);
            }
        }
    }))
    .await;
    assert_eq!(read(&*store, first.id).await.version, 1 + WRITERS * WRITES);
    let versions: Vec<_> = store.timeline(first.id).await.unwrap().iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=1 + WRITERS * WRITES).collect::<Vec<_>>());
}

pub async fn five_hundred_purchases_at_once_are_all_fulfilled(store: Stage) {
    let purchases = at_once((0..500).map(|n| {
        let store = store.shared();
        async move { fulfilled(&*store, acme(), &format!("r-{n}"), at(n)).await }
    }))
    .await;
    assert_eq!(store.counts().await.unwrap()[&(acme(), CommandKind::Purchase, StateName::Fulfilled)], 500);
    assert_eq!(store.events(None, 0, 1000).await.unwrap().len(), 500);
    assert_eq!(store.pulls_of_user(&acme(), &user("user-1")).await.unwrap().len(), 1000);
    for purchase in purchases.iter().step_by(50) {
        assert_eq!(read(&*store, purchase.id).await, *purchase);
        assert_eq!(store.timeline(purchase.id).await.unwrap().len(), 4);
        assert_eq!(store.pulls(purchase.id).await.unwrap().len(), 2);
    }
}

/// A task that is dropped in the middle of its write: nobody hears the result, and the next one who looks finds all or nothing.
pub async fn the_write_of_a_caller_that_went_away_is_whole_or_absent(store: Stage) {
    for n in 0..60 {
        let pending = pending(&*store, acme(), &format!("r-{n}"), at(n)).await;
        let change = fulfilment(&pending, at(n));
        let (handle, given_up) = (store.shared(), change.clone());
        let task = tokio::spawn(async move { handle.apply(given_up).await });
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        task.abort();
        // Committed when the one that was given up had not been taken yet; lost when it had.
        store.apply(change.clone()).await.unwrap();
        assert_eq!(store.apply(change.clone()).await.unwrap(), Applied::Lost);
        assert_eq!(read(&*store, pending.id).await, *as_purchase(&change.after));
        assert_eq!(store.pulls(pending.id).await.unwrap(), change.pulls);
        assert_eq!(store.timeline(pending.id).await.unwrap().last(), change.entry.as_ref());
        assert_eq!(store.last_event(pending.id.0).await.unwrap().map(|stored| stored.event), change.event);
    }
}
