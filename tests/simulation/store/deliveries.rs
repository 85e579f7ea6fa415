//! Deliveries to webhooks, behind the same faults.

use std::time::Duration;

use async_trait::async_trait;
use clawback_domain::{PartnerId, Time};
use clawback_store::{Claimed, Deliveries, Replay, Replayed, Settled, StoreError, Webhook};

use super::SimStore;

#[async_trait]
impl Deliveries for SimStore {
    async fn spool(&self, partner: &PartnerId, now: Time, limit: u32) -> Result<u32, StoreError> {
        let partner = partner.clone();
        self.write(move |store| async move { store.spool(&partner, now, limit).await }).await
    }

    async fn claim_deliveries(
        &self,
        partner: &PartnerId,
        now: Time,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let partner = partner.clone();
        self.write(move |store| async move { store.claim_deliveries(&partner, now, limit, lease).await }).await
    }

    async fn settle_delivery(&self, claimed: &Claimed, settled: Settled, now: Time) -> Result<(), StoreError> {
        let claimed = claimed.clone();
        self.write(move |store| async move { store.settle_delivery(&claimed, settled, now).await }).await
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(|store| async move { store.webhooks().await }).await
    }

    async fn enable_webhook(&self, partner: &PartnerId, act: &str, now: Time) -> Result<bool, StoreError> {
        let (partner, act) = (partner.clone(), act.to_owned());
        self.write(move |store| async move { store.enable_webhook(&partner, &act, now).await }).await
    }

    async fn replay_deliveries(
        &self,
        partner: &PartnerId,
        what: Replay,
        due_at: Time,
        act: &str,
    ) -> Result<Replayed, StoreError> {
        let (partner, act) = (partner.clone(), act.to_owned());
        self.write(move |store| async move { store.replay_deliveries(&partner, what, due_at, &act).await }).await
    }
}
