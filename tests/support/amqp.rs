//! A partner as an ordinary AMQP client would play it: publishes commands with confirms, reads its event queue. It knows nothing
//! of Clawback's own broker code, so that both cannot be wrong in the same way.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, future::try_join_all};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm, options::*, types::FieldTable,
};
use serde_json::Value;
use tokio::time::timeout;

/// A broker that needs longer for a connection or a confirm is down, for a test's purposes.
const ANSWER: Duration = Duration::from_secs(10);
/// Publishes under way at once: enough to keep a quorum queue busy.
const WINDOW: usize = 256;
/// Enough to read ten thousand events quickly, and bounded.
const PREFETCH: u16 = 256;

/// A connection, or why not, in bounded time.
pub async fn connect(url: &str) -> Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("clawback-tests".into());
    Ok(timeout(ANSWER, Connection::connect(url, properties)).await.context("no answer to an AMQP connection")??)
}

/// One partner, connected. After the loss of its connection connect again.
pub struct Partner {
    name: String,
    connection: Connection,
    channel: Channel,
}

impl Partner {
    pub async fn connect(url: &str, name: &str) -> Result<Self> {
        let connection = connect(url).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { name: name.to_owned(), connection, channel })
    }

    /// Publishes a `purchase` command and waits until the broker has it.
    pub async fn purchase(&self, command: &Value) -> Result<()> {
        self.publish("purchase", command.to_string().as_bytes()).await
    }

    /// Publishes anything to the partner's exchange. An error when it is nacked, returned or not confirmed in time.
    pub async fn publish(&self, routing_key: &str, body: &[u8]) -> Result<()> {
        confirmed(self.send(routing_key, body).await?).await
    }

    /// Publishes many purchases, pipelined, and waits until the broker has them all.
    pub async fn purchase_all(&self, commands: impl IntoIterator<Item = Value>) -> Result<()> {
        self.publish_all("purchase", commands).await
    }

    pub async fn publish_all(&self, routing_key: &str, commands: impl IntoIterator<Item = Value>) -> Result<()> {
        let commands: Vec<Value> = commands.into_iter().collect();
        for window in commands.chunks(WINDOW) {
            let mut confirms = Vec::with_capacity(WINDOW);
            for command in window {
                confirms.push(confirmed(self.send(routing_key, command.to_string().as_bytes()).await?));
            }
            try_join_all(confirms).await?;
        }
        Ok(())
    }

    async fn send(&self, routing_key: &str, body: &[u8]) -> Result<PublisherConfirm> {
        let exchange = format!("clawback.commands.{}", self.name);
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        Ok(self.channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await?)
    }

    /// Everything that waits in the partner's event queue now, taken from it.
    pub async fn take_events(&self) -> Result<Vec<Value>> {
        let queue = format!("clawback.events.{}", self.name);
        let mut taken = Vec::new();
        let get = || self.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
        while let Some(message) = timeout(ANSWER, get()).await.context("no answer to a get")?? {
            taken.push(serde_json::from_slice(&message.data).context("an event is not JSON")?);
        }
        Ok(taken)
    }

    /// Starts to read the partner's event queue.
    pub async fn events(&self) -> Result<Events> {
        let channel = self.connection.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let queue = format!("clawback.events.{}", self.name);
        let consumer =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
        Ok(Events { consumer, _channel: channel })
    }
}

async fn confirmed(confirm: PublisherConfirm) -> Result<()> {
    let confirmation = timeout(ANSWER, confirm).await.context("no confirm")??;
    ensure!(confirmation.is_ack(), "the broker refused the message");
    match confirmation.take_message() {
        // An unroutable message is acked all the same, and returned.
        Some(returned) => bail!("the message was returned: {}", returned.reply_text),
        None => Ok(()),
    }
}

/// The event queue's reader. Each event is acked as it is handed out.
pub struct Events {
    consumer: Consumer,
    _channel: Channel,
}

impl Events {
    /// The next event, as JSON.
    pub async fn next(&mut self, within: Duration) -> Result<Value> {
        let next = timeout(within, self.consumer.next()).await;
        let delivery =
            next.with_context(|| format!("no event came within {within:?}"))?.context("the consumer was cancelled")??;
        let event = serde_json::from_slice(&delivery.data).context("an event is not JSON")?;
        delivery.ack(BasicAckOptions::default()).await?;
        Ok(event)
    }

    /// Reads until `last` says so, or fails when there is a pause of `within`. All that was read.
    pub async fn until(&mut self, within: Duration, mut last: impl FnMut(&Value) -> bool) -> Result<Vec<Value>> {
        let mut read = Vec::new();
        loop {
            let event = self.next(within).await.with_context(|| format!("after {} events", read.len()))?;
            let done = last(&event);
            read.push(event);
            if done {
                return Ok(read);
            }
        }
    }
}
