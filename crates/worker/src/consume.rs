//! Consuming: from each queue to its handler, and what becomes of a delivery whose handler panics.
//!
//! A partner's queues are consumed apart, each with its own prefetch. While the partner is paused its command queues are not consumed:
//! commands wait where they are. Steps are always consumed: polling and reconciling go on.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use clawback_broker::{Consumer, Delivery, Properties, Settle, Settlement, topology};
use clawback_domain::{
    Clock, OrderId, PartnerId,
    command::Rejected,
    order::{AnyOrder, Machine},
    pause::CommandKind,
    poll::backoff,
    purchase::Purchase,
    reason::RejectionCode,
    rehearsal,
    sellback::Sellback,
    trace::TraceContext,
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument;

use crate::{lifecycle::Worker, tell, tenant::Tenant};

/// Steps and dead letters are handled quickly; a purchase that waits for a permit with its step in hand is bounded elsewhere.
const STEP_PREFETCH: u16 = 512;
const DEAD_PREFETCH: u16 = 32;
const REQUEUE_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Purchases,
    Sellbacks,
    Steps,
    Dead,
}

impl Source {
    pub const ALL: [Self; 4] = [Self::Purchases, Self::Sellbacks, Self::Steps, Self::Dead];

    fn queue(self, partner: &PartnerId) -> String {
        match self {
            Source::Purchases => topology::command_queue(partner, CommandKind::Purchase),
            Source::Sellbacks => topology::command_queue(partner, CommandKind::Sellback),
            Source::Steps => topology::step_queue(partner),
            Source::Dead => topology::dead_queue(partner),
        }
    }

    /// What its commands ask for; `None` for what is not commands.
    fn commands(self) -> Option<CommandKind> {
        match self {
            Source::Purchases => Some(CommandKind::Purchase),
            Source::Sellbacks => Some(CommandKind::Sellback),
            Source::Steps | Source::Dead => None,
        }
    }

    fn prefetch(self, tenant: &Tenant) -> u16 {
        match self {
            Source::Purchases => tenant.prefetch(),
            Source::Sellbacks => tenant.sale_prefetch(),
            Source::Steps => STEP_PREFETCH,
            Source::Dead => DEAD_PREFETCH,
        }
    }
}

/// A delivery while its handler runs. It can be settled from outside when the handler panics, which is why it is not simply moved
/// in; settling it a second time does nothing.
pub(crate) struct InHand {
    settle: Mutex<Option<(Box<dyn Settle>, TaskTrackerToken)>>,
    /// The order whose row exists because of it.
    order: Mutex<Option<OrderId>>,
    pub origin: Origin,
}

/// A delivery without the means to settle it: what it says and where it came from.
pub(crate) struct Origin {
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
    pub properties: Properties,
    pub body: bytes::Bytes,
}

impl Origin {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.properties.headers.get(name).map(String::as_str)
    }

    /// The trace that the publisher began; `None` when it began none.
    pub fn trace(&self) -> Option<TraceContext> {
        self.header("traceparent").and_then(|parent| TraceContext::parse(parent, self.header("tracestate")))
    }
}

impl InHand {
    pub fn new(delivery: Delivery, token: TaskTrackerToken) -> Self {
        let Delivery { queue, exchange, routing_key, properties, body, settle, redelivered: _ } = delivery;
        let origin = Origin { queue, exchange, routing_key, properties, body };
        Self { settle: Mutex::new(Some((settle, token))), order: Mutex::new(None), origin }
    }

    /// Its row exists: from here on the row is the lease.
    pub fn stored(&self, order: OrderId) {
        *self.order.lock() = Some(order);
    }

    pub async fn ack(&self) {
        self.settle(Settlement::Ack).await;
    }

    /// Back to the queue after a pause: a message that cannot be handled now must not spin.
    pub async fn requeue_later(&self, clock: &dyn Clock) {
        clock.sleep(REQUEUE_AFTER).await;
        self.requeue().await;
    }

    pub async fn requeue(&self) {
        self.settle(Settlement::Requeue).await;
    }

    async fn settle(&self, settlement: Settlement) {
        let taken = self.settle.lock().take();
        if let Some((settle, _token)) = taken {
            // A stale one is a redelivery to come, and that finds the row.
            let _ = settle.settle(settlement).await;
        }
    }
}

impl Worker {
    /// Consumes one queue of one partner until the worker stops.
    pub(crate) async fn consume(self: Arc<Self>, tenant: Arc<Tenant>, source: Source) {
        let queue = source.queue(&tenant.id);
        let mut failures = 0;
        while self.may_consume(&tenant, source).await {
            match self.doors.broker.consume(&queue, source.prefetch(&tenant)).await {
                Ok(consumer) => {
                    failures = 0;
                    self.deliveries(&tenant, source, consumer).await;
                }
                Err(error) => {
                    tracing::warn!(queue, %error, "cannot consume; trying again");
                    self.back_off(&mut failures).await;
                }
            }
        }
    }

    pub(crate) async fn back_off(&self, failures: &mut u32) {
        let wait = backoff(Duration::from_millis(250), Duration::from_secs(15), *failures);
        *failures += 1;
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            () = self.doors.clock.sleep(self.doors.clock.jitter(wait)) => {}
        }
    }

    /// Waits while the partner is paused; `false` once the worker stops.
    async fn may_consume(&self, tenant: &Tenant, source: Source) -> bool {
        let mut pauses = self.pauses.subscribe();
        loop {
            if self.stopping.is_cancelled() {
                return false;
            }
            if !self.is_paused(tenant, source) {
                return true;
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return false,
                _ = pauses.changed() => {}
            }
        }
    }

    fn is_paused(&self, tenant: &Tenant, source: Source) -> bool {
        source.commands().is_some_and(|kind| self.pauses.of_partner(&tenant.id, kind).is_some())
    }

    /// Hands out deliveries until the worker stops, the partner is paused or the consumer ends; then waits for those in hand, for
    /// they can be settled only while their consumer lives.
    async fn deliveries(self: &Arc<Self>, tenant: &Arc<Tenant>, source: Source, mut consumer: Box<dyn Consumer>) {
        let mut pauses = self.pauses.subscribe();
        let in_hand = TaskTracker::new();
        let mut cancelled = false;
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled(), if !cancelled => cancelled = true,
                _ = pauses.changed(), if !cancelled => {
                    cancelled = self.is_paused(tenant, source);
                }
                delivery = consumer.next() => match delivery {
                    Some(delivery) => {
                        self.handle(tenant, source, InHand::new(delivery, in_hand.token()));
                        continue;
                    }
                    None => break,
                },
            }
            if cancelled {
                consumer.cancel().await;
            }
        }
        in_hand.close();
        in_hand.wait().await;
    }

    fn handle(self: &Arc<Self>, tenant: &Arc<Tenant>, source: Source, hand: InHand) {
        let (worker, tenant) = (self.clone(), tenant.clone());
        let span = tell::process(&tenant.id, &hand.origin);
        let handler = async move {
            let outcome = AssertUnwindSafe(async {
                // Boxed, here and further in, wherever it gets narrower: what waits for days must not hold the room of what called.
                match source {
                    Source::Purchases => Box::pin(worker.take_purchase(&tenant, &hand)).await,
                    Source::Sellbacks => Box::pin(worker.take_sellback(&tenant, &hand)).await,
                    Source::Steps => Box::pin(worker.take_step(&tenant, &hand)).await,
                    Source::Dead => Box::pin(worker.bury(&tenant, &hand)).await,
                }
            })
            .catch_unwind()
            .await;
            if let Err(panic) = outcome {
                Box::pin(worker.panicked(&tenant, source, &hand, panic)).await;
            }
        };
        self.spawn_handler(handler.instrument(span));
    }

    /// A handler panicked: the worker lives, the row keeps its `due_at`, and the delivery does not come back to do it again.
    async fn panicked(&self, tenant: &Tenant, source: Source, hand: &InHand, panic: Box<dyn Any + Send>) {
        if panic.is::<rehearsal::Killed>() {
            std::panic::resume_unwind(panic);
        }
        tell::panicked(&tenant.id);
        let message = panic_message(&*panic);
        let stored = *hand.order.lock();
        tracing::error!(partner = %tenant.id, ?source, order.id = ?stored, message, "a handler panicked");
        match stored {
            Some(id) => {
                match self.read_order(id).await {
                    Some(AnyOrder::Purchase(row)) => drop(self.advance(tenant, row, Purchase::panicked(message), None).await),
                    Some(AnyOrder::Sellback(row)) => drop(self.advance(tenant, row, Sellback::panicked(message), None).await),
                    None => {}
                }
                hand.ack().await;
            }
            None if source.commands().is_some() => {
                let rejected = Rejected::one(RejectionCode::InvalidField, format!("its handler panicked: {message}"));
                self.reject(tenant, hand, rejected).await;
            }
            None if source == Source::Dead => hand.requeue_later(&*self.doors.clock).await,
            // The row's `due_at` makes another step.
            None => hand.ack().await,
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
