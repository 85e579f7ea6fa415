//! The runs of `bench pipeline`: in every round each variant once, one after another, so that what else the machine does hits all of
//! them alike; of every figure the median over the rounds, of every ratio the median of the rounds' ratios.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    fairness,
    ground::{Ground, Load, Run, Schema},
    inits,
    job::Outcome,
    meter::{Meter, Watched},
    product::{self, Roles},
    report::{Figures, Report},
    variant::{Process, Variant},
};

/// How the upstream behaves where nothing else is said: it answers as fast as the sandbox does, 20 ms away.
pub const UPSTREAM: [&str; 4] = ["--mode", "sandbox", "--latency", "20ms"];

/// A run that takes longer hangs.
pub const RUN: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Commands of a run
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub purchases: usize,
    /// Partners they are spread over
    #[arg(long, default_value_t = 20, value_name = "P", value_parser = clap::value_parser!(u16).range(2..=200))]
    pub partners: u16,
    /// How often each of the compared variants runs
    #[arg(long, default_value_t = 3, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,
    /// Commands that wait in one partner's queue while another's is timed
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub backlog: usize,
    /// Only these, and nothing else; several with commas
    #[arg(long, value_delimiter = ',', value_name = "VARIANT")]
    pub only: Vec<Who>,
    /// One round, a third of the commands and a fifth of the backlog
    #[arg(long)]
    pub quick: bool,
}

/// Who runs: the product, or a process of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Clawback,
    Other(Variant),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::COMPARED.into_iter().chain(Self::PARTS);
        all.clone().find(|who| who.name() == name).ok_or_else(|| all.map(Self::name).collect::<Vec<_>>().join(", "))
    }
}

impl Who {
    const COMPARED: [Self; 3] = [Who::Clawback, Who::Other(Variant::Plain), Who::Other(Variant::Ceiling)];
    /// The parts alone, once.
    const PARTS: [Self; 3] = [Who::Other(Variant::Broker), Who::Other(Variant::Store), Who::Other(Variant::Bare)];

    pub fn name(self) -> &'static str {
        match self {
            Who::Clawback => "clawback",
            Who::Other(variant) => variant.name(),
        }
    }

    fn schema(self) -> Schema {
        match self {
            Who::Clawback | Who::Other(Variant::Store) => Schema::Clawback,
            Who::Other(_) => Schema::Bare,
        }
    }

    fn consumes(self) -> bool {
        !matches!(self, Who::Other(Variant::Store | Variant::Bare))
    }

    fn calls(self) -> bool {
        matches!(self, Who::Clawback | Who::Other(Variant::Plain | Variant::Ceiling))
    }
}

pub async fn run(flags: Flags) -> Result<()> {
    let flags = if flags.quick {
        Flags { rounds: 1, purchases: flags.purchases / 3, backlog: flags.backlog / 5, ..flags }
    } else {
        flags
    };
    let chosen = |who: &Who| flags.only.is_empty() || flags.only.contains(who);
    let mut ground = Ground::lay(flags.partners.into()).await?;
    let mut report = Report::default();
    for round in 1..=flags.rounds {
        for who in Who::COMPARED.into_iter().filter(chosen) {
            eprintln!("round {round} of {}: {}", flags.rounds, who.name());
            report.add(who.name(), measure(&mut ground, who, flags.purchases).await.with_context(|| who.name())?);
        }
    }
    for who in Who::PARTS.into_iter().filter(chosen) {
        eprintln!("the parts alone: {}", who.name());
        report.add(who.name(), measure(&mut ground, who, flags.purchases).await.with_context(|| who.name())?);
    }
    if flags.only.is_empty() {
        eprintln!("clawback with polls that the upstream holds for seconds");
        report.inits(inits::measure(&mut ground, flags.purchases).await?);
        eprintln!("clawback with a backlog of {}", flags.backlog);
        report.fairness(fairness::measure(&mut ground, flags.backlog).await?);
    }
    report.tell(&flags);
    Ok(())
}

/// One run of one variant.
async fn measure(ground: &mut Ground, who: Who, purchases: usize) -> Result<Figures> {
    let run = ground.run(who.schema(), &UPSTREAM, Load::of(purchases)).await?;
    if who.consumes() {
        ground.preload(&run).await?;
    }
    ground.checkpoint().await?;
    let before = ground.written(&run).await?;
    let running = Running::start(ground, who, &run).await?;
    let meter = Meter::start(Watched::of(ground, &run, running.pids()?));
    if who.consumes() {
        ground.all_out(run.told.purchases, RUN).await.with_context(|| running.last_words())?;
    }
    let (running, outcome) = running.outcome(&run).await?;
    let cpu = meter.between(outcome.first, outcome.last).await;
    let peak_mib = meter.peak()?;
    let inits_per_second = if who == Who::Clawback { Some(product::inits_per_second(&run).await?) } else { None };
    running.stop().await?;
    if who.calls() {
        run.check_ledger().await?;
    }
    let after = ground.written(&run).await?;
    ground.sweep().await?;
    let rows_per_commit = (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64;
    Ok(Figures::of(purchases, outcome, cpu, rows_per_commit, peak_mib, inits_per_second))
}

/// The processes of a run.
enum Running {
    Product(Roles),
    Variant(Process),
}

impl Running {
    async fn start(ground: &mut Ground, who: Who, run: &Run) -> Result<Self> {
        match who {
            Who::Clawback => Ok(Self::Product(Roles::start(ground, run, 1).await?)),
            Who::Other(variant) => Ok(Self::Variant(Process::start(variant, &run.told)?)),
        }
    }

    fn pids(&self) -> Result<Vec<i32>> {
        match self {
            Self::Product(roles) => Ok(roles.pids()),
            Self::Variant(process) => Ok(vec![process.pid()?]),
        }
    }

    async fn outcome(self, run: &Run) -> Result<(Self, Outcome)> {
        match self {
            Self::Product(roles) => Ok((Self::Product(roles), product::outcome(run).await?)),
            Self::Variant(mut process) => {
                let outcome = process.outcome(RUN).await?;
                Ok((Self::Variant(process), outcome))
            }
        }
    }

    async fn stop(self) -> Result<()> {
        match self {
            Self::Product(roles) => roles.stop().await,
            Self::Variant(process) => process.stop().await,
        }
    }

    fn last_words(&self) -> String {
        match self {
            Self::Product(roles) => roles.last_words(),
            Self::Variant(_) => "its errors stand above".into(),
        }
    }
}
