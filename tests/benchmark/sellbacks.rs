//! `bench sellbacks`: one item of each user is sold back, out of queues that were filled before. Users own two items: the product sells
//! one, the plain worker the other.

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    beside::{self, Figures},
    ground::{Ground, Owned, Run, ask},
    job::Outcome,
    meter::{Meter, Watched},
    owners, plain_sales,
    product::{self, Roles},
    variant::Variant,
};

/// Each item is one of its own, as in production. In the sandbox's mode many hold the same one, and all their inventories are read.
const UPSTREAM: [&str; 6] = ["--mode", "production", "--latency", "20ms", "--settle", "1ms"];
/// One for the product, one for the plain worker.
const EACH: u32 = 2;

#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Sellbacks of a run, each of a user of its own
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    sellbacks: usize,
    /// Partners they are spread over
    #[arg(long, default_value_t = 20, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=200))]
    partners: u16,
    /// A third of the sellbacks
    #[arg(long)]
    quick: bool,
}

pub async fn run(flags: Flags) -> Result<()> {
    let sellbacks = if flags.quick { flags.sellbacks / 3 } else { flags.sellbacks };
    let mut ground = Ground::lay(flags.partners.into()).await?;
    let run = owners::buy(&mut ground, &UPSTREAM, sellbacks, EACH, plain_sales::SCHEMA).await?;
    let (ours, theirs) = shares(&run).await?;
    let product = product(&mut ground, &run, &ours).await?;
    check_ledger(&run, sellbacks).await?;
    ground.preload_sales(&run, &theirs).await?;
    let ceiling = beside::plain(&ground, &run, Variant::Sales, sellbacks, owners::LONG).await?;
    check_ledger(&run, 2 * sellbacks).await?;
    let title = format!("{sellbacks} sellbacks of {} partners, upstream at 20 ms", flags.partners);
    beside::tell("sellbacks", "sellbacks", &title, &product, &ceiling)
}

/// One item of each user, and the other.
async fn shares(run: &Run) -> Result<(Vec<Owned>, Vec<Owned>)> {
    let db = run.open().await?;
    let items = owners::items(&db).await?;
    db.close().await?;
    let (first, second): (Vec<_>, Vec<_>) = items.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let own = |share: Vec<(usize, Owned)>| share.into_iter().map(|(_, item)| item).collect();
    Ok((own(first), own(second)))
}

async fn product(ground: &mut Ground, run: &Run, items: &[Owned]) -> Result<Figures> {
    eprintln!("clawback reads what everybody owns");
    let roles = Roles::start(ground, run, 1).await?;
    let db = run.open().await?;
    let now = owners::read_all(run, &db).await?;
    roles.stop().await?;
    ground.sweep().await?;
    ground.preload_sales(run, items).await?;
    ground.checkpoint().await?;

    eprintln!("clawback sells");
    let roles = Roles::start(ground, run, 1).await?;
    let meter = Meter::start(Watched::of(ground, run, roles.pids()));
    ground.all_out(items.len(), owners::LONG).await?;
    product::marked(&db).await?;
    let of = "orders JOIN events ON subject = orders.id WHERE orders.kind = 'sellback'";
    let outcome = product::told(&db, of).await?;
    let outcome = Outcome { first: outcome.first - now.ahead(), last: outcome.last - now.ahead(), ..outcome };
    let cpu = meter.between(outcome.first, outcome.last).await;
    let peak_mib = meter.peak()?;
    let sold: i64 = ask(&db, "SELECT count(*) FROM orders WHERE kind = 'sellback' AND state = 'sold'").await?;
    ensure!(sold as usize == items.len(), "{sold} of {} were sold", items.len());
    db.close().await?;
    roles.stop().await?;
    ground.sweep().await?;
    let more = vec![("p50_ms", outcome.p50_ms), ("p99_ms", outcome.p99_ms)];
    Ok(Figures { variant: "clawback", count: items.len(), outcome, cpu, peak_mib, more })
}

/// So many were sold, and nothing twice.
async fn check_ledger(run: &Run, sellbacks: usize) -> Result<()> {
    let ledger = run.upstream.ledger().await?;
    ensure!(ledger.sold_twice().is_empty(), "sold twice: {:?}", ledger.sold_twice());
    ensure!(ledger.sellbacks.len() == sellbacks, "{} of {sellbacks} were sold", ledger.sellbacks.len());
    Ok(())
}
