//! Removing what is over and old, once an hour.
//!
//! It is nobody's work, so it takes little: one short transaction at a time, and nine times as long a rest after each. A pass that is cut off
//! has removed what it has removed; the next begins anew. Several at once only share the work.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clawback_domain::{Clock, clock::until};
use clawback_store::{Page, Prunable, Retention, Store, StoreError};
use clawback_telemetry::names;
use tokio_util::sync::CancellationToken;

/// Rows looked at in one transaction.
const BATCH: u32 = 500;
/// Between two passes, give or take a quarter.
const PASS_EVERY: Duration = Duration::from_secs(3600);
/// Before the first: a process that is restarted often gets to it too, and one that has just started has better to do.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// The least and the most that a batch is rested after.
const LEAST_REST: Duration = Duration::from_millis(20);
const MOST_REST: Duration = Duration::from_secs(30);

pub struct Pruner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    retention: Retention,
}

impl Pruner {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, retention: Retention) -> Self {
        Self { store, clock, retention }
    }

    /// Works until `shutdown` is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        self.clock.sleep(self.clock.jitter(FIRST_AFTER)).await;
        loop {
            match pass(&*self.store, &*self.clock, &self.retention).await {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => tracing::info!(removed = %shown(&removed), "what was old is pruned"),
                Err(error) => tracing::warn!(%error, "pruning was cut off; it goes on within the hour"),
            }
            self.clock.sleep(self.clock.jitter(PASS_EVERY)).await;
        }
    }
}

/// Removes everything that is due now; what was removed of each kind, if any.
///
/// # Errors
/// The store's; what was removed before is removed.
pub async fn pass(store: &dyn Store, clock: &dyn Clock, retention: &Retention) -> Result<BTreeMap<Prunable, u64>, StoreError> {
    let mut removed = BTreeMap::new();
    for (what, before) in retention.due(clock.now()) {
        let mut after = None;
        loop {
            let began = clock.now();
            let page = store.prune(what, before, Page { after, limit: BATCH }).await?;
            if page.removed > 0 {
                *removed.entry(what).or_default() += page.removed;
                metrics::counter!(names::PRUNED, "kind" => what.as_str()).increment(page.removed);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            clock.wait((until(began, clock.now()) * 9).clamp(LEAST_REST, MOST_REST)).await;
        }
    }
    Ok(removed)
}

fn shown(removed: &BTreeMap<Prunable, u64>) -> String {
    removed.iter().map(|(what, count)| format!("{} {count}", what.as_str())).collect::<Vec<_>>().join(", ")
}
