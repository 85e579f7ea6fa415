//! A broker that counts how often each queue was measured: how a test knows what a worker has seen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_broker::{Broker, BrokerError, Consumer, Health, Message, Mismatch, PublishError, QueueState, Routing, Topology};
use parking_lot::Mutex;

pub(super) struct LookedAt {
    inner: Arc<dyn Broker>,
    looks: Mutex<BTreeMap<String, usize>>,
}

impl LookedAt {
    pub(super) fn new(inner: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self { inner, looks: Mutex::default() })
    }

    /// Measurements of this queue that were begun.
    pub(super) fn looks(&self, queue: &str) -> usize {
        self.looks.lock().get(queue).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Broker for LookedAt {
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.inner.declare(topology).await
    }

    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        self.inner.check(topology).await
    }

    async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        self.inner.publish(message).await
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consume(queue, prefetch).await
    }

    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        *self.looks.lock().entry(queue.to_owned()).or_default() += 1;
        self.inner.queue_state(queue).await
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn close(&self, within: Duration) {
        self.inner.close(within).await;
    }
}
