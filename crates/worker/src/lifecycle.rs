//! A worker from start to drain.
//!
//! Stopping: no new deliveries; what waits for a permit goes back to its queue; long polls are dropped; calls that spend money end;
//! rows on a timer are handed back, due now. What is left after `drain` is found by its `due_at`.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clawback_broker::{Health, topology};
use clawback_domain::PartnerId;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    consume::{InHand, Source},
    doors::{Doors, Partner},
    guards::Pauses,
    packs::LISTED_EVERY,
    tenant::Tenant,
};

/// How often the workers of a partner are counted.
const COUNT_EVERY: Duration = Duration::from_secs(3);
const PRICES_WITHIN: Duration = Duration::from_secs(2);
/// Turns of users that are at the store at once: more only wait for each other, and purchases for all of them.
const MOST_TURNS: usize = 32;
const UNROUTED_PREFETCH: u16 = 32;

pub struct Worker {
    pub(crate) doors: Doors,
    tenants: BTreeMap<PartnerId, Arc<Tenant>>,
    pub(crate) pauses: Pauses,
    pub(crate) stopping: CancellationToken,
    /// Deliveries being handled and purchases being held.
    pub(crate) handlers: TaskTracker,
    consumers: TaskTracker,
    /// Turns of users at the store.
    pub(crate) turns: Semaphore,
    started: AtomicBool,
}

impl Worker {
    pub fn new(doors: Doors, partners: Vec<Partner>) -> Arc<Self> {
        Arc::new(Self {
            doors,
            tenants: partners.into_iter().map(|partner| (partner.id.clone(), Tenant::new(partner))).collect(),
            pauses: Pauses::new(),
            stopping: CancellationToken::new(),
            handlers: TaskTracker::new(),
            consumers: TaskTracker::new(),
            turns: Semaphore::new(MOST_TURNS),
            started: AtomicBool::new(false),
        })
    }

    /// Works until `shutdown` is cancelled, then drains for at most `drain`. Runs once.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken, drain: Duration) {
        if !self.knows_pauses(&shutdown).await || !self.knows_webhooks(&shutdown).await {
            return;
        }
        // So that the first calls have a price in the books; an upstream that is away holds nobody back for long.
        self.doors.clock.timeout(PRICES_WITHIN, join_all(self.tenants.values().map(|tenant| tenant.read_prices()))).await;
        self.spawn_background();
        for tenant in self.tenants.values() {
            for source in Source::ALL {
                self.doors.tasks.spawn(Box::pin(self.consumers.track_future(self.clone().consume(tenant.clone(), source))));
            }
        }
        self.doors.tasks.spawn(Box::pin(self.consumers.track_future(self.clone().consume_unrouted())));
        self.started.store(true, Ordering::SeqCst);
        tracing::info!(partners = self.tenants.len(), "the worker has started");

        shutdown.cancelled().await;
        tracing::info!(handlers = self.handlers.len(), "draining");
        self.stopping.cancel();
        self.consumers.close();
        self.handlers.close();
        let rest = async {
            self.consumers.wait().await;
            self.handlers.wait().await;
        };
        match self.doors.clock.timeout(drain, rest).await {
            Some(()) => tracing::info!("drained"),
            None => tracing::warn!(handlers = self.handlers.len(), "not drained in time; what is left comes due by itself"),
        }
    }

    /// Takes new limits, rules and keys of partners that are known; partners come and go with a restart.
    pub fn reload(&self, partners: Vec<Partner>) {
        for partner in partners {
            if let Some(tenant) = self.tenants.get(&partner.id) {
                tenant.reload(partner);
            }
        }
    }

    pub fn ready(&self) -> bool {
        self.started.load(Ordering::SeqCst) && !self.stopping.is_cancelled() && self.doors.broker.health() == Health::Connected
    }

    /// Nothing is consumed before it is known what is paused. `false` when the worker is stopped first.
    async fn knows_pauses(&self, shutdown: &CancellationToken) -> bool {
        let mut failures = 0;
        while !self.pauses.read(&self.doors, &|id| self.tenant(id)).await {
            if shutdown.is_cancelled() {
                return false;
            }
            self.back_off(&mut failures).await;
        }
        true
    }

    /// A new webhook begins with what happens from here on, so nothing may happen before. `false` when the worker is stopped first.
    async fn knows_webhooks(&self, shutdown: &CancellationToken) -> bool {
        let mut failures = 0;
        for tenant in self.tenants.values().filter(|tenant| tenant.webhook().is_some()) {
            while let Err(error) = self.doors.store.spool(&tenant.id, self.doors.clock.now(), 1).await {
                tracing::debug!(partner = %tenant.id, %error, "the webhook's place is not known; trying again");
                if shutdown.is_cancelled() {
                    return false;
                }
                self.back_off(&mut failures).await;
            }
        }
        true
    }

    pub(crate) fn tenant(&self, id: &PartnerId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).cloned()
    }

    pub(crate) fn spawn_handler(&self, handler: impl Future<Output = ()> + Send + 'static) {
        self.doors.tasks.spawn(Box::pin(self.handlers.track_future(handler)));
    }

    /// What runs beside the consumers and ends with the worker at any line.
    fn spawn_background(self: &Arc<Self>) {
        let worker = self.clone();
        self.until_stopping(async move { worker.pauses.watch(&worker.doors, |id| worker.tenant(id)).await });
        let worker = self.clone();
        self.until_stopping(async move { worker.relay().await });
        for tenant in self.tenants.values() {
            if let Some(endpoint) = tenant.webhook() {
                self.until_stopping(self.clone().deliver_to(tenant.clone(), endpoint));
            }
        }
        let worker = self.clone();
        self.until_stopping(async move { worker.count_workers().await });
        let worker = self.clone();
        self.until_stopping(async move { worker.read_prices().await });
    }

    fn until_stopping(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.doors.tasks.spawn(Box::pin(self.consumers.track_future(async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = task => {}
            }
        })));
    }

    async fn read_prices(&self) {
        loop {
            self.doors.clock.sleep(self.doors.clock.jitter(LISTED_EVERY)).await;
            for tenant in self.tenants.values() {
                tenant.read_prices().await;
            }
        }
    }

    /// Limits hold for the installation: each worker takes its share by the consumer count of the partner's step queue.
    async fn count_workers(&self) {
        loop {
            for tenant in self.tenants.values() {
                match self.doors.broker.queue_state(&topology::step_queue(&tenant.id)).await {
                    Ok(queue) => tenant.share_with(queue.consumers.max(1)),
                    Err(error) => tracing::debug!(partner = %tenant.id, %error, "the workers could not be counted"),
                }
            }
            self.doors.clock.sleep(COUNT_EVERY).await;
        }
    }

    /// What was published with a key that no queue is bound for.
    async fn consume_unrouted(self: Arc<Self>) {
        let mut failures = 0;
        while !self.stopping.is_cancelled() {
            let mut consumer = match self.doors.broker.consume(topology::UNROUTED, UNROUTED_PREFETCH).await {
                Ok(consumer) => consumer,
                Err(error) => {
                    tracing::warn!(queue = topology::UNROUTED, %error, "cannot consume; trying again");
                    self.back_off(&mut failures).await;
                    continue;
                }
            };
            failures = 0;
            loop {
                let delivery = tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return consumer.cancel().await,
                    delivery = consumer.next() => delivery,
                };
                let Some(delivery) = delivery else { break };
                let token = self.handlers.token();
                self.bury_unrouted(&InHand::new(delivery, token)).await;
            }
        }
    }
}
