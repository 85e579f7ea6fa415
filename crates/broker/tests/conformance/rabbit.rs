//! RabbitMQ as a fixture: a virtual host of its own for each test.

use std::sync::Arc;

use async_trait::async_trait;
use clawback_broker::Broker;
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};

use crate::{fixture::Fixture, support::Vhost};

pub struct RabbitMq {
    broker: Arc<dyn Broker>,
    vhost: Vhost,
}

impl RabbitMq {
    pub async fn start() -> Self {
        let vhost = Vhost::create();
        Self { broker: Arc::new(vhost.connect().await), vhost }
    }
}

#[async_trait]
impl Fixture for RabbitMq {
    fn broker(&self) -> Arc<dyn Broker> {
        self.broker.clone()
    }

    async fn another(&self) -> Arc<dyn Broker> {
        Arc::new(self.vhost.connect().await)
    }

    async fn declare_other(&self, queue: &str) {
        let connection = self.vhost.raw().await;
        let channel = connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("a classic queue");
    }

    async fn delete_queue(&self, queue: &str) {
        let connection = self.vhost.raw().await;
        let channel = connection.create_channel().await.expect("a channel");
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("the queue was there");
    }

    async fn bound(&mut self, messages: usize) {
        let definition = |overflow| format!(r#"{{"max-length":{messages},"overflow":"{overflow}"}}"#);
        self.vhost.set_policy("work", r"^clawback\.(purchases|sellbacks|steps)\.", &definition("reject-publish"));
        self.vhost.set_policy("events", r"^clawback\.events\.", &definition("drop-head"));
    }

    async fn interrupt(&self) {
        self.vhost.close_all_connections();
    }
}
