//! The broker's part alone: consume, ack in runs, publish an event confirmed. Nothing is stored and nothing is called.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use lapin::message::Delivery;
use sea_orm::sqlx::types::Uuid;
use serde_json::value::RawValue;

use crate::{
    ceiling::{Acks, Events, PREFETCH},
    job::{self, Outcome, Purchase, Span},
    variant::Told,
};

/// One item as the upstream sends it, so that events have their size.
pub const ITEMS: &str = r##"[{"id":"5f0c8a1e-7d55-4a6e-9a63-1b8a0e6f2d11","buyback_price":21.25,"type":"enft","mint_address":"9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin","collection_address":null,"token_standard":"core","content":{"metadata":{"name":"1998 Mateo Okafor #77","image":"https://cdn.phygitals.example/cards/77.png","back_image":"https://cdn.phygitals.example/cards/77-back.png","attributes":[{"trait_type":"Year","value":"1998"},{"trait_type":"Grade","value":"PSA 9"},{"trait_type":"Set","value":"Base"}]}}}]"##;

struct Worker {
    acks: Acks,
    events: Events,
}

pub async fn run(told: &Told) -> Result<Outcome> {
    let connection = job::connect(&told.amqp).await?;
    let commands = connection.create_channel().await?;
    let worker = Arc::new(Worker { acks: Acks::of(commands.clone()), events: Events::open(&connection).await? });
    let consumers = job::consume(&commands, &told.partners(), PREFETCH).await?;
    job::handle_all(consumers, told.purchases, |delivery| worker.clone().handle(delivery)).await
}

impl Worker {
    async fn handle(self: Arc<Self>, delivery: Delivery) -> Result<Span> {
        let delivered = Instant::now();
        let purchase = Purchase::read(delivery.exchange.as_str(), &delivery.data)?;
        self.acks.done(delivery.delivery_tag)?;
        let event = Uuid::new_v4();
        let body = purchase.event(event, "no session", serde_json::from_str::<&RawValue>(ITEMS)?);
        self.events.publish(event, &purchase, body.as_bytes()).await?;
        Ok(Span::since(delivered))
    }
}
