//! The partners' servers: one has a webhook. It may be away, and its answers may be lost; what it took is held against what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use clawback_domain::PartnerId;
use clawback_store::{Deliveries, Store, Webhook};
use clawback_webhook::{Delivery, Endpoint, Outcome, Receiver, SigningSecrets};
use futures_util::FutureExt;

use crate::{
    checks::Violation,
    rest::Whole,
    workload,
    world::{World, epoch},
};

pub struct SimReceiver(pub World);

#[async_trait]
impl Receiver for SimReceiver {
    async fn deliver(&self, endpoint: &Endpoint, delivery: Delivery) -> Outcome {
        let (world, endpoint) = (self.0.clone(), endpoint.clone());
        let delivering = async move {
            world.latency("webhook latency").await;
            let rates = world.rates();
            if world.fires("webhook slow", rates.webhook_slow) {
                world.sleep(world.chance().span("webhook slow for", Duration::ZERO, Duration::from_secs(15))).await;
            }
            if world.fires("webhook away", rates.webhook_away) {
                return Outcome::answered(503, None);
            }
            let outcome = world.hooks().deliver(&endpoint, delivery).await;
            if world.fires("webhook answer lost", rates.webhook_answer_lost) {
                return Outcome::unanswered("the answer was lost");
            }
            outcome
        };
        self.0.carry(delivering).await
    }
}

/// The partner whose events are delivered.
pub fn hooked() -> PartnerId {
    workload::partners().remove(0)
}

pub fn endpoint(partner: &PartnerId) -> Option<Endpoint> {
    let secrets = SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("it is a secret");
    let endpoint = Endpoint::new("https://hooks.example/", secrets, false).expect("it may be delivered to");
    (*partner == hooked()).then_some(endpoint)
}

/// Known before anything happens: so everything is to be delivered.
pub fn begin(world: &World) {
    let known = world.store().spool(&hooked(), epoch(), 1).now_or_never();
    known.expect("the model answers at once").expect("a webhook can be made known");
}

fn webhook(world: &World) -> Webhook {
    let webhooks = world.store().webhooks().now_or_never().expect("the model answers at once");
    webhooks.expect("they can be read").into_iter().find(|webhook| webhook.partner == hooked()).expect("it is known")
}

/// Whether nothing is owed to it.
pub fn is_calm(world: &World) -> bool {
    let webhook = webhook(world);
    let last = world.store().events(Some(&hooked()), webhook.position, 1).now_or_never();
    webhook.waiting == 0 && last.expect("the model answers at once").is_ok_and(|rest| rest.is_empty())
}

/// Every event of the partner arrived, with its id and its words, per subject in order; and nothing else did.
pub fn hooks(whole: &Whole<'_>) -> Vec<Violation> {
    let told: BTreeMap<_, _> = whole
        .snapshot
        .events
        .iter()
        .filter(|stored| stored.event.partner == hooked())
        .map(|stored| (stored.event.id, &stored.event))
        .collect();
    let (mut arrived, mut last, mut violations) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for one in whole.world.hooks().recorded() {
        let id = one.delivery.id;
        match told.get(&id) {
            Some(event) if event.body == one.delivery.body => {
                let before = last.insert(event.subject, event.sequence).unwrap_or(0);
                if arrived.insert(id) && before > event.sequence {
                    violations.push(format!("webhooks: {id} arrived after a later event of its subject"));
                }
            }
            Some(_) => violations.push(format!("webhooks: {id} arrived with other words")),
            None => violations.push(format!("webhooks: {id} arrived and never happened")),
        }
    }
    let missing = told.keys().filter(|id| !arrived.contains(id));
    violations.extend(missing.map(|id| format!("webhooks: {id} never arrived")));
    violations
}
