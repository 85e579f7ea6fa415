//! Taking a command without the queue: a row `accepted` in the store, then a step to the workers. For the HTTP door, and for
//! `enqueue` where there is no RabbitMQ.

use clawback_broker::{Broker, Routing, steps};
use clawback_domain::{Clock, PartnerId, change::Insertion, command::PurchaseCommand, purchase::Purchase, trace::TraceContext};
use clawback_store::{Inserted, Store, StoreError};

#[derive(Debug)]
pub enum Accepted {
    New(Box<Purchase>),
    /// The same command was taken before; as it stands.
    Repeat(Box<Purchase>),
    /// The `request_id` was used for another command; that one stands.
    Conflict(Box<Purchase>),
}

/// Stores the command; durable when this returns. `by` is the person behind it, for the timeline.
///
/// # Errors
/// The store's. After [`StoreError::Unknown`] the same command may simply be accepted again.
pub async fn accept(
    store: &dyn Store,
    clock: &dyn Clock,
    partner: &PartnerId,
    command: PurchaseCommand,
    trace: Option<TraceContext>,
    by: Option<&str>,
) -> Result<Accepted, StoreError> {
    let trace = trace.unwrap_or_else(|| TraceContext::start(clock.uuid(), clock.draw()));
    let purchase = Purchase::accept(partner.clone(), command, clock.now(), trace);
    let digest = purchase.digest;
    let mut insertion = Insertion::of(purchase.clone());
    for entry in &mut insertion.entries {
        entry.by = by.map(str::to_owned);
    }
    match store.insert(insertion).await? {
        Inserted::New => Ok(Accepted::New(Box::new(purchase))),
        Inserted::Exists(there) if there.digest == digest => Ok(Accepted::Repeat(there)),
        Inserted::Exists(there) => Ok(Accepted::Conflict(there)),
    }
}

/// Hands a new row to the workers. Without it the scheduler finds the row, a little later.
pub async fn hand_over(broker: &dyn Broker, purchase: &Purchase) {
    let step = steps::Step { purchase: purchase.id, version: purchase.version };
    match steps::hand_over(broker, &purchase.partner, step).await {
        Ok(Routing::Routed) => {}
        Ok(Routing::Unrouted) => {
            tracing::warn!(purchase.id = %purchase.id, "there is no step queue; the scheduler will find the purchase");
        }
        Err(error) => tracing::debug!(purchase.id = %purchase.id, %error, "not handed over; the scheduler will find it"),
    }
}
