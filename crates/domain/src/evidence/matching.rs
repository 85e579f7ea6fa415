//! Which known pull explains which item of an inventory.
//!
//! Item ids repeat: two users may hold one, and one user may hold it twice. So each known pull explains one item, and times tell
//! items of one id apart: first those whose time an earlier look has shown, then the nearest that was bought before the pull was
//! known to us.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use crate::{
    ItemId, Time,
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
}

/// Something that was bought, as far as we know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known<'a> {
    pub item_id: &'a ItemId,
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
    /// By its time, not only by its id.
    pub surely: bool,
}

/// How the items of an inventory are explained, by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    pub by: Vec<Option<Explained>>,
    /// Items that may have changed places: one was explained by its id alone, and the other, of that id, is left over; or what is left over
    /// of its time may be its purchase's.
    pub doubtful: Vec<bool>,
}

/// For each item what explains it, if anything does. `ahead`: by how much the upstream's clock may be ahead of ours.
pub(super) fn explain(items: &[Listed<'_>], known: &[Known<'_>], ahead: std::time::Duration) -> Explanation {
    let mut explained = vec![None; items.len()];
    let mut doubtful = vec![false; items.len()];
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
        pulls.sort_by_key(|place| known[*place].until);
        if planted(Bug::ExplainedByIdAlone) {
            for (item, pull) in listed.iter().rev().zip(pulls) {
                explained[*item] = Some(Explained { by: pull, surely: true });
            }
            continue;
        }
        for within in [TimeDelta::zero(), SAME] {
            pulls.retain(|pull| match at_its_time(items, &listed, known[*pull].purchased_at, within) {
                Some(at) => {
                    explained[listed.remove(at)] = Some(Explained { by: *pull, surely: true });
                    false
                }
                None => true,
            });
        }
        let fits = |pull: usize, place: usize| {
            let Known { from, until, .. } = known[pull];
            items[place].purchased_at.is_none_or(|at| at <= after(until, ahead) && from.is_none_or(|from| at >= from))
        };
        let mut unsure = Vec::new();
        for pull in pulls.into_iter().filter(|pull| known[*pull].purchased_at.is_none()) {
            let dated = listed.iter().rposition(|place| items[*place].purchased_at.is_some() && fits(pull, *place));
            if let Some(at) = dated.or_else(|| listed.iter().position(|place| fits(pull, *place))) {
                let place = listed.remove(at);
                explained[place] = Some(Explained { by: pull, surely: false });
                unsure.push((pull, place));
            }
        }
        for (pull, place) in unsure {
            for left in listed.iter().filter(|left| fits(pull, **left)) {
                (doubtful[*left], doubtful[place]) = (true, true);
            }
        }
    }
    doubt_mixed_groups(items, &explained, &mut doubtful);
    Explanation { by: explained, doubtful }
}

/// All items of one purchase have one time: where some of a time are left over, those explained by their id alone may be theirs.
fn doubt_mixed_groups(items: &[Listed<'_>], explained: &[Option<Explained>], doubtful: &mut [bool]) {
    let left: BTreeSet<Time> =
        items.iter().zip(explained).filter(|(_, by)| by.is_none()).filter_map(|(item, _)| item.purchased_at).collect();
    for (place, by) in explained.iter().enumerate() {
        let mixed = items[place].purchased_at.is_some_and(|at| left.contains(&at));
        doubtful[place] |= mixed && by.is_some_and(|by| !by.surely);
    }
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

    /// Items and pulls of one id: what explains each item, by the place of the pull.
    fn stack(items: &[Option<u64>], known: &[(Option<u64>, u64)]) -> Vec<Option<(usize, bool)>> {
        let id = ItemId::new("x").unwrap();
        let items: Vec<_> = items.iter().map(|time| Listed { item_id: &id, purchased_at: time.map(at) }).collect();
        let known: Vec<_> = known
            .iter()
            .map(|(time, until)| Known { item_id: &id, purchased_at: time.map(at), from: None, until: at(*until) })
            .collect();
        let explained = explain(&items, &known, Duration::from_secs(1));
        explained.by.into_iter().map(|one| one.map(|Explained { by, surely }| (by, surely))).collect()
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
        let items = [Listed { item_id: &id, purchased_at: Some(at(10)) }];
        let known = [Known { item_id: &id, purchased_at: Some(precise), from: None, until: at(12) }];
        assert!(explain(&items, &known, Duration::ZERO).by[0].is_some());
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

    fn doubtful(items: &[(&str, u64)], known: &[(&str, Option<u64>, u64)]) -> Vec<bool> {
        let id = |name: &str| ItemId::new(name).unwrap();
        let items: Vec<_> = items.iter().map(|(name, time)| (id(name), at(*time))).collect();
        let known: Vec<_> = known.iter().map(|(name, time, until)| (id(name), time.map(at), at(*until))).collect();
        let items: Vec<_> = items.iter().map(|(item_id, time)| Listed { item_id, purchased_at: Some(*time) }).collect();
        let known = known.iter().map(|(item_id, purchased_at, until)| Known {
            item_id,
            purchased_at: *purchased_at,
            from: None,
            until: *until,
        });
        explain(&items, &known.collect::<Vec<_>>(), Duration::ZERO).doubtful
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
}
