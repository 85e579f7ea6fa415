//! What operators do about sellbacks: they cancel some, and settle reviews by what the upstream's ledger says of the item.

use std::time::Duration;

use clawback_domain::{
    change::Change,
    order::Machine,
    purchase::{Decision, Rules, StateName},
    sellback::{Happened, Resolution, Review, Sellback, State},
};
use clawback_store::{Filter, Store};

use super::{SETTLED_AFTER, is_older};
use crate::{executor::WORLD, workload::FAULTS, world::World};

pub async fn cancel(world: &World, rules: &Rules) {
    while world.handle().now() < world.heals_at() {
        world.sleep(world.chance().span("next cancelled sale", Duration::from_secs(1), Duration::from_secs(60))).await;
        let mut open = listed(world, StateName::Accepted).await;
        if open.is_empty() {
            continue;
        }
        let row = open.swap_remove(world.chance().below("cancelled sale", open.len() as u64) as usize);
        world.say("operator", || format!("cancels {}", row.id));
        write(world, &row, Happened::Cancelled { by: "ann".into(), why: "a rehearsal".into() }, rules).await;
    }
}

pub async fn settle_reviews(world: &World, rules: &Rules) {
    while world.handle().now() < world.heals_at() + FAULTS * 3 {
        world.sleep(world.chance().span("next word of a sale", Duration::from_secs(5), Duration::from_secs(40))).await;
        for row in listed(world, StateName::Review).await {
            let State::Review(review) = &row.state else { continue };
            if is_older(world, review.since, SETTLED_AFTER) && world.chance().below("a word of a sale", 2) == 0 {
                let resolution = truth(world, review).await;
                world.say("operator", || format!("resolves {}: {resolution:?}", row.id));
                write(world, &row, Happened::Resolved { resolution, by: "ann".into(), why: String::new() }, rules).await;
            }
        }
    }
}

/// Of one item id no other sellback is open: what was sold and nobody says so was sold by this one.
async fn truth(world: &World, review: &Review) -> Resolution {
    let again = if world.chance().below("which word of a sale", 2) == 0 { Resolution::Retry } else { Resolution::Failed };
    let Some(sale) = &review.sale else { return again };
    let ledger = world.engine().lock().ledger().sellbacks;
    let made: Vec<_> = ledger.iter().filter(|one| one.item_id == sale.item_id.as_str()).collect();
    let sold = listed(world, StateName::Sold).await;
    let told = sold.iter().filter(|row| row.state.sold().is_some_and(|sold| sold.item_id == sale.item_id)).count();
    if made.len() > told { Resolution::Sold(made.last().map(|one| one.amount)) } else { again }
}

async fn listed(world: &World, state: StateName) -> Vec<Sellback> {
    let filter = Filter { state: Some(state), limit: 1000, ..Filter::default() };
    world.store().sellbacks(filter).await.expect("the model reads")
}

async fn write(world: &World, row: &Sellback, happened: Happened, rules: &Rules) {
    let name = happened.name();
    let Decision::Transition(mut transition) = row.decide(happened, world.now(), rules) else { return };
    transition.after.due_at = transition.after.due_at.map(|due| due.min(world.now()));
    world.watch().commits_for(WORLD);
    let change = Change::of(row, *transition, name, None);
    world.store().apply(change).await.expect("the model applies");
}
