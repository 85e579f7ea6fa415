//! One variant in a process of its own: it does its job, says what came of it, and waits to be ended, so that its CPU can be read.

use anyhow::Result;
use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt, stdin};

use crate::{broker_only, ceiling, job, plain, store_only};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    Plain,
    Ceiling,
    Broker,
    Store,
    Bare,
}

impl Variant {
    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::Ceiling => "ceiling",
            Variant::Broker => "broker",
            Variant::Store => "store",
            Variant::Bare => "bare",
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
    };
    println!("{}", serde_json::to_string(&outcome)?);
    stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
