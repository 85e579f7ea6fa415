//! What the worker tells operators: spans and counters, by the names that `telemetry` defines.

use clawback_domain::{
    PartnerId, Time,
    clock::until,
    event::Event,
    order::{AnyOrder, StateName},
    pause::CommandKind,
};
use clawback_store::Settled;
use clawback_telemetry::names;
use metrics::{counter, histogram};
use tracing::Span;

use crate::consume::Origin;

/// The span of one delivery, from its arrival to the end of what it led to.
pub(crate) fn process(partner: &PartnerId, origin: &Origin) -> Span {
    let trace = origin.properties.headers.get("traceparent").and_then(|parent| parent.get(3..35));
    tracing::info_span!(
        names::PROCESS,
        { names::OTEL_NAME } = format_args!("{} {}", names::PROCESS, origin.queue),
        { names::OTEL_KIND } = "consumer",
        { names::MESSAGING_SYSTEM } = names::RABBITMQ,
        { names::MESSAGING_OPERATION_TYPE } = names::PROCESS,
        { names::MESSAGING_DESTINATION } = origin.queue.as_str(),
        { names::MESSAGING_ROUTING_KEY } = origin.routing_key.as_str(),
        { names::MESSAGING_MESSAGE_ID } = origin.properties.message_id.as_deref(),
        { names::PARTNER } = partner.as_str(),
        { names::TRACE_ID } = trace,
    )
}

/// A commit stands: the order is in another state, or waits for another reason.
pub(crate) fn committed(from: StateName, after: &AnyOrder) {
    if from != after.state() {
        entered(after);
    }
    if let Some(waiting) = after.waiting() {
        counter!(names::HELD, "partner" => after.partner().shared(), "code" => waiting.code.as_str()).increment(1);
    }
}

/// An order entered its state.
pub(crate) fn entered(order: &AnyOrder) {
    let (partner, state) = (order.partner().shared(), order.state());
    let (orders, duration) = match order.kind() {
        CommandKind::Purchase => (names::PURCHASES, names::PURCHASE_DURATION),
        CommandKind::Sellback => (names::SELLBACKS, names::SELLBACK_DURATION),
    };
    counter!(orders, "partner" => partner.clone(), "state" => state.as_str()).increment(1);
    if state.is_final() {
        let took = (order.updated_at() - order.created_at()).to_std().unwrap_or_default();
        histogram!(duration, "partner" => partner, "state" => state.as_str()).record(took);
    }
    if state == StateName::Review {
        tracing::warn!(order.id = %order.id(), kind = order.kind().as_str(), partner = %order.partner(), "an order needs a person");
    }
}

/// A sellback turned out to be sold after it had failed.
pub(crate) fn contradicted(partner: &PartnerId) {
    counter!(names::CONTRADICTED, "partner" => partner.shared()).increment(1);
}

pub(crate) fn orphan(partner: &PartnerId) {
    counter!(names::ORPHANS, "partner" => partner.shared()).increment(1);
}

/// Items that no purchase explains, seen for the first time.
pub(crate) fn orphan_items(partner: &PartnerId, new: u64) {
    counter!(names::ORPHAN_ITEMS, "partner" => partner.shared()).increment(new);
}

pub(crate) fn panicked(partner: &PartnerId) {
    counter!(names::PANICS, "partner" => partner.shared()).increment(1);
}

pub(crate) fn rejected(partner: &PartnerId, code: String) {
    counter!(names::REJECTED, "partner" => partner.shared(), "code" => code).increment(1);
}

pub(crate) fn buried(partner: &PartnerId) {
    counter!(names::DEAD_LETTERS, "partner" => partner.shared()).increment(1);
}

pub(crate) fn sent(event: &Event, unrouted: bool) {
    let partner = event.partner.shared();
    if unrouted {
        counter!(names::EVENTS_UNROUTED, "partner" => partner.clone()).increment(1);
    }
    counter!(names::EVENTS_SENT, "partner" => partner, "type" => event.kind.as_str()).increment(1);
}

/// A user's inventory was read for their own sake.
pub(crate) fn synced(partner: &PartnerId, good: bool) {
    counter!(names::SYNCS, "partner" => partner.shared(), "good" => if good { "true" } else { "false" }).increment(1);
}

/// A user's turn stands: these events, and when their warnings were due.
pub(crate) fn warned(partner: &PartnerId, events: &[Event], due: &[Time], now: Time) {
    for event in events {
        counter!(names::WARNINGS, "partner" => partner.shared(), "type" => event.kind.as_str()).increment(1);
    }
    for moment in due {
        histogram!(names::WARNING_DELAY, "partner" => partner.shared()).record(until(*moment, now));
    }
}

/// What a webhook's endpoint said.
pub(crate) fn delivery(event: &Event, settled: &Settled) {
    let partner = &event.partner;
    let outcome = match settled {
        Settled::Delivered => "delivered",
        Settled::Failed { due_at: Some(_), why, .. } => {
            tracing::debug!(%partner, event.id = %event.id, why, "not delivered; it is tried again");
            "failed"
        }
        Settled::Failed { due_at: None, why, .. } => {
            tracing::warn!(%partner, event.id = %event.id, why, "a delivery is given up; `clawback webhooks replay` sends it again");
            "given_up"
        }
        Settled::Gone { why } => {
            tracing::error!(%partner, why, "a webhook is disabled; `clawback webhooks enable` delivers to it again");
            "gone"
        }
    };
    counter!(names::DELIVERIES, "partner" => partner.shared(), "outcome" => outcome).increment(1);
}
