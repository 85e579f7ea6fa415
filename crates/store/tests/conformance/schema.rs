use crate::{build::*, stage::Stage};

pub async fn migrating_again_changes_nothing(store: Stage) {
    let row = fulfilled(&*store, acme(), "r-1", at(0)).await;
    store.migrate().await.unwrap();
    assert!(store.pending_migrations().await.unwrap().is_empty());
    assert_eq!(read(&*store, row.id).await, row);
}

/// A place of its own, not migrated yet.
pub async fn several_processes_may_migrate_at_once(store: Stage) {
    let empty = store.another_place().await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(empty.open().await);
    }
    at_once(handles.iter().cloned().map(|handle| async move { handle.migrate().await.unwrap() })).await;
    for handle in &handles {
        assert!(handle.pending_migrations().await.unwrap().is_empty());
    }
    let row = fulfilled(&*handles[0], acme(), "r-1", at(0)).await;
    assert_eq!(read(&*handles[3], row.id).await, row);
    for handle in handles {
        handle.close().await;
    }
    empty.remove().await;
}

pub async fn what_one_handle_wrote_another_reads(store: Stage) {
    let other = store.second().await;
    let row = pending(&*store, acme(), "r-1", at(0)).await;
    assert_eq!(read(&*other, row.id).await, row);
    let done = applied(&*other, fulfilment(&row, at(1))).await;
    assert_eq!(read(&*store, row.id).await, done);
}

pub async fn the_store_tells_its_time(store: Stage) {
    let offset = store.clock().await.unwrap() - chrono::Utc::now();
    assert!(offset.num_seconds().abs() < 60, "{offset}");
}
