//! A consumer that outlives its channels.
//!
//! Each has a channel of its own, since RabbitMQ answers many a fault by closing the channel. Deliveries are taken straight from
//! the library's stream, which holds no more than `prefetch`, by whoever calls `next`; a task beside it tends the channel: it
//! consumes again after a loss, declares again if the queue is gone, cancels, and closes the channel once nothing of it is held.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    protocol::AMQPSoftError,
    types::FieldTable,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    acks::{Acks, Flusher},
    backoff::Backoff,
    convert,
    declare::Declarer,
    link::Link,
};
use crate::{BrokerError, Consumer, Delivery};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a consumer consumes, and with whose help.
pub(super) struct Source {
    pub queue: String,
    pub prefetch: u16,
    pub ack_run: usize,
    pub link: Arc<Link>,
    pub declarer: Arc<Declarer>,
    pub flusher: Arc<Flusher>,
    /// The broker is being closed.
    pub ending: CancellationToken,
    pub tasks: TaskTracker,
}

pub(super) struct AmqpConsumer {
    queue: String,
    current: watch::Receiver<Current>,
    stream: Option<(lapin::Consumer, Arc<Acks>)>,
    cancelled: CancellationToken,
    _dropped: DropGuard,
}

/// Which channel the deliveries come from.
#[derive(Clone)]
enum Current {
    Live(Live),
    Waiting,
    Over,
}

#[derive(Clone)]
struct Live {
    connection: Arc<Connection>,
    channel: Arc<Channel>,
    /// Kept until the channel is closed: dropped before, it cancels by itself, and the library takes the answer for a fault.
    consumer: lapin::Consumer,
    acks: Arc<Acks>,
}

impl AmqpConsumer {
    /// # Errors
    /// [`BrokerError::NoQueue`] now; later, what is missing is declared again.
    pub async fn start(source: Source) -> Result<Self, BrokerError> {
        let opening = timeout(ANSWER_WITHIN, open(&source));
        let live = opening.await.unwrap_or_else(|_| Err(BrokerError::Unreachable("no answer in time".to_owned())))?;
        let (announce, current) = watch::channel(Current::Live(live.clone()));
        let (cancelled, dropped) = (CancellationToken::new(), CancellationToken::new());
        let (queue, tasks) = (source.queue.clone(), source.tasks.clone());
        let keeper = Keeper { source, announce, cancelled: cancelled.clone(), dropped: dropped.clone() };
        tasks.spawn(keeper.run(live));
        Ok(Self { queue, current, stream: None, cancelled, _dropped: dropped.drop_guard() })
    }

    /// The stream of the next channel. `None` when there will be none.
    async fn stream(&mut self) -> Option<(lapin::Consumer, Arc<Acks>)> {
        match &*self.current.wait_for(|current| !matches!(current, Current::Waiting)).await.ok()? {
            Current::Live(live) => Some((live.consumer.clone(), live.acks.clone())),
            Current::Waiting | Current::Over => None,
        }
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.stream.is_none() {
                self.stream = Some(self.stream().await?);
            }
            let (stream, acks) = self.stream.as_mut()?;
            match stream.next().await {
                // Received on a channel that is gone by now: it comes again.
                Some(Ok(_)) if acks.is_closed() => {}
                Some(Ok(delivery)) => return Some(ours(&self.queue, delivery, acks)),
                Some(Err(_)) | None => {
                    let (_, acks) = self.stream.take()?;
                    if self.cancelled.is_cancelled() {
                        // What follows is nothing, whether or not the cancel has left yet.
                        self.current.wait_for(|current| matches!(current, Current::Over)).await.ok()?;
                    } else {
                        acks.close();
                        acks.changed.notify_one();
                        self.current.wait_for(|current| !current.is(&acks)).await.ok()?;
                    }
                }
            }
        }
    }

    async fn cancel(&mut self) {
        if self.stream.is_none()
            && let Current::Live(live) = &*self.current.borrow()
        {
            self.stream = Some((live.consumer.clone(), live.acks.clone()));
        }
        self.cancelled.cancel();
        let _ = self.current.wait_for(|current| matches!(current, Current::Over)).await;
    }
}

impl Current {
    fn is(&self, acks: &Arc<Acks>) -> bool {
        matches!(self, Current::Live(live) if Arc::ptr_eq(&live.acks, acks))
    }
}

fn ours(queue: &str, delivery: lapin::message::Delivery, acks: &Arc<Acks>) -> Delivery {
    Delivery {
        queue: queue.to_owned(),
        exchange: delivery.exchange.to_string(),
        routing_key: delivery.routing_key.to_string(),
        redelivered: delivery.redelivered,
        properties: convert::received(&delivery.properties),
        body: Bytes::from(delivery.data),
        settle: acks.handle(delivery.delivery_tag),
    }
}

/// The task beside a consumer.
struct Keeper {
    source: Source,
    announce: watch::Sender<Current>,
    cancelled: CancellationToken,
    dropped: CancellationToken,
}

enum Ended {
    /// The channel died; the consumer goes on.
    Lost,
    /// The consumer is gone, or the broker is closed.
    Over,
}

impl Keeper {
    async fn run(self, first: Live) {
        let mut next = Some(first);
        while let Some(live) = next {
            self.announce.send_replace(Current::Live(live.clone()));
            let ended = self.tend(&live).await;
            live.acks.close();
            close(&live.channel).await;
            next = match ended {
                Ended::Lost if !self.cancelled.is_cancelled() && !self.dropped.is_cancelled() => {
                    self.announce.send_replace(Current::Waiting);
                    self.reopen().await
                }
                Ended::Lost | Ended::Over => None,
            };
        }
        self.announce.send_replace(Current::Over);
    }

    async fn tend(&self, live: &Live) -> Ended {
        let mut asked = false;
        loop {
            if asked && self.dropped.is_cancelled() && !live.acks.is_held() {
                live.acks.flush();
                return Ended::Over;
            }
            tokio::select! {
                biased;
                () = self.source.ending.cancelled() => {
                    live.acks.flush();
                    return Ended::Over;
                }
                () = self.source.link.lost(&live.connection) => return Ended::Lost,
                () = self.no_more(), if !asked => {
                    asked = true;
                    cancel(live).await;
                    self.announce.send_replace(Current::Over);
                }
                () = self.dropped.cancelled(), if asked && !self.dropped.is_cancelled() => {}
                () = live.acks.changed.notified() => {
                    if live.acks.is_closed() {
                        return Ended::Lost;
                    }
                }
            }
        }
    }

    async fn no_more(&self) {
        tokio::select! {
            () = self.cancelled.cancelled() => {}
            () = self.dropped.cancelled() => {}
        }
    }

    /// `None` when nobody wants it any more.
    async fn reopen(&self) -> Option<Live> {
        let mut backoff = Backoff::default();
        let reopened = async {
            loop {
                match timeout(ANSWER_WITHIN, restore(&self.source)).await {
                    Ok(Ok(live)) => return Some(live),
                    Ok(Err(BrokerError::Closed)) => return None,
                    Ok(Err(error)) => tracing::warn!(queue = self.source.queue, %error, "cannot consume"),
                    Err(_) => tracing::warn!(queue = self.source.queue, "cannot consume: no answer in time"),
                }
                backoff.wait().await;
            }
        };
        tokio::select! {
            biased;
            () = self.source.ending.cancelled() => None,
            () = self.no_more() => None,
            live = reopened => live,
        }
    }
}

async fn restore(source: &Source) -> Result<Live, BrokerError> {
    match open(source).await {
        Err(BrokerError::NoQueue(_)) => {
            source.declarer.restore(&source.queue).await?;
            open(source).await
        }
        other => other,
    }
}

async fn open(source: &Source) -> Result<Live, BrokerError> {
    let connection = source.link.connection().await.ok_or(BrokerError::Closed)?;
    let opened = async {
        let channel = connection.create_channel().await?;
        channel.basic_qos(source.prefetch, BasicQosOptions::default()).await?;
        let queue = source.queue.as_str().into();
        let consumer = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
        Ok((channel, consumer))
    };
    let (channel, consumer) = opened.await.map_err(|error| match convert::soft(&error) {
        Some((AMQPSoftError::NOTFOUND, _)) => BrokerError::NoQueue(source.queue.clone()),
        _ => convert::broker_error(&error),
    })?;
    // Acks that wait for each other must not hold up more than a quarter of what may be unacked.
    let run = source.ack_run.min(usize::from(source.prefetch) / 4).max(1);
    let acks = Acks::new(channel.clone(), run, source.flusher.clone());
    Ok(Live { connection, channel: Arc::new(channel), consumer, acks })
}

/// Unless it is closed already: left to itself the library closes it when the last handle goes, and takes it for a fault of the
/// connection should RabbitMQ be quicker.
async fn close(channel: &Channel) {
    if channel.status().connected() {
        let _ = timeout(ANSWER_WITHIN, channel.close(200, "over".into())).await;
    }
}

/// Without asking for an answer: when the queue is being deleted RabbitMQ gives two, and the library takes the second for a fault of
/// the connection. What is on its way meanwhile comes again to others once the channel is closed.
async fn cancel(live: &Live) {
    let options = BasicCancelOptions { nowait: true };
    if let Err(error) = live.channel.basic_cancel(live.consumer.tag(), options).await {
        tracing::debug!(%error, "cancelled on a channel that is gone");
    }
}
