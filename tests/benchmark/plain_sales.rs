//! Sellbacks as a plain worker makes them: a look, a row, the call, the row again with an event, and its publish. What the product is
//! held against in `bench sellbacks`.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use lapin::{message::Delivery, options::BasicAckOptions};
use sea_orm::sqlx::{self, types::Uuid};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    job::{self, Caller, Outcome, Span},
    plain::{PREFETCH, Plain},
    variant::Told,
};

pub const SCHEMA: &str = "
CREATE TABLE sale (
    id uuid PRIMARY KEY,
    partner text NOT NULL,
    request_id text NOT NULL,
    user_id text NOT NULL,
    item_id text NOT NULL,
    price text NOT NULL,
    created_at timestamptz NOT NULL,
    state text NOT NULL,
    amount text
) WITH (fillfactor = 50);
CREATE TABLE said (id uuid PRIMARY KEY, subject uuid NOT NULL, body text NOT NULL);";

/// A command as partners send it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Command {
    request_id: String,
    user_id: String,
    item_id: String,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    item_id: &'a str,
}

#[derive(Debug, Deserialize)]
struct Answer {
    amount: f64,
}

pub async fn run(told: &Told) -> Result<Outcome> {
    let connection = job::connect(&told.amqp).await?;
    let commands = connection.create_channel().await?;
    let plain = Arc::new(Plain::open(told, &connection).await?);
    let consumers = job::consume_all(&commands, "clawback.sellbacks", &told.partners(), PREFETCH).await?;
    job::handle_all(consumers, told.purchases, |delivery| sell(plain.clone(), delivery)).await
}

async fn sell(plain: Arc<Plain>, delivery: Delivery) -> Result<Span> {
    let delivered = Instant::now();
    let exchange = delivery.exchange.as_str();
    let partner = exchange.strip_prefix("clawback.commands.").context("not a command's exchange")?.to_owned();
    let command: Command = serde_json::from_slice(&delivery.data)?;
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{partner}/{}", command.request_id).as_bytes());
    let inventory = plain.inventory(&partner, &command.user_id).await?;
    let price = inventory.items.iter().find(|item| item.id == command.item_id).context("it is not there")?.buyback_price;
    let insert = "INSERT INTO sale (id, partner, request_id, user_id, item_id, price, created_at, state)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'selling') ON CONFLICT (id) DO NOTHING";
    let inserted = sqlx::query(insert)
        .bind(id)
        .bind(&partner)
        .bind(&command.request_id)
        .bind(&command.user_id)
        .bind(&command.item_id)
        .bind(price.to_string())
        .bind(chrono::Utc::now())
        .execute(&plain.db)
        .await?;
    delivery.acker.ack(BasicAckOptions::default()).await?;
    if inserted.rows_affected() == 0 {
        // Seen before: its row is in other hands.
        return Ok(Span::since(delivered));
    }
    let caller = Caller { partner: &partner, reference: format!("{id}.1") };
    let answer: Answer = plain.post(job::BUYBACK, caller, &Body { item_id: &command.item_id }).await?;
    let event = Uuid::new_v4();
    let body = sold(event, id, &partner, &command, answer.amount);
    let mut tx = plain.db.begin().await?;
    let update = "UPDATE sale SET state = 'sold', amount = $2 WHERE id = $1 AND state = 'selling'";
    let updated = sqlx::query(update).bind(id).bind(answer.amount.to_string()).execute(&mut *tx).await?;
    ensure!(updated.rows_affected() == 1, "another worker had the sellback");
    let insert = "INSERT INTO said (id, subject, body) VALUES ($1, $2, $3)";
    sqlx::query(insert).bind(event).bind(id).bind(&body).execute(&mut *tx).await?;
    tx.commit().await?;
    plain.publish(format!("{partner}.sellback.completed"), job::properties(event), &body).await?;
    Ok(Span::since(delivered))
}

fn sold(event: Uuid, id: Uuid, partner: &str, command: &Command, amount: f64) -> String {
    json!({
        "specversion": "1.0", "id": event, "source": format!("/clawback/{partner}"), "type": "clawback.sellback.completed",
        "subject": id, "time": chrono::Utc::now(),
        "data": {
            "request_id": command.request_id, "user_id": command.user_id, "item_id": command.item_id, "sellback_id": id,
            "amount": amount, "currency": "USD", "estimated": false,
        },
    })
    .to_string()
}
