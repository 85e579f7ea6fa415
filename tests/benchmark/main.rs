//! The benchmark: what Clawback does in a second and what that costs, beside what the same machine could do at best.
//!
//! `bench pipeline` runs the product, a plain worker and the ceilings one after another, several rounds, each as processes of its own
//! on the same real servers, and compares them within the run. Figures of two runs or two machines do not compare; ratios do.
//! `bench warnings`, `bench sellbacks` and `bench sync` hold what follows a purchase against a plain worker on the same ground.
//!
//! - [`pipeline`]: which runs, in which order, and what is made of them. [`report`]: the table and the JSON lines.
//! - [`ground`]: the virtual host, database and upstream a run stands on. [`meter`]: CPU and memory from `/proc`.
//! - [`product`]: Clawback itself. [`plain`], [`ceiling`], [`broker_only`], [`store_only`]: what it is compared with, each run by
//!   [`variant`] in a process of its own. [`job`] is what they have in common, [`group`] the ceiling's group commit.
//! - [`inits`]: do long polls slow inits down? [`fairness`]: does a backlog delay another partner?
//! - [`warnings`]: [`claims`], what it costs to find who is due, and [`digests`], how fast warnings go out. [`sync`]: everybody's
//!   inventory. [`sellbacks`]. They begin with [`owners`], compare with [`plain_users`] and [`plain_sales`], and end with [`beside`].

mod beside;
mod broker_only;
mod ceiling;
mod claims;
mod digests;
mod fairness;
mod ground;
mod group;
mod inits;
mod job;
mod meter;
mod owners;
mod pipeline;
mod plain;
mod plain_sales;
mod plain_users;
mod product;
mod report;
mod sellbacks;
mod store_only;
mod sync;
mod variant;
mod warnings;

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
    /// Finding who is due beside many who are not; warnings from the moment they are due to their events' marks
    Warnings(warnings::Flags),
    /// Sellbacks from the command's delivery to the event's mark
    Sellbacks(sellbacks::Flags),
    /// Reading the inventories of all who own something
    Sync(sync::Flags),
    /// One variant, in this process: what the others start
    #[command(hide = true)]
    Variant(variant::Flags),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Bench::parse().which {
        Which::Pipeline(flags) => pipeline::run(flags).await,
        Which::Warnings(flags) => warnings::run(flags).await,
        Which::Sellbacks(flags) => sellbacks::run(flags).await,
        Which::Sync(flags) => sync::run(flags).await,
        Which::Variant(flags) => variant::run(flags).await,
    }
}
