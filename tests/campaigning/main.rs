//! The campaign: Clawback as it is really run, on servers of its own, while everything breaks that can be broken on one machine.
//!
//! `campaign --cycles N [--purchases M] [--seed S] [--only NAME]… [--logs FOLDER]` publishes M purchases in N batches. In each cycle one
//! trouble from the table strikes at a drawn moment; all of them come before one comes again. The next cycle begins when Clawback
//! works again, while rows that were cut off may still be waiting for their deadlines.
//!
//! From the second cycle on a third of what was bought before is sold back, amid the same troubles; and what all but the last five
//! cycles buy has windows of little more than a minute, so that its users are warned amid them, too. At the end everything must rest, every such
//! window has shut, and store, events, inventories and the sandbox's ledger must tell one story: nothing bought or sold twice, each lead
//! time of a pull told by one event, nothing warned of that is known to be sold, and no window shut unsold in silence.
//!
//! Its last line counts purchases (`commands` and what became of them), `sellbacks` (`sold`, of these `estimated`; `not_sold`,
//! `sales_in_review`), lead times of pulls (`warnings_sent`, of these `warnings_late`; `warnings_overtaken` by a nearer one or by the end) and
//! `windows_closed` unsold.
//!
//! `campaign --cluster --purchases M` kills the leader of a purchase queue in a RabbitMQ of three nodes instead.
//!
//! The seed draws troubles, their order and their moments; the machine adds its own chance, so that a seed repeats a plan and not a run.
//!
//! What it cannot see: power failures (what was written to a dead process's files is there), a machine or a clock of its own for each
//! process, a database that fails over, an upstream that forgets.

mod chance;
mod cluster;
mod crew;
mod cycles;
mod flow;
mod record;
mod recovery;
mod reviews;
mod sellers;
mod site;
mod troubles;
mod verdict;
mod windows;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// For each cycle, unless the command line says how many there are altogether.
const PURCHASES_A_CYCLE: usize = 10;
const PURCHASES_OF_A_CLUSTER: usize = 2000;

#[derive(Debug, Parser)]
#[command(name = "campaign", about = "Breaks everything around Clawback, again and again, and audits what it bought")]
pub struct Options {
    /// How many troubles
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
    /// How many purchases altogether [default: 10 a cycle; 2000 with --cluster]
    #[arg(long)]
    purchases: Option<usize>,
    /// Draws the same plan again
    #[arg(long)]
    seed: Option<u64>,
    /// Only troubles whose name contains this; repeatable
    #[arg(long)]
    only: Vec<String>,
    /// Three RabbitMQ nodes, the leader of a purchase queue killed
    #[arg(long)]
    cluster: bool,
    /// Keeps what every process said in this folder
    #[arg(long)]
    logs: Option<PathBuf>,
}

impl Options {
    fn cycles(&self) -> usize {
        self.cycles as usize
    }

    fn purchases(&self) -> usize {
        let usual = if self.cluster { PURCHASES_OF_A_CLUSTER } else { PURCHASES_A_CYCLE * self.cycles() };
        self.purchases.unwrap_or(usual)
    }

    fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.seed.unwrap_or_else(now)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // Whatever it started ends with it, whoever ends it.
    let result = tokio::select! {
        result = run(&options) => result,
        _ = ended(SignalKind::interrupt()) => Err(anyhow!("interrupted")),
        _ = ended(SignalKind::terminate()) => Err(anyhow!("told to end")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("campaign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn ended(by: SignalKind) -> Option<()> {
    signal(by).ok()?.recv().await
}

async fn run(options: &Options) -> Result<bool> {
    ensure!(
        cfg!(feature = "rehearsal"),
        "built without its crash points: tests/campaign builds it with the feature `rehearsal`"
    );
    if options.cluster { cluster::run(options).await } else { cycles::run(options).await }
}
