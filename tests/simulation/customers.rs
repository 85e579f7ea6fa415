//! What the partners' users do in one run, beside buying through us.
//!
//! They own items from before, and sell back through us what they drew. They sell and ship what they have, but only what somebody has written down already: an item that leaves
//! unseen is beyond all evidence, and the README says so.

use std::time::Duration;

use clawback_domain::{
    ItemId, OrderId, PackId, PartnerId, RequestId, UserId,
    answer::InitRequest,
    item::Pull,
    purchase::{Purchase, State, StateName},
    warning::UserSettings,
};
use clawback_sandbox::Mode;
use clawback_store::{Filter, Store, Users};
use futures_util::FutureExt;

use crate::{
    workload::{self, FAULTS, USERS, packs, partners, send_at},
    world::{World, epoch},
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

/// Now and then a user wants no warnings, from the beginning.
pub fn opt_out(world: &World) {
    let chance = world.chance();
    for partner in partners() {
        for user in (0..USERS).filter(|_| chance.below("wants no warnings", 8) == 0).map(workload::user) {
            let settings = UserSettings { warnings: false, ..UserSettings::default() };
            let set = world.store().set_user_settings(&partner, &user, settings, epoch()).now_or_never();
            set.expect("the model answers at once").expect("settings can be stored");
            world.watch().opts_out(&partner, &user);
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
        while world.handle().now() < world.heals_at() + FAULTS {
            let most = if world.handle().now() < FAULTS * 2 { 15 } else { 60 };
            world.sleep(world.chance().span("next item leaves", Duration::from_secs(1), Duration::from_secs(most))).await;
            part_with_one(&world).await;
        }
    });
}

/// Users have their partner sell what they drew: by the pull, or by the item id, some of it twice, and now and then the same in two commands.
pub fn sell_back(world: &World) {
    if world.chance().below("sellbacks", 3) == 0 {
        return;
    }
    let world = world.clone();
    world.clone().spawn(async move {
        let mut number = 0;
        while world.handle().now() < world.heals_at() {
            let most = if world.handle().now() < FAULTS { 8 } else { 60 };
            world.sleep(world.chance().span("next sellback", Duration::from_millis(200), Duration::from_secs(most))).await;
            if let Some(pull) = sellable(&world).await {
                let chance = world.chance();
                for _ in 0..1 + chance.below("sold by two commands", 5) / 4 {
                    number += 1;
                    publish_sale(&world, &pull, number);
                }
            }
        }
    });
}

fn publish_sale(world: &World, pull: &Pull, number: u64) {
    let chance = world.chance();
    let request = RequestId::new(format!("s-{number}")).expect("a good id");
    let target = match chance.below("by pull id", 2) {
        0 => format!(r#""pull_id":"{}""#, pull.id),
        _ => format!(r#""item_id":"{}""#, pull.item.item_id),
    };
    let least = match chance.below("least price", 6) {
        0 => r#","min_price":"100000.00""#,
        1 => r#","min_price":"0.01""#,
        _ => "",
    };
    let body = format!(r#"{{"request_id":"{request}","user_id":"{}",{target}{least}}}"#, pull.user_id);
    world.watch().is_to_be_sold(OrderId::of(&pull.partner, &request), &pull.partner, &pull.item.item_id);
    world.say("customer", || body.clone());
    send_at(world, Duration::ZERO, &pull.partner, "sellback", body.clone());
    if chance.below("sellback redelivered", 5) == 0 {
        send_at(world, chance.span("sell again in", Duration::ZERO, FAULTS / 2), &pull.partner, "sellback", body);
    }
}

/// One that is recorded. Where item ids repeat, the upstream sells the oldest copy in the account, whosever it is: then one of which all copies
/// are recorded, so that none leaves that nobody has written down.
async fn sellable(world: &World) -> Option<Pull> {
    let filter = Filter { state: Some(StateName::Fulfilled), limit: 200, ..Filter::default() };
    let mut pulls = Vec::new();
    for row in world.store().purchases(filter).await.expect("the model reads") {
        pulls.extend(world.store().pulls(row.id).await.expect("the model reads"));
    }
    if world.engine().lock().mode() == Mode::Sandbox {
        let recorded: Vec<_> = pulls.iter().map(|pull| pull.item.item_id.clone()).collect();
        let drawn = world.engine().lock().ledger().purchases;
        let copies = |item: &ItemId| drawn.iter().flat_map(|one| &one.items).filter(|one| one.item_id == item.as_str()).count();
        pulls.retain(|pull| {
            let item = &pull.item.item_id;
            recorded.iter().filter(|known| *known == item).count() == copies(item)
        });
    }
    // What leaves otherwise than through us while we sell it is beyond all evidence.
    pulls.retain(|pull| !world.watch().look(|seen| seen.parted.contains(&(pull.partner.clone(), pull.item.item_id.clone()))));
    (!pulls.is_empty()).then(|| pulls.swap_remove(world.chance().below("sold", pulls.len() as u64) as usize))
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
    items.retain(|(partner, _, item)| !world.watch().look(|seen| seen.for_sale.contains(&(partner.clone(), item.clone()))));
    if items.is_empty() {
        return;
    }
    let (partner, user, item) = &items[world.chance().below("leaving item", items.len() as u64) as usize];
    world.watch().has_parted(partner, item);
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
