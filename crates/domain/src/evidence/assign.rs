//! Which purchases the unexplained items can belong to.
//!
//! The upstream stamps all items of one purchase with one time, so a *group* of items of one time belongs to one purchase whole, or
//! to several that were bought in the same millisecond. Of what others bought, part may have left before anybody looked; of ours all must be
//! there. Purchases of one amount are equal: whose items are whose among them does not matter, only which items are theirs. What we want to
//! know is whether *ours* bought in every way to explain all groups, and whether all ways give it the same items, up to exchange of equals.

use std::collections::BTreeSet;

use crate::Time;

/// A purchase whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimant {
    pub amount: u32,
    /// Nothing bought before is its.
    pub since: Time,
    /// Nothing bought after is its.
    pub until: Time,
}

impl Claimant {
    pub fn may_have(&self, at: Time) -> bool {
        self.since <= at && at <= self.until
    }
}

/// Unexplained items of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub at: Time,
    pub count: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Share {
    /// Ours has items of these groups, by their place, in every way to explain all.
    Certain(Vec<usize>),
    /// Others bought everything there is, in every way.
    Nothing,
    /// There is no way to explain all, or several that differ in what ours bought.
    Unclear(String),
}

/// `groups` in order of time; each may be somebody's.
pub(super) fn assign(ours: Claimant, others: &[Claimant], groups: &[Group]) -> Share {
    let others: Vec<Claimant> =
        others.iter().copied().filter(|other| groups.iter().any(|group| other.may_have(group.at))).collect();
    if others.is_empty() {
        return alone(ours, groups);
    }
    let mut search = Search::new(&others, groups);
    let without_ours = search.explains(None);
    let places: Vec<usize> = (0..groups.len())
        .filter(|place| ours.may_have(groups[*place].at) && ours.amount <= groups[*place].count)
        .filter(|place| search.explains(Some((*place, ours.amount))))
        .collect();
    if search.is_exhausted() {
        return Share::Unclear(TOO_MANY.into());
    }
    match (places.is_empty(), without_ours) {
        (false, false) => which(ours, &others, groups, &places),
        (true, true) => Share::Nothing,
        (false, true) => Share::Unclear(format!("{} purchases may have bought what is there", others.len() + 1)),
        (true, false) => Share::Unclear("no purchases in doubt explain all of what is there".into()),
    }
}

const TOO_MANY: &str = "too many purchases are in doubt to try every way to explain what is there";

/// Which of `places` is ours, which has bought.
fn which(ours: Claimant, others: &[Claimant], groups: &[Group], places: &[usize]) -> Share {
    let Some(ways) = Ways::all(ours, others, groups) else { return Share::Unclear(TOO_MANY.into()) };
    let place = match places {
        [only] => *only,
        _ if ways.len() > 1 => return Share::Unclear("what is there can be explained in several ways".into()),
        // Equals may be exchanged. Who began first most likely bought first: a session that comes late then tells of the same items.
        _ => {
            let equals = ways.iter().flatten().enumerate();
            let mut in_order = equals.flat_map(|(place, taken)| (0..taken.unwrap_or(0)).map(move |_| place));
            let earlier = others.iter().filter(|other| other.amount == ours.amount && other.since < ours.since).count();
            in_order.nth(earlier).filter(|place| places.contains(place)).unwrap_or(places[places.len() - 1])
        }
    };
    match ways.iter().all(|way| way[place].is_some()) {
        true => Share::Certain(vec![place]),
        false => Share::Unclear("some of what was bought at one time may be another's".into()),
    }
}

/// No one else can have bought anything: then all of it is ours, if it is as much as was ordered.
fn alone(ours: Claimant, groups: &[Group]) -> Share {
    let total: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    match total.cmp(&u64::from(ours.amount)) {
        std::cmp::Ordering::Equal => Share::Certain((0..groups.len()).collect()),
        std::cmp::Ordering::Less => Share::Unclear(format!("{total} of {} items are there", ours.amount)),
        std::cmp::Ordering::Greater => {
            Share::Unclear(format!("{total} unexplained items are there, {} were ordered", ours.amount))
        }
    }
}

fn equals_together(claimants: &[Claimant]) -> Vec<Claimant> {
    let mut claimants = claimants.to_vec();
    claimants.sort_unstable_by_key(|claimant| (claimant.until, claimant.since, claimant.amount));
    claimants
}

/// So many claimants fit a word; and so many steps are a few milliseconds.
const MOST_CLAIMANTS: usize = 64;
const MOST_STEPS: u32 = 50_000;

/// Tries every way to give each group to claimants that ordered at least as much: part of what others bought may have left unseen.
struct Search<'a> {
    /// Equal ones stand side by side.
    claimants: Vec<Claimant>,
    groups: &'a [Group],
    counts: Vec<u32>,
    /// Groups from here on that these claimants leave without an explanation.
    futile: BTreeSet<(usize, u64)>,
    steps: u32,
}

impl<'a> Search<'a> {
    fn new(claimants: &[Claimant], groups: &'a [Group]) -> Self {
        let claimants = equals_together(claimants);
        // One bit is left for ours.
        let steps = if claimants.len() >= MOST_CLAIMANTS { MOST_STEPS } else { 0 };
        Self { claimants, groups, counts: Vec::new(), futile: BTreeSet::new(), steps }
    }

    fn is_exhausted(&self) -> bool {
        self.steps >= MOST_STEPS
    }

    /// Whether the claimants explain all groups, less what is taken from one of them.
    fn explains(&mut self, taken: Option<(usize, u32)>) -> bool {
        self.counts = self.groups.iter().map(|group| group.count).collect();
        if let Some((place, amount)) = taken {
            self.counts[place] -= amount;
        }
        self.futile.clear();
        self.explains_from(0, 0)
    }

    fn explains_from(&mut self, group: usize, used: u64) -> bool {
        if group == self.groups.len() {
            return true;
        }
        if self.futile.contains(&(group, used)) {
            return false;
        }
        let found = self.fills(group, self.counts[group], 0, used);
        if !found {
            self.futile.insert((group, used));
        }
        found
    }

    /// Whether claimants from `from` on can have bought what is left of a group, and others the groups after it.
    fn fills(&mut self, group: usize, left: u32, from: usize, used: u64) -> bool {
        if left == 0 {
            return self.explains_from(group + 1, used);
        }
        let mut place = from;
        while place < self.claimants.len() && !self.is_exhausted() {
            self.steps += 1;
            let claimant = self.claimants[place];
            let free = used & (1 << place) == 0;
            if free && claimant.may_have(self.groups[group].at) {
                if self.fills(group, left.saturating_sub(claimant.amount), place + 1, used | 1 << place) {
                    return true;
                }
                // What one of several equals cannot do none can.
                while self.claimants.get(place + 1) == Some(&claimant) {
                    place += 1;
                }
            }
            place += 1;
        }
        false
    }
}

/// Of each group how many equals of ours it was bought by; `None`: by some, but what is there is not just all of theirs.
type Way = Vec<Option<u32>>;

/// Every way to explain all groups, as far as ways differ in what equals of ours bought.
struct Ways<'a> {
    ours: Claimant,
    /// Equal ones stand side by side; ours is the last.
    claimants: Vec<Claimant>,
    groups: &'a [Group],
    found: BTreeSet<Way>,
    seen: BTreeSet<(u64, Way)>,
    steps: u32,
}

/// Some of those who bought a group.
#[derive(Clone, Copy)]
struct Buyers {
    used: u64,
    equals: u32,
    others: u32,
    /// How many items of theirs are there at least, and at most.
    least: u32,
    most: u32,
}

impl<'a> Ways<'a> {
    /// `None`: there are too many to try.
    fn all(ours: Claimant, others: &[Claimant], groups: &'a [Group]) -> Option<BTreeSet<Way>> {
        if ours.amount == 1 && others.iter().all(|other| other.amount == 1) {
            return Some(BTreeSet::from([groups.iter().map(|group| Some(group.count)).collect()]));
        }
        let mut claimants = equals_together(others);
        claimants.push(ours);
        let mut ways = Self { ours, claimants, groups, found: BTreeSet::new(), seen: BTreeSet::new(), steps: 0 };
        ways.go_on(0, Way::new());
        (ways.steps < MOST_STEPS).then_some(ways.found)
    }

    /// From a way to explain the first groups, with those claimants.
    fn go_on(&mut self, used: u64, way: Way) {
        if way.len() == self.groups.len() {
            self.found.insert(way);
        } else if self.seen.insert((used, way.clone())) {
            self.choose(0, Buyers { used, equals: 0, others: 0, least: 0, most: 0 }, &way);
        }
    }

    /// With these buyers of the next group, and claimants from `from` on.
    fn choose(&mut self, from: usize, buyers: Buyers, way: &Way) {
        let Group { at, count } = self.groups[way.len()];
        if buyers.least <= count && count <= buyers.most {
            let alone = buyers.others == 0 && buyers.equals * self.ours.amount == count;
            let taken = if alone || buyers.equals == 0 { Some(buyers.equals) } else { None };
            self.go_on(buyers.used, [&way[..], &[taken]].concat());
        }
        let last = self.claimants.len() - 1;
        let mut place = from;
        while place <= last && buyers.least < count && self.steps < MOST_STEPS {
            self.steps += 1;
            let claimant = self.claimants[place];
            if buyers.used & (1 << place) == 0 && claimant.may_have(at) {
                let equal = u32::from(claimant.amount == self.ours.amount);
                let more = Buyers {
                    used: buyers.used | 1 << place,
                    equals: buyers.equals + equal,
                    others: buyers.others + 1 - equal,
                    least: buyers.least + if place == last { claimant.amount } else { 1 },
                    most: buyers.most.saturating_add(claimant.amount),
                };
                self.choose(place + 1, more, way);
                // Another of several equals makes no other way.
                while place + 1 < last && self.claimants[place + 1] == claimant {
                    place += 1;
                }
            }
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::after;

    fn at(seconds: u64) -> Time {
        after(Time::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    /// Amounts, since when, and until then plus 100.
    fn claimants(all: &[(u32, u64)]) -> Vec<Claimant> {
        all.iter().map(|(amount, since)| Claimant { amount: *amount, since: at(*since), until: at(since + 100) }).collect()
    }

    /// The first claimant is ours.
    fn share(all: &[(u32, u64)], groups: &[(u64, u32)]) -> Share {
        let all = claimants(all);
        let groups: Vec<_> = groups.iter().map(|(time, count)| Group { at: at(*time), count: *count }).collect();
        assign(all[0], &all[1..], &groups)
    }

    fn unclear(share: &Share) -> bool {
        matches!(share, Share::Unclear(_))
    }

    #[test]
    fn alone_it_takes_all_or_nothing() {
        assert_eq!(share(&[(2, 0)], &[(5, 2)]), Share::Certain(vec![0]));
        assert_eq!(share(&[(2, 0)], &[(5, 1), (6, 1)]), Share::Certain(vec![0, 1]));
        assert!(unclear(&share(&[(2, 0)], &[(5, 1)])));
        assert!(unclear(&share(&[(1, 0)], &[(5, 2)])));
        assert_eq!(share(&[(2, 0), (2, 50)], &[(5, 2)]), Share::Certain(vec![0]), "the other began later");
    }

    #[test]
    fn equals_share_when_there_is_enough_for_all() {
        assert_eq!(share(&[(1, 0), (1, 0)], &[(5, 1), (6, 1)]), Share::Certain(vec![0]));
        assert!(unclear(&share(&[(1, 0), (1, 0)], &[(5, 1)])), "one of two bought");
        assert!(unclear(&share(&[(1, 0), (1, 0)], &[(5, 1), (6, 1), (7, 1)])), "three items, two purchases");
        assert_eq!(share(&[(1, 0), (1, 0)], &[(5, 2)]), Share::Certain(vec![0]), "both in one millisecond");
    }

    #[test]
    fn of_equals_who_began_first_has_what_was_bought_first() {
        assert_eq!(share(&[(1, 0), (1, 3)], &[(5, 1), (6, 1)]), Share::Certain(vec![0]));
        assert_eq!(share(&[(1, 3), (1, 0)], &[(5, 1), (6, 1)]), Share::Certain(vec![1]));
        assert_eq!(share(&[(1, 3), (1, 0), (1, 1)], &[(5, 1), (6, 1), (7, 1)]), Share::Certain(vec![2]));
    }

    #[test]
    fn amounts_tell_purchases_apart() {
        assert_eq!(share(&[(1, 0), (2, 0)], &[(5, 2), (6, 1)]), Share::Certain(vec![1]));
        assert_eq!(share(&[(2, 0), (1, 0)], &[(5, 2)]), Share::Certain(vec![0]));
        assert!(unclear(&share(&[(1, 0), (2, 0)], &[(5, 1)])), "it may be what is left of two");
        assert_eq!(share(&[(1, 0), (2, 0)], &[(5, 1), (6, 2)]), Share::Certain(vec![0]), "the two are there");
        assert!(unclear(&share(&[(2, 0), (1, 0), (1, 0)], &[(5, 2)])), "one purchase or two");
        assert!(unclear(&share(&[(3, 0), (1, 0)], &[(5, 2)])), "nobody ordered two");
    }

    #[test]
    fn times_tell_equals_apart() {
        assert_eq!(share(&[(1, 0), (1, 10)], &[(5, 1)]), Share::Certain(vec![0]));
        assert_eq!(share(&[(1, 10), (1, 0)], &[(5, 1), (15, 1)]), Share::Certain(vec![1]));
        assert_eq!(share(&[(1, 0), (1, 10), (1, 10)], &[(5, 1), (15, 1)]), Share::Certain(vec![0]), "whoever of the others");
        assert!(unclear(&share(&[(1, 10), (1, 0), (1, 10)], &[(5, 1), (15, 1)])));
    }

    #[test]
    fn a_doubt_whose_time_is_over_claims_nothing_new() {
        assert_eq!(share(&[(1, 200), (1, 0)], &[(205, 1)]), Share::Certain(vec![0]));
        assert_eq!(share(&[(1, 0), (1, 150)], &[(95, 1), (205, 1)]), Share::Certain(vec![0]));
    }

    /// The groups that each claimant has items of, the first of them ours, in one way to explain all.
    type Whole = Vec<Option<usize>>;

    /// Every way there is. Whoever has items of a group has at least one, and no more than it ordered; ours has all.
    fn ways(all: &[Claimant], groups: &[Group]) -> Vec<Whole> {
        let takes = groups.len() + 1;
        let way = |mut code: usize| -> Whole {
            let take = |_: &Claimant| {
                let take = code % takes;
                code /= takes;
                (take < groups.len()).then_some(take)
            };
            all.iter().map(take).collect()
        };
        let explains = |way: &Whole| {
            let fits = all.iter().zip(way).all(|(one, take)| take.is_none_or(|take| one.may_have(groups[take].at)));
            fits && groups.iter().enumerate().all(|(place, group)| {
                let buyers = || (0..all.len()).filter(|who| way[*who] == Some(place));
                let least: u32 = buyers().map(|who| if who == 0 { all[0].amount } else { 1 }).sum();
                let most: u32 = buyers().map(|who| all[who].amount).sum();
                least <= group.count && group.count <= most
            })
        };
        (0..takes.pow(all.len() as u32)).map(way).filter(explains).collect()
    }

    /// What equals of ours have in one way.
    fn of_equals(all: &[Claimant], way: &Whole) -> Vec<usize> {
        let equals = all.iter().zip(way).filter(|(one, _)| one.amount == all[0].amount);
        let mut taken: Vec<_> = equals.filter_map(|(_, take)| *take).collect();
        taken.sort_unstable();
        taken
    }

    /// Whether equals of ours have all of a group, and it is all of theirs.
    fn is_theirs_alone(all: &[Claimant], way: &Whole, place: usize, count: u32) -> bool {
        let buyers: Vec<_> = all.iter().zip(way).filter(|(_, take)| **take == Some(place)).map(|(one, _)| one.amount).collect();
        buyers.iter().all(|amount| *amount == all[0].amount) && buyers.iter().sum::<u32>() == count
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Held against trying out everything: a certain share holds in every way there is.
        #[test]
        fn what_is_certain_holds_in_every_way(
            all in prop::collection::vec((1u32..4, 0u64..4, 0u64..4), 2..5),
            groups in prop::collection::btree_map(0u64..6, 1u32..4, 1..4),
        ) {
            let all: Vec<_> = all
                .into_iter()
                .map(|(amount, since, lasts)| Claimant { amount, since: at(since), until: at(since + lasts) })
                .collect();
            let groups: Vec<_> = groups.into_iter().map(|(time, count)| Group { at: at(time), count }).collect();
            let groups: Vec<_> = groups.into_iter().filter(|group| all.iter().any(|one| one.may_have(group.at))).collect();
            prop_assume!(!groups.is_empty());
            prop_assume!(all[1..].iter().any(|other| groups.iter().any(|group| other.may_have(group.at))));
            let ways = ways(&all, &groups);
            let mut places: Vec<_> = ways.iter().map(|way| way[0]).collect();
            places.sort_unstable();
            places.dedup();
            let mut sets: Vec<_> = ways.iter().map(|way| of_equals(&all, way)).collect();
            sets.dedup();
            let alone = |place: usize| ways.iter().all(|way| is_theirs_alone(&all, way, place, groups[place].count));
            match assign(all[0], &all[1..], &groups) {
                Share::Certain(taken) => {
                    prop_assert!(!places.is_empty() && !places.contains(&None) && places.contains(&Some(taken[0])), "{ways:?}");
                    prop_assert!(places.len() == 1 || sets.len() == 1, "{ways:?}");
                    prop_assert!(alone(taken[0]), "{ways:?}");
                }
                Share::Nothing => prop_assert!(places == [None], "{ways:?}"),
                Share::Unclear(_) => {
                    let bought = !places.is_empty() && !places.contains(&None);
                    let told = bought && (places.len() == 1 || sets.len() == 1);
                    prop_assert!(places != [None] && !(told && places.iter().flatten().all(|place| alone(*place))), "{ways:?}");
                }
            }
        }
    }
}
