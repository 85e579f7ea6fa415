//! Pruning, behind the same faults.

use async_trait::async_trait;
use clawback_domain::Time;
use clawback_store::{Page, Prunable, Prune, Pruned, StoreError};

use super::SimStore;

#[async_trait]
impl Prune for SimStore {
    async fn prune(&self, what: Prunable, before: Time, page: Page) -> Result<Pruned, StoreError> {
        self.write(move |store| async move { store.prune(what, before, page).await }).await
    }

    async fn prunable(&self, what: Prunable, before: Time) -> Result<u64, StoreError> {
        self.read(move |store| async move { store.prunable(what, before).await }).await
    }
}
