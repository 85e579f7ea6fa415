//! How SQLite executes statements over many rows. PostgreSQL has tests of its own, on a server.

use clawback_domain::{ItemId, PartnerId, UserId};
use sea_orm::{
    DatabaseConnection, DbBackend, QueryTrait,
    sqlx::{self, AssertSqlSafe, Row},
};
use tempfile::TempDir;

use super::{
    cases::RULINGS,
    connect::{self, Options},
    looks::LOOKS,
    orders::LIFTS,
    retention::paging,
    sales, schema,
    statement::{Bulk, MOST_ROWS, values_text},
    unexplained::{EXPLAINED, KNOWN, ORPHANED},
    users::{self, CLOSES, ENDS, OFFERS, REPLANS, SENDS, TURNS},
    write::{CHANGES, FACTS, MARKS, SALE_CHANGES, SALES},
};
use crate::{Prunable, WarningFilter};

/// Whatever the number of rows: some hundred are enough for SQLite to prefer going through the table.
#[tokio::test]
async fn no_statement_goes_through_a_whole_table_on_sqlite() {
    let (_folder, db) = empty().await;
    let statements: [(&str, &Bulk); 17] = [
        ("attempts", &FACTS),
        ("orders", &CHANGES),
        ("orders", &SALE_CHANGES),
        ("pulls", &SALES),
        ("events", &MARKS),
        ("cases", &RULINGS),
        ("orders", &LIFTS),
        ("pulls", &LOOKS),
        ("unexplained", &ORPHANED),
        ("unexplained", &KNOWN),
        ("unexplained", &EXPLAINED),
        ("users", &TURNS),
        ("users", &ENDS),
        ("pulls", &OFFERS),
        ("pulls", &CLOSES),
        ("warnings", &REPLANS),
        ("warnings", &SENDS),
    ];
    for (table, bulk) in statements {
        for rows in [1, 10, 100, MOST_ROWS] {
            let plan = plan(&db, bulk, rows).await;
            let search = format!("SEARCH {table} ");
            assert!(plan.iter().any(|step| step.starts_with(&search)), "{table}, {rows} rows: {plan:?}");
            assert!(!plan.contains(&format!("SCAN {table}")), "{table}, {rows} rows: {plan:?}");
        }
    }
}

/// The questions of a sale's case, as they are asked.
#[tokio::test]
async fn what_bears_on_a_sale_is_found_by_indexes_on_sqlite() {
    let (_folder, db) = empty().await;
    let (partner, user) = (PartnerId::new("acme").expect("a partner"), UserId::new("user").expect("a user"));
    let item = ItemId::new("item").expect("an item");
    let sale = (uuid::Uuid::nil(), "user".to_owned(), clawback_domain::Time::UNIX_EPOCH);
    let questions = [
        ("pulls USING COVERING INDEX pulls_of_item", sales::holding(&partner, &user, &item).build(DbBackend::Sqlite)),
        ("orders USING INDEX orders_sold", sales::latest(&partner, &item).build(DbBackend::Sqlite)),
        ("pulls USING INDEX pulls_of_item", sales::given_away(&partner, &item, &[sale]).build(DbBackend::Sqlite)),
        ("pulls USING INDEX pulls_of_item", sales::unsold(&partner, [&user].into_iter(), &item).build(DbBackend::Sqlite)),
        ("orders USING INDEX orders_open_of_user", sales::unsettled(&partner, &user).build(DbBackend::Sqlite)),
        ("orders USING INDEX orders_selling", sales::seller(&partner, &item).build(DbBackend::Sqlite)),
    ];
    for (through, question) in questions {
        let steps = explained(&db, &question.to_string()).await;
        let search = format!("SEARCH {through} ");
        assert!(steps.iter().any(|step| step.starts_with(&search)), "{question}: {steps:?}");
    }
}

/// The questions about users and their warnings, as they are asked.
#[tokio::test]
async fn users_and_warnings_are_found_by_indexes_on_sqlite() {
    let (_folder, db) = empty().await;
    let (partner, user) = (PartnerId::new("acme").expect("a partner"), UserId::new("user").expect("a user"));
    let at = clawback_domain::Time::UNIX_EPOCH;
    let of_partner =
        WarningFilter { partner: Some(partner.clone()), from: Some(at), until: Some(at), limit: 9, ..Default::default() };
    let questions = [
        (
            "warnings USING INDEX warnings_of_user",
            users::warnings_of_user(&partner, &user).build(DbBackend::Sqlite).to_string(),
        ),
        ("warnings USING INDEX warnings_by_moment", users::listed(&of_partner).build(DbBackend::Sqlite).to_string()),
        ("warnings USING INDEX warnings_by_moment", users::CROWD.into()),
        ("pulls USING INDEX pulls_expiring", users::unsold(&partner, at, at, 9).build(DbBackend::Sqlite).to_string()),
        (
            "orders USING INDEX orders_open_of_user",
            users::unsettled_targets(&partner, &user).build(DbBackend::Sqlite).to_string(),
        ),
        ("users USING INDEX users_due", "SELECT partner FROM users WHERE due_at <= $1 ORDER BY due_at LIMIT $2".into()),
    ];
    for (through, question) in questions {
        let steps = explained(&db, &question).await;
        assert!(steps.iter().any(|step| step.starts_with(&format!("SEARCH {through} "))), "{question}: {steps:?}");
    }
}

/// What is old is found in its order, without a look at what is not.
#[tokio::test]
async fn what_is_old_is_found_by_its_age_on_sqlite() {
    let (_folder, db) = empty().await;
    for (what, table, index) in [
        (Prunable::Events, "events", "events_of_no_order"),
        (Prunable::DeadLetters, "dead_letters", "dead_letters_by_age"),
        (Prunable::Timelines, "orders", "orders_to_prune"),
        (Prunable::Orders, "orders", "orders_without_timeline"),
        (Prunable::Pulls, "pulls", "pulls_sold"),
    ] {
        for goes_on in [false, true] {
            let question = paging(what, goes_on);
            let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {question}")));
            let steps = explain.fetch_all(db.get_sqlite_connection_pool()).await.expect("it can be explained");
            let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
            let [only] = &steps[..] else { panic!("{question}: {steps:?}") };
            assert!(only.starts_with(&format!("SEARCH {table} ")) && only.contains(&format!(" INDEX {index} ")), "{only}");
        }
    }
}

async fn empty() -> (TempDir, DatabaseConnection) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("store.db").display());
    let databases = connect::open(&url, &Options::default()).await.expect("the file can be made");
    schema::migrate(&databases.write).await.expect("it can be migrated");
    (folder, databases.write)
}

/// Its steps in words.
async fn plan(db: &DatabaseConnection, bulk: &Bulk, rows: usize) -> Vec<String> {
    explained(db, &values_text(bulk, rows)).await
}

async fn explained(db: &DatabaseConnection, question: &str) -> Vec<String> {
    let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {question}")));
    let steps = explain.fetch_all(db.get_sqlite_connection_pool()).await.expect("it can be explained");
    steps.iter().map(|step| step.get("detail")).collect()
}
