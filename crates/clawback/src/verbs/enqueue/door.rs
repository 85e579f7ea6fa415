//! Where a command is handed in: the partner's exchange, or the store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clawback_broker::{Broker, Message, Properties, PublishError, Routing, topology};
use clawback_domain::{Clock, PartnerId, poll::backoff, trace::TraceContext};
use clawback_store::{Store, StoreError};

use crate::{
    accepting::{self, Accepted, Command},
    config::{Partner, Setup},
    context::{Context, open_amqp},
    failure::Failure,
    verbs::who::WhoFlags,
};

pub struct Door {
    partner: PartnerId,
    clock: Arc<dyn Clock>,
    way: Way,
}

enum Way {
    Broker(Arc<dyn Broker>),
    Store { store: Arc<dyn Store>, by: String },
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handed {
    /// RabbitMQ has confirmed it.
    Published,
    /// It is durable in the store.
    Accepted,
    /// It was there before.
    Repeat,
    /// Its `request_id` was used for another command.
    Conflict,
}

impl Handed {
    pub fn as_str(self) -> &'static str {
        match self {
            Handed::Published => "published",
            Handed::Accepted => "accepted",
            Handed::Repeat => "repeat",
            Handed::Conflict => "conflict",
        }
    }
}

/// How long a full queue, or a server that is away, is waited for.
const TRIES: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Door {
    /// # Errors
    /// A closed partner; RabbitMQ or the store.
    pub async fn open(context: &Context, setup: &Setup, partner: &Partner, who: WhoFlags) -> Result<Self, Failure> {
        let (clock, way) = match &setup.amqp {
            Some(url) => (context.clock_without_store(setup).await?, Way::Broker(open_amqp(url).await?)),
            None if partner.settings.closed => {
                return Err(Failure::failed(format!("partner_closed: {} takes no new commands", partner.id)));
            }
            None => {
                let store = context.store(setup).await?;
                (context.clock(setup, &*store).await?, Way::Store { store, by: who.by() })
            }
        };
        Ok(Self { partner: partner.id.clone(), clock, way })
    }

    /// Hands a command in. What fails for a moment is tried again: the same command twice is one order.
    ///
    /// # Errors
    /// RabbitMQ or the store.
    pub async fn hand(&self, command: Command) -> Result<Handed, Failure> {
        for tries in 0.. {
            let again = match &self.way {
                Way::Broker(broker) => match self.publish(&**broker, &command).await {
                    Ok(Routing::Routed) => return Ok(Handed::Published),
                    Ok(Routing::Unrouted) => {
                        return Err(Failure::failed("no queue takes the command: run `clawback topology apply`"));
                    }
                    Err(error @ (PublishError::Refused | PublishError::Unconfirmed(_))) => error.to_string(),
                    Err(error) => return Err(Failure::failed(error)),
                },
                Way::Store { store, by } => match self.accept(&**store, &command, by).await {
                    Ok(handed) => return Ok(handed),
                    Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => error.to_string(),
                    Err(error) => return Err(error.into()),
                },
            };
            if tries == TRIES {
                return Err(Failure::failed(again));
            }
            tokio::time::sleep(backoff(FIRST_PAUSE, LONGEST_PAUSE, tries)).await;
        }
        unreachable!("the last try returns")
    }

    async fn publish(&self, broker: &dyn Broker, command: &Command) -> Result<Routing, PublishError> {
        let trace = TraceContext::start(self.clock.uuid(), self.clock.draw());
        let message = Message {
            exchange: topology::commands(&self.partner),
            routing_key: command.kind().as_str().into(),
            body: Bytes::from(command.to_json()),
            properties: Properties {
                message_id: Some(command.request_id().to_string()),
                correlation_id: Some(command.request_id().to_string()),
                content_type: Some("application/json".into()),
                timestamp: Some(self.clock.now()),
                headers: [("traceparent".to_owned(), trace.traceparent().to_owned())].into(),
            },
        };
        broker.publish(message).await
    }

    async fn accept(&self, store: &dyn Store, command: &Command, by: &str) -> Result<Handed, StoreError> {
        match accepting::accept(store, &*self.clock, &self.partner, command.clone(), None, Some(by)).await? {
            Accepted::New(_) => Ok(Handed::Accepted),
            Accepted::Repeat(_) => Ok(Handed::Repeat),
            Accepted::Conflict(_) => Ok(Handed::Conflict),
        }
    }

    pub async fn close(self) {
        match self.way {
            Way::Broker(broker) => broker.close(Duration::from_secs(5)).await,
            Way::Store { store, .. } => store.close().await,
        }
    }
}
