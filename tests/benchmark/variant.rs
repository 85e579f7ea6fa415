//! One variant in a process of its own: it does its job, says what came of it, and waits to be ended, so that its CPU can be read.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin},
    process::{Child, Command},
};

use crate::{
    broker_only, ceiling,
    job::{self, Outcome},
    plain, plain_sales, plain_users, store_only,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    Plain,
    Ceiling,
    Broker,
    Store,
    Bare,
    Syncs,
    Digests,
    Sales,
}

impl Variant {
    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::Ceiling => "ceiling",
            Variant::Broker => "broker",
            Variant::Store => "store",
            Variant::Bare => "bare",
            Variant::Syncs => "syncs",
            Variant::Digests => "digests",
            Variant::Sales => "sales",
        }
    }
}

/// What a variant is told.
#[derive(Debug, Clone, Args)]
pub struct Told {
    #[arg(long)]
    pub amqp: String,
    #[arg(long)]
    pub database: String,
    #[arg(long)]
    pub upstream: String,
    #[arg(long)]
    pub partners: usize,
    /// Or whatever else the run consists of.
    #[arg(long)]
    pub purchases: usize,
}

impl Told {
    pub fn partners(&self) -> Vec<String> {
        job::partners(self.partners)
    }

    /// The arguments that say the same.
    pub fn arguments(&self, variant: Variant) -> Vec<String> {
        let Self { amqp, database, upstream, partners, purchases } = self;
        let flags = [("--amqp", amqp), ("--database", database), ("--upstream", upstream)];
        let numbers = [("--partners", partners.to_string()), ("--purchases", purchases.to_string())];
        let flags = flags.into_iter().map(|(name, value)| (name, value.clone())).chain(numbers);
        let first = ["variant".to_owned(), variant.name().to_owned()];
        first.into_iter().chain(flags.flat_map(|(name, value)| [name.to_owned(), value])).collect()
    }
}

#[derive(Debug, Args)]
pub struct Flags {
    which: Variant,
    #[command(flatten)]
    told: Told,
}

pub async fn run(flags: Flags) -> Result<()> {
    let told = &flags.told;
    let outcome = match flags.which {
        Variant::Plain => plain::run(told).await?,
        Variant::Ceiling => ceiling::run(told).await?,
        Variant::Broker => broker_only::run(told).await?,
        Variant::Store => store_only::run(told).await?,
        Variant::Bare => store_only::run_bare(told).await?,
        Variant::Syncs => plain_users::sync(told).await?,
        Variant::Digests => plain_users::warn(told).await?,
        Variant::Sales => plain_sales::run(told).await?,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// A variant's process, from outside.
pub struct Process(Child);

impl Process {
    pub fn start(variant: Variant, told: &Told) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(told.arguments(variant)).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().map(Self).with_context(|| format!("starting {}", variant.name()))
    }

    pub fn pid(&self) -> Result<i32> {
        Ok(self.0.id().context("it has ended already")?.cast_signed())
    }

    /// What it says came of it, within this time. Then it waits to be stopped.
    pub async fn outcome(&mut self, within: Duration) -> Result<Outcome> {
        let said = self.0.stdout.as_mut().context("its standard output is ours")?;
        let mut line = String::new();
        tokio::time::timeout(within, BufReader::new(said).read_line(&mut line)).await.context("it hangs")??;
        ensure!(!line.is_empty(), "it ended without a result");
        Ok(serde_json::from_str(&line)?)
    }

    pub async fn stop(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait().await?;
        if status.success() { Ok(()) } else { bail!("it ended with {status}") }
    }
}
