//! Which purchases the unexplained items can belong to.
//!
//! The upstream stamps all items of one purchase with one time, so a *group* of items of one time belongs to one purchase whole, or
//! to several that were bought in the same millisecond. Purchases of one amount are equal: whose items are whose among them does not
//! matter, only who bought and who did not. What we want to know is whether *ours* bought in every way to explain all groups.

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
    // Each group as one or several shares of one amount.
    let mut shares: Vec<(usize, Part)> = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        match split(*group, ours, &others) {
            Ok((amount, times)) => shares.extend((0..times).map(|_| (place, Part { amount, at: group.at }))),
            Err(why) => return Share::Unclear(why),
        }
    }
    let mut amounts: Vec<u32> = shares.iter().map(|(_, share)| share.amount).collect();
    amounts.sort_unstable();
    amounts.dedup();
    for amount in amounts {
        let taken: Vec<Time> = shares.iter().filter(|(_, share)| share.amount == amount).map(|(_, share)| share.at).collect();
        let with_ours = others.iter().chain([&ours]).filter(|claimant| claimant.amount == amount).copied();
        if !can_take_all(with_ours.collect(), &taken) {
            return Share::Unclear("fewer purchases are in doubt than there are unexplained items".into());
        }
    }
    ours_among_equals(ours, &others, &shares)
}

#[derive(Debug, Clone, Copy)]
struct Part {
    amount: u32,
    at: Time,
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

/// How many purchases of which amount a group is.
fn split(group: Group, ours: Claimant, others: &[Claimant]) -> Result<(u32, u32), String> {
    let eligible = others.iter().chain([&ours]).filter(|claimant| claimant.may_have(group.at));
    let (whole, smaller): (Vec<u32>, Vec<u32>) = eligible
        .map(|claimant| claimant.amount)
        .filter(|amount| *amount <= group.count)
        .partition(|amount| *amount == group.count);
    match (whole.is_empty(), is_a_sum(&smaller, group.count)) {
        (false, false) => Ok((group.count, 1)),
        (true, true) if smaller.iter().all(|amount| *amount == smaller[0]) => Ok((smaller[0], group.count / smaller[0])),
        (true, false) => Err(format!("{} unexplained items of one time fit no purchase in doubt", group.count)),
        _ => Err(format!("{} unexplained items of one time may be one purchase's or several'", group.count)),
    }
}

/// Whether some of `amounts` add up to `total`.
fn is_a_sum(amounts: &[u32], total: u32) -> bool {
    let mut sums = vec![false; total as usize + 1];
    sums[0] = true;
    for amount in amounts {
        for sum in (*amount as usize..sums.len()).rev() {
            sums[sum] |= sums[sum - *amount as usize];
        }
    }
    sums[total as usize]
}

/// Among purchases of our amount: whether ours must have bought, and then the earliest share that leaves the others enough.
fn ours_among_equals(ours: Claimant, others: &[Claimant], shares: &[(usize, Part)]) -> Share {
    let of_our_amount: Vec<(usize, Time)> =
        shares.iter().filter(|(_, share)| share.amount == ours.amount).map(|(place, share)| (*place, share.at)).collect();
    let equals: Vec<Claimant> = others.iter().filter(|other| other.amount == ours.amount).copied().collect();
    let times: Vec<Time> = of_our_amount.iter().map(|(_, at)| *at).collect();
    if !times.iter().any(|at| ours.may_have(*at)) {
        return Share::Nothing;
    }
    if can_take_all(equals.clone(), &times) {
        return Share::Unclear(format!("{} purchases may have bought what is there", equals.len() + 1));
    }
    let leaves_enough = |taken: usize| {
        let rest: Vec<Time> = times.iter().enumerate().filter(|(place, _)| *place != taken).map(|(_, at)| *at).collect();
        can_take_all(equals.clone(), &rest)
    };
    let ours = (0..times.len()).find(|place| ours.may_have(times[*place]) && leaves_enough(*place));
    match ours {
        Some(place) => Share::Certain(vec![of_our_amount[place].0]),
        None => Share::Unclear("no purchase in doubt explains all of it".into()),
    }
}

/// Whether claimants can take one share each until none is left: each share in turn goes to whoever can take a later one least.
fn can_take_all(mut claimants: Vec<Claimant>, times: &[Time]) -> bool {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.into_iter().all(|at| {
        let able = (0..claimants.len()).filter(|place| claimants[*place].may_have(at));
        able.min_by_key(|place| claimants[*place].until).map(|place| claimants.swap_remove(place)).is_some()
    })
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
    fn amounts_tell_purchases_apart() {
        assert_eq!(share(&[(1, 0), (2, 0)], &[(5, 2), (6, 1)]), Share::Certain(vec![1]));
        assert_eq!(share(&[(1, 0), (2, 0)], &[(5, 2)]), Share::Nothing);
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

    /// Every way to give each group to claimants of exactly its size; the places of the groups that ours takes part in, per way.
    fn ways(all: &[Claimant], groups: &[Group]) -> Vec<Option<usize>> {
        let mut found = Vec::new();
        let takes = groups.len() + 1;
        for mut code in 0..takes.pow(all.len() as u32) {
            let mut sums = vec![0; groups.len()];
            let mut fits = true;
            let mut ours = None;
            for (who, claimant) in all.iter().enumerate() {
                let take = code % takes;
                code /= takes;
                if take < groups.len() {
                    fits &= claimant.may_have(groups[take].at);
                    sums[take] += claimant.amount;
                    if who == 0 {
                        ours = Some(take);
                    }
                }
            }
            if fits && sums.iter().zip(groups).all(|(sum, group)| *sum == group.count) {
                found.push(ours);
            }
        }
        found
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
            let ways = ways(&all, &groups);
            match assign(all[0], &all[1..], &groups) {
                Share::Certain(_) if all[1..].iter().all(|other| !groups.iter().any(|group| other.may_have(group.at))) => {}
                Share::Certain(taken) => {
                    prop_assert!(!ways.is_empty() && ways.iter().all(Option::is_some), "{ways:?}");
                    prop_assert!(ways.contains(&Some(taken[0])));
                }
                Share::Nothing => prop_assert!(!ways.is_empty() && ways.iter().all(Option::is_none), "{ways:?}"),
                Share::Unclear(_) => {}
            }
        }
    }
}
