use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    AttemptToken,
    answer::Answer,
    change::{Change, Insertion, Ruling},
    evidence::{Case, MOST_OPEN, Open},
    purchase::{Happened, Purchase, Rules},
    reason::WaitCode,
};
use clawback_store::{Applied, Draft, Store, StoreError};
use uuid::Uuid;

use crate::{build::*, stage::Stage};

async fn case(store: &dyn Store) -> Case {
    store.case(&acme(), &user("user-1")).await.unwrap()
}

fn ruled(change: Change, case: i64) -> Change {
    Change { ruling: Some(Ruling { case: Some(case), retried: false }), ..change }
}

/// Of another user than most purchases here.
async fn of_user(store: &Stage, name: &str, request: &str) -> Purchase {
    let mut command = command(request);
    command.user_id = user(name);
    stored(&**store, Insertion::of(Purchase::accept(acme(), command, at(0), trace()))).await
}

pub async fn nothing_bears_on_a_user_who_never_bought(store: Stage) {
    fulfilled(&*store, beta(), "same user of another partner", at(0)).await;
    of_user(&store, "user-2", "another user").await;
    assert_eq!(case(&*store).await, Case::default());
}

pub async fn a_case_holds_what_is_open_with_its_attempts_and_every_pull(store: Stage) {
    let accepted = stored(&*store, accepted(acme(), "accepted", at(9))).await;
    let initiating = stored(&*store, called(acme(), "initiating", at(7))).await;
    let pending = pending(&*store, acme(), "pending", at(8)).await;
    let review = in_review(&*store, acme(), "review", at(3)).await;
    let busy = stored(&*store, called(acme(), "called twice", at(5))).await;
    let busy = applied(&*store, answered(&busy, Answer::Busy { retry_after: None }, at(6))).await;
    let again = busy.attempt(AttemptToken(Uuid::nil()), at(7), &Rules::default());
    let twice = applied(&*store, then(&busy, Happened::Initiated(again), at(7))).await;
    let doubtful = applied(&*store, then(&twice, Happened::DeadlinePassed, at(100))).await;
    let late = fulfilled(&*store, acme(), "late", at(4)).await;
    let early = fulfilled(&*store, acme(), "early", at(2)).await;
    let row = stored(&*store, called(acme(), "failed", at(1))).await;
    let refused = Answer::NeverSent { why: "no route".into() };
    let row = applied(&*store, answered(&row, refused, at(2))).await;
    applied(&*store, cancelled(&row, at(3))).await;
    fulfilled(&*store, beta(), "of another partner", at(0)).await;
    of_user(&store, "user-2", "of another user").await;

    let found = case(&*store).await;
    let mut open = Vec::new();
    for purchase in [review, doubtful, initiating, pending, accepted] {
        let attempts = store.attempts(purchase.id).await.unwrap();
        open.push(Open { purchase, attempts });
    }
    let pulls = store.pulls_of_user(&acme(), &user("user-1")).await.unwrap();
    assert_eq!(open.iter().map(|open| open.attempts.len()).collect::<Vec<_>>(), [1, 2, 1, 1, 0]);
    assert_eq!(pulls.len(), 4);
    let called = BTreeMap::from([(late.id, at(4)), (early.id, at(2))]);
    assert_eq!(found, Case { version: 0, retried_at: None, open, truncated: false, pulls, called, unexplained: vec![] });
}

/// Several rows have one birth time; the id tells them apart.
pub async fn a_case_is_bounded_and_says_so(store: Stage) {
    let rows = at_once((0..MOST_OPEN).map(|n| {
        let store = store.shared();
        async move { stored(&*store, called(acme(), &format!("r-{n}"), at(i64::from(n) / 5))).await }
    }))
    .await;
    let mut expected: Vec<_> = rows.iter().map(|row| (row.created_at, row.id)).collect();
    expected.sort_unstable();
    let shown = |case: &Case| case.open.iter().map(|open| (open.purchase.created_at, open.purchase.id)).collect::<Vec<_>>();
    let whole = case(&*store).await;
    assert!(shown(&whole) == expected && !whole.truncated);
    assert!(whole.open.iter().all(|open| open.attempts.len() == 1));

    stored(&*store, called(acme(), "one more", at(9000))).await;
    let cut = case(&*store).await;
    assert!(cut.truncated);
    assert!(cut.open == whole.open, "the youngest is left out");
}

pub async fn a_ruling_raises_the_case_of_its_user(store: Stage) {
    let rows = [pending(&*store, acme(), "r-1", at(0)).await, pending(&*store, acme(), "r-2", at(0)).await];
    for (version, row) in rows.iter().enumerate() {
        assert_eq!(case(&*store).await.version, version as i64);
        applied(&*store, ruled(fulfilment(row, at(1)), version as i64)).await;
    }
    assert_eq!(case(&*store).await.version, 2);
    assert_eq!(case(&*store).await.pulls.len(), 4);
    assert_eq!(store.case(&acme(), &user("user-2")).await.unwrap().version, 0);
    assert_eq!(store.case(&beta(), &user("user-1")).await.unwrap().version, 0);
}

pub async fn a_change_without_a_ruling_does_not_raise_the_case(store: Stage) {
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    fulfilled(&*store, acme(), "r-2", at(0)).await;
    assert_eq!(case(&*store).await.version, 0);
    applied(&*store, ruled(then(&row, Happened::TurnTaken, at(1)), 0)).await;
    fulfilled(&*store, acme(), "r-3", at(0)).await;
    assert_eq!(case(&*store).await.version, 1);
}

pub async fn of_two_rulings_on_one_version_the_second_is_lost(store: Stage) {
    let first = pending(&*store, acme(), "r-1", at(0)).await;
    let second = pending(&*store, acme(), "r-2", at(0)).await;
    applied(&*store, ruled(fulfilment(&first, at(1)), 0)).await;
    assert_eq!(store.apply(ruled(fulfilment(&second, at(1)), 0)).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, second.id).await, second);
    assert_eq!(case(&*store).await.version, 1, "it is raised by the one that stands");
    applied(&*store, ruled(fulfilment(&second, at(1)), 1)).await;
}

pub async fn what_was_told_stands_and_raises_the_case(store: Stage) {
    let told = |change: Change| Change { ruling: Some(Ruling { case: None, retried: false }), ..change };
    let names = ["r-1", "r-2", "r-3", "r-4"];
    let mut rows = Vec::new();
    for name in names {
        rows.push(pending(&*store, acme(), name, at(0)).await);
    }
    applied(&*store, told(fulfilment(&rows[0], at(1)))).await;
    assert_eq!(case(&*store).await.version, 1);
    applied(&*store, told(fulfilment(&rows[1], at(1)))).await;
    assert_eq!(case(&*store).await.version, 2);
    assert_eq!(store.apply(ruled(fulfilment(&rows[2], at(1)), 1)).await.unwrap(), Applied::Lost);
    applied(&*store, ruled(fulfilment(&rows[2], at(1)), 2)).await;
    applied(&*store, told(fulfilment(&rows[3], at(1)))).await;
    assert_eq!(case(&*store).await.version, 4);
}

/// Through two handles, as two workers would, and in one batch as in many.
pub async fn of_many_rulings_on_one_version_at_once_exactly_one_is_committed(store: Stage) {
    let handles = [store.shared(), store.second().await];
    for round in 0..10 {
        let mut changes = Vec::new();
        for n in 0..16 {
            let row = pending(&*store, acme(), &format!("r-{round}-{n}"), at(0)).await;
            changes.push(ruled(fulfilment(&row, at(1)), round));
        }
        let results = at_once(changes.iter().cloned().enumerate().map(|(n, change)| {
            let store = handles[n % 2].clone();
            async move { store.apply(change).await.unwrap() }
        }))
        .await;
        let winners: Vec<_> = (0..16).filter(|&n| results[n] == Applied::Committed).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        for (n, change) in changes.iter().enumerate() {
            let row = read(&*store, change.after.id()).await;
            let (pulls, told) = (store.pulls(row.id).await.unwrap(), store.last_event(row.id.0).await.unwrap());
            if n == winners[0] {
                assert_eq!(
                    (&row, &pulls, told.map(|told| told.event)),
                    (as_purchase(&change.after), &change.pulls, change.event.clone())
                );
            } else {
                assert_eq!((row.version, pulls.len(), told), (change.after.version() - 1, 0, None));
            }
        }
        assert_eq!(case(&*store).await.version, round + 1);
    }
}

/// Whoever is lost looks again: nobody starves, and every ruling is counted once.
pub async fn rulings_again_and_again_all_come_through(store: Stage) {
    const RULINGS: usize = 24;
    let handles = [store.shared(), store.second().await];
    at_once((0..RULINGS).map(|n| {
        let store = handles[n % 2].clone();
        async move {
            let row = pending(&*store, acme(), &format!("r-{n}"), at(0)).await;
            while store.apply(ruled(fulfilment(&row, at(1)), case(&*store).await.version)).await.unwrap() == Applied::Lost {}
        }
    }))
    .await;
    let case = case(&*store).await;
    assert_eq!((case.version, case.open.len(), case.pulls.len()), (RULINGS as i64, 0, 2 * RULINGS));
}

pub async fn rulings_about_different_users_do_not_meet(store: Stage) {
    let results = at_once((0..200).map(|n| {
        let store = store.shared();
        async move {
            let mut command = command(&format!("r-{n}"));
            command.user_id = user(&format!("user-{}", n * 7 % 200));
            let row = stored(&*store, Insertion::of(Purchase::accept(acme(), command, at(0), trace()))).await;
            let applied = store.apply(ruled(cancelled(&row, at(1)), 0)).await.unwrap();
            (applied, store.case(&acme(), &row.command.user_id).await.unwrap().version)
        }
    }))
    .await;
    assert!(results.iter().all(|result| *result == (Applied::Committed, 1)), "{results:?}");
}

pub async fn a_ruling_that_is_lost_writes_nothing_but_its_fact(store: Stage) {
    let other = stored(&*store, accepted(acme(), "other", at(0))).await;
    applied(&*store, ruled(cancelled(&other, at(1)), 0)).await;
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let mut late = answered(&initiating, done("s-1"), at(1));
    late.join(fulfilment(as_purchase(&late.after), at(2)));
    let late = ruled(late, 0);
    let timeline = store.timeline(initiating.id).await.unwrap();

    assert_eq!(store.apply(late.clone()).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, initiating.id).await, initiating);
    assert_eq!(store.timeline(initiating.id).await.unwrap(), timeline);
    assert!(store.pulls(initiating.id).await.unwrap().is_empty());
    assert_eq!(store.last_event(initiating.id.0).await.unwrap(), None);
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, late.fact);
    assert_eq!(case(&*store).await.version, 1);
}

/// Its attempt is not begun either: that would be a call.
pub async fn a_ruling_that_is_lost_begins_no_attempt(store: Stage) {
    let waiting = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let attempt = waiting.attempt(AttemptToken(Uuid::nil()), at(1), &Rules::default());
    let begun = ruled(then(&waiting, Happened::Initiated(attempt), at(1)), 7);
    assert_eq!(store.apply(begun).await.unwrap(), Applied::Lost);
    assert!(store.attempts(waiting.id).await.unwrap().is_empty());
}

/// Neither ahead of the case nor behind it.
pub async fn a_ruling_on_a_version_that_is_not_there_is_lost(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    for version in [1, 2, -1] {
        assert_eq!(store.apply(ruled(cancelled(&row, at(1)), version)).await.unwrap(), Applied::Lost);
    }
    assert_eq!(case(&*store).await.version, 0);
    let held = applied(&*store, ruled(held(&row, WaitCode::Paused, None, at(1)), 0)).await;
    for version in [0, 2, -1] {
        assert_eq!(store.apply(ruled(cancelled(&held, at(1)), version)).await.unwrap(), Applied::Lost);
    }
    assert_eq!(case(&*store).await.version, 1);
}

pub async fn a_ruling_about_a_purchase_that_moved_on_is_lost(store: Stage) {
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    let moved = applied(&*store, then(&row, Happened::TurnTaken, at(1))).await;
    assert_eq!(store.apply(ruled(fulfilment(&row, at(2)), 0)).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, row.id).await, moved);
    let version = case(&*store).await.version;
    applied(&*store, ruled(fulfilment(&moved, at(2)), version)).await;
    assert_eq!(case(&*store).await.version, version + 1);
}

/// Alone, and among good ones that share its batch.
pub async fn a_ruling_that_is_refused_does_not_raise_the_case(store: Stage) {
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    let mut poisoned = ruled(fulfilment(&row, at(1)), 0);
    poisoned.entry.as_mut().unwrap().note = "a\0b".into();
    assert!(matches!(store.apply(poisoned.clone()).await, Err(StoreError::Refused(_))));
    assert_eq!(case(&*store).await.version, 0);

    let mut changes = vec![poisoned];
    for n in 0..20 {
        let row = of_user(&store, &format!("user-{}", n + 2), &format!("good-{n}")).await;
        changes.push(ruled(cancelled(&row, at(1)), 0));
    }
    let results = at_once(changes.into_iter().map(|change| {
        let store = store.shared();
        async move { store.apply(change).await }
    }))
    .await;
    assert!(matches!(results[0], Err(StoreError::Refused(_))));
    assert!(results[1..].iter().all(|result| matches!(result, Ok(Applied::Committed))), "{results:?}");
    assert_eq!(case(&*store).await.version, 0);
}

pub async fn a_case_remembers_when_a_person_had_one_called_again(store: Stage) {
    let mut row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let steps = [(false, 1, None), (true, 2, Some(2)), (false, 3, Some(2)), (true, 4, Some(4)), (false, 5, Some(4))];
    for (case, (retried, seconds, expected)) in (0..).zip(steps) {
        let ruling = Some(Ruling { case: Some(case), retried });
        row = applied(&*store, Change { ruling, ..held(&row, WaitCode::Permit, Some(at(100)), at(seconds)) }).await;
        assert_eq!(self::case(&*store).await.retried_at, expected.map(at), "after {seconds}");
    }
    let late = Some(Ruling { case: Some(0), retried: true });
    let late = Change { ruling: late, ..held(&row, WaitCode::Permit, Some(at(100)), at(6)) };
    assert_eq!(store.apply(late).await.unwrap(), Applied::Lost);
    assert_eq!(case(&*store).await.retried_at, Some(at(4)));
}

pub async fn a_ruling_that_joins_a_draft_is_kept(store: Stage) {
    for (n, outcome) in [Applied::Committed, Applied::Lost].into_iter().enumerate() {
        let initiating = stored(&*store, called(acme(), &format!("r-{n}"), at(0))).await;
        let opened = answered(&initiating, done("s-1"), at(1));
        let draft = Draft::new(opened.clone());
        draft.open().expect("nobody has taken it").join(ruled(fulfilment(as_purchase(&opened.after), at(2)), 0));
        assert_eq!(store.apply_draft(draft).await.unwrap(), outcome);
        assert_eq!(case(&*store).await.version, 1);
    }
}

/// Drafts without a ruling go into one batch until, at the last moment, something with a ruling joins them.
pub async fn of_rulings_that_join_drafts_on_their_way_exactly_one_is_committed(store: Stage) {
    for round in 0..10 {
        let writes = (0..16).map(|n| {
            let store = store.shared();
            async move {
                let initiating = stored(&*store, called(acme(), &format!("r-{round}-{n}"), at(0))).await;
                let opened = answered(&initiating, done("s-1"), at(1));
                let told = ruled(fulfilment(as_purchase(&opened.after), at(2)), round);
                let draft = Draft::new(opened);
                grown(&*store, &draft, told, n % 4).await
            }
        });
        let results = at_once(writes).await;
        let version = case(&*store).await.version;
        assert!(results.iter().all(|(applied, joined)| *joined || *applied == Applied::Committed), "{results:?}");
        let rulings = results.iter().filter(|result| **result == (Applied::Committed, true)).count();
        let joined = results.iter().filter(|(_, joined)| *joined).count();
        assert_eq!(rulings, joined.min(1), "{results:?}");
        assert_eq!(version, round + rulings as i64);
        if rulings == 0 {
            let row = pending(&*store, acme(), &format!("r-{round}"), at(0)).await;
            applied(&*store, ruled(fulfilment(&row, at(1)), round)).await;
        }
    }
}

/// While purchases are fulfilled, each is either open or its pulls are there: never neither, never both.
pub async fn a_case_is_of_one_moment(store: Stage) {
    let mut rows = Vec::new();
    for n in 0..60 {
        rows.push(pending(&*store, acme(), &format!("r-{n}"), at(n)).await);
    }
    let all: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
    let fulfilling = {
        let store = store.shared();
        tokio::spawn(async move {
            for row in rows {
                applied(&*store, fulfilment(&row, at(100))).await;
            }
        })
    };
    loop {
        let is_last = fulfilling.is_finished();
        let case = case(&*store).await;
        let open: BTreeSet<_> = case.open.iter().map(|open| open.purchase.id).collect();
        let drawn: BTreeSet<_> = case.pulls.iter().map(|pull| pull.purchase).collect();
        assert!(open.is_disjoint(&drawn));
        assert_eq!(open.union(&drawn).copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(case.pulls.len(), 2 * drawn.len());
        if is_last {
            assert!(open.is_empty());
            break;
        }
    }
    fulfilling.await.expect("all are fulfilled");
}
