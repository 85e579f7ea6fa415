//! What an inventory shows beyond one purchase: which known pulls are still there, and items that no purchase explains.
//!
//! An unexplained item is evidence for whoever may have bought it, whichever purchase it was looked for. One that nobody can have bought
//! is an orphan: it would be a double buy. Inventories are compared with every look at a purchase in doubt, and for a sample of those
//! that went well.

use std::sync::Arc;

use clawback_domain::{
    UserId,
    answer::InventoryAnswer,
    evidence::{self, Reading, Sightings, Survey, Unexplained},
    purchase::{Purchase, State},
};

use crate::{lifecycle::Worker, tell, tenant::Tenant};

/// One in so many fulfilled purchases has its user's inventory compared: often enough that a fault which buys twice shows within
/// minutes, rarely enough to cost nothing.
const ONE_IN: u64 = 256;

impl Worker {
    /// Draws whether a purchase that rests is compared with the inventory.
    pub(crate) fn is_sampled(&self, purchase: &Purchase) -> bool {
        matches!(purchase.state, State::Fulfilled(_)) && self.doors.clock.draw().is_multiple_of(ONE_IN)
    }

    pub(crate) async fn sample(self: &Arc<Self>, tenant: &Tenant, purchase: &Purchase) {
        let user = &purchase.command.user_id;
        let Some(reading) = self.read_inventory(tenant, user).await else { return };
        self.take_stock(tenant, user, &reading).await;
    }

    /// Compares an inventory with everything that is known of its user, and keeps what it shows. Whether the look was good, and its
    /// sights are kept.
    pub(crate) async fn take_stock(&self, tenant: &Tenant, user: &UserId, reading: &Reading) -> bool {
        let InventoryAnswer::Read(inventory) = &reading.answer else { return false };
        match self.doors.store.case(&tenant.id, user).await {
            Ok(case) => {
                let rules = tenant.rules();
                let survey = evidence::survey(inventory, &case, &tenant.id, (reading.began, reading.ended), &rules);
                let Survey { sightings, unexplained, explained } = survey;
                self.keep_unexplained(tenant, &unexplained).await;
                let kept = self.keep_sightings(tenant, sightings).await;
                self.forget_explained(tenant, explained).await;
                kept
            }
            Err(error) => {
                tracing::debug!(partner = %tenant.id, %error, "an inventory was not compared");
                false
            }
        }
    }

    /// Whether it is kept; else it is by the next look.
    pub(crate) async fn keep_sightings(&self, tenant: &Tenant, sightings: Sightings) -> bool {
        let kept = self.doors.store.record_look(sightings).await;
        if let Err(error) = &kept {
            tracing::warn!(partner = %tenant.id, %error, "what a look showed of known pulls was not kept");
        }
        kept.is_ok()
    }

    /// Whether it is kept.
    pub(crate) async fn keep_unexplained(&self, tenant: &Tenant, found: &[Unexplained]) -> bool {
        if found.is_empty() {
            return true;
        }
        match self.doors.store.record_unexplained(found.to_vec()).await {
            Ok(0) => true,
            Ok(new) => {
                tell::orphan_items(&tenant.id, new);
                for orphan in found.iter().filter(|one| !one.claimed) {
                    let Unexplained { user_id, item_id, candidates, .. } = orphan;
                    tracing::error!(partner = %tenant.id, user = %user_id, item = %item_id, ?candidates, "an item that no purchase explains");
                }
                true
            }
            Err(error) => {
                tracing::warn!(partner = %tenant.id, %error, items = found.len(), "unexplained items were not kept");
                false
            }
        }
    }

    /// What is not forgotten now is by the next look.
    pub(crate) async fn forget_explained(&self, tenant: &Tenant, explained: Vec<Unexplained>) {
        if explained.is_empty() {
            return;
        }
        if let Err(error) = self.doors.store.forget_explained(explained).await {
            tracing::debug!(partner = %tenant.id, %error, "items that are explained by now were not forgotten");
        }
    }
}
