//! How the server executes what a turn of a user asks and writes.

use clawback_domain::{item::Expiry, user::Settling};
use clawback_store::{Store, WarningFilter};

use crate::{
    build::*,
    place::on_postgres,
    plans::{fill, scans_of},
    watch,
};

/// Many users are watched at once: who is due, what a turn rests on and what it writes are found by indexes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_a_user_is_found_among_all_others_by_indexes_alone() {
    const TURNS: i64 = 20;
    on_postgres(async |place| {
        for table in KEPT_FOR_USERS {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = place.store().await;
        turn(&store, 0).await;
        fill(&place, &[("users", "none"), ("pulls", "id"), ("warnings", "pull_id")]).await;
        store.close().await;
        let before = scans_of(&place, &KEPT_FOR_USERS).await;

        let store = place.store().await;
        for n in 1..=TURNS {
            turn(&store, n).await;
        }
        store.close().await;
        place.wait_until("SELECT sum(n_tup_upd) >= 20 FROM pg_stat_user_tables WHERE relname = 'warnings'").await;
        assert_eq!(scans_of(&place, &KEPT_FOR_USERS).await, before);
    })
    .await;
}

/// All that a turn asks and writes, about one purchase's pulls.
async fn turn(store: &dyn Store, n: i64) {
    let row = fulfilled(store, acme(), &format!("r-{n}"), at(100 * n)).await;
    let pulls = store.pulls(row.id).await.unwrap();
    let shown = pulls.iter().map(|pull| (pull, Some(Expiry::At(at(5000))))).collect::<Vec<_>>();
    watch::look(store, at(100 * n + 1), &shown).await;
    store.claim_due_users(at(100 * n + 60), 3, &[]).await.unwrap();
    let version = watch::known(store, "user-1").await.version;
    let turned = store.take_turn_of_user(&acme(), &user("user-1"), version, at(100 * n + 90)).await.unwrap();
    let watching = watch::watching(store, "user-1").await;
    assert_eq!(turned.as_ref(), Some(&watching.user));
    store.crowd(&acme(), at(0), at(1000)).await.unwrap();
    let rows: Vec<_> = pulls.iter().map(|pull| watch::planned(pull, at(5000))).collect();
    let digest = watch::digest(rows.iter().cloned().zip(pulls.clone()).collect());
    let settling = Settling {
        changes: watch::inserted(&rows),
        digests: vec![digest],
        closed: vec![pulls.clone()],
        offered: pulls.iter().map(|pull| pull.id).collect(),
        ..watch::settling(&watching.user, at(100 * n + 61))
    };
    assert_eq!(store.settle_user(&settling).await.unwrap().map(|events| events.len()), Some(2));
    let soon =
        WarningFilter { partner: Some(acme()), from: Some(at(0)), until: Some(at(5000)), limit: 3, ..Default::default() };
    store.warnings(soon).await.unwrap();
    store.expiring(&acme(), at(4000), at(6000), 3).await.unwrap();
}

const KEPT_FOR_USERS: [&str; 3] = ["users", "pulls", "warnings"];
