//! `bench sync`: everybody's inventory is read once, as after the first start with many who own something, or a long night without
//! schedulers. How many users a second, at what cost, and does memory grow with how many there are?

use anyhow::Result;
use chrono::Utc;
use clap::Args;

use crate::{
    beside::{self, Figures},
    ground::{Ground, Run},
    job::Outcome,
    meter::{Meter, Watched, peak},
    owners,
    pipeline::UPSTREAM,
    plain_users,
    product::Roles,
    variant::Variant,
};

#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Users who own something
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    users: usize,
    /// Partners they are spread over
    #[arg(long, default_value_t = 20, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=200))]
    partners: u16,
    /// Items that each of them owns
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    items: u32,
    /// A tenth of the users
    #[arg(long)]
    quick: bool,
}

/// The most that processes ever had so far, in MiB.
#[derive(Debug, Clone, Copy)]
struct Peaks {
    worker: f64,
    scheduler: f64,
}

pub async fn run(flags: Flags) -> Result<()> {
    let users = if flags.quick { flags.users / 10 } else { flags.users };
    let mut ground = Ground::lay(flags.partners.into()).await?;
    let run = owners::buy(&mut ground, &UPSTREAM, users, flags.items, plain_users::SCHEMA).await?;
    let product = product(&mut ground, &run, users).await?;
    let ceiling = beside::plain(&ground, &run, Variant::Syncs, users, owners::LONG).await?;
    let title = format!("{users} users of {} partners with {} items each, upstream at 20 ms", flags.partners, flags.items);
    beside::tell("sync", "users", &title, &product, &ceiling)
}

async fn product(ground: &mut Ground, run: &Run, users: usize) -> Result<Figures> {
    eprintln!("clawback");
    let roles = Roles::start(ground, run, 1).await?;
    let db = run.open().await?;
    let meter = Meter::start(Watched::of(ground, run, roles.pids()));
    let began = owners::make_due(run).await?;
    let mut early = None;
    owners::until_read(&db, |left| {
        if early.is_none() && left <= users - users / 10 {
            early = Some(Peaks::of(&roles)?);
        }
        Ok(())
    })
    .await?;
    // Nobody's latency: all were due at once.
    let outcome = Outcome { first: began.at, last: Utc::now().timestamp_micros(), p50_ms: 0.0, p99_ms: 0.0 };
    let cpu = meter.between(outcome.first, outcome.last).await;
    let (late, peak_mib) = (Peaks::of(&roles)?, meter.peak()?);
    let early = early.unwrap_or(late);
    db.close().await?;
    roles.stop().await?;
    let more = vec![
        ("worker_mib_at_10_percent", early.worker),
        ("worker_mib_at_100_percent", late.worker),
        ("scheduler_mib_at_10_percent", early.scheduler),
        ("scheduler_mib_at_100_percent", late.scheduler),
    ];
    Ok(Figures { variant: "clawback", count: users, outcome, cpu, peak_mib, more })
}

impl Peaks {
    fn of(roles: &Roles) -> Result<Self> {
        let pids = roles.pids();
        let schedulers: Result<Vec<f64>> = pids[1..].iter().map(|pid| peak(*pid)).collect();
        Ok(Self { worker: peak(pids[0])?, scheduler: schedulers?.into_iter().fold(0.0, f64::max) })
    }
}
