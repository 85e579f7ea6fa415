//! A consumer of the embedded broker, and how its deliveries are settled.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    queue::{ConsumerId, Stored, Taken},
    server::Server,
};
use crate::{Consumer, Delivery, Settle, Settlement, Stale};

pub(super) struct EmbeddedConsumer {
    server: Arc<Mutex<Server>>,
    queue: String,
    id: ConsumerId,
    arrived: Arc<Notify>,
}

impl EmbeddedConsumer {
    pub fn new(server: Arc<Mutex<Server>>, queue: &str, id: ConsumerId, arrived: Arc<Notify>) -> Self {
        Self { server, queue: queue.to_owned(), id, arrived }
    }

    fn take(&self) -> Taken {
        self.server.lock().take(&self.queue, self.id)
    }

    fn delivery(&self, tag: u64, stored: Stored) -> Delivery {
        let Stored { message, redelivered } = stored;
        let settle = EmbeddedSettle { server: self.server.clone(), queue: self.queue.clone(), id: self.id, tag };
        Delivery {
            queue: self.queue.clone(),
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            redelivered,
            properties: message.properties.clone(),
            body: message.body.clone(),
            settle: Box::new(settle),
        }
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            match self.take() {
                Taken::Delivery(tag, stored) => return Some(self.delivery(tag, stored)),
                Taken::Ended => return None,
                // A notification given between the look and this line is kept.
                Taken::Nothing => self.arrived.notified().await,
            }
        }
    }

    async fn cancel(&mut self) {
        self.server.lock().cancel(&self.queue, self.id);
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.server.lock().drop_consumer(&self.queue, self.id);
    }
}

struct EmbeddedSettle {
    server: Arc<Mutex<Server>>,
    queue: String,
    id: ConsumerId,
    tag: u64,
}

#[async_trait]
impl Settle for EmbeddedSettle {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Stale> {
        let settled = self.server.lock().settle(&self.queue, self.id, self.tag, settlement);
        if settled { Ok(()) } else { Err(Stale) }
    }
}

impl Drop for EmbeddedSettle {
    fn drop(&mut self) {
        self.server.lock().release(&self.queue, self.id);
    }
}
