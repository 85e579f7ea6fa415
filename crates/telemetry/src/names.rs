//! The names of spans, attributes and metrics.
//!
//! Messaging follows OpenTelemetry's semantic conventions (1.44, "Development"): a span is named `{operation.name} {destination}`,
//! and as `tracing` wants a constant name the full one goes into the field [`OTEL_NAME`]. Everything that is not messaging stands
//! under `clawback.`. An id is never a metric's label: labels are bounded by configuration (partners) or by our own enums.

// Spans: a constant name for `tracing`, one of the operations below.
/// The worker handles a delivery. CONSUMER.
pub const PROCESS: &str = "process";
/// A message goes out with a confirm. PRODUCER.
pub const SEND: &str = "send";
/// A delivery arrives. CLIENT.
pub const RECEIVE: &str = "receive";
/// A delivery is acked or requeued. CLIENT.
pub const SETTLE: &str = "settle";
/// One turn of one purchase, from a command, a step or a timer. INTERNAL.
pub const TURN: &str = "clawback.turn";
/// One call to the upstream. CLIENT.
pub const CALL: &str = "clawback.upstream.call";

// Attributes.
/// The span's full name, for exporters: `process clawback.purchases.acme`.
pub const OTEL_NAME: &str = "otel.name";
pub const OTEL_KIND: &str = "otel.kind";
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The value of [`MESSAGING_SYSTEM`].
pub const RABBITMQ: &str = "rabbitmq";
/// `create`, `send`, `receive`, `process` or `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `{exchange}:{routing key}`, one alone if the other is empty: see [`destination`].
pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
pub const MESSAGING_ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
pub const ERROR_TYPE: &str = "error.type";
pub const PARTNER: &str = "clawback.partner";
pub const PURCHASE_ID: &str = "purchase.id";
pub const ATTEMPT: &str = "clawback.attempt";
pub const TRACE_ID: &str = "trace.id";

// Metrics of the messaging conventions.
pub const CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
pub const SENT_MESSAGES: &str = "messaging.client.sent.messages";
pub const CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
pub const PROCESS_DURATION: &str = "messaging.process.duration";

// Our own metrics. Labels in brackets.
/// Purchases that entered a state [partner, state].
pub const PURCHASES: &str = "clawback.purchases";
/// Sellbacks that entered a state [partner, state].
pub const SELLBACKS: &str = "clawback.sellbacks";
/// From acceptance to the final state [partner, state].
pub const SELLBACK_DURATION: &str = "clawback.sellback.duration";
/// Sellbacks that turned out to be sold after they had failed [partner].
pub const CONTRADICTED: &str = "clawback.sellbacks.contradicted";
/// Sellbacks by state as the store has them [partner, state].
pub const SELLBACKS_STORED: &str = "clawback.sellbacks.stored";
/// Purchases by state as the store has them [partner, state].
pub const PURCHASES_STORED: &str = "clawback.purchases.stored";
/// From acceptance to the final state [partner, state].
pub const PURCHASE_DURATION: &str = "clawback.purchase.duration";
/// Between the command's timestamp and its first commit [partner].
pub const COMMAND_AGE: &str = "clawback.command.age";
/// Calls to the upstream [partner, endpoint, outcome].
pub const UPSTREAM_CALLS: &str = "clawback.upstream.calls";
/// How long they took [partner, endpoint, outcome].
pub const UPSTREAM_DURATION: &str = "clawback.upstream.duration";
/// `buy/init` calls in flight in this process [partner].
pub const INITS_IN_FLIGHT: &str = "clawback.inits.in_flight";
/// `buy/status` calls in flight in this process [partner].
pub const POLLS_IN_FLIGHT: &str = "clawback.polls.in_flight";
/// Orders put aside before their call [partner, code].
pub const HELD: &str = "clawback.orders.held";
/// Sessions that no purchase can take: each may be a double buy [partner].
pub const ORPHANS: &str = "clawback.orphans";
/// Items in inventories that no purchase explains: each may be a double buy [partner].
pub const ORPHAN_ITEMS: &str = "clawback.orphans.items";
/// Inventories read for their users' sake [partner, good].
pub const SYNCS: &str = "clawback.syncs";
/// Warnings and closed windows that were told, an event each [partner, type].
pub const WARNINGS: &str = "clawback.warnings";
/// How long after the moment of its lead time an item was warned of; 0 when it was before [partner].
pub const WARNING_DELAY: &str = "clawback.warning.delay";
/// Handlers that panicked [partner].
pub const PANICS: &str = "clawback.panics";
/// Commands that were not taken [partner, code].
pub const REJECTED: &str = "clawback.commands.rejected";
/// Messages kept as dead letters [partner].
pub const DEAD_LETTERS: &str = "clawback.dead_letters";
/// Events published and confirmed [partner, type].
pub const EVENTS_SENT: &str = "clawback.events.sent";
/// Events that no queue was bound for [partner].
pub const EVENTS_UNROUTED: &str = "clawback.events.unrouted";
/// Attempts to deliver to a webhook [partner, outcome].
pub const DELIVERIES: &str = "clawback.webhook.deliveries";
/// Deliveries that wait, given-up ones apart, as the store has them [partner].
pub const DELIVERIES_WAITING: &str = "clawback.webhook.waiting";
/// Deliveries that were given up and are kept for a replay [partner].
pub const DELIVERIES_GIVEN_UP: &str = "clawback.webhook.given_up";
/// How long ago the oldest event happened that waits for a webhook [partner].
pub const DELIVERY_AGE: &str = "clawback.webhook.oldest.age";
/// 1 when a webhook gets no deliveries until a person enables it [partner].
pub const WEBHOOK_DISABLED: &str = "clawback.webhook.disabled";
/// Rows claimed as due [partner].
pub const STEPS: &str = "clawback.steps";
/// How overdue a claimed row was.
pub const STEP_LATENESS: &str = "clawback.step.lateness";
/// What was old and is removed [kind].
pub const PRUNED: &str = "clawback.pruned";
/// Rows per group commit.
pub const COMMIT_ROWS: &str = "clawback.store.commit.rows";
/// How long a group commit took [outcome].
pub const COMMIT_DURATION: &str = "clawback.store.commit.duration";
/// Seconds by which our clock is corrected to the store's, or ahead of the system's where it follows the sandbox's.
pub const CLOCK_OFFSET: &str = "clawback.clock.offset";
/// 1 when this process is ready.
pub const READY: &str = "clawback.ready";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Seconds,
    Count,
}

/// Every metric, with what it tells: what `/metrics` prints as help, and what dashboards are checked against.
pub const METRICS: &[(&str, Kind, &str)] = &[
    (CLIENT_OPERATION_DURATION, Kind::Seconds, "Duration of broker operations"),
    (SENT_MESSAGES, Kind::Counter, "Messages published"),
    (CONSUMED_MESSAGES, Kind::Counter, "Messages delivered to this process"),
    (PROCESS_DURATION, Kind::Seconds, "From a delivery's arrival to its ack"),
    (PURCHASES, Kind::Counter, "Purchases that entered a state"),
    (PURCHASES_STORED, Kind::Gauge, "Purchases by state as the store has them"),
    (SYNCS, Kind::Counter, "Inventories read for their users' sake"),
    (WARNINGS, Kind::Counter, "Warnings and closed windows that were told, an event each"),
    (WARNING_DELAY, Kind::Seconds, "How long after the moment of its lead time an item was warned of; 0 when it was before"),
    (PURCHASE_DURATION, Kind::Seconds, "From acceptance to the final state"),
    (SELLBACKS, Kind::Counter, "Sellbacks that entered a state"),
    (SELLBACKS_STORED, Kind::Gauge, "Sellbacks by state as the store has them"),
    (SELLBACK_DURATION, Kind::Seconds, "From acceptance to the final state"),
    (CONTRADICTED, Kind::Counter, "Sellbacks that turned out to be sold after they had failed"),
    (COMMAND_AGE, Kind::Seconds, "From the command's timestamp to its first commit"),
    (UPSTREAM_CALLS, Kind::Counter, "Calls to the upstream"),
    (UPSTREAM_DURATION, Kind::Seconds, "Duration of calls to the upstream"),
    (INITS_IN_FLIGHT, Kind::Gauge, "buy/init calls in flight in this process"),
    (POLLS_IN_FLIGHT, Kind::Gauge, "buy/status calls in flight in this process"),
    (HELD, Kind::Counter, "Orders put aside before their call"),
    (ORPHANS, Kind::Counter, "Sessions that no purchase can take: each may be a double buy"),
    (ORPHAN_ITEMS, Kind::Counter, "Items in inventories that no purchase explains: each may be a double buy"),
    (PANICS, Kind::Counter, "Handlers that panicked"),
    (REJECTED, Kind::Counter, "Commands that were not taken"),
    (DEAD_LETTERS, Kind::Counter, "Messages kept as dead letters"),
    (EVENTS_SENT, Kind::Counter, "Events published and confirmed"),
    (EVENTS_UNROUTED, Kind::Counter, "Events that no queue was bound for"),
    (DELIVERIES, Kind::Counter, "Attempts to deliver to a webhook"),
    (DELIVERIES_WAITING, Kind::Gauge, "Deliveries to a webhook that wait"),
    (DELIVERIES_GIVEN_UP, Kind::Gauge, "Deliveries to a webhook that were given up"),
    (DELIVERY_AGE, Kind::Gauge, "Seconds since the oldest event happened that waits for a webhook"),
    (WEBHOOK_DISABLED, Kind::Gauge, "1 when a webhook is disabled"),
    (STEPS, Kind::Counter, "Rows claimed as due and stepped"),
    (STEP_LATENESS, Kind::Seconds, "How overdue a claimed row was"),
    (PRUNED, Kind::Counter, "What was old and is removed"),
    (COMMIT_ROWS, Kind::Count, "Rows per group commit"),
    (COMMIT_DURATION, Kind::Seconds, "Duration of group commits"),
    (
        CLOCK_OFFSET,
        Kind::Gauge,
        "Seconds by which the clock is corrected to the store's, or ahead of the system's where it follows the sandbox's",
    ),
    (READY, Kind::Gauge, "1 when this process is ready"),
];

/// The destination of a published message as the conventions name it.
pub fn destination(exchange: &str, routing_key: &str) -> String {
    match (exchange, routing_key) {
        ("", "") => "amq.default".into(),
        (exchange, "") => exchange.into(),
        ("", key) => key.into(),
        (exchange, key) => format!("{exchange}:{key}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once_and_ours_stand_under_our_name() {
        let names: BTreeSet<_> = METRICS.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), METRICS.len());
        for name in names {
            assert!(name.starts_with("clawback.") || name.starts_with("messaging."), "{name}");
        }
    }

    #[test]
    fn a_destination_is_exchange_and_key_or_the_one_that_there_is() {
        for (exchange, key, expected) in
            [("", "", "amq.default"), ("a", "", "a"), ("", "q", "q"), ("clawback.steps", "acme", "clawback.steps:acme")]
        {
            assert_eq!(destination(exchange, key), expected);
        }
    }
}
