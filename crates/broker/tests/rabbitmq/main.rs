//! What only a real broker can do to us: close channels and connections, fall silent, restart, run out of memory, refuse a partner.

mod bad_messages;
mod channels;
mod connections;
mod nodes;
mod permissions;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::{collections::BTreeSet, future::Future, time::Duration};

use bytes::Bytes;
use clawback_broker::{Broker, Consumer, Delivery, Message, Properties, PublishError, Routing};

pub const PURCHASES: &str = "clawback.purchases.acme";
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn purchase(id: u32) -> Message {
    let properties = Properties { message_id: Some(id.to_string()), ..Properties::default() };
    message("clawback.commands.acme", "purchase", id.to_string(), properties)
}

pub fn message(exchange: &str, routing_key: &str, body: impl Into<Bytes>, properties: Properties) -> Message {
    Message { exchange: exchange.to_owned(), routing_key: routing_key.to_owned(), body: body.into(), properties }
}

/// Publishes until it is confirmed, as whoever has a row to go by does. Returns how often it was in doubt.
pub async fn publish_surely(broker: &dyn Broker, id: u32) -> u32 {
    let mut doubts = 0;
    loop {
        match broker.publish(purchase(id)).await {
            Ok(routing) => {
                assert_eq!(routing, Routing::Routed);
                return doubts;
            }
            // A broker that starts answers before its queues do.
            Err(PublishError::Unconfirmed(_) | PublishError::Refused) => doubts += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn next(consumer: &mut dyn Consumer) -> Delivery {
    in_time("a delivery", consumer.next()).await.expect("the consumer goes on")
}

/// Takes and acks until each of `ids` has come at least once.
pub async fn take_all(consumer: &mut dyn Consumer, ids: std::ops::Range<u32>) {
    let mut missing: BTreeSet<u32> = ids.collect();
    while !missing.is_empty() {
        let delivery = next(consumer).await;
        missing.remove(&id(&delivery));
        // Stale after a loss: then it comes again, which is why this counts what has come and not what was acked.
        let _ = delivery.ack().await;
    }
}

pub fn id(delivery: &Delivery) -> u32 {
    std::str::from_utf8(&delivery.body).ok().and_then(|text| text.parse().ok()).expect("the body is a number")
}

pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    in_time(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
