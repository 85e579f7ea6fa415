//! The benchmark: what the pipeline does in a second and what a purchase costs, beside what the same machine could do at best.
//!
//! `bench pipeline` runs the product, a plain worker and the ceilings one after another, several rounds, each as processes of its own
//! on the same real servers, and compares them within the run. Figures of two runs or two machines do not compare; ratios do.
//!
//! - [`pipeline`]: which runs, in which order, and what is made of them. [`report`]: the table and the JSON lines.
//! - [`ground`]: the virtual host, database and upstream a run stands on. [`meter`]: CPU and memory from `/proc`.
//! - [`product`]: Clawback itself. [`plain`], [`ceiling`], [`broker_only`], [`store_only`]: what it is compared with, each run by
//!   [`variant`] in a process of its own. [`job`] is what they have in common, [`group`] the ceiling's group commit.
//! - [`claims`]: `bench warnings`, what it costs to find who is due.
//! - [`inits`]: do long polls slow inits down? [`fairness`]: does a backlog delay another partner?

mod broker_only;
mod ceiling;
mod claims;
mod fairness;
mod ground;
mod group;
mod inits;
mod job;
mod meter;
mod pipeline;
mod plain;
mod product;
mod report;
mod store_only;
mod variant;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The product's, so that it gives nobody an advantage.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "tests/bench", arg_required_else_help = true, after_help = "Example:\n  tests/bench pipeline --quick")]
struct Bench {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Purchases from the command's delivery to the event's confirm
    Pipeline(pipeline::Flags),
    /// Finding and claiming who is due, beside many who are not
    Warnings(claims::Flags),
    /// One variant, in this process: what `pipeline` starts
    #[command(hide = true)]
    Variant(variant::Flags),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Bench::parse().which {
        Which::Pipeline(flags) => pipeline::run(flags).await,
        Which::Warnings(flags) => claims::run(flags).await,
        Which::Variant(flags) => variant::run(flags).await,
    }
}
