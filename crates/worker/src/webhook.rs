//! A partner's webhook: what happened is delivered until the endpoint has taken it.
//!
//! One loop per partner claims what is due and hands each delivery to a task; a place is taken for as long as a delivery lasts, so a slow
//! endpoint costs its own partner's places and nobody else's. When to try again, and when to leave an endpoint alone, says
//! [`clawback_domain::webhook`]. A crash at any line brings the event again when its lease is over, with the same id.

use std::{sync::Arc, time::Duration};

use clawback_domain::{clock::after, webhook::next_try};
use clawback_store::{Claimed, Settled};
use clawback_webhook::{Delivery, Endpoint, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{lifecycle::Worker, tell, tenant::Tenant};

/// Deliveries under way to one endpoint, of this process: enough for a hundred a second where an answer takes 80 ms, and few enough
/// not to be an attack.
const PLACES: usize = 8;
/// Events that become deliveries in one transaction.
const PAGE: u32 = 256;
/// How long a delivery belongs to who claimed it: longer than any call of a [`Receiver`](clawback_webhook::Receiver), with its settling.
const LEASE: Duration = Duration::from_secs(60);
/// Between two looks when nothing is heard of: retries come due, and other processes store events too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a delivery under way may go on once the worker stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often what became of a delivery is written again while the store is away; then the lease brings the event once more.
const SETTLES: u32 = 5;

impl Worker {
    /// The webhook of one partner, until the worker stops.
    pub(crate) async fn deliver_to(self: Arc<Self>, tenant: Arc<Tenant>, endpoint: Endpoint) {
        let places = Arc::new(Semaphore::new(PLACES));
        let mut failures = 0;
        loop {
            // Waits for a place; only this loop takes any.
            drop(places.acquire().await);
            let free = places.available_permits();
            match self.claim_or_spool(&tenant, free as u32).await {
                Ok(None) => self.hear_or_look(&tenant).await,
                Ok(Some(claimed)) => {
                    for one in claimed {
                        let place = places.clone().try_acquire_owned().expect("only this loop takes places");
                        let delivering = self.clone().deliver(tenant.clone(), endpoint.clone(), one, place);
                        self.spawn_handler(delivering);
                    }
                    failures = 0;
                }
                Err(error) => {
                    tracing::debug!(partner = %tenant.id, %error, "deliveries cannot be claimed; trying again");
                    self.back_off(&mut failures).await;
                }
            }
        }
    }

    /// `None` when there is nothing to do. Events become deliveries only while places are free: what an endpoint cannot take waits in the
    /// order of events.
    async fn claim_or_spool(&self, tenant: &Tenant, free: u32) -> Result<Option<Vec<Claimed>>, clawback_store::StoreError> {
        let now = self.doors.clock.now();
        let claimed = self.doors.store.claim_deliveries(&tenant.id, now, free, LEASE).await?;
        if !claimed.is_empty() {
            return Ok(Some(claimed));
        }
        let spooled = self.doors.store.spool(&tenant.id, now, PAGE).await?;
        Ok((spooled > 0).then_some(claimed))
    }

    async fn hear_or_look(&self, tenant: &Tenant) {
        let clock = &self.doors.clock;
        tokio::select! {
            biased;
            () = tenant.news.notified() => {}
            () = clock.sleep(clock.jitter(LOOK_EVERY)) => {}
        }
    }

    async fn deliver(self: Arc<Self>, tenant: Arc<Tenant>, endpoint: Endpoint, claimed: Claimed, place: OwnedSemaphorePermit) {
        let event = &claimed.event;
        let delivery = Delivery { id: event.id, body: event.body.clone(), timestamp: self.doors.clock.now() };
        let farewell = async {
            self.stopping.cancelled().await;
            self.doors.clock.wait(FAREWELL).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.doors.receiver.deliver(&endpoint, delivery) => outcome,
            // Whether it arrives is not known: the lease brings it again.
            () = farewell => return,
        };
        let settled = self.settled(&claimed, outcome);
        tell::delivery(event, &settled);
        // A crash here: the endpoint gets it again, with the same id.
        self.settle(&claimed, settled).await;
        drop(place);
        // Its successor may go out now, and a place is free.
        tenant.news.notify_one();
    }

    fn settled(&self, claimed: &Claimed, outcome: Outcome) -> Settled {
        let why = outcome.to_string();
        let (status, wish) = match outcome {
            Outcome::Delivered { .. } => return Settled::Delivered,
            Outcome::Gone => return Settled::Gone { why },
            Outcome::Retry { status, retry_after, .. } => (status, retry_after),
            Outcome::Refused { .. } => (None, None),
        };
        let clock = &self.doors.clock;
        let wait = next_try(claimed.tries.saturating_add(1), wish);
        let due_at = wait.map(|wait| after(clock.now(), wish.unwrap_or_default().max(clock.jitter(wait))));
        // Too many, or too much for now: that is meant for all deliveries.
        let pause = wish.filter(|_| matches!(status, Some(429 | 503)));
        Settled::Failed { why, due_at, pause }
    }

    async fn settle(&self, claimed: &Claimed, settled: Settled) {
        let mut failures = 0;
        while failures < SETTLES {
            match self.doors.store.settle_delivery(claimed, settled.clone(), self.doors.clock.now()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(event.id = %claimed.event.id, %error, "what became of a delivery cannot be written");
                    self.back_off(&mut failures).await;
                }
            }
        }
    }
}
