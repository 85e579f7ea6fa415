//! Declaring the topology, comparing it, and asking a queue how it is.
//!
//! All on one channel that is opened when it is wanted: RabbitMQ answers each refusal by closing it.

use std::{fmt, sync::Arc, time::Duration};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::AMQPSoftError,
    types::{AMQPValue, FieldTable},
};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::{convert, link::Link};
use crate::{
    BrokerError, Mismatch, QueueState, Topology,
    topology::{self, Argument, Exchange, Queue},
};

/// For one question to the broker. Declaring a quorum queue elects a leader first.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Declarer {
    link: Arc<Link>,
    channel: AsyncMutex<Option<Channel>>,
    declared: Mutex<Option<Topology>>,
    /// Held while declaring again, so that many consumers that miss their queues declare once.
    again: AsyncMutex<()>,
}

enum Existing {
    Same,
    Other(String),
    Missing,
}

impl Declarer {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, channel: AsyncMutex::new(None), declared: Mutex::new(None), again: AsyncMutex::new(()) }
    }

    pub async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        for object in objects(topology) {
            self.ask(|channel| declare(channel, object, false)).await?;
        }
        for binding in topology.bindings() {
            self.ask(|channel| bind(channel, binding)).await?;
        }
        *self.declared.lock() = Some(topology.clone());
        Ok(())
    }

    /// Declares what was last declared, if `queue` really is not there.
    pub async fn restore(&self, queue: &str) -> Result<(), BrokerError> {
        let _alone = self.again.lock().await;
        if self.queue_state(queue).await.is_ok() {
            return Ok(());
        }
        let declared = self.declared.lock().clone();
        match declared {
            Some(topology) => self.declare(&topology).await,
            None => Err(BrokerError::NoQueue(queue.to_owned())),
        }
    }

    pub async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        let mut found = Vec::new();
        for object in objects(topology) {
            found.extend(match self.compare(&object).await? {
                Existing::Same => None,
                Existing::Other(text) => Some(Mismatch(format!("{object} is another: {text}"))),
                Existing::Missing => Some(Mismatch(format!("{object} is missing"))),
            });
        }
        Ok(found)
    }

    pub async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = convert::short(queue.to_owned()).map_err(|_| BrokerError::NoQueue(queue.to_owned()))?;
        let answer = self.ask(|channel| async move { channel.queue_declare(name, options, FieldTable::default()).await }).await;
        match answer {
            Ok(state) => Ok(QueueState { ready: u64::from(state.message_count()), consumers: state.consumer_count() }),
            Err(BrokerError::NoQueue(_)) => Err(BrokerError::NoQueue(queue.to_owned())),
            Err(error) => Err(error),
        }
    }

    /// A passive declaration asks for existence alone, so what exists is declared as ours: nothing happens if it is the same, and
    /// RabbitMQ tells the difference if not.
    async fn compare(&self, object: &Object) -> Result<Existing, BrokerError> {
        match self.ask(|channel| declare(channel, object.clone(), true)).await {
            Ok(()) => {}
            Err(BrokerError::NoQueue(_)) => return Ok(Existing::Missing),
            Err(BrokerError::Refused(text)) => return Ok(Existing::Other(text)),
            Err(error) => return Err(error),
        }
        match self.ask(|channel| declare(channel, object.clone(), false)).await {
            Ok(()) => Ok(Existing::Same),
            Err(BrokerError::Refused(text)) => Ok(Existing::Other(text)),
            Err(error) => Err(error),
        }
    }

    /// One question on the shared channel. An error means that the channel is gone.
    async fn ask<T, F>(&self, question: impl FnOnce(Channel) -> F) -> Result<T, BrokerError>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        let mut shared = self.channel.lock().await;
        let asked = async {
            let channel = match shared.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => self.open().await?,
            };
            let answer = question(channel.clone()).await.map_err(|error| refusal(&error))?;
            *shared = Some(channel);
            Ok(answer)
        };
        let late = || BrokerError::Unreachable(format!("no answer within {ANSWER_WITHIN:?}"));
        tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(&self) -> Result<Channel, BrokerError> {
        let connection = self.link.connection().await.ok_or(BrokerError::Closed)?;
        connection.create_channel().await.map_err(|error| convert::broker_error(&error))
    }
}

fn refusal(error: &lapin::Error) -> BrokerError {
    match convert::soft(error) {
        Some((AMQPSoftError::NOTFOUND, text)) => BrokerError::NoQueue(text.to_owned()),
        _ => convert::broker_error(error),
    }
}

/// What can be declared and compared.
#[derive(Clone)]
enum Object {
    Exchange(Exchange),
    Queue(Queue),
}

fn objects(topology: &Topology) -> impl Iterator<Item = Object> + use<> {
    let exchanges = topology.exchanges().into_iter().map(Object::Exchange);
    exchanges.chain(topology.queues().into_iter().map(Object::Queue))
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Exchange(exchange) => write!(f, "exchange {}", exchange.name),
            Object::Queue(queue) => write!(f, "queue {}", queue.name),
        }
    }
}

async fn declare(channel: Channel, object: Object, passive: bool) -> lapin::Result<()> {
    match object {
        Object::Exchange(exchange) => declare_exchange(&channel, &exchange, passive).await,
        Object::Queue(queue) => declare_queue(&channel, &queue, passive).await,
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange, passive: bool) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = &exchange.alternate {
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
    }
    let kind = match exchange.kind {
        topology::ExchangeKind::Direct => ExchangeKind::Direct,
        topology::ExchangeKind::Fanout => ExchangeKind::Fanout,
        topology::ExchangeKind::Topic => ExchangeKind::Topic,
    };
    channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments).await
}

async fn declare_queue(channel: &Channel, queue: &Queue, passive: bool) -> lapin::Result<()> {
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    for (name, argument) in queue.arguments() {
        let value = match argument {
            Argument::Text(text) => AMQPValue::LongString(text.into()),
            Argument::Number(number) => AMQPValue::LongLongInt(number),
        };
        arguments.insert(name.into(), value);
    }
    channel.queue_declare(queue.name.as_str().into(), options, arguments).await.map(drop)
}

async fn bind(channel: Channel, binding: topology::Binding) -> lapin::Result<()> {
    let topology::Binding { exchange, routing_key, queue } = binding;
    let (queue, exchange, routing_key) = (queue.as_str().into(), exchange.as_str().into(), routing_key.as_str().into());
    channel.queue_bind(queue, exchange, routing_key, QueueBindOptions::default(), FieldTable::default()).await
}
