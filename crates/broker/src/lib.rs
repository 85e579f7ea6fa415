//! The broker: where commands come from and events go to.
//!
//! [`Broker`] is the door; [`amqp`] puts RabbitMQ behind it, [`embedded`] channels in memory. Both pass one conformance suite.
//! A message is published with a confirm or not at all; a delivery is settled once, by value.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use clawback_domain::Time;

pub mod steps;
pub mod topology;

pub mod amqp;
pub mod embedded;

pub use amqp::Amqp;
pub use embedded::Embedded;
pub use topology::Topology;

/// The largest body that is published: RabbitMQ 4's default for `max_message_size`, and far above any command or event.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// A message to publish. Always persistent, always confirmed, always `mandatory`.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub exchange: String,
    pub routing_key: String,
    pub body: Bytes,
    pub properties: Properties,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub content_type: Option<String>,
    pub timestamp: Option<Time>,
    /// Headers whose value is text (or bytes that are UTF-8); others are left out. Bounded by the implementation.
    pub headers: BTreeMap<String, String>,
}

/// What a confirm means. Only an acknowledgement *without* a returned message says that a queue has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    Routed,
    /// No queue is bound for it; the broker has dropped it.
    Unrouted,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Refused (a full queue with `reject-publish`): surely not there. Back-pressure: try again later.
    #[error("the broker refused the message: its queue is full")]
    Refused,
    /// The exchange does not exist, or is not ours to write to.
    #[error("the broker has no such exchange: {0}")]
    NoExchange(String),
    /// No connection, or no confirm in time: the message may or may not be there. Publish again with the same message id.
    #[error("the broker did not confirm: {0}")]
    Unconfirmed(String),
    #[error("the message is too large for the broker")]
    TooLarge,
    #[error("the broker is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the broker is not reachable: {0}")]
    Unreachable(String),
    #[error("the broker refused: {0}")]
    Refused(String),
    #[error("there is no queue {0}")]
    NoQueue(String),
    #[error("the broker is closed")]
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Messages ready for delivery.
    pub ready: u64,
    pub consumers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Connected,
    /// The broker has raised an alarm: publishing waits.
    Blocked,
    Disconnected,
}

/// A difference between a topology and what the broker has, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Declares all of it; declaring what is there already is no error. What exists with other arguments is.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError>;

    /// Compares passively, creating nothing.
    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError>;

    /// Completes when the broker has confirmed. Many calls may be under way at once; they are pipelined. While the connection is
    /// blocked or lost this waits, up to the implementation's confirm time-out.
    async fn publish(&self, message: Message) -> Result<Routing, PublishError>;

    /// Consumes `queue` with at most `prefetch` unacked deliveries. The consumer survives the loss of connection or channel: it
    /// declares what was last declared and consumes again, and what was unacked is delivered again.
    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;

    /// RabbitMQ counts a cancelled consumer until what it holds is settled.
    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError>;

    fn health(&self) -> Health;

    /// Flushes acks and confirms, then closes; bounded by `within`.
    async fn close(&self, within: Duration);
}

#[async_trait]
pub trait Consumer: Send {
    /// The next delivery; `None` once cancelled (after the deliveries already received) or when the broker was closed.
    async fn next(&mut self) -> Option<Delivery>;

    /// Asks for no more. Deliveries in hand stay valid: finish and settle them, or requeue them.
    async fn cancel(&mut self);
}

/// A message as it arrived. Settled once, by value. Dropped unsettled it stays unacked until its consumer was dropped too and none of
/// that consumer's deliveries is held any more, or until the connection ends; then it is delivered again.
pub struct Delivery {
    pub queue: String,
    /// The exchange it was published to: for a command, this names the partner.
    pub exchange: String,
    pub routing_key: String,
    pub redelivered: bool,
    pub properties: Properties,
    pub body: Bytes,
    pub settle: Box<dyn Settle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    Ack,
    /// Back to the queue, for anyone.
    Requeue,
}

/// The delivery's channel is gone; the broker has given it to others, or will. Harmless: whoever gets it finds its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delivery's channel is gone; it will be delivered again")]
pub struct Stale;

#[async_trait]
pub trait Settle: Send + Sync {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Stale>;
}

impl Delivery {
    /// Completes when the ack was handed over. It leaves within some milliseconds, as one with its neighbours' (within 0.2 s if one of
    /// them is slow); [`Broker::close`] and the end of its consumer send it at once.
    pub async fn ack(self) -> Result<(), Stale> {
        self.settle.settle(Settlement::Ack).await
    }

    pub async fn requeue(self) -> Result<(), Stale> {
        self.settle.settle(Settlement::Requeue).await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("queue", &self.queue)
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("redelivered", &self.redelivered)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
