//! Which known pull explains which item of an inventory.
//!
//! Item ids repeat: two users may hold one, and one user may hold it twice. So each known pull explains one item, and times tell
//! items of one id apart: first those whose time an earlier look has shown, then those bought before the pull was known to us and not
//! before it was called. Of these as many are explained as can be, the latest first, each by the pull that was called last.
//!
//! Of equals in doubt each may have been given what another bought, and a late session then tells of the same item twice: what is left over
//! may be the exchange.
//!
//! What is explained by its id alone may yet be somebody else's, whose pull left before anybody looked. All items of one purchase have
//! one time, so this takes purchases in doubt that ordered enough to have bought everything of that time that nothing else explains.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::TimeDelta;

use crate::{
    ItemId, PurchaseId, Time,
    clock::after,
    planted::{Bug, planted},
};

/// A time of the upstream may be told with other precision the next time.
const SAME: TimeDelta = TimeDelta::seconds(1);

/// An item as an inventory lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    pub item_id: &'a ItemId,
    pub purchased_at: Option<Time>,
    /// One of the names of its pack, the same for all of that pack.
    pub pack: &'a str,
    /// How many items of its pack those in doubt may have bought at its time.
    pub claimed: u32,
}

/// Something that was bought, as far as we know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known<'a> {
    pub item_id: &'a ItemId,
    /// By this purchase.
    pub purchase: PurchaseId,
    /// Once a look has shown it.
    pub purchased_at: Option<Time>,
    /// It was bought no earlier than this, by the upstream's clock.
    pub from: Option<Time>,
    /// It was bought no later than this, by our clock.
    pub until: Time,
}

/// How an item is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Explained {
    /// The place of the known that does.
    pub by: usize,
    /// By its time, or because nobody else can have bought it.
    pub surely: bool,
    /// No other purchase's pull could explain it, nor this pull an item of another time.
    pub only_way: bool,
}

/// How the items of an inventory are explained, by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    pub by: Vec<Option<Explained>>,
    /// Items that may have changed places: one was explained by its id alone, and the other, of that id, is left over; or what is left over
    /// of its time may be its purchase's.
    pub doubtful: Vec<bool>,
}

/// What the upstream is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upstream {
    /// By how much its clock may be ahead of ours.
    pub ahead: Duration,
    /// Whether one item id may be drawn several times.
    pub ids_repeat: bool,
}

/// For each item what explains it, if anything does.
pub(super) fn explain(items: &[Listed<'_>], known: &[Known<'_>], upstream: Upstream) -> Explanation {
    let mut explained = vec![None; items.len()];
    let (mut swaps, mut exchanges) = (Vec::new(), Vec::new());
    let fits = |pull: usize, place: usize| {
        let Known { until, .. } = known[pull];
        let from = known[pull].from.filter(|_| upstream.ids_repeat);
        items[place].purchased_at.is_none_or(|at| at <= after(until, upstream.ahead) && from.is_none_or(|from| at >= from))
    };
    let mut stacks: BTreeMap<&ItemId, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (place, known) in known.iter().enumerate() {
        stacks.entry(known.item_id).or_default().1.push(place);
    }
    for (place, item) in items.iter().enumerate() {
        if let Some((listed, _)) = stacks.get_mut(item.item_id) {
            listed.push(place);
        }
    }
    for (mut listed, mut pulls) in stacks.into_values() {
        if listed.is_empty() {
            continue;
        }
        // Undated last: a dated item says more.
        listed.sort_by_key(|place| (items[*place].purchased_at.is_none(), items[*place].purchased_at));
        if planted(Bug::ExplainedByIdAlone) {
            for (item, pull) in listed.iter().rev().zip(pulls) {
                explained[*item] = Some(Explained { by: pull, surely: true, only_way: true });
            }
            continue;
        }
        let mut at_their_times = Vec::new();
        for within in [TimeDelta::zero(), SAME] {
            pulls.retain(|pull| match at_its_time(items, &listed, known[*pull].purchased_at, within) {
                Some(at) => {
                    let place = listed.remove(at);
                    at_their_times.push((*pull, place));
                    explained[place] = Some(Explained { by: *pull, surely: true, only_way: true });
                    false
                }
                None => true,
            });
        }
        pulls.retain(|pull| known[*pull].purchased_at.is_none());
        let pairs = pair(&listed, &pulls, items, known, fits);
        let is_paired = |pull: &usize| pairs.iter().any(|(paired, _)| paired == pull);
        for pull in pulls.iter().filter(|pull| !is_paired(pull)) {
            let taken = at_their_times
                .iter()
                .chain(&pairs)
                .filter(|(by, place)| known[*by].purchase != known[*pull].purchase && fits(*pull, *place));
            exchanges.extend(taken.map(|(by, place)| Exchange { unseen: *pull, given: *by, place: *place }));
        }
        let is_left = |place: &usize| !pairs.iter().any(|(_, paired)| paired == place);
        let left: Vec<_> = listed.iter().copied().filter(is_left).collect();
        for (pull, place) in &pairs {
            let purchase = |pull: &usize| known[*pull].purchase;
            let other_pull = pulls.iter().any(|other| purchase(other) != purchase(pull) && fits(*other, *place));
            let time = |place: &usize| items[*place].purchased_at;
            let other_item = listed.iter().any(|other| time(other) != time(place) && fits(*pull, *other));
            explained[*place] = Some(Explained { by: *pull, surely: false, only_way: !other_pull && !other_item });
            swaps.extend(left.iter().filter(|left| fits(*pull, **left)).map(|left| (*place, *left)));
        }
    }
    let groups = groups(items, known, &explained);
    let mut explanation = Explanation { by: explained, doubtful: vec![false; items.len()] };
    explanation.weigh(items, &groups, upstream.ids_repeat);
    explanation.swap(&swaps);
    explanation.exchange(items, &exchanges, fits);
    explanation
}

/// As many pairs of (pull, item) that fit as there can be. Dated items first, the latest of them first: what was called last can explain
/// the fewest of those before.
fn pair(
    listed: &[usize],
    pulls: &[usize],
    items: &[Listed<'_>],
    known: &[Known<'_>],
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut pulls = pulls.to_vec();
    let mut pairs = Vec::new();
    let (dated, undated): (Vec<_>, Vec<_>) = listed.iter().copied().partition(|place| items[*place].purchased_at.is_some());
    for place in dated.into_iter().rev().chain(undated) {
        let fitting = (0..pulls.len()).filter(|at| fits(pulls[*at], place));
        if let Some(at) = fitting.max_by_key(|at| (known[pulls[*at]].from, known[pulls[*at]].until)) {
            pairs.push((pulls.remove(at), place));
        }
    }
    pairs
}

impl Explanation {
    /// Whether what is explained by its id alone may be somebody else's all the same.
    fn weigh(&mut self, items: &[Listed<'_>], groups: &Groups<'_>, ids_repeat: bool) {
        for (place, by) in self.by.iter_mut().enumerate() {
            let Some(by) = by.as_mut().filter(|by| !by.surely) else { continue };
            let Listed { pack, purchased_at, claimed, .. } = items[place];
            let group = &groups[&(pack, purchased_at)];
            let of_others = purchased_at.is_none() || group.left + group.least() <= claimed;
            by.surely = !(ids_repeat && of_others);
            self.doubtful[place] = !by.surely && group.left > 0 && purchased_at.is_some();
        }
    }

    /// What is left over of the pack, bought when whoever was given the other's item was called, is taken for its own.
    fn exchange(&mut self, items: &[Listed<'_>], exchanges: &[Exchange], fits: impl Fn(usize, usize) -> bool) {
        let mut unseen = BTreeSet::new();
        for exchange in exchanges {
            let its_own = |place: &usize| {
                let Listed { pack, purchased_at, .. } = items[*place];
                let left = self.by[*place].is_none() && purchased_at.is_some();
                left && pack == items[exchange.place].pack && fits(exchange.given, *place)
            };
            let places: Vec<_> = (0..items.len()).filter(its_own).collect();
            let Some(place) = places.first().filter(|_| unseen.insert(exchange.unseen)) else { continue };
            let surely = items[*place].claimed == 0;
            self.by[*place] = Some(Explained { by: exchange.unseen, surely, only_way: false });
            if !surely {
                places.iter().for_each(|place| self.doubtful[*place] = true);
            }
        }
    }

    /// Each of `swaps`: an item that is explained by its id alone, and one that is left over and might be in its place.
    fn swap(&mut self, swaps: &[(usize, usize)]) {
        for (place, left) in swaps {
            if self.by[*place].is_some_and(|by| !by.surely) {
                (self.doubtful[*place], self.doubtful[*left]) = (true, true);
            }
        }
    }
}

/// Two pulls of one id of which the inventory shows one item: the other pull may have been given it in place of its own.
struct Exchange {
    unseen: usize,
    given: usize,
    place: usize,
}

/// The items of one pack and time that nothing explains surely.
#[derive(Default)]
struct Group {
    left: u32,
    /// How many each purchase explains by their ids alone.
    by_id: BTreeMap<PurchaseId, u32>,
}

impl Group {
    /// A purchase was bought at this time whole or not at all.
    fn least(&self) -> u32 {
        self.by_id.values().copied().min().unwrap_or_default()
    }
}

type Groups<'a> = BTreeMap<(&'a str, Option<Time>), Group>;

fn groups<'a>(items: &[Listed<'a>], known: &[Known<'_>], explained: &[Option<Explained>]) -> Groups<'a> {
    let mut groups = Groups::new();
    for (item, by) in items.iter().zip(explained) {
        let group = groups.entry((item.pack, item.purchased_at)).or_default();
        match by {
            None => group.left += 1,
            Some(by) if !by.surely => *group.by_id.entry(known[by.by].purchase).or_default() += 1,
            Some(_) => {}
        }
    }
    groups
}

fn at_its_time(items: &[Listed<'_>], listed: &[usize], time: Option<Time>, within: TimeDelta) -> Option<usize> {
    let time = time?;
    listed.iter().position(|place| items[*place].purchased_at.is_some_and(|at| (at - time).abs() <= within))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        after(Time::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    /// Everybody in doubt may have bought it, unless a test says otherwise.
    fn item<'a>(item_id: &'a ItemId, purchased_at: Option<Time>) -> Listed<'a> {
        Listed { item_id, purchased_at, pack: "gold", claimed: u32::MAX }
    }

    /// Each pull of a purchase of its own.
    fn pull<'a>(item_id: &'a ItemId, number: u128, purchased_at: Option<Time>, until: Time) -> Known<'a> {
        Known { item_id, purchase: PurchaseId(uuid::Uuid::from_u128(number)), purchased_at, from: None, until }
    }

    const SANDBOX: Upstream = Upstream { ahead: Duration::from_secs(1), ids_repeat: true };

    /// Items and pulls of one id: what explains each item, by the place of the pull.
    fn stack(items: &[Option<u64>], known: &[(Option<u64>, u64)]) -> Vec<Option<(usize, bool)>> {
        let id = ItemId::new("x").unwrap();
        let items: Vec<_> = items.iter().map(|time| item(&id, time.map(at))).collect();
        let known: Vec<_> =
            known.iter().zip(0..).map(|((time, until), number)| pull(&id, number, time.map(at), at(*until))).collect();
        let explained = explain(&items, &known, SANDBOX);
        explained.by.into_iter().map(|one| one.map(|Explained { by, surely, .. }| (by, surely))).collect()
    }

    #[test]
    fn a_pull_whose_time_is_known_explains_the_item_of_that_time_only() {
        assert_eq!(stack(&[Some(50), Some(10)], &[(Some(10), 12)]), [None, Some((0, true))]);
        assert_eq!(stack(&[Some(50)], &[(Some(10), 12)]), [None], "it was sold, and another of its id was bought");
    }

    #[test]
    fn times_may_be_told_less_precisely() {
        let id = ItemId::new("x").unwrap();
        let precise = at(10) + TimeDelta::milliseconds(400);
        let known = [pull(&id, 1, Some(precise), at(12))];
        assert!(explain(&[item(&id, Some(at(10)))], &known, SANDBOX).by[0].is_some());
    }

    #[test]
    fn a_pull_that_no_look_has_shown_explains_the_nearest_item_bought_before_it_was_known() {
        assert_eq!(stack(&[Some(10), Some(50), Some(90)], &[(None, 60)]), [None, Some((0, false)), None]);
        assert_eq!(stack(&[Some(90)], &[(None, 60)]), [None], "it was bought after the pull was known");
        assert_eq!(stack(&[Some(61)], &[(None, 60)]), [Some((0, false))], "the clocks differ by that much");
    }

    #[test]
    fn each_pull_explains_one_item() {
        assert_eq!(stack(&[Some(10), Some(10)], &[(None, 60)]).iter().flatten().count(), 1);
        assert_eq!(stack(&[Some(10), Some(50)], &[(None, 20), (None, 60)]), [Some((0, false)), Some((1, false))]);
        assert_eq!(stack(&[Some(10), Some(50)], &[(None, 60), (Some(10), 20)]), [Some((1, true)), Some((0, false))]);
        assert_eq!(stack(&[], &[(None, 60)]), []);
    }

    #[test]
    fn an_undated_item_is_explained_when_no_dated_one_is_left() {
        assert_eq!(stack(&[None, Some(10)], &[(None, 60), (None, 60)]).iter().flatten().count(), 2);
        assert_eq!(stack(&[None, Some(10)], &[(None, 60)]), [None, Some((0, false))]);
    }

    #[test]
    fn as_many_are_explained_as_can_be() {
        let id = ItemId::new("x").unwrap();
        let item_at = |seconds| item(&id, Some(at(seconds)));
        let called = |number, from, until| Known { from: Some(at(from)), ..pull(&id, number, None, at(until)) };
        let places = |items: &[Listed<'_>], known: &[Known<'_>]| -> Vec<_> {
            explain(items, known, SANDBOX).by.into_iter().map(|one| one.map(|one| (one.by, one.only_way))).collect()
        };
        let nested = [called(1, 10, 60), called(2, 45, 50)];
        assert_eq!(places(&[item_at(20), item_at(48)], &nested), [Some((0, false)), Some((1, false))]);
        let overlapping = [called(1, 10, 45), called(2, 26, 60)];
        assert_eq!(places(&[item_at(27), item_at(43)], &overlapping), [Some((0, false)), Some((1, false))], "in their order");
        let apart = [called(1, 10, 25), called(2, 30, 60)];
        assert_eq!(places(&[item_at(20), item_at(43)], &apart), [Some((0, true)), Some((1, true))]);
        let twins = [called(1, 10, 25), Known { purchase: called(1, 0, 0).purchase, ..called(2, 10, 25) }];
        assert_eq!(places(&[item_at(20), item_at(20)], &twins).iter().flatten().filter(|(_, only_way)| *only_way).count(), 2);
    }

    fn doubtful(items: &[(&str, u64)], known: &[(&str, Option<u64>, u64)]) -> Vec<bool> {
        let id = |name: &str| ItemId::new(name).unwrap();
        let items: Vec<_> = items.iter().map(|(name, time)| (id(name), at(*time))).collect();
        let known: Vec<_> = known.iter().map(|(name, time, until)| (id(name), time.map(at), at(*until))).collect();
        let items: Vec<_> = items.iter().map(|(item_id, time)| item(item_id, Some(*time))).collect();
        let known = known.iter().zip(0..).map(|((item_id, time, until), number)| pull(item_id, number, *time, *until));
        explain(&items, &known.collect::<Vec<_>>(), Upstream { ahead: Duration::ZERO, ..SANDBOX }).doubtful
    }

    #[test]
    fn what_may_have_changed_places_is_doubtful() {
        assert_eq!(doubtful(&[("x", 10), ("x", 50)], &[("x", None, 60)]), [true, true], "either is the pull's");
        assert_eq!(doubtful(&[("x", 10), ("x", 50)], &[("x", Some(10), 60)]), [false, false]);
        assert_eq!(doubtful(&[("x", 10), ("x", 90)], &[("x", None, 60)]), [false, false], "the second was bought too late");
        assert_eq!(
            doubtful(&[("x", 10), ("x", 50)], &[("x", None, 60), ("x", None, 60)]),
            [false, false],
            "both are explained"
        );
        assert_eq!(
            doubtful(&[("x", 10), ("y", 10)], &[("x", None, 60)]),
            [true, false],
            "x may be of the purchase that bought y"
        );
        assert_eq!(doubtful(&[("x", 10), ("y", 20)], &[("x", None, 60)]), [false, false]);
    }

    /// Items that one purchase drew, all of one time, each explained by its id: whether that is sure.
    fn sure(drawn: u32, claimed: u32, ids_repeat: bool) -> bool {
        let ids: Vec<_> = (0..drawn).map(|number| ItemId::new(format!("x{number}")).unwrap()).collect();
        let items: Vec<_> = ids.iter().map(|id| Listed { claimed, ..item(id, Some(at(10))) }).collect();
        let known: Vec<_> = ids.iter().map(|id| pull(id, 1, None, at(60))).collect();
        let explained = explain(&items, &known, Upstream { ids_repeat, ..SANDBOX });
        assert_eq!(explained.doubtful, vec![false; ids.len()], "nothing is left over");
        explained.by.iter().all(|by| by.unwrap().surely)
    }

    #[test]
    fn what_nobody_else_can_have_bought_is_explained_surely() {
        assert!(!sure(1, 1, true), "its own item left unseen, and this one is the doubt's");
        assert!(!sure(2, 2, true) && !sure(2, 3, true));
        assert!(sure(1, 0, true), "nobody was in doubt at that time");
        assert!(sure(2, 1, true), "the doubt ordered less than what was bought at that time");
        assert!(sure(1, 1, false), "an item is one item");
    }

    #[test]
    fn what_is_left_over_may_be_the_exchange_of_equals() {
        let id = |name: &str| ItemId::new(name).unwrap();
        let (x, y) = (id("x"), id("y"));
        // The first was given x, which a late session then tells to be the second's.
        let given = pull(&x, 1, Some(at(7)), at(60));
        let told = Known { from: Some(at(4)), ..pull(&x, 2, None, at(90)) };
        let by = |claimed, known: &[Known<'_>]| {
            let items = [item(&x, Some(at(7))), Listed { claimed, ..item(&y, Some(at(6))) }];
            explain(&items, known, SANDBOX).by[1].map(|by| (by.by, by.surely))
        };
        assert_eq!(by(1, &[given, told]), Some((1, false)), "or a third one's, which is in doubt");
        assert_eq!(by(0, &[given, told]), Some((1, true)));
        assert_eq!(by(1, &[given]), None, "nobody tells of x twice");
        assert_eq!(by(1, &[given, Known { from: Some(at(20)), ..told }]), None, "it had another x, which has left");
        assert_eq!(by(1, &[given, Known { purchase: given.purchase, ..told }]), None, "of one purchase");
        let early = Known { until: at(2), ..given };
        assert_eq!(by(1, &[early, told]), None, "y was bought after the first was known");
    }

    #[test]
    fn a_pull_explains_nothing_that_was_bought_before_its_call() {
        let id = ItemId::new("x").unwrap();
        let known = [Known { from: Some(at(20)), ..pull(&id, 1, None, at(60)) }];
        let items = [item(&id, Some(at(10))), item(&id, Some(at(30)))];
        let explained = explain(&items, &known, SANDBOX);
        assert_eq!(explained.by.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        assert_eq!(explained.doubtful, [false, false], "they cannot have changed places");
    }
}
