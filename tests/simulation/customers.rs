//! What the partners' users do in one run, beside buying through us.
//!
//! They own items from before. They sell and ship what they have, but only what somebody has written down already: an item that leaves
//! unseen is beyond all evidence, and the README says so.

use std::time::Duration;

use clawback_domain::{
    ItemId, PackId, PartnerId, UserId,
    answer::InitRequest,
    purchase::{Purchase, State, StateName},
};
use clawback_sandbox::Mode;
use clawback_store::{Filter, Store};

use crate::{
    workload::{self, FAULTS, USERS, packs, partners},
    world::World,
};

/// The reference of what was bought before.
pub const BEFORE: &str = "before";

/// Half of the users own something before it all begins, bought an hour ago.
pub fn own_items(world: &World) {
    let packs = packs(world);
    let in_stock: Vec<_> = packs.iter().filter(|(_, stocked)| *stocked).collect();
    let chance = world.chance();
    for partner in partners() {
        for number in (0..USERS).filter(|_| chance.below("owns something", 2) == 0) {
            let (pack, _) = in_stock[chance.below("owned pack", in_stock.len() as u64) as usize];
            let hour_ago = world.upstream_now() - Duration::from_secs(3600);
            let request = InitRequest {
                pack_id: PackId::new(pack).expect("a good id"),
                amount: 1,
                user_id: workload::user(number),
                reference: BEFORE.into(),
                send_by: world.now(),
            };
            world.engine().lock().buy_init(hour_ago, &workload::key(&partner), &request);
        }
    }
}

/// Where item ids are unique, so that it is clear which item leaves.
pub fn sell_and_ship(world: &World) {
    if world.engine().lock().mode() != Mode::Production || world.chance().below("items leave", 2) == 0 {
        return;
    }
    let world = world.clone();
    world.clone().spawn(async move {
        while world.handle().now() < FAULTS * 2 {
            world.sleep(world.chance().span("next item leaves", Duration::from_secs(1), Duration::from_secs(15))).await;
            part_with_one(&world).await;
        }
    });
}

async fn part_with_one(world: &World) {
    let state = match world.chance().below("of which", 3) {
        0 => StateName::Fulfilled,
        1 => StateName::Reconciling,
        _ => StateName::Review,
    };
    let filter = Filter { state: Some(state), limit: 200, ..Filter::default() };
    let rows = world.store().purchases(filter).await.expect("the model reads");
    let mut items = Vec::new();
    for row in &rows {
        items.extend(recorded(world, row).await);
    }
    if items.is_empty() {
        return;
    }
    let (partner, user, item) = &items[world.chance().below("leaving item", items.len() as u64) as usize];
    let left = world.engine().lock().take_away(world.upstream_now(), &workload::key(partner), item.as_str());
    world.say("customer", || format!("{user} parts with {item}: {left}"));
}

/// What was written down of a purchase: its pulls, or what speaks for it.
async fn recorded(world: &World, row: &Purchase) -> Vec<(PartnerId, UserId, ItemId)> {
    let evidence = match &row.state {
        State::Reconciling(doubt) => doubt.evidence.as_ref(),
        State::Review(review) => review.evidence.as_ref(),
        _ => None,
    };
    let found = evidence.into_iter().flat_map(|evidence| &evidence.found).map(|found| found.item_id.clone());
    let pulls = world.store().pulls(row.id).await.expect("the model reads");
    let items = pulls.into_iter().map(|pull| pull.item.item_id).chain(found);
    items.map(|item| (row.partner.clone(), row.command.user_id.clone(), item)).collect()
}
