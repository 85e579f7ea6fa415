//! The broker of a single process: RabbitMQ's semantics in memory, nothing on disk.
//!
//! It routes by the same [`Topology`], refuses at the same bounds, returns what nobody wants, holds at most `prefetch` unacked
//! deliveries per consumer and shares a queue among its consumers in turn. What it keeps dies with the process, which is why
//! commands are durable rows before they are answered wherever this broker serves.
//!
//! It needs no runtime, spawns nothing, reads no clock and draws no chance: every call completes at its first poll except
//! [`Consumer::next`], which waits for a message. The simulation drives it on its own executor.
//!
//! A consumer's *channel* ends when the consumer was dropped and none of its deliveries is held any more, or when its connection
//! ends; what is unacked then goes back to the front of the queue, marked redelivered. RabbitMQ's side does the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

mod consumer;
mod queue;
mod server;

use self::{consumer::EmbeddedConsumer, server::Server};
use crate::{Broker, BrokerError, Consumer, Health, Message, Mismatch, PublishError, QueueState, Routing, Topology, topology};

/// Messages a queue takes unless its own bound is smaller: memory, not disk, so less than RabbitMQ's.
const QUEUE_BOUND: usize = 200_000;

/// One connection to a broker in memory. Clones are the same connection; [`connect`](Self::connect) gives another.
#[derive(Clone)]
pub struct Embedded {
    server: Arc<Mutex<Server>>,
    closed: Arc<AtomicBool>,
    connection: u64,
}

impl Embedded {
    pub fn new() -> Self {
        Self::with_bound(QUEUE_BOUND)
    }

    /// A broker whose queues hold at most `bound` messages each.
    pub fn with_bound(bound: usize) -> Self {
        let server = Arc::new(Mutex::new(Server::new(bound)));
        Self { server, closed: Arc::default(), connection: 0 }
    }

    /// Another connection to the same broker: what another process would have.
    pub fn connect(&self) -> Self {
        let connection = self.server.lock().next_connection();
        Self { server: self.server.clone(), closed: Arc::default(), connection }
    }

    /// What a broken network does to every connection: unacked deliveries go back to their queues and settle as stale, consumers
    /// live on.
    pub fn interrupt(&self) {
        self.server.lock().interrupt();
    }

    /// Declares a single queue, as another client might.
    pub fn declare_queue(&self, queue: &topology::Queue) -> Result<(), BrokerError> {
        self.server.lock().declare_queue(queue)
    }

    /// Removes a queue and what it holds. Its consumers wait for it to be declared again.
    pub fn delete_queue(&self, queue: &str) {
        self.server.lock().delete_queue(queue);
    }

    fn open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Broker for Embedded {
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.open()?;
        self.server.lock().declare(topology)
    }

    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        self.open()?;
        Ok(self.server.lock().check(topology))
    }

    async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        self.open().map_err(|_| PublishError::Closed)?;
        if message.body.len() > crate::MAX_BODY {
            return Err(PublishError::TooLarge);
        }
        self.server.lock().publish(message)
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        self.open()?;
        let (id, arrived) = self.server.lock().consume(queue, prefetch, self.connection)?;
        Ok(Box::new(EmbeddedConsumer::new(self.server.clone(), queue, id, arrived)))
    }

    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        self.open()?;
        self.server.lock().queue_state(queue)
    }

    fn health(&self) -> Health {
        if self.closed.load(Ordering::Acquire) { Health::Disconnected } else { Health::Connected }
    }

    async fn close(&self, _within: Duration) {
        self.closed.store(true, Ordering::Release);
        self.server.lock().end_connection(self.connection);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::Properties;

    #[test]
    fn every_call_completes_at_its_first_poll_without_a_runtime() {
        let partner = clawback_domain::PartnerId::new("acme").unwrap();
        let topology = Topology { partners: vec![topology::PartnerTopology { partner: partner.clone(), event_queue: true }] };
        let broker = Embedded::new();
        broker.declare(&topology).now_or_never().unwrap().unwrap();
        let queue = topology::step_queue(&partner);
        let mut consumer = broker.consume(&queue, 1).now_or_never().unwrap().unwrap();
        assert!(consumer.next().now_or_never().is_none());
        let message = Message {
            exchange: topology::STEPS.into(),
            routing_key: "acme".into(),
            body: "x".into(),
            properties: Properties::default(),
        };
        assert_eq!(broker.publish(message).now_or_never().unwrap().unwrap(), Routing::Routed);
        let delivery = consumer.next().now_or_never().flatten().expect("it has arrived");
        delivery.ack().now_or_never().unwrap().unwrap();
        consumer.cancel().now_or_never().unwrap();
        assert!(consumer.next().now_or_never().unwrap().is_none());
        broker.close(Duration::ZERO).now_or_never().unwrap();
    }
}
