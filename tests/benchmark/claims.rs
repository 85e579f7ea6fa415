//! What it costs to find and claim who is due, beside more and more who are not: the first part of `bench warnings`.
//!
//! The cost of a due user must not grow with those who wait. Claims are made by the product's store on PostgreSQL, one after another, each
//! of a full batch; the ceiling is the bare statement on a table that holds nothing but those who are due.
//! A claim reads and writes the rows of users. Each of those who wait has a planned warning as well, so that the tables are as large as
//! they would be.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clawback_domain::{Time, clock::after};
use clawback_store::{Store, Users, sql};
use clawback_tests::{Database, servers};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::json;

/// What the scheduler claims at once.
const BATCH: u32 = 256;
const CLAIMS: usize = 40;
/// Everybody who is due is claimed in one round.
const DUE: usize = BATCH as usize * CLAIMS;
const ROUNDS: usize = 5;
/// Of the `n`th of those who wait: in the weeks to come, in no order.
const DUE_AT: &str = "to_timestamp(86400 + mod(n * 7919, 1209600))";

/// Of claims that were made under the same conditions.
struct Cost {
    median: Duration,
    worst: Duration,
}

pub async fn run(planned: &[u64]) -> Result<()> {
    let ceiling = bare().await?;
    println!("{DUE} users due, claimed {BATCH} at a time, beside so many who wait\n");
    println!("{:>12}  {:>14}  {:>14}  {:>16}", "waiting", "claim p50 ms", "claim max ms", "µs a due user");
    tell("ceiling", None, &ceiling)?;
    let mut first = None;
    for &planned in planned {
        let cost = product(planned).await?;
        tell("product", Some(planned), &cost)?;
        let base = *first.get_or_insert(cost.median);
        println!(
            "{:>12}  {:.2} × the first, {:.2} × the ceiling",
            "",
            ratio(cost.median, base),
            ratio(cost.median, ceiling.median)
        );
    }
    Ok(())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn tell(what: &str, planned: Option<u64>, cost: &Cost) -> Result<()> {
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    let each = cost.median.as_secs_f64() * 1e6 / f64::from(BATCH);
    let label = planned.map_or_else(|| what.to_owned(), |planned| planned.to_string());
    println!("{label:>12}  {:>14.2}  {:>14.2}  {each:>16.1}", ms(cost.median), ms(cost.worst));
    let figure = json!({
        "bench": "warnings", "figure": "claim", "variant": what, "planned": planned, "batch": BATCH,
        "p50_ms": ms(cost.median), "max_ms": ms(cost.worst), "us_per_due_user": each,
    });
    println!("{}", serde_json::to_string(&figure)?);
    Ok(())
}

async fn product(planned: u64) -> Result<Cost> {
    let database = Database::create().await?;
    let store = sql::connect(database.url(), sql::Options::default()).await?;
    store.migrate().await?;
    let db = servers::connect(database.url()).await?;
    let now = Time::UNIX_EPOCH;
    fill(&db, planned).await?;
    let mut claims = Vec::new();
    for round in 0..ROUNDS {
        due(&db).await?;
        let at = after(now, Duration::from_secs(round as u64));
        for _ in 0..CLAIMS {
            let began = Instant::now();
            let claimed = store.claim_due_users(at, BATCH, &[]).await?;
            claims.push(began.elapsed());
            ensure!(claimed.len() == BATCH as usize, "{} users were claimed", claimed.len());
        }
        ensure!(store.claim_due_users(at, BATCH, &[]).await?.is_empty(), "more were due than there should be");
    }
    store.close().await;
    db.close().await?;
    cost(claims)
}

/// Users who wait, each for a planned warning, and those who will be due.
async fn fill(db: &DatabaseConnection, planned: u64) -> Result<()> {
    let users = format!(
        "INSERT INTO users (partner, user_id, warnings, auto_sell, sync_wanted, synced, version, nudges, sequence, due_at)
        SELECT 'acme', 'waiting-' || n, true, true, 1, 1, 3, 0, 0,
            {DUE_AT} FROM generate_series(1::bigint, {planned}) AS n"
    );
    db.execute_unprepared(&users).await.context("users who wait")?;
    let users = format!(
        "INSERT INTO users (partner, user_id, warnings, auto_sell, sync_wanted, synced, version, nudges, sequence, due_at)
        SELECT 'acme', 'due-' || n, true, true, 1, 1, 3, 0, 0, to_timestamp(86400) FROM generate_series(1, {DUE}) AS n"
    );
    db.execute_unprepared(&users).await.context("users who are due")?;
    let warnings = format!(
        "INSERT INTO warnings (pull_id, lead, partner, user_id, expires_at, moment, updated_at, state)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 86400, 'acme', 'waiting-' || n, {due} + interval '1 day', {due}, to_timestamp(0),
            'planned' FROM generate_series(1::bigint, {planned}) AS n",
        due = DUE_AT
    );
    db.execute_unprepared(&warnings).await.context("planned warnings")?;
    db.execute_unprepared("VACUUM ANALYZE").await?;
    db.execute_unprepared("CHECKPOINT").await?;
    Ok(())
}

async fn due(db: &DatabaseConnection) -> Result<()> {
    db.execute_unprepared(
        "UPDATE users SET due_at = to_timestamp(-60), nudges = 0 WHERE partner = 'acme' AND user_id LIKE 'due-%'",
    )
    .await?;
    db.execute_unprepared("VACUUM ANALYZE users").await?;
    Ok(())
}

/// The statement alone, where nobody else waits.
async fn bare() -> Result<Cost> {
    let database = Database::create().await?;
    let db = servers::connect(database.url()).await?;
    db.execute_unprepared("CREATE TABLE due (id bigint PRIMARY KEY, due_at timestamptz)").await?;
    db.execute_unprepared("CREATE INDEX due_due ON due (due_at) WHERE due_at IS NOT NULL").await?;
    let mut claims = Vec::new();
    for _ in 0..ROUNDS {
        db.execute_unprepared("TRUNCATE due").await?;
        db.execute_unprepared(&format!("INSERT INTO due SELECT n, to_timestamp(-60) FROM generate_series(1, {DUE}) AS n"))
            .await?;
        db.execute_unprepared("VACUUM ANALYZE due").await?;
        for _ in 0..CLAIMS {
            let began = Instant::now();
            let claim = format!(
                "WITH c AS MATERIALIZED (SELECT id FROM due WHERE due_at <= to_timestamp(0) ORDER BY due_at LIMIT {BATCH}
                    FOR UPDATE SKIP LOCKED)
                UPDATE due SET due_at = to_timestamp(5) FROM c WHERE due.id = c.id"
            );
            db.execute_unprepared(&claim).await?;
            claims.push(began.elapsed());
        }
    }
    db.close().await?;
    cost(claims)
}

fn cost(mut claims: Vec<Duration>) -> Result<Cost> {
    claims.sort_unstable();
    let median = *claims.get(claims.len() / 2).context("claims were made")?;
    Ok(Cost { median, worst: *claims.last().context("claims were made")? })
}
