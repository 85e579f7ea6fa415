//! What one good look shows of everything that is known of a user: which pulls are still there, and which items nobody explains.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Case, Sightings, Skew, Unexplained, Verdict,
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
    /// What no purchase surely explains, as far as the case does not say the same already.
    pub unexplained: Vec<Unexplained>,
    /// What the case has for unexplained and is explained now.
    pub explained: Vec<Unexplained>,
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

impl Other<'_> {
    /// Whether it, whose items nobody was told, may have bought something at this time.
    fn may_have(&self, at: Time, clock: Skew, skew: Duration) -> bool {
        self.standing != Standing::Told
            && at >= clock.since(self.begun_at, skew)
            && (self.standing != Standing::Unknown || at <= clock.until(self.until, skew))
    }

    /// Whether this item may be one of its, told or not.
    fn may_have_bought(&self, held: &HeldItem, clock: Skew, skew: Duration) -> bool {
        let told = |at| self.standing == Standing::Told && at >= clock.since(self.begun_at, skew);
        held.is_of(self.pack) && held.purchased_at.is_none_or(|at| told(at) || self.may_have(at, clock, skew))
    }
}

/// How many items those of `others` that may have bought at this time ordered.
fn claimed<'b>(others: impl Iterator<Item = &'b Other<'b>>, at: Option<Time>, clock: Skew, skew: Duration) -> u32 {
    let may_have = |other: &&Other<'_>| at.is_none_or(|at| other.may_have(at, clock, skew));
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
    for (place, held) in items.iter().enumerate() {
        let Some(by) = explained.by[place] else { continue };
        if let Some(pull) = case.pulls.get(by.by) {
            // A time that may be another's would be believed from then on.
            let surely = by.surely && by.only_way && !explained.doubtful[place];
            shown[by.by] = Some(Shown { exchanged: pull.item.item_id != held.item.item_id, ..held.shown(surely) });
        }
    }
    shown
}

/// How many pulls the look had to show and did not: those that are held, as far as earlier looks tell.
pub(super) fn missing(case: &Case, shown: &[Option<Shown>]) -> u32 {
    let held = |pull: &Pull| pull.standing() == Sighted::Held;
    case.pulls.iter().zip(shown).filter(|(pull, shown)| held(pull) && shown.is_none()).count() as u32
}

/// What a good look of `user` tells of all that is known of them. The inventory was read, from `began` to `ended`, before the case.
pub fn survey(inventory: &Inventory, case: &Case, partner: &PartnerId, (began, ended): (Time, Time), rules: &Rules) -> Survey {
    let skew = rules.reconcile.clock_skew;
    let clock = Skew::of(inventory.upstream_time, began, ended);
    let others = others(case, None, rules.reconcile.window, ended);
    let upstream = Upstream { ahead: clock.ahead(skew), ids_repeat: rules.item_ids_repeat };
    let known = known(case, &others, clock, skew, ended);
    let explain = |items: &[&HeldItem]| {
        let listed = items.iter().map(|held| listed(held, &others, clock, skew));
        explain(&listed.collect::<Vec<_>>(), &known, upstream)
    };
    let mut items: Vec<&HeldItem> = inventory.items.iter().collect();
    let mut explanation = explain(&items);
    let shown = shown(case, &inventory.items, &explanation);
    let gone = gone(case, &inventory.items);
    if !gone.is_empty() {
        items.extend(&gone);
        explanation = explain(&items);
    }
    let first = case.first().filter(|_| !case.truncated);
    let so_far: BTreeMap<_, _> = case.unexplained.iter().map(|known| (known.key(), known)).collect();
    let mut unexplained = BTreeMap::<_, Unexplained>::new();
    for (held, by) in items.into_iter().zip(&explanation.by).filter(|(_, by)| by.is_none_or(|by| !by.surely)) {
        let known = so_far.get(&held.key()).copied();
        let claimed = by.is_some() || others.iter().any(|other| other.may_have_bought(held, clock, skew));
        let is_orphan = || held.purchased_at.zip(first).is_some_and(|(at, first)| at >= first);
        if !claimed && !is_orphan() && known.is_none_or(|known| known.claimed) {
            continue;
        }
        let new = || Unexplained {
            partner: partner.clone(),
            user_id: inventory.user_id.clone(),
            item_id: held.item.item_id.clone(),
            purchased_at: held.purchased_at,
            claw_id: held.claw_id.clone(),
            claw_slug: held.claw_slug.clone(),
            count: 0,
            claimed,
            found_at: known.map_or(began, |known| known.found_at),
            candidates: candidates(held, case),
        };
        unexplained.entry(held.key()).or_insert_with(new).count += 1;
    }
    let is_left = |known: &&Unexplained| unexplained.contains_key(&known.key());
    let explained = case.unexplained.iter().filter(|known| !is_left(known)).cloned().collect();
    let unexplained =
        unexplained.into_values().filter(|one| so_far.get(&one.key()).is_none_or(|known| *known != one)).collect();
    let mut pulls: Vec<_> = case.pulls.iter().zip(shown).map(|(pull, shown)| (pull.purchase, pull.position, shown)).collect();
    pulls.sort_unstable_by_key(|(purchase, position, _)| (*purchase, *position));
    let sightings = Sightings { partner: partner.clone(), user_id: inventory.user_id.clone(), at: began, pulls };
    Survey { sightings, unexplained, explained }
}

/// What earlier looks left unexplained and this one does not list.
pub(super) fn gone(case: &Case, listed: &[HeldItem]) -> Vec<HeldItem> {
    let mut gone = Vec::new();
    if case.unexplained.is_empty() || planted(Bug::EvidenceForgotten) {
        return gone;
    }
    let mut counts = BTreeMap::<_, u32>::new();
    listed.iter().for_each(|held| *counts.entry(held.key()).or_default() += 1);
    for known in &case.unexplained {
        let listed = counts.get(&known.key()).copied().unwrap_or_default();
        gone.extend((listed..known.count).map(|_| known.held()));
    }
    gone
}

impl Case {
    /// When the user's first purchase through us was accepted.
    fn first(&self) -> Option<Time> {
        let drawn = self.pulls.iter().map(|pull| pull.created_at);
        let opened = self.open.iter().map(|open| open.purchase.created_at);
        drawn.chain(opened).min()
    }
}

impl Survey {
    /// What is left of it once the verdict stands: the items that it gives are explained.
    pub(super) fn after(mut self, verdict: &Verdict, case: &Case) -> Self {
        let Verdict::Recovered(items) = verdict else { return self };
        let is_given = |one: &Unexplained| items.iter().filter(|held| one.key() == held.key()).count() == one.count as usize;
        self.unexplained.retain(|one| !is_given(one));
        self.explained.extend(case.unexplained.iter().filter(|one| is_given(one)).cloned());
        self
    }
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
