//! What an inventory shows beyond one purchase: which known pulls are still there, and items that no purchase explains.
//!
//! An orphan would be a double buy. Inventories are compared after every look at a purchase in doubt, and for a sample of those that
//! went well.

use std::sync::Arc;

use clawback_domain::{
    answer::{Inventory, InventoryAnswer},
    evidence::{self, Orphan, Reading, Survey},
    purchase::{Purchase, State},
};
use clawback_store::StoreError;

use crate::{lifecycle::Worker, tell, tenant::Tenant};

/// One in so many fulfilled purchases has its user's inventory compared: often enough that a fault which buys twice shows within
/// minutes, rarely enough to cost nothing.
const ONE_IN: u64 = 256;

/// How many orphans of one user are looked after.
const MOST: u32 = 1000;

impl Worker {
    /// Draws whether a purchase that rests is compared with the inventory.
    pub(crate) fn is_sampled(&self, purchase: &Purchase) -> bool {
        matches!(purchase.state, State::Fulfilled(_)) && self.doors.clock.draw().is_multiple_of(ONE_IN)
    }

    pub(crate) async fn sample(self: &Arc<Self>, tenant: &Tenant, purchase: &Purchase) {
        let user = &purchase.command.user_id;
        let Some(reading) = self.read_inventory(tenant, user).await else { return };
        let InventoryAnswer::Read(inventory) = &reading.answer else { return };
        match self.doors.store.case(&tenant.id, user).await {
            Ok(case) => {
                let rules = tenant.rules();
                let survey = evidence::survey(inventory, &case, &tenant.id, (reading.began, reading.ended), &rules);
                self.keep_survey(tenant, survey, &reading).await;
            }
            Err(error) => tracing::debug!(partner = %tenant.id, %error, "a sampled inventory was not compared"),
        }
    }

    /// What is not kept now is kept by the next look.
    pub(crate) async fn keep_survey(&self, tenant: &Tenant, survey: Survey, reading: &Reading) {
        let InventoryAnswer::Read(inventory) = &reading.answer else { return };
        let Survey { sightings, orphans } = survey;
        if let Err(error) = self.doors.store.record_look(sightings).await {
            tracing::warn!(partner = %tenant.id, %error, "what a look showed of known pulls was not kept");
        }
        if let Err(error) = self.keep_orphans(tenant, inventory, &orphans).await {
            tracing::warn!(partner = %tenant.id, %error, orphans = orphans.len(), "orphans were not kept");
        }
    }

    async fn keep_orphans(&self, tenant: &Tenant, inventory: &Inventory, found: &[Orphan]) -> Result<(), StoreError> {
        let store = &self.doors.store;
        let known = store.orphans(Some(&tenant.id), Some(&inventory.user_id), MOST).await?;
        let explained: Vec<_> = known.into_iter().filter(|orphan| is_explained(orphan, inventory, found)).collect();
        if !explained.is_empty() {
            store.forget_orphans(explained).await?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let new = store.record_orphans(found.to_vec()).await?;
        if new > 0 {
            tell::orphan_items(&tenant.id, new);
            for orphan in found {
                let Orphan { user_id, item_id, candidates, .. } = orphan;
                tracing::error!(partner = %tenant.id, user = %user_id, item = %item_id, ?candidates, "an item that no purchase explains");
            }
        }
        Ok(())
    }
}

/// It is still there, and somebody explains it now. What has left the inventory remains unexplained.
fn is_explained(orphan: &Orphan, inventory: &Inventory, found: &[Orphan]) -> bool {
    let same = |other: &Orphan| (&other.item_id, other.purchased_at) == (&orphan.item_id, orphan.purchased_at);
    let listed =
        inventory.items.iter().any(|held| held.item.item_id == orphan.item_id && held.purchased_at == orphan.purchased_at);
    listed && !found.iter().any(same)
}
