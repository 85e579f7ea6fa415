//! One look with all that it is held against.

use std::collections::BTreeSet;

use super::{
    Case, Evidence, Found, Look, MOST_ITEMS, Reading, Rival, Skew,
    matching::{Explanation, Listed, Upstream, explain},
    rivals::Other,
    survey::{gone, known, listed, missing, shown},
};
use crate::{
    Time,
    answer::InventoryAnswer,
    item::HeldItem,
    planted::{Bug, planted},
    purchase::{Purchase, Rules},
};

/// What all looks together leave unexplained of our pack.
pub(super) struct Leftover<'a> {
    pub items: Vec<&'a HeldItem>,
    /// Whether whatever explains the rest of what may be ours does so surely.
    pub surely: bool,
    /// Times at which an item may have been taken for another of its id.
    pub doubtful: BTreeSet<Time>,
}

/// One look with what it is held against.
pub(super) struct Scene<'a> {
    pub purchase: &'a Purchase,
    pub case: &'a Case,
    pub rules: &'a Rules,
    reading: &'a Reading,
    /// What the look listed; nothing if it was not good.
    items: &'a [HeldItem],
    /// What earlier looks left unexplained and this one does not list.
    gone: Vec<HeldItem>,
    others: &'a [Other<'a>],
    /// Every name under which the inventory lists our pack.
    names: BTreeSet<&'a str>,
    pub clock: Skew,
    pub begun_at: Time,
    /// Nothing that was bought before is this purchase's.
    pub since: Time,
    /// Nothing that was bought after is.
    pub until: Time,
    /// Nothing appears any more.
    pub window_is_over: bool,
}

impl<'a> Scene<'a> {
    pub fn new(
        purchase: &'a Purchase,
        reading: &'a Reading,
        case: &'a Case,
        rules: &'a Rules,
        others: &'a [Other<'a>],
        evidence: &Evidence,
    ) -> Self {
        let (items, upstream_time) = match &reading.answer {
            InventoryAnswer::Read(inventory) => (inventory.items.as_slice(), inventory.upstream_time),
            InventoryAnswer::UserNotFound | InventoryAnswer::Unauthorized | InventoryAnswer::Unreadable { .. } => {
                (&[][..], None)
            }
        };
        let pack = &purchase.command.pack_id;
        let unexplained = case.unexplained.iter().map(|one| [&one.claw_id, &one.claw_slug]);
        let listed = items.iter().map(|held| [&held.claw_id, &held.claw_slug]);
        let named = listed.chain(unexplained).map(|names| names.map(|name| name.as_deref()));
        let names = named.filter(|names| names.contains(&Some(pack.as_str()))).flatten().flatten();
        let names = names.chain([pack.as_str()]).collect();
        let gone = gone(case, items);
        let clock = evidence.clock.most(Skew::of(upstream_time, reading.began, reading.ended));
        let begun_at = evidence.begun_at.unwrap_or(purchase.created_at);
        let since = clock.since(begun_at, rules.reconcile.clock_skew);
        let window_ends_at = evidence.window_ends_at.unwrap_or(reading.began);
        let until = clock.until(window_ends_at, rules.reconcile.clock_skew);
        let window_is_over = reading.began >= window_ends_at;
        Self { purchase, case, rules, reading, items, gone, others, names, clock, begun_at, since, until, window_is_over }
    }

    /// What the look showed; what speaks for the purchase joins the evidence. Whether there is more of it than before.
    pub fn look(&self, evidence: &mut Evidence) -> (Look, bool) {
        if planted(Bug::EvidenceForgotten) {
            evidence.found.clear();
        }
        let note = match &self.reading.answer {
            InventoryAnswer::Read(_) => return self.good(evidence),
            InventoryAnswer::UserNotFound if self.case.pulls.is_empty() || planted(Bug::NotFoundIsProof) => {
                let note = "the upstream does not know the user, and neither do we".into();
                return (Look { good: true, proof: true, note, ..self.blind() }, false);
            }
            InventoryAnswer::UserNotFound => "the upstream does not know a user of whom we know pulls",
            InventoryAnswer::Unauthorized => "the upstream refused the API key",
            InventoryAnswer::Unreadable { why } => why,
        };
        (Look { note: note.into(), ..self.blind() }, false)
    }

    fn good(&self, evidence: &mut Evidence) -> (Look, bool) {
        let explained = self.explain(self.items.iter());
        let missing = missing(self.case, &shown(self.case, self.items, &explained));
        let mine = |item: &HeldItem| item.is_of(&self.purchase.command.pack_id) && self.may_be_ours(item.purchased_at);
        let ours: Vec<usize> = (0..self.items.len()).filter(|place| mine(&self.items[*place])).collect();
        let unexplained: Vec<_> =
            ours.iter().filter(|place| explained.by[**place].is_none()).map(|place| &self.items[*place]).collect();
        // What may be ours is kept as well: a later look that misses it must not make its group look whole.
        let kept = ours.iter().filter(|place| explained.by[**place].is_none() || explained.doubtful[**place]);
        let grown = self.join(evidence, &kept.map(|place| &self.items[*place]).collect::<Vec<_>>());
        let look = Look {
            good: true,
            proof: missing == 0,
            listed: self.items.len() as u32,
            missing,
            unexplained: unexplained.iter().take(MOST_ITEMS).map(|held| held.item.item_id.clone()).collect(),
            note: format!("{} unexplained items", unexplained.len()),
            ..self.blind()
        };
        (look, grown)
    }

    fn blind(&self) -> Look {
        let missing = missing(self.case, &vec![None; self.case.pulls.len()]);
        let at = self.reading.began;
        Look { at, good: false, proof: false, listed: 0, missing, unexplained: Vec::new(), note: String::new() }
    }

    fn explain<'b>(&self, items: impl Iterator<Item = &'b HeldItem>) -> Explanation {
        let skew = self.rules.reconcile.clock_skew;
        let known = known(self.case, self.others, self.clock, skew, self.reading.ended);
        let upstream = Upstream { ahead: self.clock.ahead(skew), ids_repeat: self.rules.item_ids_repeat };
        explain(&items.map(|held| self.listed(held)).collect::<Vec<_>>(), &known, upstream)
    }

    fn listed<'b>(&'b self, held: &'b HeldItem) -> Listed<'b> {
        let listed = listed(held, self.others, self.clock, self.rules.reconcile.clock_skew);
        let mine = held.is_of(&self.purchase.command.pack_id) && self.may_be_ours(held.purchased_at);
        Listed { claimed: listed.claimed + if mine { self.purchase.command.amount } else { 0 }, ..listed }
    }

    pub fn may_be_ours(&self, purchased_at: Option<Time>) -> bool {
        purchased_at.is_none_or(|at| self.since <= at && at <= self.until)
    }

    /// Adds what a look showed: of each item the most that one look showed. Whether anything was new.
    fn join(&self, evidence: &mut Evidence, unexplained: &[&HeldItem]) -> bool {
        let mut keys: Vec<_> = unexplained.iter().map(|held| (&held.item.item_id, held.purchased_at)).collect();
        keys.sort_unstable();
        let at = self.reading.began;
        let mut grown = false;
        for same in keys.chunk_by(|one, other| one == other) {
            let (item_id, purchased_at) = same[0];
            let count = same.len() as u32;
            let known = evidence.found.iter().position(|found| (&found.item_id, found.purchased_at) == (item_id, purchased_at));
            match known {
                Some(place) => {
                    let found = &mut evidence.found[place];
                    grown |= count > found.count;
                    found.count = found.count.max(count);
                    found.last_seen_at = found.last_seen_at.max(at);
                }
                None if evidence.found.len() < self.most_found() => {
                    grown = true;
                    let item_id = item_id.clone();
                    evidence.found.push(Found { item_id, purchased_at, count, first_seen_at: at, last_seen_at: at });
                }
                None => {}
            }
        }
        grown
    }

    /// More than twice of what was ordered is ambiguous however much more it is.
    fn most_found(&self) -> usize {
        MOST_ITEMS.max(2 * self.purchase.command.amount as usize)
    }

    /// The user's other open purchases of our pack, by whatever name.
    pub fn of_our_pack(&self) -> impl Iterator<Item = &Other<'a>> {
        self.others.iter().filter(|other| self.names.contains(other.pack.as_str()))
    }

    /// Those of them that had begun when the last of these was bought.
    pub fn concerned_by(&self, items: &[&HeldItem]) -> impl Iterator<Item = &Other<'a>> {
        let latest = items.iter().filter_map(|held| held.purchased_at).max();
        self.of_our_pack().filter(move |other| latest.is_none_or(|latest| self.since_of(other) <= latest))
    }

    /// Nothing that was bought before is the other's.
    pub fn since_of(&self, other: &Other<'_>) -> Time {
        self.clock.since(other.begun_at, self.rules.reconcile.clock_skew)
    }

    /// Nor what was bought after.
    pub fn until_of(&self, other: &Other<'_>) -> Time {
        self.clock.until(other.until, self.rules.reconcile.clock_skew)
    }

    pub fn rivals(&self) -> Vec<Rival> {
        let rival = |other: &Other<'_>| Rival {
            purchase_id: other.purchase,
            amount: other.amount,
            begun_at: other.begun_at,
            standing: other.standing,
        };
        self.of_our_pack().take(MOST_ITEMS).map(rival).collect()
    }

    /// Everything of our pack that this look or an earlier one showed, whosever look it was, and nobody explains now that more pulls
    /// may be known than then.
    pub fn leftover(&self) -> Leftover<'_> {
        let all: Vec<&HeldItem> = self.items.iter().chain(&self.gone).collect();
        let Explanation { by, doubtful } = self.explain(all.iter().copied());
        let doubtful = all.iter().zip(doubtful).filter(|(_, doubtful)| *doubtful).filter_map(|(held, _)| held.purchased_at);
        let doubtful = doubtful.collect();
        let is_of_our_pack = |held: &HeldItem| {
            [&held.claw_id, &held.claw_slug].into_iter().flatten().any(|name| self.names.contains(name.as_str()))
        };
        let mut leftover = Leftover { items: Vec::new(), surely: true, doubtful };
        for (held, by) in all.into_iter().zip(by).filter(|(held, _)| is_of_our_pack(held)) {
            match by {
                None => leftover.items.push(held),
                Some(by) => leftover.surely &= by.surely || !self.may_be_ours(held.purchased_at),
            }
        }
        leftover
    }
}
