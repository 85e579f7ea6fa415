//! One partner inside one worker: its configuration as last reloaded, and its share of the limits.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use clawback_domain::{
    Clock, PartnerId, Time,
    clock::BoxFuture,
    order::{PERMIT_WAIT, Rules},
    warning::{SaleRule, WarningRules, Watch},
};
use clawback_phygitals::Upstream;
use clawback_webhook::Endpoint;
use parking_lot::RwLock;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::{
    crowds::Crowds,
    doors::{Limits, Partner},
    packs::Packs,
    permits::{Concurrency, Rate, Urgency, Urgent},
};

/// Users whose inventories are read at once by one worker: each may hold some MB.
const MOST_LOOKS: u32 = 16;
/// Users whose turns are under way in one worker, each with its step in hand until it is looked at.
const PLACES: RangeInclusive<u32> = 16..=256;
/// How long a step waits for one. No longer than the user is left alone after the claim: the next claim makes the step void.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// How long a turn waits for its look.
pub(crate) const LOOK_WAIT: Duration = Duration::from_secs(30);

/// A partner's rules for its users' items, as last reloaded.
pub(crate) struct Watched {
    warnings: Option<Arc<WarningRules>>,
    sale: Option<SaleRule>,
}

impl Watched {
    pub fn watch(&self) -> Watch<'_> {
        Watch { warnings: self.warnings.as_deref(), sale: self.sale.as_ref() }
    }
}

pub(crate) struct Tenant {
    pub id: PartnerId,
    configured: RwLock<Partner>,
    /// Workers that consume this partner's steps, as last counted.
    workers: RwLock<u32>,
    inits: Concurrency,
    rate: Rate,
    polls: Concurrency,
    sales: Urgency,
    sale_rate: Rate,
    places: Concurrency,
    looks: Urgency,
    look_rate: Rate,
    pub crowds: Crowds,
    pub packs: Packs,
    /// Something happened that its webhook may want to know.
    pub news: Notify,
}

impl Tenant {
    pub fn new(partner: Partner) -> Arc<Self> {
        Arc::new(Self {
            id: partner.id.clone(),
            inits: Concurrency::new(partner.limits.concurrency),
            rate: Rate::new(partner.limits.rate_per_second),
            polls: Concurrency::new(partner.limits.poll_concurrency),
            sales: Urgency::new(partner.limits.sell_concurrency),
            sale_rate: Rate::new(partner.limits.sells_per_second),
            places: Concurrency::new(places(partner.limits.rate_per_second)),
            looks: Urgency::new(MOST_LOOKS),
            look_rate: Rate::new(partner.limits.rate_per_second),
            crowds: Crowds::default(),
            configured: RwLock::new(partner),
            workers: RwLock::new(1),
            packs: Packs::default(),
            news: Notify::new(),
        })
    }

    pub fn reload(&self, partner: Partner) {
        *self.configured.write() = partner;
        self.resize();
    }

    /// Takes this worker's share among `workers`.
    pub fn share_with(&self, workers: u32) {
        *self.workers.write() = workers;
        self.resize();
    }

    fn share(&self) -> Limits {
        self.configured.read().limits.share(*self.workers.read())
    }

    fn resize(&self) {
        let share = self.share();
        self.inits.resize(share.concurrency);
        self.rate.set(share.rate_per_second);
        self.polls.resize(share.poll_concurrency);
        self.sales.resize(share.sell_concurrency);
        self.sale_rate.set(share.sells_per_second);
        self.places.resize(places(share.rate_per_second));
        self.look_rate.set(share.rate_per_second);
    }

    pub fn rules(&self) -> Rules {
        self.configured.read().rules
    }

    pub fn upstream(&self) -> Arc<dyn Upstream> {
        self.configured.read().upstream.clone()
    }

    pub fn closed(&self) -> bool {
        self.configured.read().closed
    }

    pub fn webhook(&self) -> Option<Endpoint> {
        self.configured.read().webhook.clone()
    }

    pub fn rate_per_second(&self) -> u32 {
        self.configured.read().limits.rate_per_second
    }

    /// Enough to keep every permit busy while commits and acks are under way; no more than the rate lets through while a delivery may
    /// wait for its permit, for what waits longer is stored and comes back as a step.
    pub fn prefetch(&self) -> u16 {
        let share = self.share();
        let in_time = share.rate_per_second.saturating_mul(PERMIT_WAIT.as_secs() as u32 / 2);
        share.concurrency.saturating_mul(3).min(in_time).clamp(16, 2048) as u16
    }

    /// A permit to begin one `buy/init`; `None` when none was had within [`PERMIT_WAIT`].
    pub async fn init_permit(&self, clock: &dyn Clock) -> Option<OwnedSemaphorePermit> {
        let permit: BoxFuture<'_, _> = Box::pin(async {
            let permit = self.inits.acquire().await;
            self.rate.wait(clock).await;
            permit
        });
        clock.timeout(PERMIT_WAIT, permit).await
    }

    /// Enough to have a choice: of the sellbacks in hand what is first to expire goes first.
    pub fn sale_prefetch(&self) -> u16 {
        let share = self.share();
        let in_time = share.sells_per_second.saturating_mul(PERMIT_WAIT.as_secs() as u32 / 2);
        share.sell_concurrency.saturating_mul(8).min(in_time).clamp(16, 1024) as u16
    }

    /// A permit to begin one sellback of what expires at `expires_at`; `None` when none was had within [`PERMIT_WAIT`].
    pub async fn sale_permit(&self, clock: &dyn Clock, expires_at: Time) -> Option<Urgent> {
        let permit: BoxFuture<'_, _> = Box::pin(async {
            let permit = self.sales.acquire(expires_at).await;
            self.sale_rate.wait(clock).await;
            permit
        });
        clock.timeout(PERMIT_WAIT, permit).await
    }

    /// A permit to look at one user whose turn is for what is due `by` then; `None` when none was had within [`LOOK_WAIT`].
    pub async fn look_permit(&self, clock: &dyn Clock, by: Time) -> Option<Urgent> {
        let permit: BoxFuture<'_, _> = Box::pin(async {
            let permit = self.looks.acquire(by).await;
            self.look_rate.wait(clock).await;
            permit
        });
        clock.timeout(LOOK_WAIT, permit).await
    }

    /// A place for one user's turn, and then what `next` waits for; `None` when they were not had in time. Then the user had better wait in
    /// the row, for other steps stand behind this one.
    pub async fn place<T: Send>(
        &self,
        clock: &dyn Clock,
        next: impl Future<Output = T> + Send,
    ) -> Option<(OwnedSemaphorePermit, T)> {
        let both: BoxFuture<'_, _> = Box::pin(async {
            let place = self.places.acquire().await;
            (place, next.await)
        });
        clock.timeout(PLACE_WAIT, both).await
    }

    /// What is watched for its users.
    pub fn watched(&self) -> Watched {
        let partner = self.configured.read();
        Watched { warnings: partner.warnings.clone(), sale: partner.sale }
    }

    pub fn sales_are_crowded(&self) -> bool {
        self.sales.waiting() > self.configured.read().limits.sell_concurrency.max(64) as usize * 2
    }

    /// Whether so many wait for a permit already that another had better wait in its row.
    pub fn is_crowded(&self) -> bool {
        !self.inits.free() && self.inits.waiting() > self.configured.read().limits.concurrency.max(64) * 2
    }

    /// When all that wait for a permit now will have begun, if nothing but the rate holds them.
    pub fn crowd_begins_within(&self) -> Duration {
        Duration::from_secs(1) * self.inits.waiting() / self.share().rate_per_second
    }

    pub async fn read_prices(&self) {
        self.packs.read_prices(&*self.upstream()).await;
    }

    pub async fn poll_permit(&self) -> OwnedSemaphorePermit {
        self.polls.acquire().await
    }
}

/// No more than get their look in time.
fn places(looks_per_second: u32) -> u32 {
    looks_per_second.saturating_mul(LOOK_WAIT.as_secs() as u32 / 2).clamp(*PLACES.start(), *PLACES.end())
}
