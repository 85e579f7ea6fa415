//! `bench warnings`: what it costs to find who is due beside many who are not, and how fast warnings go out.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{claims, digests};

#[derive(Debug, Args)]
pub struct Flags {
    /// How many warnings are planned beside those who are due, each of a user of its own
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000], value_name = "N,…")]
    planned: Vec<u64>,
    /// Users who are warned, all at about one moment
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    users: usize,
    /// Items that each of them owns
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    items: u32,
    /// Partners they are spread over
    #[arg(long, default_value_t = 20, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=200))]
    partners: u16,
    /// This alone
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// A tenth of everything
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What it costs to find who is due
    Claims,
    /// How fast warnings go out
    Digests,
}

pub async fn run(flags: Flags) -> Result<()> {
    let shrink = if flags.quick { 10 } else { 1 };
    if flags.only != Some(Part::Digests) {
        let planned: Vec<u64> = flags.planned.iter().map(|planned| planned / shrink).collect();
        claims::run(&planned).await?;
    }
    if flags.only != Some(Part::Claims) {
        let users = flags.users / shrink as usize;
        digests::run(digests::Who { users, items: flags.items, partners: flags.partners }).await?;
    }
    Ok(())
}
