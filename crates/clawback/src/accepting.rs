//! Taking a command without the queue: a row `accepted` in the store, then a step to the workers. For the HTTP door, and for
//! `enqueue` where there is no RabbitMQ.

use clawback_broker::{Broker, Routing, steps};
use clawback_domain::{
    Clock, PartnerId, RequestId,
    change::Insertion,
    command::{PurchaseCommand, Rejected, SellbackCommand, parse_purchase, parse_sellback},
    order::AnyOrder,
    pause::CommandKind,
    purchase::Purchase,
    sellback::Sellback,
    trace::TraceContext,
};
use clawback_store::{Inserted, Store, StoreError};

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Purchase(PurchaseCommand),
    Sellback(SellbackCommand),
}

impl Command {
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(kind: CommandKind, content_type: Option<&str>, body: &[u8]) -> Result<Self, Rejected> {
        match kind {
            CommandKind::Purchase => parse_purchase(content_type, body).map(Self::Purchase),
            CommandKind::Sellback => parse_sellback(content_type, body).map(Self::Sellback),
        }
    }

    pub fn kind(&self) -> CommandKind {
        match self {
            Self::Purchase(_) => CommandKind::Purchase,
            Self::Sellback(_) => CommandKind::Sellback,
        }
    }

    pub fn request_id(&self) -> &RequestId {
        match self {
            Self::Purchase(command) => &command.request_id,
            Self::Sellback(command) => &command.request_id,
        }
    }

    /// The message that is read as this command, one line of JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Purchase(command) => command.to_json(),
            Self::Sellback(command) => command.to_json(),
        }
    }
}

#[derive(Debug)]
pub enum Accepted {
    New(Box<AnyOrder>),
    /// The same command was taken before; as it stands.
    Repeat(Box<AnyOrder>),
    /// The `request_id` was used for another command; that one stands.
    Conflict(Box<AnyOrder>),
}

/// Stores the command; durable when this returns. `by` is the person behind it, for the timeline.
///
/// # Errors
/// The store's. After [`StoreError::Unknown`] the same command may simply be accepted again.
pub async fn accept(
    store: &dyn Store,
    clock: &dyn Clock,
    partner: &PartnerId,
    command: Command,
    trace: Option<TraceContext>,
    by: Option<&str>,
) -> Result<Accepted, StoreError> {
    let trace = trace.unwrap_or_else(|| TraceContext::start(clock.uuid(), clock.draw()));
    let (partner, now) = (partner.clone(), clock.now());
    let order: AnyOrder = match command {
        Command::Purchase(command) => Purchase::accept(partner, command, now, trace).into(),
        Command::Sellback(command) => Sellback::accept(partner, command, now, trace).into(),
    };
    let digest = *order.digest();
    let mut insertion = Insertion::of(order.clone());
    for entry in &mut insertion.entries {
        entry.by = by.map(str::to_owned);
    }
    match store.insert(insertion).await? {
        Inserted::New => Ok(Accepted::New(Box::new(order))),
        Inserted::Exists(there) if *there.digest() == digest => Ok(Accepted::Repeat(there)),
        Inserted::Exists(there) => Ok(Accepted::Conflict(there)),
    }
}

/// Hands a new row to the workers. Without it the scheduler finds the row, a little later.
pub async fn hand_over(broker: &dyn Broker, order: &AnyOrder) {
    let step = steps::Step { row: steps::Row::Order(order.id()), version: order.version() };
    match steps::hand_over(broker, order.partner(), step).await {
        Ok(Routing::Routed) => {}
        Ok(Routing::Unrouted) => {
            tracing::warn!(order.id = %order.id(), "there is no step queue; the scheduler will find the row");
        }
        Err(error) => tracing::debug!(order.id = %order.id(), %error, "not handed over; the scheduler will find it"),
    }
}
