//! How many orders are in each state, as a metric: what piles up is seen before anybody asks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clawback_domain::pause::CommandKind;
use clawback_store::Store;
use clawback_telemetry::names;
use tokio_util::sync::CancellationToken;

/// Counting reads an index from end to end, so it is not done often.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Counts until `shutdown`. Run it in one role only: each count is of the whole store.
pub async fn watch(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let mut shown = BTreeSet::new();
    loop {
        match store.counts().await {
            Ok(counts) => {
                // A state that has emptied is shown as such, not as it last was.
                shown.extend(counts.keys().cloned());
                for key @ (partner, kind, state) in &shown {
                    let count = counts.get(key).copied().unwrap_or_default();
                    let labels = [("partner", partner.to_string()), ("state", state.to_string())];
                    let stored = match kind {
                        CommandKind::Purchase => names::PURCHASES_STORED,
                        CommandKind::Sellback => names::SELLBACKS_STORED,
                    };
                    metrics::gauge!(stored, &labels).set(count as f64);
                }
            }
            Err(error) => tracing::debug!(%error, "the orders could not be counted"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(COUNT_EVERY)).await.is_none() {
            return;
        }
    }
}
