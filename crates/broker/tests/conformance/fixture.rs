//! The broker under test, and what a test may do to it behind its back.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use clawback_broker::{Broker, Consumer, Delivery, Embedded, Message, Properties, topology as names};
use clawback_domain::{PartnerId, pause::CommandKind};

pub use crate::support::topology;

/// How long a test waits for what must happen; a quorum queue on a busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
pub trait Fixture: Send + Sync {
    fn broker(&self) -> Arc<dyn Broker>;

    /// A connection of its own, as another process has it.
    async fn another(&self) -> Arc<dyn Broker>;

    /// Creates a queue of this name as the contract does not know it.
    async fn declare_other(&self, queue: &str);

    async fn delete_queue(&self, queue: &str);

    /// Bounds every queue to `messages`, before anything is declared.
    async fn bound(&mut self, messages: usize);

    /// Breaks all connections.
    async fn interrupt(&self);
}

pub fn partner(name: &str) -> PartnerId {
    PartnerId::new(name).expect("the tests' partners have valid names")
}

pub fn purchases(name: &str) -> String {
    names::command_queue(&partner(name), CommandKind::Purchase)
}

pub fn message(exchange: &str, routing_key: &str, body: impl Into<Bytes>) -> Message {
    let properties = Properties::default();
    Message { exchange: exchange.to_owned(), routing_key: routing_key.to_owned(), body: body.into(), properties }
}

pub fn purchase(name: &str, body: impl Into<Bytes>) -> Message {
    message(&names::commands(&partner(name)), "purchase", body)
}

/// A broker with the topology declared.
pub async fn declared(fixture: &impl Fixture) -> Arc<dyn Broker> {
    let broker = fixture.broker();
    broker.declare(&topology()).await.expect("the topology can be declared");
    broker
}

pub async fn publish_numbers(broker: &dyn Broker, numbers: std::ops::Range<u32>) {
    for number in numbers {
        broker.publish(purchase("acme", number.to_string())).await.expect("the queue takes it");
    }
}

pub async fn next(consumer: &mut dyn Consumer) -> Delivery {
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a delivery comes in time");
    delivery.expect("the consumer goes on")
}

pub async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

pub fn number(delivery: &Delivery) -> u32 {
    std::str::from_utf8(&delivery.body).ok().and_then(|text| text.parse().ok()).expect("the body is a number")
}

pub async fn ready(broker: &dyn Broker, queue: &str) -> u64 {
    broker.queue_state(queue).await.expect("the queue is there").ready
}

/// Waits until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "not in time: {what}");
}

pub struct InMemory(Embedded);

impl InMemory {
    pub fn start() -> Self {
        Self(Embedded::new())
    }
}

#[async_trait]
impl Fixture for InMemory {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }

    async fn another(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.connect())
    }

    async fn declare_other(&self, queue: &str) {
        let mut other = topology().queues().into_iter().find(|each| each.name == queue).expect("a queue of the topology");
        other.dead_letter = None;
        self.0.declare_queue(&other).expect("nothing of that name is there yet");
    }

    async fn delete_queue(&self, queue: &str) {
        self.0.delete_queue(queue);
    }

    async fn bound(&mut self, messages: usize) {
        self.0 = Embedded::with_bound(messages);
    }

    async fn interrupt(&self) {
        self.0.interrupt();
    }
}
