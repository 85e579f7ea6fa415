use std::collections::BTreeSet;

use clawback_domain::{
    UserId,
    clock::after,
    item::Expiry,
    poll::next_nudge_of_user,
    user::{Settling, User},
    warning::{UserSettings, zone},
};
use clawback_store::{Store, StoreError};

use crate::{build::*, stage::Stage, watch::*};

pub async fn a_fulfilment_makes_its_user_due(store: Stage) {
    assert_eq!(store.watching(&acme(), &user("user-1")).await.unwrap(), None);
    let row = bought(&*store, "user-1", "r-1", at(0)).await;
    in_review(&*store, acme(), "in review", at(0)).await;
    assert_eq!(store.watching(&acme(), &user("user-1")).await.unwrap(), None, "nothing was drawn");
    applied(&*store, fulfilment(&row, at(10))).await;
    let first = User {
        partner: acme(),
        id: user("user-1"),
        settings: UserSettings::default(),
        sync_wanted: 1,
        synced: 0,
        wanted_at: Some(at(10)),
        version: 0,
        sequence: 0,
        due_at: Some(at(70)),
    };
    assert_eq!(known(&*store, "user-1").await, first);
    fulfilled(&*store, beta(), "same user of another partner", at(15)).await;
    drawn(&*store, "user-2", "another user", at(16)).await;
    drawn(&*store, "user-1", "r-2", at(20)).await;
    assert_eq!(known(&*store, "user-1").await, User { sync_wanted: 2, ..first }, "due as the first purchase made them");
}

pub async fn purchases_of_one_user_that_are_fulfilled_at_once_all_count(store: Stage) {
    const USERS: usize = 3;
    let handles = [store.shared(), store.second().await];
    let mut rows = Vec::new();
    for n in 0..60 {
        rows.push(bought(&*store, &format!("user-{}", n % USERS), &format!("r-{n}"), at(0)).await);
    }
    at_once(rows.into_iter().enumerate().map(|(n, row)| {
        let store = handles[n / USERS % 2].clone();
        async move { applied(&*store, fulfilment(&row, at(5))).await }
    }))
    .await;
    for n in 0..USERS {
        let user = known(&*store, &format!("user-{n}")).await;
        assert_eq!((user.sync_wanted, user.wanted_at, user.due_at), (20, Some(at(5)), Some(at(65))));
    }
}

pub async fn a_fulfilment_makes_nobody_due_later(store: Stage) {
    drawn(&*store, "user-1", "r-1", at(0)).await;
    for (due, purchase, expected) in [(30, 100, 30), (1000, 200, 260)] {
        let before = known(&*store, "user-1").await;
        turn(&store, Settling { due_at: Some(at(due)), ..settling(&before, at(20)) }).await;
        drawn(&*store, "user-1", &format!("r-{purchase}"), at(purchase)).await;
        let after = known(&*store, "user-1").await;
        assert_eq!((after.due_at, after.wanted_at), (Some(at(expected)), Some(at(purchase))));
        assert_eq!((after.version, after.wants_sync()), (before.version + 1, true));
    }
}

pub async fn users_who_are_due_are_claimed_earliest_first(store: Stage) {
    for (name, seconds) in [("c", 3), ("a", 5), ("b", 1)] {
        drawn(&*store, name, &format!("r-{name}"), at(seconds)).await;
    }
    fulfilled(&*store, beta(), "r-1", at(0)).await;
    assert!(claim_users(&*store, at(59), 10, &[]).await.is_empty());
    let of = |claimed: Vec<clawback_store::DueUser>| claimed.iter().map(|due| due.user.to_string()).collect::<Vec<_>>();
    assert_eq!(of(claim_users(&*store, at(70), 2, &[beta()]).await), ["b", "c"]);
    assert_eq!(of(claim_users(&*store, at(64), 10, &[beta()]).await), [""; 0]);
    assert_eq!(of(claim_users(&*store, at(65), 10, &[partner("nobody"), beta()]).await), ["a"]);
    assert_eq!(of(claim_users(&*store, at(65), 10, &[acme()]).await), ["user-1"]);
}

pub async fn each_claim_of_a_user_doubles_the_wait_until_a_turn(store: Stage) {
    drawn(&*store, "user-1", "r-1", at(0)).await;
    let mut now = at(60);
    for nudges in 0..8 {
        let claimed = claim_users(&*store, now, 10, &[]).await;
        let after_claim = known(&*store, "user-1").await;
        assert_eq!((claimed.len(), claimed[0].version, after_claim.version), (1, i64::from(nudges) + 1, i64::from(nudges) + 1));
        assert_eq!(after_claim.due_at, Some(after(now, next_nudge_of_user(nudges))));
        now = after_claim.due_at.unwrap();
    }
    let take = async |version, due| store.take_turn_of_user(&acme(), &user("user-1"), version, due).await.unwrap();
    assert_eq!(take(7, after(now, next_nudge_of_user(0))).await, None, "another version");
    assert_eq!(store.take_turn_of_user(&acme(), &user("nobody"), 0, now).await.unwrap(), None);
    let taken = take(8, now).await.expect("the version fits");
    assert_eq!((taken.version, taken.due_at, &taken), (9, Some(now), &known(&*store, "user-1").await));
    assert_eq!(take(8, now).await, None, "a turn is taken once");
    claim_users(&*store, now, 10, &[]).await;
    assert_eq!(known(&*store, "user-1").await.due_at, Some(after(now, next_nudge_of_user(0))));
}

pub async fn claimers_side_by_side_never_claim_the_same_user(store: Stage) {
    let mut names = BTreeSet::new();
    for n in 0..60 {
        let name = format!("user-{n}");
        store.set_user_settings(&acme(), &user(&name), UserSettings::default(), at(n % 7)).await.unwrap();
        names.insert(user(&name));
    }
    let handles = [store.shared(), store.second().await];
    let claimed = at_once((0..6).map(|n| {
        let store = handles[n % 2].clone();
        async move { claim_all(&*store).await }
    }))
    .await;
    let mut all = claimed.concat();
    // Whom every claimer passed by because another one held the row.
    all.extend(claim_all(&*store).await);
    assert_eq!(all.len(), 60, "none twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), names);
}

async fn claim_all(store: &dyn Store) -> Vec<UserId> {
    let mut all = Vec::new();
    loop {
        let claimed = store.claim_due_users(at(10), 7, &[]).await.unwrap();
        if claimed.is_empty() {
            return all;
        }
        all.extend(claimed.into_iter().map(|due| due.user));
    }
}

pub async fn settings_are_kept_and_make_their_user_due(store: Stage) {
    let read = async |name| store.user_settings(&acme(), &user(name)).await.unwrap();
    assert_eq!(read("user-1").await, UserSettings::default());
    let chosen = UserSettings { warnings: false, auto_sell: false, zone: Some(zone("America/Sao_Paulo").unwrap()) };
    store.set_user_settings(&acme(), &user("user-1"), chosen, at(100)).await.unwrap();
    assert_eq!((read("user-1").await, read("user-2").await), (chosen, UserSettings::default()));
    assert_eq!(store.user_settings(&beta(), &user("user-1")).await.unwrap(), UserSettings::default());
    let first = known(&*store, "user-1").await;
    assert_eq!((first.version, first.due_at, first.wants_sync(), first.settings), (1, Some(at(100)), false, chosen));

    drawn(&*store, "user-1", "r-1", at(200)).await;
    let fulfilled = known(&*store, "user-1").await;
    assert_eq!((fulfilled.settings, fulfilled.due_at, fulfilled.sync_wanted), (chosen, Some(at(100)), 1));
    turn(&store, Settling { due_at: Some(at(9000)), ..settling(&fulfilled, at(260)) }).await;
    let turned = known(&*store, "user-1").await;
    store.set_user_settings(&acme(), &user("user-1"), UserSettings::default(), at(300)).await.unwrap();
    let changed =
        User { settings: UserSettings::default(), version: turned.version + 1, due_at: Some(at(300)), ..turned.clone() };
    assert_eq!(known(&*store, "user-1").await, changed);
    assert_eq!(store.settle_user(&settling(&turned, at(310))).await.unwrap(), None, "it was decided by the old ones");
    assert_eq!(known(&*store, "user-1").await, changed);
}

pub async fn a_turn_with_nothing_ahead_leaves_its_user_alone(store: Stage) {
    drawn(&*store, "user-1", "r-1", at(0)).await;
    let user = known(&*store, "user-1").await;
    turn(&store, settling(&user, at(70))).await;
    let rests = User { synced: 1, wanted_at: None, version: 1, due_at: None, ..user };
    assert_eq!(known(&*store, "user-1").await, rests);
    assert!(claim_users(&*store, at(100_000_000), 10, &[]).await.is_empty());
}

/// Whoever wants a look and is never due would never get it.
pub async fn who_wants_a_look_is_never_left_without_a_due_time(store: Stage) {
    drawn(&*store, "user-1", "r-1", at(0)).await;
    let user = known(&*store, "user-1").await;
    let forgotten = store.settle_user(&Settling { synced: 0, ..settling(&user, at(70)) }).await;
    assert!(matches!(forgotten, Err(StoreError::Refused(_))), "{forgotten:?}");
    assert_eq!(known(&*store, "user-1").await, user);
}

pub async fn a_look_that_is_wanted_meanwhile_stays_wanted(store: Stage) {
    drawn(&*store, "user-1", "r-1", at(0)).await;
    // (purchase, turn, look was good, due as the turn has it) -> (wanted since, due)
    let cases = [
        (100, 110, true, None, 110, 170),
        (200, 210, true, Some(5000), 210, 270),
        (300, 310, false, Some(320), 210, 320),
        (400, 410, false, Some(5000), 210, 470),
        (500, 510, true, Some(520), 510, 520),
    ];
    for (purchase, now, good, due, since, expected) in cases {
        let before = known(&*store, "user-1").await;
        drawn(&*store, "user-1", &format!("r-{purchase}"), at(purchase)).await;
        let synced = if good { before.sync_wanted } else { before.synced };
        turn(&store, Settling { synced, due_at: due.map(at), ..settling(&before, at(now)) }).await;
        let after = known(&*store, "user-1").await;
        assert_eq!((after.wanted_at, after.due_at), (Some(at(since)), Some(at(expected))), "at {purchase}");
        assert_eq!((after.sync_wanted, after.synced), (before.sync_wanted + 1, synced), "at {purchase}");
    }
}

/// Turns, purchases and looks of many users meet, from two processes. None fails for another, and nothing is forgotten.
pub async fn turns_purchases_and_looks_at_once_do_not_disturb_each_other(store: Stage) {
    const USERS: usize = 6;
    const ROUNDS: usize = 8;
    let handles = [store.shared(), store.second().await];
    for n in 0..USERS {
        drawn(&*store, &format!("user-{n}"), &format!("first-{n}"), at(0)).await;
    }
    at_once((0..USERS * ROUNDS).map(|n| {
        let (store, name) = (handles[n % 2].clone(), format!("user-{}", n / 2 % USERS));
        async move {
            let request = format!("r-{n}");
            let purchase = drawn(&*store, &name, &request, at(1 + n as i64));
            let turns = async {
                for _ in 0..3 {
                    let now = at(100 + n as i64);
                    let seen = watching(&*store, &name).await;
                    let all: Vec<_> = seen.pulls.iter().map(|pull| (pull, Some(Expiry::At(at(5000))))).collect();
                    look(&*store, now, &all).await;
                    let rows: Vec<_> = seen.pulls.iter().map(|pull| planned(pull, at(5000))).collect();
                    let items = rows.iter().cloned().zip(seen.pulls.iter().cloned()).collect();
                    let (closed, offered) = (vec![seen.pulls.clone()], seen.pulls.iter().map(|pull| pull.id).collect());
                    let (changes, digests) = (inserted(&rows), vec![digest(items)]);
                    let turn = Settling { changes, digests, closed, offered, ..settling(&seen.user, now) };
                    store.settle_user(&turn).await.unwrap();
                }
            };
            tokio::join!(purchase, turns);
        }
    }))
    .await;
    for n in 0..USERS {
        let user = known(&*store, &format!("user-{n}")).await;
        assert_eq!(user.sync_wanted, 1 + ROUNDS as i64);
        assert_eq!(user.wants_sync(), user.wanted_at.is_some());
        assert!(user.due_at.is_some() || !user.wants_sync());
        let subject = User::subject(&acme(), &user.id);
        let last = store.last_event(subject).await.unwrap().map_or(0, |stored| stored.event.sequence);
        assert_eq!(user.sequence, last);
    }
}

/// A turn that fits and tells nothing.
async fn turn(store: &Stage, settling: Settling) {
    assert_eq!(settle(&**store, settling).await, []);
}
