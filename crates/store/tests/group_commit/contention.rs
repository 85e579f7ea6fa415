//! Others at the same rows.

use std::time::Duration;

use clawback_domain::purchase::Purchase;
use clawback_store::{
    Applied, Inserted, Store, StoreError,
    sql::{self, Options},
};
use futures_util::{future::join_all, poll};
use sea_orm::ConnectionTrait;

use crate::{
    build::*,
    place::{on_postgres, session},
};

/// Another session takes the same two rows the other way round. The store's transaction is the one that is given up, and it comes
/// again: neither caller learns of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    on_postgres(async |place| {
        let store = place.store().await;
        let plug = stored(&store, called(acme(), "plug", at(0))).await;
        let mut rows = Vec::new();
        for n in 0..2 {
            rows.push(stored(&store, called(acme(), &format!("r-{n}"), at(0))).await);
        }
        rows.sort_by_key(|row| row.id);
        let touch = |row: &Purchase| format!("UPDATE orders SET nudges = nudges WHERE id = '{}'", row.id);
        let other = session(&place.url).await;
        // Who looks for the deadlock first is its victim: the store looks after a second.
        other.execute_unprepared("SET deadlock_timeout = '60s'").await.expect("a superuser");
        other.execute_unprepared(&format!("BEGIN; {}", touch(&rows[1]))).await.expect("the second row");

        // While the writer is held up by the plug, both changes gather: they will share a batch.
        place.execute(&format!("BEGIN; {}", touch(&plug))).await;
        let mut plugged = Box::pin(store.apply(answered(&plug, done("s"), at(1))));
        assert!(poll!(&mut plugged).is_pending());
        place.wait_until(WAITS).await;
        let mut both = Box::pin(join_all(rows.iter().map(|row| store.apply(answered(row, done("s"), at(1))))));
        assert!(poll!(&mut both).is_pending());
        place.execute("COMMIT").await;
        plugged.await.expect("it goes on");

        place.wait_until(WAITS).await;
        other.execute_unprepared(&touch(&rows[0])).await.expect("the other session is not the victim");
        other.execute_unprepared("COMMIT").await.expect("it ends");
        assert!(both.await.into_iter().all(|result| matches!(result, Ok(Applied::Committed))));
        let deadlocks = "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = current_database()";
        place.wait_until(deadlocks).await;
        store.close().await;
        other.close().await.expect("closed");
    })
    .await;
}

/// Whether the writer waits for a lock. It looks at locks, not at what sessions wait for: within a transaction, and these tests ask
/// within theirs, the list of sessions is read once.
const WAITS: &str = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pid IN (
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'clawback writer')";

/// Another worker's transaction has taken an earlier place and has not committed yet: a reader that went on without it would never
/// come back to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_events_waits_for_an_earlier_one_that_commits_late() {
    on_postgres(async |place| {
        let store = place.store().await;
        fulfilled(&store, acme(), "first", at(0)).await;
        // The other worker, as far as it got.
        place.execute(&format!("BEGIN; SELECT pg_advisory_xact_lock_shared({EVENTS_IN_ORDER}); {ANOTHER_EVENT}")).await;
        fulfilled(&store, acme(), "third", at(0)).await;
        let mut reading = Box::pin(store.events(None, 0, 10));
        tokio::select! {
            read = &mut reading => panic!("it did not wait: {read:?}"),
            () = place.wait_until(READER_WAITS) => {}
        }
        place.execute("COMMIT").await;
        let positions: Vec<_> = reading.await.unwrap().iter().map(|stored| stored.position).collect();
        assert_eq!(positions, [1, 2, 3]);
        store.close().await;
    })
    .await;
}

/// The writer's half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_takes_its_place_beside_a_reader_that_makes_sure() {
    on_postgres(async |place| {
        let store = place.store().await;
        let row = pending(&store, acme(), "r-1", at(0)).await;
        place.execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({EVENTS_IN_ORDER})")).await;
        let mut applying = Box::pin(store.apply(fulfilment(&row, at(1))));
        tokio::select! {
            applied = &mut applying => panic!("it did not wait: {applied:?}"),
            () = place.wait_until(WAITS) => {}
        }
        place.execute("COMMIT").await;
        assert_eq!(applying.await.unwrap(), Applied::Committed);
        store.close().await;
    })
    .await;
}

/// The advisory lock of `src/sql/events.rs`.
const EVENTS_IN_ORDER: i64 = 727_202;

const ANOTHER_EVENT: &str = "INSERT INTO events (id, subject, sequence, time, look_at, kind, partner, body)
    SELECT gen_random_uuid(), gen_random_uuid(), 1, time, look_at, kind, partner, body FROM events";

const READER_WAITS: &str = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// A row that this version cannot read is an error of that row, not of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_a_newer_version_is_corrupt_and_others_are_not() {
    on_postgres(async |place| {
        let store = place.store().await;
        let newer = stored(&store, called(acme(), "newer", at(0))).await;
        let ours = stored(&store, called(acme(), "ours", at(0))).await;
        place.execute(&format!("UPDATE orders SET state = 'dreaming' WHERE id = '{}'", newer.id)).await;
        assert!(matches!(store.purchase(newer.id).await, Err(StoreError::Corrupt(_))));
        let again = store.insert(called(acme(), "newer", at(0))).await;
        assert!(matches!(again, Err(StoreError::Corrupt(_))), "{again:?}");
        assert_eq!(read(&store, ours.id).await, ours);
        store.close().await;
    })
    .await;
}

/// On SQLite another process may hold the file for longer than anyone waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_sqlite_file_is_waited_for_and_then_unavailable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("new/folders/store.db").display());
    let options = Options { lock: Duration::from_millis(20), ..Options::default() };
    let store = sql::connect(&url, options).await.expect("the store can be opened");
    store.migrate().await.expect("it can be migrated");

    let other = session(&url).await;
    other.execute_unprepared("BEGIN IMMEDIATE").await.expect("it writes");
    let row = called(acme(), "r-1", at(0));
    let refused = store.insert(row.clone()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.purchase(row.order.id()).await.unwrap(), None, "reading goes on beside a writer");
    other.execute_unprepared("COMMIT").await.expect("it ends");
    assert_eq!(store.insert(row).await.unwrap(), Inserted::New);
    store.close().await;
}

#[tokio::test]
async fn a_store_is_opened_only_where_it_can_keep_something() {
    for url in ["mysql://localhost/clawback", "sqlite::memory:", "sqlite://?mode=memory", ""] {
        let opened = sql::connect(url, Options::default()).await;
        assert!(matches!(opened.map(drop), Err(StoreError::Refused(_))), "{url}");
    }
}

/// While two versions work side by side, the older one meets events that it cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_version_does_not_hold_up_the_rest() {
    on_postgres(async |place| {
        let store = place.store().await;
        let newer = fulfilled(&store, acme(), "r-1", at(0)).await;
        let known = fulfilled(&store, acme(), "r-2", at(0)).await;
        place.execute(&format!("UPDATE events SET kind = 'of tomorrow' WHERE subject = '{}'", newer.id)).await;
        let claimed = store.claim_unsent(at(60), 100, Duration::from_secs(30)).await.unwrap();
        assert_eq!(claimed.iter().map(|stored| stored.event.subject).collect::<Vec<_>>(), [known.id.0]);
        store.close().await;
    })
    .await;
}
