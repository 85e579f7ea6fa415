//! The job that the plain worker and the ceiling do, and what both need for it: the same rows, calls and events as the product, less
//! everything that makes the product safe to run.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream::select_all};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, message::Delivery, options::*, types::FieldTable,
};
use sea_orm::sqlx::types::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::task::JoinSet;

/// Two tables: the purchase, written three times, and its event. Pages are filled by half, as the product's are.
pub const SCHEMA: &str = "
CREATE TABLE purchase (
    id uuid PRIMARY KEY,
    partner text NOT NULL,
    request_id text NOT NULL,
    user_id text NOT NULL,
    pack_id text NOT NULL,
    amount int NOT NULL,
    created_at timestamptz NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL,
    session_id text,
    items text
) WITH (fillfactor = 50);
CREATE TABLE event (id uuid PRIMARY KEY, purchase uuid NOT NULL, body text NOT NULL);";

pub const EVENTS: &str = "clawback.events";
pub const INIT: &str = "/api/v1/vm/buy/init";
pub const STATUS: &str = "/api/v1/vm/buy/status";
pub const BUYBACK: &str = "/api/v1/vm/buyback";
pub const INVENTORY: &str = "/api/v1/inventory";

/// For whom the upstream is called.
pub struct Caller<'a> {
    pub partner: &'a str,
    pub reference: String,
}

/// A command as partners send it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    pub request_id: String,
    pub user_id: String,
    pub pack_id: String,
    pub amount: u32,
}

/// A command taken from a partner's queue, and the id of its row.
#[derive(Debug, Clone)]
pub struct Purchase {
    pub id: Uuid,
    pub partner: String,
    pub command: Command,
}

#[derive(Debug, Serialize)]
pub struct InitBody<'a> {
    pub id: &'a str,
    pub amount: u32,
    pub user_id: &'a str,
}

#[derive(Debug, Serialize)]
pub struct StatusBody<'a> {
    pub session_id: &'a str,
}

#[derive(Debug, Deserialize)]
pub struct InitAnswer {
    pub session_id: String,
}

#[derive(Debug, Deserialize)]
pub struct StatusAnswer {
    pub result: Fulfilment,
}

#[derive(Debug, Deserialize)]
pub struct Fulfilment {
    pub nfts: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
pub struct Inventory {
    pub items: Vec<HeldItem>,
}

/// Of an item what a plain worker has use for.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeldItem {
    pub id: String,
    pub buyback_price: f64,
    pub buyback_expires_at: Option<String>,
    pub content: Box<RawValue>,
}

impl Purchase {
    pub fn read(exchange: &str, body: &[u8]) -> Result<Self> {
        let partner = exchange.strip_prefix("clawback.commands.").context("not a command's exchange")?.to_owned();
        let command: Command = serde_json::from_slice(body)?;
        let name = format!("{partner}/{}", command.request_id);
        Ok(Self { id: Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()), partner, command })
    }

    pub fn init_body(&self) -> InitBody<'_> {
        InitBody { id: &self.command.pack_id, amount: self.command.amount, user_id: &self.command.user_id }
    }

    /// The `X-Request-Id`, by which the upstream's ledger is checked.
    pub fn reference(&self) -> String {
        format!("{}.1", self.id)
    }

    pub fn routing_key(&self) -> String {
        format!("{}.purchase.fulfilled", self.partner)
    }

    pub fn caller(&self) -> Caller<'_> {
        Caller { partner: &self.partner, reference: self.reference() }
    }

    /// An event of the product's shape and size.
    pub fn event(&self, event: Uuid, session: &str, items: &RawValue) -> String {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            command: &'a Command,
            purchase_id: Uuid,
            session_id: &'a str,
            items: &'a RawValue,
        }
        #[derive(Serialize)]
        struct Event<'a> {
            specversion: &'a str,
            id: Uuid,
            source: String,
            r#type: &'a str,
            subject: Uuid,
            time: chrono::DateTime<chrono::Utc>,
            data: Data<'a>,
        }
        let event = Event {
            specversion: "1.0",
            id: event,
            source: format!("/clawback/{}", self.partner),
            r#type: "clawback.purchase.fulfilled",
            subject: self.id,
            time: chrono::Utc::now(),
            data: Data { command: &self.command, purchase_id: self.id, session_id: session, items },
        };
        serde_json::to_string(&event).expect("text and JSON serialise")
    }
}

/// Persistent, as the product's are.
pub fn event_properties(event: Uuid, purchase: &Purchase) -> BasicProperties {
    properties(event).with_correlation_id(purchase.command.request_id.as_str().into())
}

/// Of an event that answers no command.
pub fn properties(event: Uuid) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(event.to_string().into())
        .with_content_type("application/cloudevents+json".into())
}

pub async fn connect(amqp: &str) -> Result<Connection> {
    Ok(Connection::connect(amqp, ConnectionProperties::default()).await?)
}

/// Consumes the purchase queues of all partners on one channel, `prefetch` between them.
pub async fn consume(channel: &Channel, partners: &[String], prefetch: usize) -> Result<Vec<Consumer>> {
    consume_all(channel, "clawback.purchases", partners, prefetch).await
}

/// The same of the queues whose names begin so.
pub async fn consume_all(channel: &Channel, queues: &str, partners: &[String], prefetch: usize) -> Result<Vec<Consumer>> {
    let each = prefetch.div_ceil(partners.len()).try_into()?;
    let mut consumers = Vec::new();
    for partner in partners {
        channel.basic_qos(each, BasicQosOptions::default()).await?;
        let (queue, options) = (format!("{queues}.{partner}"), BasicConsumeOptions::default());
        consumers.push(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?);
    }
    Ok(consumers)
}

/// Handles `count` deliveries, each in a task of its own, to their end.
pub async fn handle_all<F>(consumers: Vec<Consumer>, count: usize, handle: impl Fn(Delivery) -> F) -> Result<Outcome>
where
    F: Future<Output = Result<Span>> + Send + 'static,
{
    let mut deliveries = select_all(consumers);
    let mut handled = JoinSet::new();
    for _ in 0..count {
        let delivery = deliveries.next().await.context("the consumers were cancelled")?;
        handled.spawn(handle(delivery?));
    }
    outcome(handled).await
}

/// Waits for all; an error of one is the run's.
pub async fn outcome(mut handled: JoinSet<Result<Span>>) -> Result<Outcome> {
    let mut spans = Vec::with_capacity(handled.len());
    while let Some(span) = handled.join_next().await {
        spans.push(span??);
    }
    Outcome::of(&spans)
}

/// How long a purchase took, from its delivery to its event's confirm.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub from: Instant,
    pub to: Instant,
}

impl Span {
    pub fn since(from: Instant) -> Self {
        Self { from, to: Instant::now() }
    }
}

/// What a run came to. Times are microseconds since 1970, so that processes can compare them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Outcome {
    pub first: i64,
    pub last: i64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Outcome {
    pub fn of(spans: &[Span]) -> Result<Self> {
        let (now, today) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?);
        let micros = |at: Instant| (today - now.duration_since(at)).as_micros() as i64;
        let first = spans.iter().map(|span| span.from).min().context("nothing was done")?;
        let last = spans.iter().map(|span| span.to).max().context("nothing was done")?;
        let mut took: Vec<Duration> = spans.iter().map(|span| span.to - span.from).collect();
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        Ok(Self { first: micros(first), last: micros(last), p50_ms: at(0.5), p99_ms: at(0.99) })
    }

    pub fn seconds(&self) -> f64 {
        (self.last - self.first) as f64 / 1e6
    }
}

/// The names of `count` partners.
pub fn partners(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("bench-{number:03}")).collect()
}

/// The key a partner uses upstream.
pub fn key(partner: &str) -> String {
    format!("sandbox-{partner}")
}
