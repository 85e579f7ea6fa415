//! The connection is lost, at each moment that means something else.

use clawback_store::{Applied, Inserted, Store, StoreError};

use crate::{
    build::*,
    place::{on_postgres, open},
    proxy::{Cut, Proxy},
};

/// Ends the connection of the group commit, in this database only.
const END_WRITER: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'clawback writer'";

/// Both halves of *unknown*: the commit may stand, or not. Reading back tells, and the same insert again finds out as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_unknown_to_everyone_in_it() {
    for (cut, stands) in [(Cut::BeforeCommit, false), (Cut::AfterCommit, true)] {
        on_postgres(async |place| {
            let proxy = Proxy::before(&place.url).await;
            let store = std::sync::Arc::new(open(&proxy.url).await);
            store.insert(called(acme(), "before", at(0))).await.expect("all is well");
            proxy.cut(cut);
            let results = at_once((0..20).map(|n| {
                let store = store.clone();
                async move { store.insert(called(acme(), &format!("r-{n}"), at(0))).await }
            }))
            .await;
            assert_eq!(proxy.cuts(), 1);
            let unknown = results.iter().filter(|result| matches!(result, Err(StoreError::Unknown(_)))).count();
            assert!(unknown >= 1, "{results:?}");
            for (n, result) in results.iter().enumerate() {
                let insertion = called(acme(), &format!("r-{n}"), at(0));
                let id = insertion.order.id();
                match result {
                    Ok(Inserted::New) => assert!(store.purchase(id).await.unwrap().is_some()),
                    Err(StoreError::Unknown(_)) => {
                        assert_eq!(store.purchase(id).await.unwrap().is_some(), stands, "{cut:?}");
                        // The same token again: ours was stored, or is stored now; either way it is ours.
                        let expected = insertion.order.clone();
                        match store.insert(insertion).await.unwrap() {
                            Inserted::New => assert!(!stands),
                            Inserted::Exists(row) => assert_eq!((*row, stands), (expected, true)),
                        }
                    }
                    other => panic!("{cut:?}: {other:?}"),
                }
            }
            store.close().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_before_commit_is_nobodys_concern() {
    on_postgres(async |place| {
        let proxy = Proxy::before(&place.url).await;
        let store = open(&proxy.url).await;
        let row = stored(&store, called(acme(), "r-1", at(0))).await;
        // A second batch of each kind, on a connection whose statements are prepared already, sends no SQL text to cut at.
        proxy.cut(Cut::Statement);
        let row = applied(&store, answered(&row, done("s-1"), at(1))).await;
        assert_eq!(proxy.cuts(), 1, "it was cut in the middle of the transaction");
        assert_eq!(read(&store, row.id).await, row);
        assert_eq!(store.timeline(row.id).await.unwrap().len(), 3, "written once, not twice");
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_ended_between_batches_is_replaced() {
    on_postgres(async |place| {
        let store = place.store().await;
        let row = stored(&store, called(acme(), "r-1", at(0))).await;
        place.execute(END_WRITER).await;
        applied(&store, answered(&row, done("s-1"), at(1))).await;
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_nothing_is_written_and_that_is_known() {
    on_postgres(async |place| {
        let proxy = Proxy::before(&place.url).await;
        let store = open(&proxy.url).await;
        let row = stored(&store, called(acme(), "r-1", at(0))).await;
        proxy.cut(Cut::Always);
        place.execute(END_WRITER).await;
        let change = answered(&row, done("s-1"), at(1));
        assert!(matches!(store.apply(change.clone()).await, Err(StoreError::Unavailable(_))));
        proxy.cut(Cut::Never);
        assert_eq!(store.apply(change).await.unwrap(), Applied::Committed, "and when it is back, all is well");
        store.close().await;
    })
    .await;
}

/// Whoever waited for it may be gone: a worker's handler that was dropped must not take its write with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_dropped_does_not_take_its_write_with_it() {
    on_postgres(async |place| {
        let store = place.store().await;
        // While this is held no batch gets past its first insert, so the caller cannot have its answer when it is dropped.
        place.execute("BEGIN; LOCK TABLE orders").await;
        let row = called(acme(), "r-1", at(0));
        let id = row.order.id();
        let mut insert = Box::pin(store.insert(row));
        assert!(futures_util::poll!(&mut insert).is_pending());
        drop(insert);
        place.execute("COMMIT").await;
        place.wait_until("SELECT count(*) = 1 FROM orders").await;
        assert!(store.purchase(id).await.unwrap().is_some());
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_what_was_handed_over() {
    on_postgres(async |place| {
        let store = std::sync::Arc::new(place.store().await);
        let rows: Vec<_> = (0..50).map(|n| called(acme(), &format!("r-{n}"), at(0))).collect();
        let mut inserts: Vec<_> = rows.iter().map(|row| Box::pin(store.insert(row.clone()))).collect();
        for insert in &mut inserts {
            assert!(futures_util::poll!(insert).is_pending());
        }
        let (_, results) = tokio::join!(store.close(), futures_util::future::join_all(inserts));
        assert!(results.iter().all(|result| matches!(result, Ok(Inserted::New))), "{results:?}");
        assert_eq!(place.ask::<i64>("SELECT count(*) FROM orders").await, 50);
        let late = store.insert(called(acme(), "late", at(0))).await;
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    })
    .await;
}
