//! The broker's door: the embedded one, whose messages are late, lost or doubled on their way to it and from it.

use std::time::Duration;

use async_trait::async_trait;
use clawback_broker::{
    Broker, BrokerError, Consumer, Delivery, Health, Message, Mismatch, PublishError, QueueState, Routing, Settle, Settlement,
    Stale, Topology, embedded::Embedded, topology,
};

use crate::world::World;

/// One process's connection to the broker.
pub struct SimBroker {
    pub world: World,
    pub connection: Embedded,
}

#[async_trait]
impl Broker for SimBroker {
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.connection.declare(topology).await
    }

    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        self.connection.check(topology).await
    }

    async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        if message.exchange == topology::EVENTS {
            self.world.watch().publishes(&self.world.store(), &message);
        }
        let (world, connection) = (self.world.clone(), self.connection.clone());
        self.world.carry(async move { publish(&world, &connection, message).await }).await
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let inner = self.connection.consume(queue, prefetch).await?;
        Ok(Box::new(SimConsumer { world: self.world.clone(), inner }))
    }

    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        self.connection.queue_state(queue).await
    }

    fn health(&self) -> Health {
        self.connection.health()
    }

    async fn close(&self, within: Duration) {
        self.connection.close(within).await;
    }
}

async fn publish(world: &World, connection: &Embedded, message: Message) -> Result<Routing, PublishError> {
    let rates = world.rates();
    world.latency("publish latency").await;
    if world.fires("publish lost", rates.publish_lost) {
        return Err(PublishError::Unconfirmed("lost".into()));
    }
    if message.exchange == topology::STEPS && world.fires("step lost", rates.step_lost) {
        return Ok(Routing::Routed);
    }
    if world.fires("published twice", rates.published_twice) {
        connection.publish(message.clone()).await?;
        world.latency("second copy").await;
    }
    let routing = connection.publish(message).await;
    if world.fires("confirm lost", rates.confirm_lost) {
        return Err(PublishError::Unconfirmed("the confirm was lost".into()));
    }
    world.latency("confirm latency").await;
    routing
}

struct SimConsumer {
    world: World,
    inner: Box<dyn Consumer>,
}

#[async_trait]
impl Consumer for SimConsumer {
    /// Cancelling it loses nothing: what it waits for before a delivery is waited for without one.
    async fn next(&mut self) -> Option<Delivery> {
        if self.world.fires("delivered late", self.world.rates().delivered_late) {
            self.world.sleep(self.world.chance().span("delivered late by", Duration::ZERO, Duration::from_secs(3))).await;
        }
        let delivery = self.inner.next().await?;
        let settle = SimSettle { world: self.world.clone(), inner: delivery.settle };
        Some(Delivery { settle: Box::new(settle), ..delivery })
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A settlement takes its time: whoever hands it over before what it stands for is done can die in between.
struct SimSettle {
    world: World,
    inner: Box<dyn Settle>,
}

#[async_trait]
impl Settle for SimSettle {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Stale> {
        let Self { world, inner } = *self;
        let carrying = world.clone();
        world
            .carry(async move {
                carrying.latency("settle latency").await;
                let settled = match carrying.fires("settle lost", carrying.rates().settle_lost) {
                    // The channel breaks before the ack arrives: to the broker it never was.
                    true => inner.settle(Settlement::Requeue).await.and(Err(Stale)),
                    false => inner.settle(settlement).await,
                };
                carrying.latency("settle latency").await;
                settled
            })
            .await
    }
}
