//! Clawback itself as separate roles, and what its store tells about a run.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use clawback_tests::{Role, wait::until};
use sea_orm::DatabaseConnection;

use crate::{
    ceiling,
    ground::{Ground, Run, ask},
    job::{self, Outcome},
};

/// Calls in flight of all partners together, each from before its first commit to its answer: as many as the ceiling has deliveries.
const CONCURRENCY: usize = ceiling::PREFETCH;

/// Polls in flight of all partners together, below what the upstream has connections for.
const POLLS: usize = 8_000;

/// The last marks follow the last event by one commit.
const MARKED: Duration = Duration::from_secs(10);

/// A worker and its schedulers.
pub struct Roles {
    pub worker: Role,
    pub schedulers: Vec<Role>,
}

impl Roles {
    /// Starts a worker and so many schedulers. Deliveries begin as soon as the worker is up.
    pub async fn start(ground: &mut Ground, run: &Run, schedulers: usize) -> Result<Self> {
        let partners = ground.partners.clone();
        let installation = &mut ground.installation;
        installation.set("AMQP_URL", &run.told.amqp).set("DATABASE_URL", &run.told.database);
        installation.set("PHYGITALS_URL", &run.told.upstream);
        for partner in &partners {
            installation.set(&key_variable(partner), job::key(partner));
        }
        installation.configure(&configuration(&partners)?)?;
        let mut roles = Vec::new();
        for _ in 0..schedulers {
            roles.push(installation.start_ready(&["scheduler"]).await?);
        }
        let worker = installation.start(&["worker"])?;
        Ok(Self { worker, schedulers: roles })
    }

    /// The worker's first.
    pub fn pids(&self) -> Vec<i32> {
        std::iter::once(&self.worker).chain(&self.schedulers).map(|role| role.pid().as_raw_nonzero().get()).collect()
    }

    /// What the worker said last.
    pub fn last_words(&self) -> String {
        self.worker.log().lines().rev().take(10).collect::<Vec<_>>().join("\n")
    }

    pub async fn stop(self) -> Result<()> {
        const DRAIN: Duration = Duration::from_secs(60);
        let worker = self.worker.terminate(DRAIN).await?;
        ensure!(worker.success(), "the worker ended with {worker}");
        for scheduler in self.schedulers {
            let scheduler = scheduler.terminate(DRAIN).await?;
            ensure!(scheduler.success(), "a scheduler ended with {scheduler}");
        }
        Ok(())
    }
}

/// Limits that do not limit: what is measured is the machine.
fn configuration(partners: &[String]) -> Result<String> {
    let share = |whole: usize| whole.div_ceil(partners.len());
    let mut toml = format!(
        "drain = \"20s\"\n[defaults]\nconcurrency = {0}\npoll_concurrency = {1}\nrate_per_second = 100000\n\
            sell = {{ concurrency = {0}, rate_per_second = 100000 }}\n",
        share(CONCURRENCY),
        share(POLLS),
    );
    for partner in partners {
        write!(toml, "[[partner]]\nname = \"{partner}\"\napi_key_env = \"{}\"\n", key_variable(partner))?;
    }
    Ok(toml)
}

fn key_variable(partner: &str) -> String {
    format!("KEY_{}", partner.replace('-', "_").to_uppercase())
}

/// What the store says of a run whose last event is out. Waits until that event is marked.
pub async fn outcome(run: &Run) -> Result<Outcome> {
    let db = run.open().await?;
    marked(&db).await?;
    let fulfilled: i64 = ask(&db, "SELECT count(*) FROM orders WHERE state = 'fulfilled'").await?;
    let (fulfilled, wanted) = (usize::try_from(fulfilled)?, run.told.purchases);
    ensure!(fulfilled == wanted, "{fulfilled} of {wanted} purchases were fulfilled");
    let outcome = told(&db, "orders JOIN events ON subject = orders.id").await?;
    db.close().await?;
    Ok(outcome)
}

/// From the first row to the last event's mark, of these orders and their events.
pub async fn told(db: &DatabaseConnection, of: &str) -> Result<Outcome> {
    let took = "extract(epoch FROM sent_at - created_at)::float8 * 1000";
    let at = |share: &str| format!("SELECT percentile_cont({share}) WITHIN GROUP (ORDER BY {took}) FROM {of}");
    Ok(Outcome {
        first: ask(db, &micros("min(created_at)", of)).await?,
        last: ask(db, &micros("max(sent_at)", of)).await?,
        p50_ms: ask(db, &at("0.5")).await?,
        p99_ms: ask(db, &at("0.99")).await?,
    })
}

/// Waits until every event is marked as sent.
pub async fn marked(db: &DatabaseConnection) -> Result<()> {
    until("every event is marked as sent", MARKED, || async {
        match ask::<i64>(db, "SELECT count(*) FROM events WHERE sent_at IS NULL").await {
            Ok(0) => Ok(()),
            Ok(unsent) => Err(format!("{unsent} are not")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// `buy/init` calls answered per second, from the first that began to the last answer.
pub async fn inits_per_second(run: &Run) -> Result<f64> {
    let db = run.open().await?;
    let first: i64 = ask(&db, &micros("min(started_at)", "attempts")).await?;
    let last: i64 = ask(&db, &micros("max(answered_at)", "attempts")).await?;
    let answered: i64 = ask(&db, "SELECT count(*) FROM attempts WHERE answered_at IS NOT NULL").await?;
    db.close().await?;
    ensure!(last > first, "no call was answered");
    Ok(answered as f64 / ((last - first) as f64 / 1e6))
}

pub fn micros(what: &str, table: &str) -> String {
    format!("SELECT (extract(epoch FROM {what}) * 1000000)::bigint FROM {table}")
}

/// How many calls are answered.
pub async fn answered(run: &Run) -> Result<usize> {
    let db = run.open().await.context("the run's database")?;
    let answered: i64 = ask(&db, "SELECT count(*) FROM attempts WHERE answered_at IS NOT NULL").await?;
    db.close().await?;
    Ok(usize::try_from(answered)?)
}
