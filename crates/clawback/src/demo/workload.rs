//! What the made-up partners ask for.

use std::collections::BTreeSet;

use bytes::Bytes;
use clawback_broker::{Broker, Message, Properties, topology};
use clawback_domain::{PartnerId, PurchaseId, RequestId, UserId};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::plant::partner_ids;
use crate::failure::Failure;

/// One command that a partner sends, perhaps twice.
pub struct Asked {
    pub partner: PartnerId,
    pub purchase: PurchaseId,
    pub user: UserId,
    body: String,
    request: RequestId,
    twice: bool,
}

pub struct Workload {
    pub asked: Vec<Asked>,
    /// Not a command at all; it must be told of and harm nothing.
    pub broken: Vec<(PartnerId, &'static str)>,
}

/// One in so many is sent twice.
const TWICE: u32 = 20;

/// The same for the same seed.
pub fn draw(purchases: u32, seed: u64) -> Workload {
    let mut chance = StdRng::seed_from_u64(seed);
    let partners = partner_ids();
    let asked = (0..purchases).map(|index| {
        let partner = &partners[index as usize % partners.len()];
        draw_one(&mut chance, partner, index)
    });
    let asked = asked.collect();
    let broken = vec![(partners[0].clone(), r#"{"request_id":"broken-1","user_id":"kim","pack_id":"rookie","amuont":1}"#)];
    Workload { asked, broken }
}

fn draw_one(chance: &mut StdRng, partner: &PartnerId, index: u32) -> Asked {
    let request = RequestId::new(format!("order-{:04}", index + 1)).expect("it is short");
    let (pack, amount) = match chance.random_range(0..100) {
        0..60 => ("rookie", chance.random_range(1..=4)),
        60..85 => ("allstar", chance.random_range(1..=2)),
        85..93 => ("legend", 1),
        // More than the pack gives at once.
        93..96 => ("rookie", 11),
        // Out of stock.
        96..99 => ("vault", 1),
        _ => ("no-such-pack", 1),
    };
    let user = UserId::new(format!("user-{:02}", chance.random_range(0..40))).expect("it is short");
    let body = json!({
        "request_id": request, "user_id": user, "pack_id": pack, "amount": amount,
        "metadata": { "channel": if chance.random_bool(0.5) { "app" } else { "web" } },
    });
    Asked {
        partner: partner.clone(),
        purchase: PurchaseId::of(partner, &request),
        user,
        body: body.to_string(),
        request,
        twice: chance.random_ratio(1, TWICE),
    }
}

impl Workload {
    /// At least so many events: one for each purchase that ended, one for each broken message.
    pub fn announced(&self) -> usize {
        self.asked.len() + self.broken.len()
    }

    pub fn users(&self) -> BTreeSet<(&PartnerId, &UserId)> {
        self.asked.iter().map(|asked| (&asked.partner, &asked.user)).collect()
    }

    pub fn of<'w>(&'w self, partner: &'w PartnerId) -> impl Iterator<Item = &'w Asked> {
        self.asked.iter().filter(move |asked| asked.partner == *partner)
    }
}

/// Publishes everything to the partners' own exchanges.
///
/// # Errors
/// The embedded broker refuses, which it has no reason to.
pub async fn send(broker: &dyn Broker, workload: &Workload) -> Result<(), Failure> {
    for asked in &workload.asked {
        for _ in 0..=u8::from(asked.twice) {
            publish(broker, &asked.partner, "purchase", &asked.body, Some(&asked.request)).await?;
        }
    }
    for (partner, body) in &workload.broken {
        publish(broker, partner, "purchase", body, None).await?;
    }
    Ok(())
}

/// Publishes as a partner does.
///
/// # Errors
/// The embedded broker refuses, which it has no reason to.
pub async fn publish(
    broker: &dyn Broker,
    partner: &PartnerId,
    kind: &str,
    body: &str,
    request: Option<&RequestId>,
) -> Result<(), Failure> {
    let message = Message {
        exchange: topology::commands(partner),
        routing_key: kind.into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        properties: Properties {
            message_id: request.map(RequestId::to_string),
            content_type: Some("application/json".into()),
            ..Properties::default()
        },
    };
    broker.publish(message).await.map(drop).map_err(Failure::failed)
}
