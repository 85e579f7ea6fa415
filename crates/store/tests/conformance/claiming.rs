use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    PurchaseId, Time,
    change::Insertion,
    clock::after,
    poll::next_nudge,
    purchase::{Happened, Purchase},
    reason::WaitCode,
};
use clawback_store::{Applied, Store};

use crate::{build::*, stage::Stage};

pub async fn what_is_due_is_claimed_and_what_is_not_is_left(store: Stage) {
    let due = stored(&*store, accepted(acme(), "due", at(10))).await;
    let not_yet = stored(&*store, accepted(acme(), "not yet", at(11))).await;
    assert!(store.claim_due(at(9), 10, &[]).await.unwrap().is_empty());
    assert_eq!(claim(&store, at(10), 10).await, [due.id].into());
    assert_eq!(read(&*store, not_yet.id).await, not_yet);
}

pub async fn the_longest_overdue_are_claimed_first(store: Stage) {
    let mut ids = BTreeMap::new();
    for second in [5, 3, 9, 1, 7] {
        ids.insert(second, stored(&*store, accepted(acme(), &format!("r-{second}"), at(second))).await.id);
    }
    for expected in [[1, 3].as_slice(), &[5, 7], &[9]] {
        assert_eq!(claim(&store, at(10), 2).await, expected.iter().map(|second| ids[second]).collect());
    }
    assert!(claim(&store, at(10), 2).await.is_empty());
}

pub async fn a_claim_moves_the_row_on_and_takes_its_next_number(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let claimed = store.claim_due(at(3), 10, &[]).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((&claimed[0].partner, claimed[0].order, claimed[0].version), (&acme(), row.id, row.version + 1));
    let after_claim = Purchase { version: row.version + 1, nudges: 1, due_at: Some(at(8)), ..row };
    assert_eq!(read(&*store, after_claim.id).await, after_claim);
}

pub async fn each_claim_doubles_the_wait_up_to_a_cap(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let mut now = at(0);
    let mut waits = Vec::new();
    for nudges in 0..9 {
        assert_eq!(claim(&store, now, 10).await, [row.id].into());
        let due = read(&*store, row.id).await.due_at.unwrap();
        assert_eq!(due, after(now, next_nudge(nudges)));
        waits.push((due - now).num_seconds());
        now = due;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
}

pub async fn a_turn_ends_the_doubling(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    claim(&store, at(0), 10).await;
    claim(&store, at(5), 10).await;
    let nudged = read(&*store, row.id).await;
    assert_eq!(nudged.nudges, 2);
    let turned = applied(&*store, then(&nudged, Happened::TurnTaken, at(15))).await;
    assert_eq!(claim(&store, turned.due_at.unwrap(), 10).await, [row.id].into());
    let again = read(&*store, row.id).await;
    assert_eq!((again.nudges, again.due_at), (1, Some(after(turned.due_at.unwrap(), next_nudge(0)))));
}

/// At `not_after` a row that waits must change by itself: it fails, late by no more than a step.
pub async fn a_claim_never_moves_a_row_past_its_end(store: Stage) {
    let mut command = command("r-1");
    command.not_after = Some(at(7));
    let row = stored(&*store, Insertion::of(Purchase::accept(acme(), command, at(0), trace()))).await;
    for (now, due) in [(0, 5), (5, 7), (7, 27)] {
        assert_eq!(claim(&store, at(now), 10).await, [row.id].into());
        assert_eq!(read(&*store, row.id).await.due_at, Some(at(due)), "claimed at {now}");
    }
}

pub async fn a_final_row_is_never_claimed(store: Stage) {
    fulfilled(&*store, acme(), "fulfilled", at(0)).await;
    let row = stored(&*store, accepted(acme(), "cancelled", at(0))).await;
    applied(&*store, cancelled(&row, at(0))).await;
    let claimed_before = stored(&*store, accepted(acme(), "claimed before", at(0))).await;
    claim(&store, at(1), 10).await;
    applied(&*store, cancelled(&read(&*store, claimed_before.id).await, at(2))).await;
    assert!(store.claim_due(at(100_000_000), 10, &[]).await.unwrap().is_empty());
}

pub async fn rows_of_excepted_partners_are_left(store: Stage) {
    let mut ids = BTreeMap::new();
    for name in ["acme", "beta", "gamma"] {
        for n in 0..3 {
            let row = stored(&*store, accepted(partner(name), &format!("r-{n}"), at(n))).await;
            ids.entry(name).or_insert_with(BTreeSet::new).insert(row.id);
        }
    }
    let claimed = store.claim_due(at(10), 3, &[acme(), beta()]).await.unwrap();
    assert_eq!(claimed.iter().map(|due| due.order).collect::<BTreeSet<_>>(), ids["gamma"]);
    let claimed = store.claim_due(at(10), 3, &[acme(), partner("nobody")]).await.unwrap();
    assert_eq!(claimed.iter().map(|due| due.order).collect::<BTreeSet<_>>(), ids["beta"]);
    assert_eq!(claim(&store, at(10), 10).await, ids["acme"]);
}

pub async fn a_change_computed_before_a_claim_is_lost(store: Stage) {
    let row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let stale = held(&row, WaitCode::Permit, Some(at(60)), at(1));
    claim(&store, at(1), 10).await;
    assert_eq!(store.apply(stale).await.unwrap(), Applied::Lost);
    let claimed = read(&*store, row.id).await;
    applied(&*store, held(&claimed, WaitCode::Permit, Some(at(60)), at(2))).await;
}

pub async fn claimers_side_by_side_never_claim_the_same_row(store: Stage) {
    let mut ids = BTreeSet::new();
    for n in 0..200 {
        ids.insert(stored(&*store, accepted(acme(), &format!("r-{n}"), at(n % 7))).await.id);
    }
    let handles = [store.shared(), store.second().await];
    let claimed = at_once((0..6).map(|n| {
        let store = handles[n % 2].clone();
        async move { claim_all(&*store).await }
    }))
    .await;
    let mut all: Vec<_> = claimed.into_iter().flatten().collect();
    // A row that every claimer passed by because another one held it.
    all.extend(claim_all(&*store).await);
    assert_eq!(all.len(), 200, "none twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), ids);
    assert!(store.purchases(all_of_them()).await.unwrap().iter().all(|row| (row.version, row.nudges) == (2, 1)));
}

fn all_of_them() -> clawback_store::Filter {
    clawback_store::Filter { limit: 1000, ..Default::default() }
}

async fn claim_all(store: &dyn Store) -> Vec<PurchaseId> {
    let mut ids = Vec::new();
    loop {
        let claimed = store.claim_due(at(10), 7, &[]).await.unwrap();
        if claimed.is_empty() {
            return ids;
        }
        ids.extend(claimed.iter().map(|due| due.order));
    }
}

async fn claim(store: &Stage, now: Time, limit: u32) -> BTreeSet<PurchaseId> {
    store.claim_due(now, limit, &[]).await.unwrap().into_iter().map(|due| due.order).collect()
}
