//! The ceiling: group commit, pipelined confirms and coalesced acks with the product's durability, and nothing else. No timeline, no
//! guards, no fairness, no tracing, no second try: what is lost below it is the price of those.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use lapin::{Channel, message::Delivery, options::*};
use parking_lot::Mutex;
use sea_orm::sqlx::types::Uuid;
use tokio::{net::TcpStream, sync::mpsc, task::yield_now};

use crate::{
    group::{Group, Write},
    job::{self, InitAnswer, Outcome, Purchase, Span, StatusAnswer, StatusBody},
    variant::Told,
};

/// Enough that a batch gathers while the calls of the last ones are under way.
pub const PREFETCH: usize = 1_500;

struct Worker {
    group: Group,
    http: Http,
    acks: Acks,
    events: Events,
}

pub async fn run(told: &Told) -> Result<Outcome> {
    let connection = job::connect(&told.amqp).await?;
    let commands = connection.create_channel().await?;
    let worker = Arc::new(Worker {
        group: Group::open(&told.database).await?,
        http: Http::new(&told.upstream)?,
        acks: Acks::of(commands.clone()),
        events: Events::open(&connection).await?,
    });
    let consumers = job::consume(&commands, &told.partners(), PREFETCH).await?;
    job::handle_all(consumers, told.purchases, |delivery| worker.clone().handle(delivery)).await
}

impl Worker {
    async fn handle(self: Arc<Self>, delivery: Delivery) -> Result<Span> {
        let delivered = Instant::now();
        let purchase = Purchase::read(delivery.exchange.as_str(), &delivery.data)?;
        self.group.write(Write::Insert(purchase.clone())).await?;
        self.acks.done(delivery.delivery_tag)?;
        let body = serde_json::to_vec(&purchase.init_body())?;
        let opened: InitAnswer = serde_json::from_slice(&self.http.post(job::INIT, &purchase, body).await?)?;
        let body = serde_json::to_vec(&StatusBody { session_id: &opened.session_id })?;
        let pending = Write::Opened { id: purchase.id, session: opened.session_id.clone() };
        let ((), answer) = try_join(self.group.write(pending), self.http.post(job::STATUS, &purchase, body)).await?;
        let answer: StatusAnswer = serde_json::from_slice(&answer)?;
        let (event, items) = (Uuid::new_v4(), answer.result.nfts);
        let body = purchase.event(event, &opened.session_id, &items);
        let fulfilled = Write::Fulfilled { id: purchase.id, items: items.get().to_owned(), event, body: body.clone() };
        self.group.write(fulfilled).await?;
        self.events.publish(event, &purchase, body.as_bytes()).await?;
        Ok(Span::since(delivered))
    }
}

/// Acks what was done together as one, as far as it is a run.
#[derive(Clone)]
pub struct Acks(mpsc::UnboundedSender<u64>);

impl Acks {
    pub fn of(channel: Channel) -> Self {
        let (sender, tags) = mpsc::unbounded_channel();
        tokio::spawn(ack_all(channel, tags));
        Self(sender)
    }

    pub fn done(&self, tag: u64) -> Result<()> {
        Ok(self.0.send(tag)?)
    }
}

async fn ack_all(channel: Channel, mut tags: mpsc::UnboundedReceiver<u64>) -> Result<()> {
    let (mut next, mut done, mut some) = (1, BTreeSet::new(), Vec::new());
    while tags.recv_many(&mut some, PREFETCH).await > 0 {
        // Whoever was committed with the first has its turn before this.
        yield_now().await;
        tags.recv_many(&mut some, if tags.is_empty() { 0 } else { PREFETCH }).await;
        done.extend(some.drain(..));
        let front = next;
        while done.remove(&next) {
            next += 1;
        }
        if next > front {
            channel.basic_ack(next - 1, BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}

/// Confirmed publishing, as many at once as there are callers.
pub struct Events(tokio::sync::Mutex<Channel>);

impl Events {
    pub async fn open(connection: &lapin::Connection) -> Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self(tokio::sync::Mutex::new(channel)))
    }

    pub async fn publish(&self, event: Uuid, purchase: &Purchase, body: &[u8]) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (key, properties) = (purchase.routing_key(), job::event_properties(event, purchase));
        let channel = self.0.lock().await;
        let confirm = channel.basic_publish(job::EVENTS.into(), key.into(), options, body, properties).await?;
        drop(channel);
        let confirmed = confirm.await?;
        ensure!(confirmed.is_ack() && confirmed.take_message().is_none(), "the event was not taken");
        Ok(())
    }
}

/// Kept connections, the last used first.
struct Http {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Http {
    fn new(upstream: &str) -> Result<Self> {
        let address = upstream.strip_prefix("http://").context("the upstream is on loopback")?.parse()?;
        Ok(Self { address, idle: Mutex::new(Vec::new()) })
    }

    async fn post(&self, path: &str, purchase: &Purchase, body: Vec<u8>) -> Result<Bytes> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = Request::post(path)
            .header("host", "upstream")
            .header("content-type", "application/json")
            .header("x-api-key", job::key(&purchase.partner))
            .header("x-request-id", purchase.reference())
            .body(Full::from(body))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        ensure!(response.status() == 200, "{path}: {}", response.status());
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.lock().push(connection);
        Ok(body)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
