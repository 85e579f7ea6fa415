//! `clawback prune [--dry-run]`

use std::collections::BTreeMap;

use clawback_domain::Time;
use clawback_scheduler::prune;
use clawback_store::{Prunable, Retention, Store, StoreError};
use serde_json::{Value, json};

use super::who::WhoFlags;
use crate::{config::Needs, context::Context, failure::Failure, output};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback prune --dry-run")]
pub struct PruneFlags {
    /// Say what would be removed at most, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

type Counts = BTreeMap<Prunable, u64>;

/// # Errors
/// The store; what was removed before is removed.
pub async fn run(context: &Context, flags: PruneFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let retention = setup.file.retention;
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let counts = match flags.dry_run {
        true => count(&*store, &retention, clock.now()).await,
        false => prune::pass(&*store, &*clock, &retention).await,
    };
    store.close().await;
    let counts = shown(&retention, &counts?, clock.now());
    let (by, reason) = (flags.who.by(), flags.who.why());
    if flags.dry_run {
        return context.out.result(&json!({ "would_prune": counts }), || table("would go at most", &counts));
    }
    let removed = json!(counts).to_string();
    tracing::info!(by, reason, removed, "what was old is pruned");
    let said = json!({ "pruned": counts, "by": by, "reason": reason });
    context.out.result(&said, || table("removed", &counts))
}

async fn count(store: &dyn Store, retention: &Retention, now: Time) -> Result<Counts, StoreError> {
    let mut counts = Counts::new();
    for (what, before) in retention.due(now) {
        counts.insert(what, store.prunable(what, before).await?);
    }
    Ok(counts)
}

/// Of each kind how many; null of what is kept for ever.
fn shown(retention: &Retention, counts: &Counts, now: Time) -> serde_json::Map<String, Value> {
    let due = retention.due(now);
    let count = |what: Prunable| {
        let is_due = due.iter().any(|(due, _)| *due == what);
        json!(is_due.then(|| counts.get(&what).copied().unwrap_or_default()))
    };
    Prunable::ALL.into_iter().map(|what| (what.as_str().to_owned(), count(what))).collect()
}

fn table(header: &str, counts: &serde_json::Map<String, Value>) -> String {
    let row = |(what, count): (&String, &Value)| {
        let count = if count.is_null() { "kept for ever".into() } else { count.to_string() };
        [what.replace('_', " "), count]
    };
    output::table(["what", header], counts.iter().map(row))
}
