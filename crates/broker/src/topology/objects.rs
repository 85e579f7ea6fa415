//! One exchange, one queue, one binding: the arguments RabbitMQ gets, each with its reason.

use clawback_domain::PartnerId;

use super::{DEAD, UNROUTED};

/// Commands and steps a queue takes before it refuses. A backlog of a million commands of 1 KiB is about a gigabyte on disk; beyond
/// that the sender shall wait, and it hears so.
const WORK_BOUND: u64 = 1_000_000;

/// Events kept for a partner that does not read them. The store has them all; older ones are dropped first.
const EVENT_BOUND: u64 = 100_000;

/// Always said, because its absence means 20 from RabbitMQ 4.0 on; high, because a redelivered command is harmless here and -1 drops
/// the message at its first requeue before 4.0.
pub const DELIVERY_LIMIT: i64 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    pub kind: ExchangeKind,
    /// Where a message goes that no binding wants.
    pub alternate: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
}

/// A durable quorum queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub overflow: Overflow,
    /// In messages. Set by a policy, so that an operator can change it without declaring the queue anew. `None`: unbounded.
    pub bound: Option<u64>,
    /// Where a message goes that was delivered [`DELIVERY_LIMIT`] times.
    pub dead_letter: Option<DeadLetter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The publisher gets a nack: nothing that was confirmed is lost.
    RejectPublish,
    /// The oldest goes: for what the store has anyway.
    DropHead,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub exchange: String,
    pub routing_key: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub exchange: String,
    pub routing_key: String,
    pub queue: String,
}

impl Exchange {
    pub(super) fn new(name: &str, kind: ExchangeKind) -> Self {
        Self { name: name.to_owned(), kind, alternate: None }
    }
}

impl ExchangeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
        }
    }
}

impl Queue {
    /// What waits here must not be lost, so a full queue refuses, and what the broker gives up on goes to the partner's dead letters.
    pub(super) fn work(name: String, partner: &PartnerId) -> Self {
        let dead_letter = DeadLetter { exchange: DEAD.to_owned(), routing_key: partner.to_string() };
        Self { name, overflow: Overflow::RejectPublish, bound: Some(WORK_BOUND), dead_letter: Some(dead_letter) }
    }

    /// Unbounded: a dead letter that is refused would hold up the queue it comes from.
    pub(super) fn dead(name: String) -> Self {
        Self { name, overflow: Overflow::RejectPublish, bound: None, dead_letter: None }
    }

    pub(super) fn events(name: String) -> Self {
        Self { name, overflow: Overflow::DropHead, bound: Some(EVENT_BOUND), dead_letter: None }
    }

    pub(super) fn unrouted() -> Self {
        Self { name: UNROUTED.to_owned(), overflow: Overflow::RejectPublish, bound: Some(WORK_BOUND), dead_letter: None }
    }

    /// The `x-` arguments a queue is declared with. The bound of a work queue is a policy's; that of an event queue is said here too,
    /// since a partner that never reads must not fill the disk where nobody has applied policies (the smaller one counts).
    pub fn arguments(&self) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![
            ("x-queue-type", Argument::Text("quorum".to_owned())),
            ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
            ("x-overflow", Argument::Text(self.overflow.as_str().to_owned())),
        ];
        if let (Overflow::DropHead, Some(bound)) = (self.overflow, self.bound) {
            arguments.push(("x-max-length", Argument::Number(bound as i64)));
        }
        if let Some(dead_letter) = &self.dead_letter {
            arguments.push(("x-dead-letter-exchange", Argument::Text(dead_letter.exchange.clone())));
            arguments.push(("x-dead-letter-routing-key", Argument::Text(dead_letter.routing_key.clone())));
            // The default forgets a dead letter whose target is away for a moment.
            arguments.push(("x-dead-letter-strategy", Argument::Text("at-least-once".to_owned())));
        }
        arguments
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Text(String),
    Number(i64),
}

impl Overflow {
    pub const fn as_str(self) -> &'static str {
        match self {
            Overflow::RejectPublish => "reject-publish",
            Overflow::DropHead => "drop-head",
        }
    }
}

impl Binding {
    pub(super) fn new(exchange: &str, routing_key: &str, queue: &str) -> Self {
        Self { exchange: exchange.to_owned(), routing_key: routing_key.to_owned(), queue: queue.to_owned() }
    }
}
