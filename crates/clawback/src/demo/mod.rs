//! `clawback demo`: the whole system in one process for a few seconds, on made-up partners.
//!
//! Commands go in as partners send them (some twice, one broken), through the embedded broker and an SQLite store in a temporary
//! folder, to the built-in sandbox, which settles late, refuses some and loses some answers. At the end what the store believes is
//! held against the sandbox's own ledger.
//!
//! What is bought in the first seconds expires after days: in a second act the sandbox's clock is moved past the first week, and all go
//! by it. Users are warned, one has an item sold back, one partner's are sold by themselves, and one item leaves by another way.

mod count;
mod days;
mod events;
mod plant;
mod progress;
mod sums;
mod tell;
mod workload;

use std::time::{Duration, Instant};

use clawback_domain::Clock;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, failure::Failure};
use count::Counted;
use days::Walk;
use plant::Plant;
use sums::Sums;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  clawback demo\n  clawback demo --purchases 1000 --json | tail -1")]
pub struct DemoFlags {
    /// How many purchases
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    purchases: u32,
    /// Draws the same items and faults again
    #[arg(long, default_value_t = 7, value_name = "N")]
    seed: u64,
}

/// When every purchase has ended there are still events on their way; beyond this something hangs, and that is a finding.
const EVENTS_WITHIN: Duration = Duration::from_secs(5);

/// For a purchase that settles in a second, after its turn came.
const PATIENCE: Duration = Duration::from_secs(15);

/// # Errors
/// The parts cannot be started; or anything was lost, bought or sold twice, warned of wrongly or left open.
pub async fn run(context: &Context, flags: DemoFlags) -> Result<(), Failure> {
    if !context.out.json {
        context.out.line(&tell::opening(flags.purchases))?;
    }
    let shutdown = CancellationToken::new();
    let plant = Plant::start(flags.seed, shutdown.clone()).await?;
    let workload = workload::draw(flags.purchases, flags.seed);
    let (began, first_day) = (Instant::now(), plant.clock.now());
    let ending = flags.purchases / plant::RATE + 1;
    let deadline = began + PATIENCE + Duration::from_secs(u64::from(ending));

    let bars = progress::Bars::new(context.out.is_live(), &workload);
    let sending = workload::send(&*plant.broker, &workload);
    let watching = progress::until_settled(&plant, &workload, &bars, deadline);
    let (sent, took) = tokio::join!(sending, watching);
    bars.clear();
    sent?;
    let took = took?;
    plant.events.wait_for(workload.announced(), EVENTS_WITHIN).await;

    let mut walk = Walk::new(&plant, &workload, context.out, first_day);
    walk.through_a_week(&workload).await?;
    let sums = Sums::count(&plant, walk.elsewhere).await?;

    let counted = Counted::count(&plant, &workload, took, sums).await?;
    let story = count::a_story(&*plant.store, &workload, &*plant.clock).await?;
    plant.stop().await;
    if !context.out.json {
        context.out.line(&tell::ending(&counted, story.as_ref()))?;
    }
    context.out.result(&counted.object(), || tell::verdict(&counted))?;
    counted.verdict()
}
