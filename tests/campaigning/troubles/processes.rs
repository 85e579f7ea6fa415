//! What happens to Clawback's own processes.

use std::time::Duration;

use anyhow::Result;
use clawback_telemetry::names::INITS_IN_FLIGHT;
use tokio::time::sleep;

use super::Struck;
use crate::{
    chance::Chance,
    crew::Duty,
    site::{PAST_DEADLINES, Site},
};

/// A worker may die between any two instructions: its rows come due, its deliveries come again, and what it had called is not called
/// again. This one dies in a call if it can.
pub async fn worker_killed(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.crew.in_the_act(INITS_IN_FLIGHT).await;
    site.crew.take_oldest(Duty::Worker)?.kill()?;
    Ok(Struck::Hit)
}

/// The other scheduler finds what this one had claimed, when it comes due again.
pub async fn scheduler_killed(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.crew.take_oldest(Duty::Scheduler)?.kill()?;
    Ok(Struck::Hit)
}

/// Store and broker hold everything: with no process left nothing is lost.
pub async fn everybody_killed(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    for duty in [Duty::Worker, Duty::Scheduler] {
        for role in site.crew.of(duty).drain(..) {
            role.kill()?;
        }
    }
    Ok(Struck::Hit)
}

/// As a deployment does it: SIGTERM drains, and nobody notices.
pub async fn everybody_restarted_in_turn(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.crew.restart_in_turn(&mut site.stage).await?;
    Ok(Struck::Hit)
}

/// A process that wakes up after its attempts were given up buys nothing, and what it knows still counts. RabbitMQ has given its
/// deliveries to the other by then.
pub async fn worker_frozen(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.crew.in_the_act(INITS_IN_FLIGHT).await;
    let worker = &site.crew.of(Duty::Worker)[0];
    worker.freeze()?;
    sleep(PAST_DEADLINES).await;
    worker.wake()?;
    Ok(Struck::Hit)
}

/// Longer than a first nudge: what it had claimed is claimed by the other, and its late steps fit no row.
pub async fn scheduler_frozen(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const LONGER_THAN_A_NUDGE: Duration = Duration::from_secs(7);
    let scheduler = &site.crew.of(Duty::Scheduler)[0];
    scheduler.freeze()?;
    sleep(LONGER_THAN_A_NUDGE).await;
    scheduler.wake()?;
    Ok(Struck::Hit)
}
