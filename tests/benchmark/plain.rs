//! The plain worker: the same job as a good engineer writes it on a good day, one commit per step.
//!
//! A task per delivery, a pool of sixteen connections, one transaction a step, one ack a delivery, one HTTP client. Confirms are not
//! waited for one after another, since each task waits for its own.

use std::{sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use lapin::{BasicProperties, Channel, Connection, message::Delivery, options::*};
use sea_orm::sqlx::{self, PgPool, postgres::PgPoolOptions, types::Uuid};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use crate::{
    job::{self, Caller, Fulfilment, InitAnswer, Inventory, Outcome, Purchase, Span, StatusAnswer, StatusBody},
    variant::Told,
};

/// PostgreSQL gains nothing from more on two cores.
const CONNECTIONS: u32 = 16;

/// Deliveries in hand; more gain nothing here.
pub const PREFETCH: usize = 512;

/// What a plain worker has.
pub struct Plain {
    pub db: PgPool,
    http: reqwest::Client,
    upstream: String,
    /// Held while a message is handed over, not while its confirm is awaited: numbers and frames must not come apart.
    events: Mutex<Channel>,
}

pub async fn run(told: &Told) -> Result<Outcome> {
    let connection = job::connect(&told.amqp).await?;
    let commands = connection.create_channel().await?;
    let worker = Arc::new(Plain::open(told, &connection).await?);
    let consumers = job::consume(&commands, &told.partners(), PREFETCH).await?;
    job::handle_all(consumers, told.purchases, |delivery| worker.clone().handle(delivery)).await
}

impl Plain {
    pub async fn open(told: &Told, connection: &Connection) -> Result<Self> {
        let events = connection.create_channel().await?;
        events.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self {
            db: PgPoolOptions::new().max_connections(CONNECTIONS).min_connections(CONNECTIONS).connect(&told.database).await?,
            http: reqwest::Client::builder().http1_only().no_proxy().build()?,
            upstream: told.upstream.clone(),
            events: Mutex::new(events),
        })
    }

    async fn handle(self: Arc<Self>, delivery: Delivery) -> Result<Span> {
        let delivered = Instant::now();
        let purchase = Purchase::read(delivery.exchange.as_str(), &delivery.data)?;
        if !self.insert(&purchase).await? {
            // Seen before: its row is in other hands.
            delivery.acker.ack(BasicAckOptions::default()).await?;
            return Ok(Span::since(delivered));
        }
        delivery.acker.ack(BasicAckOptions::default()).await?;
        let opened: InitAnswer = self.post(job::INIT, purchase.caller(), &purchase.init_body()).await?;
        self.opened(&purchase, &opened.session_id).await?;
        let body = StatusBody { session_id: &opened.session_id };
        let answer: StatusAnswer = self.post(job::STATUS, purchase.caller(), &body).await?;
        let (id, event) = self.fulfilled(&purchase, &opened.session_id, &answer.result).await?;
        self.publish(purchase.routing_key(), job::event_properties(id, &purchase), &event).await?;
        Ok(Span::since(delivered))
    }

    async fn insert(&self, purchase: &Purchase) -> Result<bool> {
        let inserted = sqlx::query(
            "INSERT INTO purchase (id, partner, request_id, user_id, pack_id, amount, created_at, state, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'initiating', 1) ON CONFLICT (id) DO NOTHING",
        )
        .bind(purchase.id)
        .bind(&purchase.partner)
        .bind(&purchase.command.request_id)
        .bind(&purchase.command.user_id)
        .bind(&purchase.command.pack_id)
        .bind(i32::try_from(purchase.command.amount)?)
        .bind(chrono::Utc::now())
        .execute(&self.db)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn opened(&self, purchase: &Purchase, session: &str) -> Result<()> {
        let update = "UPDATE purchase SET state = 'pending', version = 2, session_id = $2 WHERE id = $1 AND version = 1";
        let updated = sqlx::query(update).bind(purchase.id).bind(session).execute(&self.db).await?;
        ensure!(updated.rows_affected() == 1, "another worker had the purchase");
        Ok(())
    }

    async fn fulfilled(&self, purchase: &Purchase, session: &str, answer: &Fulfilment) -> Result<(Uuid, String)> {
        let id = Uuid::new_v4();
        let event = purchase.event(id, session, &answer.nfts);
        let mut tx = self.db.begin().await?;
        let update = "UPDATE purchase SET state = 'fulfilled', version = 3, items = $2 WHERE id = $1 AND version = 2";
        let updated = sqlx::query(update).bind(purchase.id).bind(answer.nfts.get()).execute(&mut *tx).await?;
        ensure!(updated.rows_affected() == 1, "another worker had the purchase");
        let insert = "INSERT INTO event (id, purchase, body) VALUES ($1, $2, $3)";
        sqlx::query(insert).bind(id).bind(purchase.id).bind(&event).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok((id, event))
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, caller: Caller<'_>, body: &impl Serialize) -> Result<T> {
        let request = self
            .http
            .post(format!("{}{path}", self.upstream))
            .header("X-API-Key", job::key(caller.partner))
            .header("X-Request-Id", caller.reference)
            .json(body);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// What a user holds.
    pub async fn inventory(&self, partner: &str, user: &str) -> Result<Inventory> {
        let request =
            self.http.get(format!("{}{}/{user}", self.upstream, job::INVENTORY)).header("X-API-Key", job::key(partner));
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Returns when it is confirmed.
    pub async fn publish(&self, key: String, properties: BasicProperties, event: &str) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let events = self.events.lock().await;
        let confirm = events.basic_publish(job::EVENTS.into(), key.into(), options, event.as_bytes(), properties).await?;
        drop(events);
        let confirmed = confirm.await?;
        ensure!(confirmed.is_ack() && confirmed.take_message().is_none(), "the event was not taken");
        Ok(())
    }
}
