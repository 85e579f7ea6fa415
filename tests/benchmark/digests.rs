//! `bench warnings`, end to end: everybody's first lead time is due at about one moment. From then until every warning is out and marked,
//! with two schedulers and one worker.
//!
//! Before it time passes until the crowd is counted: each user has a turn of which nothing is measured.

use anyhow::{Result, ensure};
use chrono::TimeDelta;
use clawback_domain::Time;
use sea_orm::DatabaseConnection;

use crate::{
    beside::{self, Figures},
    ground::{Ground, Run, ask},
    job::Outcome,
    meter::{Meter, Watched},
    owners,
    pipeline::UPSTREAM,
    plain_users,
    product::{self, Roles},
    variant::Variant,
};

/// Two may do the work of one, and must not get into each other's way.
const SCHEDULERS: usize = 2;
/// Before the first of all lead times: nobody's look is due, and the crowd may be counted.
const BEFORE: TimeDelta = TimeDelta::minutes(15);
/// Who was counted is due so long before the lead time, or later.
const NEAR: TimeDelta = TimeDelta::minutes(2);

/// Who is warned.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    pub users: usize,
    pub items: u32,
    pub partners: u16,
}

pub async fn run(who: Who) -> Result<()> {
    let Who { users, items, partners } = who;
    let mut ground = Ground::lay(partners.into()).await?;
    let run = owners::buy(&mut ground, &UPSTREAM, users, items, plain_users::SCHEMA).await?;
    let product = product(&mut ground, &run, who).await?;
    let ceiling = beside::plain(&ground, &run, Variant::Digests, users, owners::LONG).await?;
    let title = format!("{users} warnings of {items} items each, of {partners} partners, upstream at 20 ms");
    beside::tell("warnings", "digests", &title, &product, &ceiling)
}

async fn product(ground: &mut Ground, run: &Run, who: Who) -> Result<Figures> {
    let roles = Roles::start(ground, run, SCHEDULERS).await?;
    let db = run.open().await?;
    eprintln!("clawback reads when everything expires, and counts who is due together");
    owners::read_all(run, &db).await?;
    let first = moment(&db, "SELECT min(moment) FROM warnings WHERE state = 'planned'").await?;
    owners::advance_to(run, first - BEFORE).await?;
    owners::until_none_due_before(&db, first - NEAR).await?;
    ground.sweep().await?;
    ground.checkpoint().await?;

    eprintln!("clawback warns");
    let all_due = moment(&db, "SELECT max(due_at) FROM users").await?;
    let meter = Meter::start(Watched::of(ground, run, roles.pids()));
    let began = owners::advance_to(run, all_due).await?;
    ground.all_out(who.users, owners::LONG).await?;
    product::marked(&db).await?;
    let last: i64 = ask(&db, &product::micros("max(sent_at)", "events")).await?;
    // Nobody's latency: all were due at once.
    let outcome = Outcome { first: began.at, last: last - began.ahead(), p50_ms: 0.0, p99_ms: 0.0 };
    let cpu = meter.between(outcome.first, outcome.last).await;
    let peak_mib = meter.peak()?;
    let items = told(&db, who).await?;
    let late: i64 = ask(&db, "SELECT count(*) FROM warnings WHERE state = 'sent' AND late").await?;
    db.close().await?;
    roles.stop().await?;
    let more = vec![("items_per_second", items as f64 / outcome.seconds()), ("late_items", late as f64)];
    Ok(Figures { variant: "clawback", count: who.users, outcome, cpu, peak_mib, more })
}

/// Each item in one warning that rests on a look, and one warning of each user.
async fn told(db: &DatabaseConnection, who: Who) -> Result<i64> {
    let items: i64 = ask(db, "SELECT count(*) FROM warnings WHERE state = 'sent' AND verified").await?;
    let digests: i64 = ask(db, "SELECT count(*) FROM events WHERE kind = 'clawback.buyback.expiring'").await?;
    let wanted = (who.users as i64 * i64::from(who.items), who.users as i64);
    ensure!((items, digests) == wanted, "{items} items were warned of in {digests} digests, not {wanted:?}");
    Ok(items)
}

async fn moment(db: &DatabaseConnection, sql: &str) -> Result<Time> {
    ask(db, sql).await
}
