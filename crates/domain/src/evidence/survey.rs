//! What one good look shows of everything that is known of a user: which pulls are still there, and which items nobody explains.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Case, Orphan, Sightings, Skew,
    matching::{Explanation, Known, Listed, Upstream, explain},
    rivals::{Other, Standing, others},
};
use crate::{
    PartnerId, PurchaseId, Time,
    answer::Inventory,
    clock::after,
    item::{HeldItem, Pull, Shown, Standing as Sighted},
    planted::{Bug, planted},
    purchase::Rules,
};

/// Everything a look tells beyond one purchase.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    pub sightings: Sightings,
    pub orphans: Vec<Orphan>,
}

/// How many purchases an orphan is laid to.
const MOST_CANDIDATES: usize = 5;

impl Skew {
    /// What a reading that began and ended at these times of our clock tells of the upstream's.
    pub(super) fn of(upstream: Option<Time>, began: Time, ended: Time) -> Self {
        let Some(upstream) = upstream else { return Self::default() };
        // It may have been cut to whole seconds.
        const PRECISION: Duration = Duration::from_secs(1);
        let millis = |from: Time, to: Time| (to - from).num_milliseconds().max(0).unsigned_abs();
        Self { behind_ms: millis(upstream, ended), ahead_ms: millis(began, after(upstream, PRECISION)) }
    }

    pub(super) fn most(self, other: Self) -> Self {
        Self { behind_ms: self.behind_ms.max(other.behind_ms), ahead_ms: self.ahead_ms.max(other.ahead_ms) }
    }

    /// Nothing that was called at `begun` by our clock was bought earlier than this by the upstream's, give or take `skew`. A clock that
    /// is ahead moves nothing: it may not have been when the call was made.
    pub(super) fn since(self, begun: Time, skew: Duration) -> Time {
        if planted(Bug::SinceIgnored) {
            return Time::UNIX_EPOCH;
        }
        begun - Duration::from_millis(self.behind_ms) - skew
    }

    /// Nothing that appeared by `end` of our clock was bought later than this by the upstream's.
    pub(super) fn until(self, end: Time, skew: Duration) -> Time {
        after(end, self.ahead(skew))
    }

    pub(super) fn ahead(self, skew: Duration) -> Duration {
        Duration::from_millis(self.ahead_ms) + skew
    }
}

/// The pulls that are known, and the items of sessions that were told when they were opened.
pub(super) fn known<'a>(case: &'a Case, others: &[Other<'a>], clock: Skew, skew: Duration, now: Time) -> Vec<Known<'a>> {
    let pulls = case.pulls.iter().map(|pull| Known {
        item_id: &pull.item.item_id,
        purchase: pull.purchase,
        purchased_at: pull.sight.purchased_at,
        from: case.called.get(&pull.purchase).map(|called| clock.since(*called, skew)),
        until: pull.created_at,
    });
    let told = others.iter().filter(|other| other.standing == Standing::Told).flat_map(|other| {
        let from = Some(clock.since(other.begun_at, skew));
        let purchase = other.purchase;
        other.item_ids().map(move |item_id| Known { item_id, purchase, purchased_at: None, from, until: now })
    });
    pulls.chain(told).collect()
}

/// Whether the other, whose items nobody was told, may have bought something at this time.
fn may_have(other: &Other<'_>, at: Time, clock: Skew, skew: Duration) -> bool {
    other.standing != Standing::Told
        && at >= clock.since(other.begun_at, skew)
        && (other.standing != Standing::Unknown || at <= clock.until(other.until, skew))
}

/// How many items those of `others` that may have bought at this time ordered.
pub(super) fn claimed<'b>(others: impl Iterator<Item = &'b Other<'b>>, at: Option<Time>, clock: Skew, skew: Duration) -> u32 {
    let may_have = |other: &&Other<'_>| at.is_none_or(|at| may_have(other, at, clock, skew));
    others.filter(may_have).map(|other| other.amount).sum()
}

/// An item among the others of its pack.
pub(super) fn listed<'a>(held: &'a HeldItem, others: &[Other<'_>], clock: Skew, skew: Duration) -> Listed<'a> {
    let of_its_pack = others.iter().filter(|other| held.is_of(other.pack));
    let purchased_at = held.purchased_at;
    let claimed = claimed(of_its_pack, purchased_at, clock, skew);
    Listed { item_id: &held.item.item_id, purchased_at, pack: held.pack().unwrap_or_default(), claimed }
}

/// Which of the pulls a look shows.
pub(super) fn shown(case: &Case, items: &[HeldItem], explained: &Explanation) -> Vec<Option<Shown>> {
    let mut shown = vec![None; case.pulls.len()];
    for (place, item) in items.iter().enumerate() {
        if let Some(slot) = explained.by[place].and_then(|explained| shown.get_mut(explained.by)) {
            // A time that may be another's would be believed from then on.
            let surely = explained.by[place].is_some_and(|explained| explained.surely);
            let purchased_at = item.purchased_at.filter(|_| surely && !explained.doubtful[place]);
            *slot = Some(Shown { purchased_at });
        }
    }
    shown
}

/// How many pulls the look had to show and did not: those that are held, as far as earlier looks tell.
pub(super) fn missing(case: &Case, shown: &[Option<Shown>]) -> u32 {
    let held = |pull: &Pull| pull.sight.standing() == Sighted::Held;
    case.pulls.iter().zip(shown).filter(|(pull, shown)| held(pull) && shown.is_none()).count() as u32
}

/// What a good look of `user` tells of all that is known of them. The inventory was read, from `began` to `ended`, before the case.
pub fn survey(inventory: &Inventory, case: &Case, partner: &PartnerId, (began, ended): (Time, Time), rules: &Rules) -> Survey {
    let skew = rules.reconcile.clock_skew;
    let clock = Skew::of(inventory.upstream_time, began, ended);
    let others = others(case, None, rules.reconcile.window, ended);
    let listed = inventory.items.iter().map(|held| listed(held, &others, clock, skew));
    let upstream = Upstream { ahead: clock.ahead(skew), ids_repeat: rules.item_ids_repeat };
    let explained = explain(&listed.collect::<Vec<_>>(), &known(case, &others, clock, skew, ended), upstream);
    let shown = shown(case, &inventory.items, &explained);
    let unexplained =
        inventory.items.iter().zip(&explained.by).filter(|(_, explained)| explained.is_none()).map(|(item, _)| item);
    let orphans = orphans(unexplained, case, &others, clock, skew);
    let mut pulls: Vec<_> = case.pulls.iter().zip(shown).map(|(pull, shown)| (pull.purchase, pull.position, shown)).collect();
    pulls.sort_unstable_by_key(|(purchase, position, _)| (*purchase, *position));
    let orphan = |(item, count): (&HeldItem, u32)| Orphan {
        partner: partner.clone(),
        user_id: inventory.user_id.clone(),
        item_id: item.item.item_id.clone(),
        purchased_at: item.purchased_at,
        pack: item.pack().map(str::to_owned),
        count,
        found_at: began,
        candidates: candidates(item, case),
    };
    Survey {
        sightings: Sightings { partner: partner.clone(), user_id: inventory.user_id.clone(), at: began, pulls },
        orphans: orphans.into_iter().map(orphan).collect(),
    }
}

/// Items that nobody explains and nobody can still explain, bought since the user's first purchase through us.
fn orphans<'a>(
    unexplained: impl Iterator<Item = &'a HeldItem>,
    case: &Case,
    others: &[Other<'_>],
    clock: Skew,
    skew: Duration,
) -> Vec<(&'a HeldItem, u32)> {
    let drawn = case.pulls.iter().map(|pull| pull.created_at);
    let opened = case.open.iter().map(|open| open.purchase.created_at);
    let Some(first) = drawn.chain(opened).min().filter(|_| !case.truncated) else { return Vec::new() };
    let mut orphans: BTreeMap<_, (&HeldItem, u32)> = BTreeMap::new();
    for item in unexplained {
        let Some(at) = item.purchased_at else { continue };
        let anybodys = |other: &Other<'_>| {
            let told = other.standing == Standing::Told && at >= clock.since(other.begun_at, skew);
            item.is_of(other.pack) && (told || may_have(other, at, clock, skew))
        };
        if at < first || others.iter().any(anybodys) {
            continue;
        }
        orphans.entry((&item.item.item_id, at)).or_insert((item, 0)).1 += 1;
    }
    orphans.into_values().collect()
}

/// Purchases of the pack whose items became known soonest after: the orphan may be their second copy.
fn candidates(item: &HeldItem, case: &Case) -> Vec<PurchaseId> {
    let at = item.purchased_at.unwrap_or_default();
    let mut near: Vec<_> = case
        .pulls
        .iter()
        .filter(|pull| item.is_of(&pull.pack_id))
        .map(|pull| ((pull.created_at - at).abs(), pull.purchase))
        .collect();
    near.sort_unstable();
    near.dedup_by_key(|(_, purchase)| *purchase);
    near.into_iter().map(|(_, purchase)| purchase).take(MOST_CANDIDATES).collect()
}
