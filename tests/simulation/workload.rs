//! What partners and operators do in one run.

use std::{collections::BTreeMap, time::Duration};

use clawback_broker::{Broker, Message, Properties, topology};
use clawback_domain::{
    PartnerId, PurchaseId, RequestId,
    answer::PacksAnswer,
    change::Change,
    clock::after,
    pause::{Pause, PauseScope},
    purchase::{Decision, Happened, Rules, decide},
    reason::WaitCode,
};
use clawback_store::Store;

use crate::{
    executor::WORLD,
    world::{World, epoch},
};

/// How long commands are published, and how long things go wrong.
pub const FAULTS: Duration = Duration::from_secs(120);
const USERS: u64 = 5;

pub fn partners() -> Vec<PartnerId> {
    ["acme", "beta"].into_iter().map(|name| PartnerId::new(name).expect("a good name")).collect()
}

pub fn key(partner: &PartnerId) -> String {
    format!("sandbox-{partner}")
}

/// Every command that was published as a valid one, by the id of its purchase, and when it was first published.
pub type Commands = BTreeMap<PurchaseId, Duration>;

/// Publishes `count` commands over the first half of the faults, some of them twice, some broken, some in conflict.
pub fn publish(world: &World, count: u64) -> Commands {
    let packs = packs(world);
    let mut commands = Commands::new();
    for number in 0..count {
        let chance = world.chance();
        let partner = partners()[chance.below("partner", 2) as usize].clone();
        let request = RequestId::new(format!("r-{number}")).expect("a good id");
        let body = body(world, &request, &packs);
        let at = chance.span("publish at", Duration::ZERO, FAULTS / 2);
        commands.insert(PurchaseId::of(&partner, &request), at);
        send_at(world, at, &partner, "purchase", body.clone());
        if chance.below("redelivered", 5) == 0 {
            let again = chance.span("publish again at", at, FAULTS);
            send_at(world, again, &partner, "purchase", body.clone());
        }
        if chance.below("conflict", 20) == 0 {
            // Late enough that the first copy has its row: which of two is taken is not ours to say.
            let late = at + Duration::from_secs(60);
            let other = body.replace(r#""user_id":"user-"#, r#""user_id":"other-"#);
            send_at(world, late, &partner, "purchase", other);
        }
        match chance.below("broken", 30) {
            0 => send_at(world, at, &partner, "purchase", "{not json".into()),
            1 => send_at(world, at, &partner, "purchsae", body),
            _ => {}
        }
    }
    commands
}

fn packs(world: &World) -> Vec<(String, bool)> {
    let key = key(&partners()[0]);
    match world.engine().lock().list_packs(epoch(), &key) {
        PacksAnswer::Listed(packs) => {
            packs.into_iter().map(|pack| (pack.id.to_string(), pack.in_stock && pack.enabled)).collect()
        }
        other => panic!("the packs are listed: {other:?}"),
    }
}

fn body(world: &World, request: &RequestId, packs: &[(String, bool)]) -> String {
    let chance = world.chance();
    let in_stock = chance.below("in stock", 10) != 0;
    let of_kind: Vec<_> = packs.iter().filter(|(_, stocked)| *stocked == in_stock).collect();
    let (pack, _) = of_kind[chance.below("pack", of_kind.len() as u64) as usize];
    let amount = if chance.below("too many", 30) == 0 { 9_999 } else { 1 + chance.below("amount", 2) };
    let user = chance.below("user", USERS);
    let not_after = match chance.below("not after", 8) {
        0 => {
            let at = after(epoch(), chance.span("not after at", Duration::from_secs(10), FAULTS));
            format!(r#","not_after":"{}""#, at.to_rfc3339())
        }
        _ => String::new(),
    };
    format!(r#"{{"request_id":"{request}","user_id":"user-{user}","pack_id":"{pack}","amount":{amount}{not_after}}}"#)
}

/// A partner publishes with a confirm, and again until it has one.
fn send_at(world: &World, at: Duration, partner: &PartnerId, routing_key: &str, body: String) {
    let message = Message {
        exchange: topology::commands(partner),
        routing_key: routing_key.into(),
        body: body.into(),
        properties: Properties { content_type: Some("application/json".into()), ..Properties::default() },
    };
    let (world2, handle) = (world.clone(), world.handle().clone());
    world.handle().spawn(
        WORLD,
        Box::pin(async move {
            handle.sleep(at).await;
            while world2.broker().publish(message.clone()).await.is_err() {
                handle.sleep(Duration::from_millis(100)).await;
            }
        }),
    );
}

/// Operators pause, resume and cancel.
pub fn operate(world: &World, commands: &Commands) {
    for round in 0..world.chance().below("operator rounds", 4) {
        let partner = partners()[(round % 2) as usize].clone();
        let from = world.chance().span("pause at", Duration::ZERO, FAULTS);
        let lasts = world.chance().span("pause lasts", Duration::from_secs(1), Duration::from_secs(60));
        let world2 = world.clone();
        world.handle().spawn(WORLD, Box::pin(async move { pause_for(&world2, partner, from, lasts).await }));
    }
    for id in commands.keys() {
        if world.chance().below("cancelled", 15) == 0 {
            let at = world.chance().span("cancel at", Duration::ZERO, FAULTS);
            let (world2, id) = (world.clone(), *id);
            world.handle().spawn(WORLD, Box::pin(async move { cancel(&world2, id, at).await }));
        }
    }
}

async fn pause_for(world: &World, partner: PartnerId, from: Duration, lasts: Duration) {
    world.handle().sleep(from).await;
    let scope = PauseScope::partner(partner);
    let pause =
        Pause { scope: scope.clone(), by: "ann".into(), reason: "a rehearsal".into(), since: world.now(), refused_key: None };
    let store = world.store();
    store.pause(pause).await.expect("the model takes a pause");
    world.handle().sleep(lasts).await;
    store.resume(&scope, "ann", "over", world.now()).await.expect("the model resumes");
    store.lift(&scope, &[WaitCode::Paused], world.now(), 50).await.expect("the model lifts");
}

/// What the cancel verb does: computed from the row as it stands, again if somebody was faster.
async fn cancel(world: &World, id: PurchaseId, at: Duration) {
    world.handle().sleep(at).await;
    let store = world.store();
    for _ in 0..5 {
        let Some(row) = store.purchase(id).await.expect("the model reads") else { return };
        let happened = Happened::Cancelled { by: "ann".into(), why: "a rehearsal".into() };
        let name = happened.name();
        let Decision::Transition(transition) = decide(&row, happened, world.now(), &Rules::default()) else { return };
        let change = Change::of(&row, *transition, name, None);
        if store.apply(change).await.expect("the model applies") == clawback_store::Applied::Committed {
            return;
        }
    }
}
