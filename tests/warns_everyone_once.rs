//! Two weeks of warnings within a minute, on the sandbox's clock: processes are killed, both schedulers are down for a night, some items
//! are sold and some users want no warnings. Each lead time of each pull is told in one event, what was missed is told late or not at all,
//! and nothing is told of what was sold. Counted against the sandbox's ledger.
//!
//! `CLAWBACK_TEST_USERS` says how many users there are, with five pulls each: 2000 is the size that the promise speaks of.
//! `CLAWBACK_TEST_SEED` draws the same again.

#[path = "warns_everyone_once/days.rs"]
mod days;
#[path = "warns_everyone_once/fate.rs"]
mod fate;
#[path = "warns_everyone_once/heard.rs"]
mod heard;
#[path = "warns_everyone_once/told.rs"]
mod told;
#[path = "warns_everyone_once/users.rs"]
mod users;

use std::{env, time::Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use clawback_tests::{
    Database, VirtualHost,
    rehearsal::{Plan, Stage},
};
use days::Days;
use users::Users;

const PARTNERS: usize = 2;
const USERS: u64 = 100;
/// A second batch of purchases comes so much later: each lead time is reached twice.
const APART: TimeDelta = TimeDelta::hours(5);
const NIGHT: TimeDelta = TimeDelta::hours(10);
/// With the built-in lead times no two of a pull are reached in a night of ten hours; with one of six hours some are.
const DEFAULTS: &str = "concurrency = 200\nrate_per_second = 2000\nsell = { concurrency = 64, rate_per_second = 2000 }\n\
    poll = { first = \"100ms\" }\nwarnings = { leads = [\"72h\", \"24h\", \"6h\", \"1h\"] }";

#[tokio::test]
async fn each_lead_time_of_each_pull_is_told_once_over_two_weeks() -> Result<()> {
    let began = Instant::now();
    let users = number("CLAWBACK_TEST_USERS")?.unwrap_or(USERS);
    let seed = number("CLAWBACK_TEST_SEED")?.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
    println!("{users} users; CLAWBACK_TEST_SEED={seed} draws the same again");
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    let plan = Plan { partners: PARTNERS, upstream: &["--settle=10ms"], defaults: DEFAULTS };
    let mut stage = Stage::set(host.url(), database.url(), plan).await?;
    stage.installation().set("CLAWBACK_CLOCK", "upstream");
    let mut days = Days::begin(stage, database.url(), seed).await?;
    let mut users = Users::new(users, seed);

    let first = days.now().await?;
    users.opt_out(&days).await?;
    users.buy(&mut days).await?;
    days.pass(first + APART).await?;
    let second = days.now().await?;
    users.buy(&mut days).await?;

    let week = second + TimeDelta::days(7);
    users.sell(&mut days, second, week - NIGHT - TimeDelta::hours(2)).await?;
    // The second batch's items of a week shut half an hour after it, those of the first in it.
    days.pass(week - NIGHT - TimeDelta::minutes(30)).await?;
    let night = days.sleep(NIGHT).await?;
    users.sell(&mut days, week, week + TimeDelta::days(3)).await?;
    users.sell(&mut days, week + TimeDelta::days(3), week + TimeDelta::days(6)).await?;
    days.pass_all().await?;

    let tally = told::audit(&days, &users, &night).await?;
    println!("{tally}, {} jumps, {} kills, {:?}", days.jumps, days.kills, began.elapsed());
    tally.is_worth_something()?;
    ensure!(days.kills > 1, "nothing was killed");
    Ok(())
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable} is a number"))).transpose()
}

/// A number less than `below`, the same for the same seed.
fn drawn(seed: u64, what: &str, number: usize, below: u64) -> u64 {
    let name = format!("{seed} {what} {number}");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).as_u64_pair().0 % below
}
