//! What operators do in one run: they pause and resume, cancel, give refused keys back their trust, and settle reviews.
//!
//! They are careful people: before they say a word about a review they ask the upstream what was really bought, late enough that
//! nothing is on its way any more, and claim nothing that is recorded for another purchase. Now and then one is careless and has
//! something called again that was bought.

mod sales;

use std::time::Duration;

use clawback_domain::{
    ItemId, PackId, PurchaseId, SessionId, Time,
    change::{Change, Ruling},
    clock::after,
    item::Item,
    pause::{Pause, PauseScope},
    purchase::{Decision, Happened, Purchase, Resolution, Review, Rules, State, StateName, decide},
    reason::WaitCode,
};
use clawback_sandbox::ledger::{LedgerItem, LedgerPurchase};
use clawback_store::{Applied, Filter, Store};

use crate::{
    executor::WORLD,
    rest::{bought_by_us, purchase_of},
    workload::{FAULTS, Ordered, packs, partners},
    world::World,
};

pub fn operate(world: &World, ordered: &Ordered, rules: Rules) {
    for round in 0..world.chance().below("operator rounds", 5) {
        let scope = scope(world, round);
        let from = world.chance().span("pause at", Duration::ZERO, FAULTS);
        let lasts = world.chance().span("pause lasts", Duration::from_secs(1), Duration::from_secs(60));
        let world2 = world.clone();
        world.spawn(async move { pause_for(&world2, scope, from, lasts).await });
    }
    for id in ordered.commands.keys() {
        if world.chance().below("cancelled", 15) == 0 {
            let at = world.chance().span("cancel at", Duration::ZERO, FAULTS);
            let (world2, id) = (world.clone(), *id);
            world.spawn(async move { cancel(&world2, id, at, &rules).await });
        }
    }
    let (trusting, settling, stocking) = (world.clone(), world.clone(), world.clone());
    let (cancelling, judging) = (world.clone(), world.clone());
    world.spawn(async move { trust_keys(&trusting).await });
    if world.chance().below("reviews are settled", 2) == 0 {
        world.spawn(async move { settle_reviews(&settling, &rules).await });
    }
    world.spawn(async move { sell_out(&stocking).await });
    if world.chance().below("sales are cancelled", 2) == 0 {
        world.spawn(async move { sales::cancel(&cancelling, &rules).await });
    }
    if world.chance().below("reviews of sales are settled", 2) == 0 {
        world.spawn(async move { sales::settle_reviews(&judging, &rules).await });
    }
}

fn scope(world: &World, round: u64) -> PauseScope {
    let partner = partners()[(round % 2) as usize].clone();
    let packs = packs(world);
    let pack = &packs[world.chance().below("paused pack", packs.len() as u64) as usize].0;
    let pack = (world.chance().below("pause a pack", 2) == 0).then(|| PackId::new(pack).expect("a good id"));
    PauseScope { partner: Some(partner), pack, kind: None }
}

/// Everything twice: people press buttons again.
async fn pause_for(world: &World, scope: PauseScope, from: Duration, lasts: Duration) {
    world.sleep(from).await;
    let store = world.store();
    let since = world.now();
    for _ in 0..2 {
        let pause = Pause { scope: scope.clone(), by: "ann".into(), reason: "a rehearsal".into(), since, refused_key: None };
        store.pause(pause).await.expect("the model takes a pause");
    }
    world.say("operator", || format!("pauses {scope:?} for {lasts:?}"));
    world.sleep(lasts).await;
    resume(world, &scope).await;
    resume(world, &scope).await;
}

async fn resume(world: &World, scope: &PauseScope) {
    let store = world.store();
    store.resume(scope, "ann", "over", world.now()).await.expect("the model resumes");
    world.say("operator", || format!("resumes {scope:?}"));
    // By then every worker knows.
    world.sleep(Duration::from_millis(1200)).await;
    world.watch().commits_for(WORLD);
    let codes = [WaitCode::Paused, WaitCode::PackPaused, WaitCode::Unauthorized];
    store.lift(scope, &codes, world.now(), 50).await.expect("the model lifts");
}

/// What the cancel verb does: computed from the row as it stands, again if somebody was faster.
async fn cancel(world: &World, id: PurchaseId, at: Duration, rules: &Rules) {
    world.sleep(at).await;
    for _ in 0..5 {
        let Some(row) = world.store().purchase(id).await.expect("the model reads") else { return };
        let happened = Happened::Cancelled { by: "ann".into(), why: "a rehearsal".into() };
        if write(world, &row, happened, rules).await != Some(Applied::Lost) {
            return;
        }
    }
}

async fn write(world: &World, row: &Purchase, happened: Happened, rules: &Rules) -> Option<Applied> {
    let ruled = matches!(happened, Happened::Resolved { .. });
    let retried = matches!(happened, Happened::Resolved { resolution: Resolution::Retry, .. });
    let (store, name) = (world.store(), happened.name());
    let Decision::Transition(mut transition) = decide(row, happened, world.now(), rules) else { return None };
    transition.after.due_at = transition.after.due_at.map(|due| due.min(world.now()));
    let mut change = Change::of(row, *transition, name, None);
    if ruled {
        let case = store.case(&row.partner, &row.command.user_id).await.expect("the model reads");
        change.ruling = Some(Ruling { case: Some(case.version), retried });
    }
    world.watch().commits_for(WORLD);
    Some(store.apply(change).await.expect("the model applies"))
}

/// Whoever pressed 401 at the upstream has put the key right again a little later.
async fn trust_keys(world: &World) {
    loop {
        world.sleep(Duration::from_secs(15)).await;
        for pause in world.store().pauses().await.expect("the model reads") {
            if pause.refused_key.is_some() {
                resume(world, &pause.scope).await;
            }
        }
    }
}

/// A pack is sold out for a while.
async fn sell_out(world: &World) {
    let all = packs(world);
    let in_stock: Vec<_> = all.iter().filter(|(_, stocked)| *stocked).collect();
    let (pack, _) = in_stock[world.chance().below("pack sold out", in_stock.len() as u64) as usize];
    world.sleep(world.chance().span("sold out at", Duration::ZERO, FAULTS)).await;
    world.engine().lock().set_stock(pack, false);
    world.sleep(world.chance().span("sold out for", Duration::ZERO, Duration::from_secs(60))).await;
    world.engine().lock().set_stock(pack, true);
}

/// Long enough that nothing of an attempt in doubt is on its way any more.
const SETTLED_AFTER: Duration = Duration::from_secs(70);

fn is_older(world: &World, since: Time, than: Duration) -> bool {
    after(since, than) < world.now()
}

async fn settle_reviews(world: &World, rules: &Rules) {
    while world.handle().now() < world.heals_at() + FAULTS {
        world.sleep(world.chance().span("next word", Duration::from_secs(5), Duration::from_secs(40))).await;
        let filter = Filter { state: Some(StateName::Review), limit: 100, ..Filter::default() };
        for row in world.store().purchases(filter).await.expect("the model reads") {
            let State::Review(review) = &row.state else { continue };
            if is_older(world, review.since, SETTLED_AFTER) && world.chance().below("a word", 2) == 0 {
                settle(world, &row, review, rules).await;
            }
        }
    }
}

/// Somebody loses patience with reviews just before a frozen worker wakes up, which may have their answers.
pub async fn lose_patience(world: &World, rules: &Rules) {
    let filter = Filter { state: Some(StateName::Review), limit: 100, ..Filter::default() };
    for row in world.store().purchases(filter).await.expect("the model reads") {
        let State::Review(review) = &row.state else { continue };
        let attempts = world.store().attempts(row.id).await.expect("the model reads");
        let unanswered = attempts.last().is_some_and(|record| record.fact.is_none());
        if unanswered && may_call_again(&row, review, world, rules) {
            world.watch().is_careless(row.id);
            world.say("operator", || format!("has {} called again", row.id));
            let resolution = Resolution::Retry;
            write(world, &row, Happened::Resolved { resolution, by: "ann".into(), why: String::new() }, rules).await;
        }
    }
}

async fn settle(world: &World, row: &Purchase, review: &Review, rules: &Rules) {
    let Some(resolution) = truth(world, row, review, rules).await else { return };
    world.say("operator", || format!("resolves {}: {resolution:?}", row.id));
    write(world, row, Happened::Resolved { resolution, by: "ann".into(), why: String::new() }, rules).await;
}

/// What a careful person says of a review. `None`: nothing, this time.
async fn truth(world: &World, row: &Purchase, review: &Review, rules: &Rules) -> Option<Resolution> {
    let own = |one: &LedgerPurchase| purchase_of(one) == row.id;
    let bought = bought_by_us(world).into_iter().find(own);
    let word = world.chance().below("which word", 2);
    match bought {
        Some(_) if world.chance().below("a careless word", 12) == 0 && may_call_again(row, review, world, rules) => {
            world.watch().is_careless(row.id);
            Some(Resolution::Retry)
        }
        Some(bought) if word == 0 && review.session.is_none() => {
            Some(Resolution::Session(SessionId::new(&bought.session_id).expect("a good id")))
        }
        Some(bought) => {
            let known = world.store().pulls_of_user(&row.partner, &row.command.user_id).await.expect("the model reads");
            let claimed = known.iter().any(|pull| bought.items.iter().any(|item| item.item_id == pull.item.item_id.as_str()));
            (!claimed && !review.cancelled).then(|| Resolution::FulfilledWith(items(&bought)))
        }
        None if word == 0 && may_call_again(row, review, world, rules) => Some(Resolution::Retry),
        None => Some(Resolution::Failed),
    }
}

/// Nobody is careless of the same purchase twice.
fn may_call_again(row: &Purchase, review: &Review, world: &World, rules: &Rules) -> bool {
    let warned = world.watch().look(|seen| seen.careless.contains(&row.id));
    !warned && (review.session.is_none() || review.cancelled) && row.expires_at(rules) > world.now()
}

fn items(bought: &LedgerPurchase) -> Vec<Item> {
    let bare = |item: &LedgerItem| Item::bare(ItemId::new(&item.item_id).expect("a good id"));
    bought.items.iter().map(bare).collect()
}
