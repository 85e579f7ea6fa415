//! Days that pass by jumps of the sandbox's clock, each only when everybody who is due has been seen to.
//!
//! Far from any lead time a jump goes over many turns at once: they are late, but tell nothing. It ends shortly before the next moment;
//! from there jumps are small, so that what goes out late is late by Clawback's doing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use clawback_domain::Time;
use clawback_tests::{
    Role,
    rehearsal::{Stage, gauge},
    servers,
    wait::until,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, FromQueryResult, Statement};
use tokio::time::sleep;

use super::drawn;

/// Turns of a warning begin half a minute before its moment, and a crowd's some seconds before that.
const BEFORE: TimeDelta = TimeDelta::seconds(50);
/// Who is due within so long is seen to together.
const NEAR: TimeDelta = TimeDelta::seconds(15);
const FAR: TimeDelta = TimeDelta::hours(12);
/// Everybody may be due at once, and a killed worker's messages come to another when the broker finds out.
const REST: Duration = Duration::from_secs(300);
/// A turn that was taken moves `due_at` by so much, with the built-in time-outs: while one is under way its look must not grow old.
const COVER: TimeDelta = TimeDelta::seconds(105);
/// Each process asks several times a second.
const FOLLOWED: Duration = Duration::from_secs(30);
/// A turn takes milliseconds. What its worker's death has ended looks the same, and is not waited for.
const TURN: Duration = Duration::from_secs(3);
/// More would mean that somebody is due again and again.
const MOST_JUMPS: usize = 2_000;

pub struct Days {
    schedulers: Vec<Role>,
    workers: Vec<Role>,
    pub stage: Stage,
    database: DatabaseConnection,
    pub seed: u64,
    /// What time it was after the last jump.
    at: Time,
    jumped: Instant,
    pub jumps: usize,
    pub kills: usize,
    /// Jumps near a moment until the next kill.
    quiet: u64,
}

/// When nothing that has to do with warnings was awake.
pub struct Night {
    pub from: Time,
    pub until: Time,
}

/// What is to come.
struct Ahead {
    users: Due,
    /// The next moment of a lead time that is to be told.
    moment: Option<Time>,
}

#[derive(Debug, FromQueryResult)]
struct Due {
    /// When the next user is due.
    next: Option<Time>,
    /// Users who are due now.
    overdue: i64,
    /// Users whose turn seems to be under way.
    turning: i64,
    /// Users whose inventory is to be read.
    unread: i64,
}

impl Ahead {
    fn is_near(&self) -> bool {
        self.users.next.zip(self.moment).is_some_and(|(due, moment)| due >= moment - BEFORE)
    }

    fn next(&self) -> Option<Time> {
        let due = self.users.next?;
        Some(match self.moment.map(|moment| moment - BEFORE) {
            _ if self.is_near() || self.users.unread > 0 => due + NEAR,
            Some(before) => before.min(due + FAR),
            None => due + FAR,
        })
    }
}

impl Days {
    pub async fn begin(mut stage: Stage, database: &str, seed: u64) -> Result<Self> {
        let (schedulers, workers) =
            (vec![stage.scheduler().await?, stage.scheduler().await?], vec![stage.worker().await?, stage.worker().await?]);
        let at = stage.upstream().now().await?;
        let database = servers::connect(database).await?;
        Ok(Self { schedulers, workers, stage, database, seed, at, jumped: Instant::now(), jumps: 0, kills: 0, quiet: 3 })
    }

    pub async fn now(&self) -> Result<Time> {
        self.stage.upstream().now().await
    }

    /// Until every inventory that was to be read is read.
    pub async fn pass_until_read(&mut self) -> Result<()> {
        self.jump(self.at).await?;
        loop {
            let ahead = self.rest().await?;
            if ahead.users.unread == 0 {
                return Ok(());
            }
            self.jump(ahead.next().context("who is to be read is due")?).await?;
        }
    }

    pub async fn pass(&mut self, then: Time) -> Result<()> {
        while let Some(next) = self.step(then).await? {
            self.jump(next.min(then)).await?;
        }
        self.jump(then).await?;
        self.rest().await.map(drop)
    }

    /// Until nobody will be due any more.
    pub async fn pass_all(&mut self) -> Result<()> {
        while let Some(next) = self.step(Time::MAX_UTC).await? {
            self.jump(next).await?;
        }
        Ok(())
    }

    async fn step(&mut self, then: Time) -> Result<Option<Time>> {
        let ahead = self.rest().await?;
        if ahead.is_near() {
            self.maybe_kill().await?;
        }
        Ok(ahead.next().filter(|next| *next < then))
    }

    /// Both schedulers are killed, and others start in the morning.
    pub async fn sleep(&mut self, span: TimeDelta) -> Result<Night> {
        for scheduler in self.schedulers.drain(..) {
            scheduler.kill()?;
        }
        let from = self.now().await?;
        self.jump(from + span).await?;
        let until = self.now().await?;
        for _ in 0..2 {
            self.schedulers.push(self.stage.scheduler().await?);
        }
        self.rest().await?;
        Ok(Night { from, until })
    }

    /// Whether a moment of a lead time is within so long of this time.
    pub async fn is_busy(&self, time: Time, within: TimeDelta) -> Result<bool> {
        let sql = "SELECT count(*) AS found FROM warnings WHERE moment BETWEEN $1 AND $2";
        let row = self.database.query_one_raw(self.statement(sql, [time - within, time + within]));
        Ok(row.await?.context("a count is a row")?.try_get::<i64>("", "found")? > 0)
    }

    async fn jump(&mut self, to: Time) -> Result<()> {
        self.jumps += 1;
        ensure!(self.jumps < MOST_JUMPS, "the days do not end: {:?}", self.due().await);
        let now = self.now().await?;
        self.at = match (to - now).to_std() {
            Ok(span) if !span.is_zero() => self.stage.upstream().advance(span).await?,
            // Real time went there meanwhile.
            _ => now,
        };
        self.jumped = Instant::now();
        self.followed().await
    }

    /// Waits until every process has seen the jump: what happened before that would be dated before it.
    async fn followed(&self) -> Result<()> {
        let ahead = usize::try_from((self.at - Utc::now()).num_seconds().max(0))?;
        until("every process follows the sandbox's clock", FOLLOWED, || async {
            for role in self.schedulers.iter().chain(&self.workers) {
                let seen = gauge(role, "clawback.clock.offset").await?;
                ensure!(seen + 1 >= ahead, "one is {seen} s ahead of the system's, not {ahead} s");
            }
            Ok(())
        })
        .await
    }

    /// Waits until everybody who was due is seen to.
    async fn rest(&self) -> Result<Ahead> {
        let rested = until("nobody is due", REST, || async {
            let due = self.due().await?;
            ensure!(due.overdue == 0, "{due:?} at {}", self.at);
            Ok(due)
        });
        let mut due = rested.await?;
        // Turns that a death has ended stay; others end one after the other.
        while due.turning > 0 {
            let fewer = until("a turn has ended", TURN, || async {
                let now = self.due().await?;
                ensure!(now.turning < due.turning && now.overdue == 0, "{now:?}");
                Ok(now)
            });
            match fewer.await {
                Ok(now) => due = now,
                Err(_) => break,
            }
        }
        self.ahead().await
    }

    async fn ahead(&self) -> Result<Ahead> {
        let sql = "SELECT min(moment) AS moment FROM warnings WHERE state = 'planned'";
        let row = self.database.query_one_raw(self.statement(sql, [])).await?.context("an aggregate is a row")?;
        Ok(Ahead { users: self.due().await?, moment: row.try_get("", "moment")? })
    }

    async fn due(&self) -> Result<Due> {
        let sql = "SELECT min(due_at) AS next, count(*) FILTER (WHERE due_at <= $1 OR nudges > 0) AS overdue,
                count(*) FILTER (WHERE due_at BETWEEN $2 AND $3) AS turning,
                count(*) FILTER (WHERE sync_wanted > synced) AS unread
            FROM users";
        let since = self.at - TimeDelta::seconds(1);
        let now = self.at + TimeDelta::from_std(self.jumped.elapsed())?;
        let statement = self.statement(sql, [self.at, since + COVER, now + COVER]);
        Due::find_by_statement(statement).one(&self.database).await?.context("an aggregate is a row")
    }

    fn statement<const N: usize>(&self, sql: &str, times: [Time; N]) -> Statement {
        Statement::from_sql_and_values(self.database.get_database_backend(), sql, times.map(Into::into))
    }

    /// kill -9 of a scheduler or a worker, at a drawn time while it may be at work, and another in its place.
    async fn maybe_kill(&mut self) -> Result<()> {
        self.quiet -= 1;
        if self.quiet > 0 {
            return Ok(());
        }
        self.kills += 1;
        self.quiet = 2 + drawn(self.seed, "quiet", self.kills, 8);
        let next = self.ahead().await?.next().context("a moment is near")?;
        self.jump(next).await?;
        sleep(Duration::from_millis(drawn(self.seed, "kill", self.kills, 600))).await;
        let is_scheduler = drawn(self.seed, "which", self.kills, 3) == 0;
        println!("{}: a {} is killed", self.at, if is_scheduler { "scheduler" } else { "worker" });
        if is_scheduler {
            self.schedulers.remove(0).kill()?;
            self.schedulers.push(self.stage.scheduler().await?);
        } else {
            self.workers.remove(0).kill()?;
            self.workers.push(self.stage.worker().await?);
        }
        self.rest().await.map(drop)
    }
}
