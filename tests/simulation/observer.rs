//! The perfect observer: which reviews could have been settled by what everybody could see.
//!
//! He sees, at rest, what the inventories still show and nobody's purchase explains, and all purchases in doubt with the times of
//! their calls. Where exactly one set of purchases can have bought what is there, its reviews were avoidable; so are those of an
//! unrecognised 4xx where nothing was bought and nothing is left over. It is a figure to push down, not a violation.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    PartnerId, PurchaseId, Time, UserId,
    answer::{Answer, InventoryAnswer},
    clock::after,
    item::HeldItem,
    purchase::{Purchase, State},
};

use crate::{
    doors::MOST_OFFSET,
    rest::{Whole, brought},
    workload,
    world::epoch,
};

/// Items that were bought together: when, and how many.
type Batch = (Option<Time>, usize);

/// Sets of purchases are found by trying: beyond this many batches nobody would want to.
const MOST_BATCHES: usize = 10;

pub fn avoidable(whole: &Whole<'_>) -> Vec<PurchaseId> {
    let mut doubts = BTreeMap::<(PartnerId, UserId), Vec<&Purchase>>::new();
    for row in whole.snapshot.purchases.iter().filter(|row| in_doubt(row)) {
        doubts.entry((row.partner.clone(), row.command.user_id.clone())).or_default().push(row);
    }
    let of_user = |((partner, user), rows): ((PartnerId, UserId), Vec<&Purchase>)| {
        let left = unexplained(whole, &partner, &user);
        let packs: BTreeSet<_> = rows.iter().map(|row| row.command.pack_id.clone()).collect();
        let of_pack = |pack| {
            let rows: Vec<_> = rows.iter().copied().filter(|row| row.command.pack_id == pack).collect();
            let items = left.iter().filter(|item| item.claw_id.as_deref() == Some(pack.as_str()));
            settled(whole, &rows, &batches(items))
        };
        packs.into_iter().flat_map(of_pack).collect::<Vec<_>>()
    };
    doubts.into_iter().flat_map(of_user).collect()
}

fn in_doubt(row: &Purchase) -> bool {
    matches!(&row.state, State::Review(review) if review.session.is_none() && row.attempts > 0)
}

/// What the user's inventory shows beyond what is recorded.
fn unexplained(whole: &Whole<'_>, partner: &PartnerId, user: &UserId) -> Vec<HeldItem> {
    let answer = {
        let mut engine = whole.world.engine().lock();
        engine.set_faults(Vec::new());
        engine.read_inventory(whole.world.upstream_now(), &workload::key(partner), user)
    };
    let InventoryAnswer::Read(inventory) = answer else { return Vec::new() };
    let mut left = inventory.items;
    let bought = whole.bought();
    for pull in whole.snapshot.pulls.iter().filter(|pull| pull.partner == *partner && pull.user_id == *user) {
        let at = bought.get(&pull.purchase).and_then(|bought| bought.first()).map(|bought| bought.purchased_at);
        let same = |item: &&HeldItem| item.item.item_id == pull.item.item_id;
        let place = left.iter().position(|item| same(&item) && item.purchased_at == at);
        if let Some(place) = place.or_else(|| left.iter().position(|item| same(&item))) {
            left.remove(place);
        }
    }
    left.retain(|item| item.purchased_at.is_none_or(|at| whole.world.by_our_clock(at) >= epoch()));
    left
}

fn batches<'a>(items: impl Iterator<Item = &'a HeldItem>) -> Vec<Batch> {
    let mut batches = BTreeMap::<_, usize>::new();
    for item in items {
        *batches.entry(item.purchased_at).or_default() += 1;
    }
    batches.into_iter().collect()
}

fn settled(whole: &Whole<'_>, rows: &[&Purchase], batches: &[Batch]) -> Vec<PurchaseId> {
    if batches.is_empty() {
        return rows.iter().filter(|row| did_nothing(whole, row)).map(|row| row.id).collect();
    }
    if batches.len() > MOST_BATCHES {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    assign(whole, rows, batches, &mut BTreeSet::new(), &mut found);
    match (found.pop_first(), found.is_empty()) {
        (Some(only), true) => only.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// An unrecognised 4xx that bought nothing.
fn did_nothing(whole: &Whole<'_>, row: &Purchase) -> bool {
    let refused = matches!(brought(row, whole.snapshot), Some(Answer::Unknown { status: Some(400..=499), .. }));
    refused && !whole.bought().contains_key(&row.id)
}

/// Collects every set of purchases that can have bought exactly these batches; more than one is as good as many.
fn assign(
    whole: &Whole<'_>,
    rows: &[&Purchase],
    batches: &[Batch],
    taken: &mut BTreeSet<PurchaseId>,
    found: &mut BTreeSet<BTreeSet<PurchaseId>>,
) {
    let Some((batch, rest)) = batches.split_first() else {
        found.insert(taken.clone());
        return;
    };
    for row in rows {
        if found.len() < 2 && !taken.contains(&row.id) && fits(whole, row, batch) {
            taken.insert(row.id);
            assign(whole, rows, rest, taken, found);
            taken.remove(&row.id);
        }
    }
}

/// Whether one of the purchase's calls in doubt was under way when the batch was bought.
fn fits(whole: &Whole<'_>, row: &Purchase, (at, size): &Batch) -> bool {
    let in_time = |started: Time, deadline: Time| {
        at.is_none_or(|at| {
            let at = whole.world.by_our_clock(at);
            after(at, MOST_OFFSET) >= started && at <= after(deadline, MOST_OFFSET)
        })
    };
    let mut attempts = whole.snapshot.attempts.iter().filter(|record| record.purchase == row.id);
    *size == row.command.amount as usize
        && attempts.any(|record| {
            let doubtful = record.fact.as_ref().is_none_or(|fact| matches!(fact.answer, Answer::Unknown { .. }));
            doubtful && in_time(record.attempt.started_at, record.attempt.deadline)
        })
}
