//! How the server executes what the store sends: the traps here were measured, and would come back silently.

use std::sync::Arc;

use clawback_domain::{
    EventId,
    change::{Change, Ruling},
    command::Target,
    evidence::Sightings,
    purchase::{Happened, Purchase},
};
use clawback_store::{Applied, Deliveries, Page, Prunable, Prune, Replay, Sent, Settled, Store};
use sea_orm::ConnectionTrait;

use crate::{
    build::*,
    place::{Place, on_postgres, session},
    sale,
};

/// Tables are analyzed while they are empty, statements are prepared, and then the tables grow without being analyzed again. A plan
/// kept from the beginning would go through the whole table at every batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_batch_ever_goes_through_a_whole_table() {
    on_postgres(async |place| {
        // Whatever happens beside this test, nobody analyzes these tables in the middle of it.
        for table in TABLES {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = Arc::new(place.store().await);
        // PostgreSQL would settle on a generic plan after five executions.
        for n in 0..10 {
            let row = fulfilled(&*store, acme(), &format!("early-{n}"), at(0)).await;
            mark(&*store, &row).await;
        }
        fill(&place, &[("orders", "id"), ("attempts", "token"), ("events", "id")]).await;
        let before = scans(&place, 30, 10).await;

        let rows = at_once((0..100).map(|n| {
            let store = store.clone();
            async move { fulfilled(&*store, acme(), &format!("late-{n}"), at(0)).await }
        }))
        .await;
        for row in rows {
            mark(&*store, &row).await;
        }
        assert_eq!(scans(&place, 330, 110).await, before);
        store.close().await;
    })
    .await;
}

const TABLES: [&str; 6] = ["orders", "attempts", "pulls", "events", "timeline", "users"];

async fn mark(store: &dyn Store, fulfilled: &Purchase) {
    let event = EventId::of(fulfilled.id.0, fulfilled.sequence);
    store.mark_sent(vec![Sent { event, at: at(1), unrouted: false }]).await.unwrap();
}

/// 50,000 rows beside those that are there, of as many other users, by a session that ends: then all that it did is counted.
pub async fn fill(place: &Place, tables: &[(&str, &str)]) {
    let filling = session(&place.url).await;
    for (table, key) in tables {
        // Only a sellback's row may name an item.
        let item = if *table == "pulls" { "'''item-x'' || n'" } else { "column_name" };
        let columns: String = place
            .ask(&format!(
                "SELECT string_agg(CASE column_name WHEN '{key}' THEN 'gen_random_uuid()' WHEN 'subject' THEN 'gen_random_uuid()'
                    WHEN 'order_id' THEN 'gen_random_uuid()' WHEN 'purchase' THEN 'gen_random_uuid()' WHEN 'position' THEN '1000000 + n'
                    WHEN 'user_id' THEN '''user-x'' || n' WHEN 'item_id' THEN {item} ELSE column_name END, ', '
                    ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = '{table}'"
            ))
            .await;
        let one = format!("(SELECT * FROM {table} LIMIT 1) AS one");
        let insert = format!("INSERT INTO {table} SELECT {columns} FROM {one}, generate_series(1, 50000) AS n");
        filling.execute_unprepared(&insert).await.expect("it can be filled");
    }
    filling.close().await.expect("it ends");
    for (table, _) in tables {
        place.wait_until(&format!("SELECT sum(n_tup_ins) > 50000 FROM pg_stat_user_tables WHERE relname = '{table}'")).await;
    }
}

/// Sequential scans of each table so far, once the server has counted this many updates of purchases and of events. Reading the
/// counters scans nothing.
async fn scans(place: &Place, purchases: i64, events: i64) -> String {
    let counted = |table: &str, least: i64| {
        format!("SELECT coalesce(sum(n_tup_upd), 0) >= {least} FROM pg_stat_user_tables WHERE relname = '{table}'")
    };
    place.wait_until(&counted("orders", purchases * 2 / 3)).await;
    place.wait_until(&counted("events", events)).await;
    let tables = TABLES.map(|table| format!("'{table}'")).join(", ");
    place
        .ask(&format!(
            "SELECT string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname) FROM pg_stat_user_tables
                WHERE relname IN ({tables})"
        ))
        .await
}

/// Many users are in doubt at once: a case is read, ruled upon and looked at without going through everybody's rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_is_found_among_all_others_by_indexes_alone() {
    const CASES: i64 = 20;
    on_postgres(async |place| {
        for table in KEPT_FOR_CASES {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = place.store().await;
        pending(&store, acme(), "open", at(0)).await;
        fill(&place, &[("orders", "id")]).await;
        let row = pending(&store, acme(), "drawn", at(0)).await;
        applied(&store, ruled(fulfilment(&row, at(1)), 0)).await;
        fill(&place, &[("attempts", "token"), ("pulls", "id"), ("cases", "purchase")]).await;
        store.close().await;
        let before = seq_scans(&place).await;

        let store = place.store().await;
        let mut doubted = pending(&store, acme(), "doubted", at(0)).await;
        for n in 1..=CASES {
            let case = store.case(&acme(), &user("user-1")).await.unwrap();
            assert_eq!((case.version, case.open.len(), case.pulls.len()), (n, 2, 2));
            doubted = applied(&store, ruled(then(&doubted, Happened::TurnTaken, at(n)), n)).await;
            let pulls = case.pulls.iter().map(|pull| (pull.purchase, pull.position, None)).collect();
            store.record_look(Sightings { partner: acme(), user_id: user("user-1"), at: at(n), pulls }).await.unwrap();
        }
        // A session that has ended has told everything it did.
        store.close().await;
        place
            .wait_until(&format!("SELECT sum(n_tup_upd) >= 2 * {CASES} FROM pg_stat_user_tables WHERE relname = 'pulls'"))
            .await;
        place.wait_until(&format!("SELECT sum(n_tup_upd) >= {CASES} FROM pg_stat_user_tables WHERE relname = 'cases'")).await;
        let found = "SELECT idx_scan >= 2 * {CASES} FROM pg_stat_user_indexes WHERE indexrelname = 'orders_open_of_user'";
        place.wait_until(&found.replace("{CASES}", &CASES.to_string())).await;
        assert_eq!(seq_scans(&place).await, before);
    })
    .await;
}

/// Many users sell at once: what bears on each sale is found, and what it gives away is marked, by indexes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_found_among_all_others_by_indexes_alone() {
    const SALES: i64 = 20;
    on_postgres(async |place| {
        for table in KEPT_FOR_CASES {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = place.store().await;
        let mut pulls = Vec::new();
        for n in 0..SALES {
            let row = fulfilled(&store, acme(), &format!("drawn-{n}"), at(0)).await;
            pulls.push(store.pulls(row.id).await.unwrap().remove(0));
        }
        pending(&store, acme(), "open", at(0)).await;
        fill(&place, &[("orders", "id"), ("attempts", "token"), ("pulls", "id")]).await;
        store.close().await;
        let before = seq_scans(&place).await;

        let store = place.store().await;
        let target = Target::Item(sale::item_id("item-0"));
        for (n, pull) in (0..SALES).zip(&pulls) {
            let case = store.sale_case(&acme(), &user("user-1"), &target).await.unwrap();
            assert_eq!((case.pulls.len(), case.holders.len(), case.under_way), (pulls.len(), 0, None));
            let row = sale::sellback(acme(), &format!("s-{n}"), "item-0", at(n));
            let row = sale::keep(&store, sale::offered(row, Some(sale::place(pull)))).await;
            sale::moved(&store, sale::told(&row, sale::sold_for(1), at(n))).await;
        }
        store.close().await;
        let marked = format!("SELECT sum(n_tup_upd) >= {SALES} FROM pg_stat_user_tables WHERE relname = 'pulls'");
        place.wait_until(&marked).await;
        assert_eq!(seq_scans(&place).await, before);
    })
    .await;
}

const KEPT_FOR_CASES: [&str; 4] = ["orders", "attempts", "pulls", "cases"];

fn ruled(change: Change, case: i64) -> Change {
    Change { ruling: Some(Ruling { case: Some(case), retried: false }), ..change }
}

/// Of the tables that cases are made of, by sessions that have ended.
async fn seq_scans(place: &Place) -> String {
    scans_of(place, &KEPT_FOR_CASES).await
}

pub async fn scans_of(place: &Place, tables: &[&str]) -> String {
    let tables = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ");
    place.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'clawback%'").await;
    place
        .ask(&format!(
            "SELECT string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname) FROM pg_stat_user_tables
                WHERE relname IN ({tables})"
        ))
        .await
}

/// Transitions that only move a row's times and state must find room on its page and touch no index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_stay_on_their_page_and_touch_no_index() {
    const ROWS: i64 = 1000;
    on_postgres(async |place| {
        let store = Arc::new(place.store().await);
        at_once((0..ROWS).map(|n| {
            let store = store.clone();
            async move { pending(&*store, acme(), &format!("r-{n}"), at(n)).await }
        }))
        .await;
        let moved = format!("SELECT coalesce(sum(n_tup_upd), 0) >= {ROWS} FROM pg_stat_user_tables WHERE relname = 'orders'");
        place.wait_until(&moved).await;
        let hot: i64 = place.ask("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'orders'").await;
        assert!(hot >= ROWS * 95 / 100, "{hot} of {ROWS} moves were HOT");

        let row = stored(&*store, called(acme(), "one", at(0))).await;
        let look: bool = place.ask(&look(&row)).await;
        assert!(look, "looked at when it is due first");
        assert_eq!(store.apply(answered(&row, done("s"), at(1))).await.unwrap(), Applied::Committed);
        assert!(place.ask::<bool>(&look_before_due(&row)).await, "later due, but looked at as before");
        store.close().await;
    })
    .await;
}

fn look(row: &Purchase) -> String {
    format!("SELECT look_at = due_at FROM orders WHERE id = '{}'", row.id)
}

fn look_before_due(row: &Purchase) -> String {
    format!("SELECT look_at <= due_at FROM orders WHERE id = '{}'", row.id)
}

/// Many partners' events, and many deliveries that wait or were given up: those of one are found by indexes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhooks_deliveries_are_found_among_all_others_by_indexes_alone() {
    const EVENTS: u32 = 20;
    on_postgres(async |place| {
        for table in KEPT_FOR_WEBHOOKS {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = place.store().await;
        store.spool(&acme(), at(0), 100).await.unwrap();
        fulfilled(&store, beta(), "another's", at(0)).await;
        store.spool(&beta(), at(0), 100).await.unwrap();
        fulfilled(&store, beta(), "another's too", at(0)).await;
        store.spool(&beta(), at(0), 100).await.unwrap();
        fill(&place, &[("events", "id"), ("deliveries", "event")]).await;
        for n in 0..EVENTS {
            fulfilled(&store, acme(), &format!("ours-{n}"), at(1)).await;
        }
        store.close().await;
        let before = scans_of(&place, &KEPT_FOR_WEBHOOKS).await;

        let store = place.store().await;
        let mut delivered = 0;
        while delivered < EVENTS {
            store.spool(&acme(), at(2), 7).await.unwrap();
            for claimed in store.claim_deliveries(&acme(), at(2), 5, LEASE).await.unwrap() {
                store.settle_delivery(&claimed, Settled::Delivered, at(3)).await.unwrap();
                delivered += 1;
            }
        }
        let since = Replay::Since { since: at(0), position: 0, limit: 7 };
        assert_eq!(store.replay_deliveries(&acme(), since, at(4), "ann").await.unwrap().count, 7);
        store.replay_deliveries(&acme(), Replay::GivenUp { limit: 7 }, at(4), "ann").await.unwrap();
        store.close().await;
        assert_eq!(scans_of(&place, &KEPT_FOR_WEBHOOKS).await, before);
    })
    .await;
}

const LEASE: std::time::Duration = std::time::Duration::from_secs(60);
const KEPT_FOR_WEBHOOKS: [&str; 2] = ["events", "deliveries"];

/// Much is young, and much was pruned before: what is old is found, and removed with all that hangs on it, by indexes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_found_and_removed_by_indexes_alone() {
    const OLD: usize = 20;
    on_postgres(async |place| {
        for table in PRUNED {
            place.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        }
        place.execute("ANALYZE").await;
        let store = place.store().await;
        let page = Page { after: None, limit: 500 };
        let row = fulfilled(&store, acme(), "pruned", at(0)).await;
        mark(&store, &row).await;
        for what in [Prunable::Timelines, Prunable::Orders] {
            assert_eq!(store.prune(what, at(1), page).await.unwrap().removed, 1);
        }
        fill(&place, &[("orders", "id"), ("pulls", "id")]).await;
        let row = fulfilled(&store, acme(), "young", at(1000)).await;
        mark(&store, &row).await;
        fill(&place, &[("attempts", "token"), ("events", "id"), ("timeline", "order_id")]).await;
        for n in 0..OLD {
            let row = fulfilled(&store, acme(), &format!("old-{n}"), at(10)).await;
            mark(&store, &row).await;
        }
        store.close().await;
        let before = scans_of(&place, &PRUNED).await;

        let store = place.store().await;
        for (what, removed) in
            [(Prunable::Events, 0), (Prunable::Timelines, OLD), (Prunable::Orders, OLD), (Prunable::Pulls, 0)]
        {
            assert_eq!(store.prune(what, at(100), page).await.unwrap().removed, removed as u64, "{what:?}");
        }
        store.close().await;
        assert_eq!(scans_of(&place, &PRUNED).await, before);
    })
    .await;
}

const PRUNED: [&str; 5] = ["orders", "attempts", "pulls", "events", "timeline"];
