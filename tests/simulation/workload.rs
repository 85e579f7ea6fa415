//! What partners publish in one run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_broker::{Broker, Message, Properties, topology};
use clawback_domain::{PartnerId, PurchaseId, RequestId, UserId, answer::PacksAnswer, clock::after};

use crate::world::{World, epoch};

/// How long things go wrong. Commands are published during its first half.
pub const FAULTS: Duration = Duration::from_secs(120);
pub const USERS: u64 = 5;

pub fn partners() -> Vec<PartnerId> {
    ["acme", "beta"].into_iter().map(|name| PartnerId::new(name).expect("a good name")).collect()
}

pub fn key(partner: &PartnerId) -> String {
    format!("sandbox-{partner}")
}

pub fn user(number: u64) -> UserId {
    UserId::new(format!("user-{number}")).expect("a good name")
}

/// What was published.
#[derive(Default)]
pub struct Ordered {
    /// Every command that was published as a valid one, by the id of its purchase, and when it was first published.
    pub commands: BTreeMap<PurchaseId, Duration>,
    /// Messages that nobody can take: partner, routing key and body of each.
    pub broken: BTreeSet<(PartnerId, String, String)>,
    /// Commands of which two versions were published: one of the two is rejected.
    pub conflicts: BTreeSet<PurchaseId>,
}

/// Publishes `count` commands, some of them twice, some broken, some in conflict.
pub fn publish(world: &World, count: u64) -> Ordered {
    let packs = packs(world);
    let mut ordered = Ordered::default();
    let mut wish = Wish::draw(world, &packs);
    for number in 0..count {
        let chance = world.chance();
        // Now and then the same once more at the same moment: nothing but the request id tells the two apart.
        if chance.below("the same again", 6) != 0 {
            wish = Wish::draw(world, &packs);
        }
        let (partner, at) = (wish.partner.clone(), wish.at);
        let request = RequestId::new(format!("r-{number}")).expect("a good id");
        let (id, body) = (PurchaseId::of(&partner, &request), wish.body(&request));
        ordered.commands.insert(id, at);
        send_at(world, at, &partner, "purchase", body.clone());
        if chance.below("redelivered", 5) == 0 {
            let again = chance.span("publish again at", at, FAULTS);
            send_at(world, again, &partner, "purchase", body.clone());
        }
        if chance.below("conflict", 20) == 0 {
            let other = body.replace(r#""user_id":"user-"#, r#""user_id":"other-"#);
            send_at(world, chance.span("conflict at", at, FAULTS), &partner, "purchase", other);
            ordered.conflicts.insert(id);
        }
        let broken = match chance.below("broken", 30) {
            0 => ("purchase", "{not json".to_owned()),
            1 => ("purchsae", body),
            _ => continue,
        };
        send_at(world, at, &partner, broken.0, broken.1.clone());
        ordered.broken.insert((partner, broken.0.to_owned(), broken.1));
    }
    ordered
}

pub fn packs(world: &World) -> Vec<(String, bool)> {
    let key = key(&partners()[0]);
    match world.engine().lock().list_packs(epoch(), &key) {
        PacksAnswer::Listed(packs) => {
            packs.into_iter().map(|pack| (pack.id.to_string(), pack.in_stock && pack.enabled)).collect()
        }
        other => panic!("the packs are listed: {other:?}"),
    }
}

/// A command without its request id.
struct Wish {
    partner: PartnerId,
    at: Duration,
    fields: String,
}

impl Wish {
    fn draw(world: &World, packs: &[(String, bool)]) -> Self {
        let chance = world.chance();
        let partner = partners()[chance.below("partner", 2) as usize].clone();
        let at = chance.span("publish at", Duration::ZERO, FAULTS / 2);
        let in_stock = chance.below("in stock", 15) != 0;
        let of_kind: Vec<_> = packs.iter().filter(|(_, stocked)| *stocked == in_stock).collect();
        let (pack, _) = of_kind[chance.below("pack", of_kind.len() as u64) as usize];
        let amount = if chance.below("too many", 30) == 0 { 9_999 } else { 1 + chance.below("amount", 2) };
        let user = user(chance.below("user", USERS));
        let not_after = match chance.below("not after", 8) {
            0 => {
                let at = after(epoch(), chance.span("not after at", Duration::from_secs(10), FAULTS));
                format!(r#","not_after":"{}""#, at.to_rfc3339())
            }
            _ => String::new(),
        };
        let fields = format!(r#""user_id":"{user}","pack_id":"{pack}","amount":{amount}{not_after}"#);
        Self { partner, at, fields }
    }

    fn body(&self, request: &RequestId) -> String {
        format!(r#"{{"request_id":"{request}",{}}}"#, self.fields)
    }
}

/// A partner publishes with a confirm, and again until it has one.
pub fn send_at(world: &World, at: Duration, partner: &PartnerId, routing_key: &str, body: String) {
    let message = Message {
        exchange: topology::commands(partner),
        routing_key: routing_key.into(),
        body: body.into(),
        properties: Properties { content_type: Some("application/json".into()), ..Properties::default() },
    };
    let world2 = world.clone();
    world.spawn(async move {
        world2.sleep(at).await;
        while world2.broker().publish(message.clone()).await.is_err() {
            world2.sleep(Duration::from_millis(100)).await;
        }
    });
}
