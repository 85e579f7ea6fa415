//! The perfect observer: which reviews could have been settled by what everybody could see.
//!
//! He sees, at rest, what the inventories still show and nobody's purchase explains, when each known pull was bought, and all purchases in
//! doubt with the times of their calls. He has the bounds of the rules: clocks differ, and how long the upstream takes to buy nobody
//! sees. Where exactly one set of purchases can have bought what is there, its reviews were avoidable; so are those of an unrecognised
//! 4xx where nothing was bought and nothing is left over. It is a figure to push down, not a violation.
//!
//! Items may leave before anybody looks: what is there may be the rest of a larger purchase, and where item ids repeat, a known pull may have
//! left whose double is there. Only whoever never looks away knows better: such reviews are counted by themselves.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    PartnerId, PurchaseId, Time, UserId,
    answer::{Answer, InventoryAnswer},
    clock::after,
    evidence::Evidence,
    item::HeldItem,
    purchase::{Purchase, Review, State, StateName},
    timeline::Entry,
};
use clawback_sandbox::Mode;

use crate::{
    doors::MOST_OFFSET,
    rest::{Whole, brought, purchase_of},
    run::CLOCK_SKEW,
    workload,
    world::epoch,
};

/// Items that were bought together: when, and how many.
type Batch = (Option<Time>, usize);

/// Sets of purchases are found by trying: beyond this many batches nobody would want to.
const MOST_BATCHES: usize = 10;

/// What the observer says of the reviews that are left.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Those that could have been settled, each with what is kept of it in words.
    pub avoidable: Vec<String>,
    /// How many more whoever never looked away could have settled.
    pub by_watching: u64,
}

/// Whether part of a purchase may have left without anybody seeing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Seen,
    Unseen,
}

pub fn observe(whole: &Whole<'_>) -> Observed {
    let surely: BTreeSet<_> = settled_by_sight(whole, Left::Unseen).into_iter().collect();
    let (watching, avoidable): (Vec<_>, Vec<_>) = settled_by_sight(whole, Left::Seen)
        .into_iter()
        .filter_map(|id| whole.snapshot.purchases().find(|row| row.id == id))
        .partition(|row| !surely.contains(&row.id) || is_overshadowed(whole, row));
    Observed { avoidable: avoidable.into_iter().filter_map(in_words).collect(), by_watching: watching.len() as u64 }
}

fn in_words(row: &Purchase) -> Option<String> {
    let id = row.id;
    let Review { code, message, evidence, .. } = review(row)?;
    let weighed = evidence.as_ref().map(|evidence| {
        let Evidence { status, looked, proofs, rivals, verdict, .. } = &**evidence;
        let rivals = rivals.len();
        format!("status {status:?}, {looked} looks, {proofs} proofs, {rivals} rivals; last: {verdict}")
    });
    Some(format!("{id} ({code}): {message} [{}]", weighed.unwrap_or_default()))
}

/// Whether what another purchase of the user and the pack bought may be taken for this one's: ids repeat, it was bought in time, and those in
/// doubt ordered enough to have bought all of it.
fn is_overshadowed(whole: &Whole<'_>, row: &Purchase) -> bool {
    let kind = |row: &Purchase| (row.partner.clone(), row.command.user_id.clone(), row.command.pack_id.clone());
    let of_kind: Vec<_> = whole.snapshot.purchases().filter(|other| kind(other) == kind(row)).collect();
    let known: BTreeSet<_> = of_kind.iter().filter(|other| !in_doubt(other)).map(|other| other.id).collect();
    let claimed = |at| {
        of_kind
            .iter()
            .filter(|other| in_doubt(other) && fits(whole, other, Some(at)))
            .map(|other| other.command.amount)
            .sum::<u32>()
    };
    whole.world.engine().lock().mode() == Mode::Sandbox
        && whole.ledger.iter().filter(|bought| known.contains(&purchase_of(bought))).any(|bought| {
            let at = bought.purchased_at;
            fits(whole, row, Some(at)) && bought.items.len() as u32 <= claimed(at)
        })
}

fn settled_by_sight(whole: &Whole<'_>, left_how: Left) -> Vec<PurchaseId> {
    let mut doubts = BTreeMap::<(PartnerId, UserId), Vec<&Purchase>>::new();
    for row in whole.snapshot.purchases().filter(|row| in_doubt(row)) {
        doubts.entry((row.partner.clone(), row.command.user_id.clone())).or_default().push(row);
    }
    let of_user = |((partner, user), rows): ((PartnerId, UserId), Vec<&Purchase>)| {
        let Some(left) = unexplained(whole, &partner, &user) else { return Vec::new() };
        let retried_at = retried_at(whole, &rows);
        let told_apart = |id: &PurchaseId| {
            let mut attempts = whole.snapshot.attempts.iter().filter(|record| record.order == *id);
            retried_at.is_none_or(|retried| attempts.all(|record| record.attempt.started_at > retried))
        };
        let packs: BTreeSet<_> = rows.iter().map(|row| row.command.pack_id.clone()).collect();
        let of_pack = |pack| {
            let rows: Vec<_> = rows.iter().copied().filter(|row| row.command.pack_id == pack).collect();
            let items = left.iter().filter(|item| item.claw_id.as_deref() == Some(pack.as_str()));
            settled(whole, &rows, &batches(items), left_how)
        };
        packs.into_iter().flat_map(of_pack).filter(told_apart).collect::<Vec<_>>()
    };
    doubts.into_iter().flat_map(of_user).collect()
}

/// When a person last had a purchase of the user called again: what was bought before can no longer be told apart.
fn retried_at(whole: &Whole<'_>, rows: &[&Purchase]) -> Option<Time> {
    let of_user: BTreeSet<_> = whole
        .snapshot
        .purchases()
        .filter(|row| row.partner == rows[0].partner && row.command.user_id == rows[0].command.user_id)
        .map(|row| row.id)
        .collect();
    let again = |entry: &&Entry| entry.from == Some(StateName::Review) && entry.to == StateName::Accepted && entry.by.is_some();
    whole.snapshot.entries.iter().filter(again).filter(|entry| of_user.contains(&entry.order)).map(|entry| entry.at).max()
}

fn in_doubt(row: &Purchase) -> bool {
    row.attempts > 0 && review(row).is_some_and(|review| review.session.is_none())
}

fn review(row: &Purchase) -> Option<&Review> {
    match &row.state {
        State::Review(review) => Some(review),
        _ => None,
    }
}

/// What the user's inventory shows beyond what is recorded. `None`: it shows nothing, and proves nothing, for we know pulls.
fn unexplained(whole: &Whole<'_>, partner: &PartnerId, user: &UserId) -> Option<Vec<HeldItem>> {
    let answer = {
        let mut engine = whole.world.engine().lock();
        engine.set_faults(Vec::new());
        engine.read_inventory(whole.world.upstream_now(), &workload::key(partner), user)
    };
    let pulls: Vec<_> = whole.snapshot.pulls.iter().filter(|pull| pull.partner == *partner && pull.user_id == *user).collect();
    let mut left = match answer {
        InventoryAnswer::Read(inventory) => inventory.items,
        _ if pulls.is_empty() => Vec::new(),
        _ => return None,
    };
    let bought = whole.bought();
    for pull in pulls {
        let at = bought.get(&pull.purchase).and_then(|bought| bought.first()).map(|bought| bought.purchased_at);
        let same = |item: &&HeldItem| item.item.item_id == pull.item.item_id;
        let place = left.iter().position(|item| same(&item) && item.purchased_at == at);
        if let Some(place) = place.or_else(|| left.iter().position(|item| same(&item))) {
            left.remove(place);
        }
    }
    left.retain(|item| item.purchased_at.is_none_or(|at| whole.world.by_our_clock(at) >= epoch()));
    Some(left)
}

fn batches<'a>(items: impl Iterator<Item = &'a HeldItem>) -> Vec<Batch> {
    let mut batches = BTreeMap::<_, usize>::new();
    for item in items {
        *batches.entry(item.purchased_at).or_default() += 1;
    }
    batches.into_iter().collect()
}

fn settled(whole: &Whole<'_>, rows: &[&Purchase], batches: &[Batch], left_how: Left) -> Vec<PurchaseId> {
    if batches.is_empty() {
        return rows.iter().filter(|row| did_nothing(whole, row)).map(|row| row.id).collect();
    }
    if batches.len() > MOST_BATCHES {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    assign(whole, rows, batches, left_how, &mut BTreeSet::new(), &mut found);
    match (found.pop_first(), found.is_empty()) {
        (Some(only), true) => only.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// An unrecognised 4xx that bought nothing, and speaks neither of time nor of a load.
fn did_nothing(whole: &Whole<'_>, row: &Purchase) -> bool {
    let Some(Answer::Unknown { status: Some(status), .. }) = brought(row, whole.snapshot) else { return false };
    let refused = (400..500).contains(status) && !matches!(status, 408 | 425 | 429);
    refused && !whole.bought().contains_key(&row.id)
}

/// Collects every set of purchases that can have bought exactly these batches; more than one is as good as many. Several purchases may have
/// been bought at one time.
fn assign(
    whole: &Whole<'_>,
    rows: &[&Purchase],
    batches: &[Batch],
    left_how: Left,
    taken: &mut BTreeSet<PurchaseId>,
    found: &mut BTreeSet<BTreeSet<PurchaseId>>,
) {
    let Some(((at, size), rest)) = batches.split_first() else {
        found.insert(taken.clone());
        return;
    };
    for row in rows {
        let amount = row.command.amount as usize;
        let enough = amount <= *size || left_how == Left::Unseen;
        if found.len() < 2 && !taken.contains(&row.id) && enough && fits(whole, row, *at) {
            taken.insert(row.id);
            match size.saturating_sub(amount) {
                0 => assign(whole, rows, rest, left_how, taken, found),
                left => assign(whole, rows, &[&[(*at, left)], rest].concat(), left_how, taken, found),
            }
            taken.remove(&row.id);
        }
    }
}

/// Whether the batch was bought after one of the purchase's calls in doubt began, and before its window ended: how long the upstream takes
/// to buy nobody sees.
fn fits(whole: &Whole<'_>, row: &Purchase, at: Option<Time>) -> bool {
    let window_ends_at = review(row).and_then(|review| review.evidence.as_ref()?.window_ends_at);
    let in_time = |started: Time, deadline: Time| {
        at.is_none_or(|at| {
            let at = whole.world.by_our_clock(at);
            after(at, MOST_OFFSET + CLOCK_SKEW) >= started
                && at <= after(window_ends_at.unwrap_or(deadline), MOST_OFFSET + CLOCK_SKEW)
        })
    };
    let mut attempts = whole.snapshot.attempts.iter().filter(|record| record.order == row.id);
    attempts.any(|record| {
        let doubtful = record.fact.as_ref().is_none_or(|fact| matches!(fact.answer, Answer::Unknown { .. }));
        doubtful && in_time(record.attempt.started_at, record.attempt.deadline)
    })
}
