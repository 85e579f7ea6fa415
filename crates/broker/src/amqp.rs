//! RabbitMQ behind the door.
//!
//! Two connections, since a publisher that RabbitMQ blocks must not keep acks from leaving. Each is supervised here and rebuilt
//! with backoff and jitter; the library's own recovery is off, for it hides that deliveries in hand were given to others. A channel
//! per consumer, one for publishing, one for declaring.
//!
//! - [`link`]: a connection that comes back. [`wire`]: what is allowed to reach the library's parser.
//! - [`publisher`]: one task that pipelines publishes and tells each its own confirm; [`returns`] sorts out what came back.
//! - [`consumer`]: a consumer that outlives its channels; [`acks`]: many settlements, few frames.
//! - [`declare`]: declaring and checking. [`convert`]: properties and errors, theirs and ours.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{acks::Flusher, consumer::AmqpConsumer, declare::Declarer, endpoint::Endpoint, link::Link, publisher::Publisher};
use crate::{Broker, BrokerError, Consumer, Health, Message, Mismatch, PublishError, QueueState, Routing, Topology};

mod acks;
mod backoff;
mod consumer;
mod convert;
mod declare;
mod endpoint;
mod link;
mod publisher;
mod returns;
mod wire;

/// Asked for the URL before each connection, so that the next one takes a rotated password. Its error is a sentence without the URL.
pub type UrlSource = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

#[derive(Debug, Clone)]
pub struct Options {
    /// Shown by RabbitMQ beside the connection.
    pub name: String,
    /// A silent peer is given up after about twice this: all that notices packets dropped on the way.
    pub heartbeat: Duration,
    pub connect_timeout: Duration,
    /// How long a publish waits for a connection, for room and for its confirm, altogether.
    pub confirm_timeout: Duration,
    /// Publishes without a confirm yet; further ones wait. Well above what a round trip of a few milliseconds needs.
    pub in_flight: usize,
    /// How long an ack may wait for its neighbours.
    pub ack_delay: Duration,
    /// Acks that travel as one at most. 1: each for itself.
    pub ack_run: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "clawback".to_owned(),
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(30),
            in_flight: 4_096,
            ack_delay: Duration::from_millis(10),
            ack_run: 256,
        }
    }
}

/// A broker behind an `amqp://` or `amqps://` URL.
pub struct Amqp {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    publisher: Publisher,
    declarer: Arc<Declarer>,
    flusher: Arc<Flusher>,
    options: Options,
    consumers: TaskTracker,
    /// Ends the consumers.
    ending: CancellationToken,
    /// Ends everything.
    closing: CancellationToken,
}

impl Amqp {
    /// Connects, or says why not; later losses are repaired behind the scenes.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a URL that cannot be read or a login that is refused, [`BrokerError::Unreachable`] for the rest.
    /// Neither names the password.
    pub async fn connect(url: &str, options: Options) -> Result<Self, BrokerError> {
        let url = url.to_owned();
        Self::connect_from(Arc::new(move || Ok(url.clone())), options).await
    }

    /// [`Amqp::connect`] to where `source` says. While that says nothing usable, or names another virtual host, its last good URL
    /// stays in use.
    ///
    /// # Errors
    /// Those of [`Amqp::connect`], and [`BrokerError::Refused`] when the source has no URL to begin with.
    pub async fn connect_from(source: UrlSource, options: Options) -> Result<Self, BrokerError> {
        let endpoint = Arc::new(Endpoint::open(source, options.clone())?);
        let closing = CancellationToken::new();
        let consuming = Arc::new(Link::connect(endpoint.clone(), "consume", closing.clone()).await?);
        let publishing = Arc::new(Link::connect(endpoint, "publish", closing.clone()).await?);
        let publisher = Publisher::start(publishing.clone(), &options, closing.clone());
        let declarer = Arc::new(Declarer::new(consuming.clone()));
        let flusher = Flusher::start(options.ack_delay, closing.clone());
        let (consumers, ending) = (TaskTracker::new(), closing.child_token());
        Ok(Self { publishing, consuming, publisher, declarer, flusher, options, consumers, ending, closing })
    }
}

#[async_trait]
impl Broker for Amqp {
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.declarer.declare(topology).await
    }

    /// Bindings are not compared: AMQP has no question for them. They are made whenever something is declared.
    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        self.declarer.check(topology).await
    }

    async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        self.publisher.publish(message).await
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        if self.ending.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        let source = consumer::Source {
            queue: queue.to_owned(),
            prefetch: prefetch.max(1),
            ack_run: self.options.ack_run,
            link: self.consuming.clone(),
            declarer: self.declarer.clone(),
            flusher: self.flusher.clone(),
            ending: self.ending.clone(),
            tasks: self.consumers.clone(),
        };
        Ok(Box::new(AmqpConsumer::start(source).await?))
    }

    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        self.declarer.queue_state(queue).await
    }

    fn health(&self) -> Health {
        match (self.publishing.health(), self.consuming.health()) {
            (Health::Connected, consuming) => consuming,
            (Health::Blocked, Health::Disconnected) => Health::Disconnected,
            (publishing, _) => publishing,
        }
    }

    async fn close(&self, within: Duration) {
        let orderly = async {
            self.publisher.drain().await;
            self.ending.cancel();
            self.consumers.close();
            self.consumers.wait().await;
            self.closing.cancel();
            self.consuming.closed().await;
            self.publishing.closed().await;
        };
        if tokio::time::timeout(within, orderly).await.is_err() {
            tracing::warn!("the broker's connections were not closed in time; what was not confirmed or acked comes again");
        }
        self.closing.cancel();
    }
}

impl Drop for Amqp {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
