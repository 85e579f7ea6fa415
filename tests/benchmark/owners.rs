//! Users who own items, for the benchmarks of what follows a purchase: bought through the product before anything is measured, by a
//! worker alone, so that nobody is looked at yet. From then on time is the sandbox's, and is moved on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use clawback_domain::Time;
use sea_orm::{ConnectionTrait, DatabaseConnection, FromQueryResult, Statement};
use tokio::time::{Instant, sleep};

use crate::{
    ground::{Ground, Load, Owned, Run, Schema, ask},
    product::{self, Roles},
};

/// Between two counts of those who are left: each costs PostgreSQL milliseconds.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// A run of a hundred thousand users on a busy machine; what takes longer hangs.
pub const LONG: Duration = Duration::from_secs(1_200);
/// A fulfilment wants a look a minute later.
const UNTIL_DUE: Duration = Duration::from_secs(120);
/// Who was looked at has nothing to wait for within it.
const REST: TimeDelta = TimeDelta::hours(1);

/// A moment at which the sandbox's clock was moved.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// By the sandbox's clock.
    pub now: Time,
    /// Microseconds since 1970 by the machine's.
    pub at: i64,
}

impl Moved {
    /// Microseconds that the sandbox's clock is ahead of the machine's.
    pub fn ahead(self) -> i64 {
        self.now.timestamp_micros() - self.at
    }
}

/// Buys `items` for each of so many users, and fills the plain worker's tables.
pub async fn buy(ground: &mut Ground, upstream: &[&str], users: usize, items: u32, plain: &str) -> Result<Run> {
    eprintln!("{users} users buy {items} items each");
    let run = ground.run(Schema::Clawback, upstream, Load::of_users(users, items)).await?;
    ground.installation.set("CLAWBACK_CLOCK", "upstream");
    ground.preload(&run).await?;
    let roles = Roles::start(ground, &run, 0).await?;
    ground.all_out(users, LONG).await.with_context(|| roles.last_words())?;
    let db = run.open().await?;
    product::marked(&db).await?;
    roles.stop().await?;
    run.check_ledger().await?;
    db.execute_unprepared(plain).await.context("the plain worker's tables")?;
    db.execute_unprepared("VACUUM ANALYZE").await?;
    db.close().await?;
    ground.sweep().await?;
    ground.checkpoint().await?;
    Ok(run)
}

/// Moves the clock on until all who bought are due for a look.
pub async fn make_due(run: &Run) -> Result<Moved> {
    advance(run, UNTIL_DUE).await
}

pub async fn advance(run: &Run, span: Duration) -> Result<Moved> {
    let now = run.upstream.advance(span).await?;
    Ok(Moved { now, at: Utc::now().timestamp_micros() })
}

/// Moves the clock on to this moment, if it is to come.
pub async fn advance_to(run: &Run, moment: Time) -> Result<Moved> {
    let now = run.upstream.now().await?;
    advance(run, (moment - now).to_std().unwrap_or_default()).await
}

/// Makes all who bought due, and waits until each was seen to.
pub async fn read_all(run: &Run, db: &DatabaseConnection) -> Result<Moved> {
    let moved = make_due(run).await?;
    until_read(db, |_| Ok(())).await?;
    until_none_due_before(db, moved.now + REST).await?;
    Ok(moved)
}

/// Waits until nobody's inventory is to be read any more; `seen` hears how many still are.
pub async fn until_read(db: &DatabaseConnection, seen: impl FnMut(usize) -> Result<()>) -> Result<()> {
    none_left(db, "SELECT count(*) FROM users WHERE sync_wanted > synced", seen).await
}

/// Waits until nobody is due before this moment. It has to be minutes ahead: who has a turn under way is due two minutes later.
pub async fn until_none_due_before(db: &DatabaseConnection, moment: Time) -> Result<()> {
    let due = format!("SELECT count(*) FROM users WHERE due_at < '{}'", moment.to_rfc3339());
    none_left(db, &due, |_| Ok(())).await
}

async fn none_left(db: &DatabaseConnection, count: &str, mut seen: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let until = Instant::now() + LONG;
    loop {
        let left: i64 = ask(db, count).await?;
        seen(usize::try_from(left)?)?;
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{left} users are left after {LONG:?}: {count}");
        sleep(COUNT_EVERY).await;
    }
}

/// Every item that the product knows of.
pub async fn items(db: &DatabaseConnection) -> Result<Vec<Owned>> {
    #[derive(FromQueryResult)]
    struct Row {
        partner: String,
        user_id: String,
        item_id: String,
    }
    let sql = "SELECT partner, user_id, item_id FROM pulls ORDER BY partner, user_id, purchase, position";
    let rows = Row::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(db).await?;
    Ok(rows.into_iter().map(|Row { partner, user_id, item_id }| Owned { partner, user: user_id, id: item_id }).collect())
}
