//! Random worlds under the assumptions of `crates/decisions/sellback-machine.md`: what the verdict says is so.

use super::*;

/// What happened, and what looks show of it.
#[derive(Debug, Clone)]
struct World {
    /// By holder: when each copy was bought; 0 tells nothing.
    held: Vec<(usize, u64)>,
    /// The copy that our call took, and when: so that it shows, however late, by the end of the window.
    ours: Option<(usize, u64)>,
    /// Copies that another hand took, and when. None where the account is exclusive.
    others: Vec<(usize, u64)>,
    /// Copies that other sellbacks sold after the look and before the door.
    sold_before: Vec<usize>,
    /// Copies that came after the call: by holder, when, and with a date or without.
    arrivals: Vec<(usize, u64, bool)>,
    /// When looks begin, by how much each is behind, and whether it cannot be read or shows nothing it should.
    looks: Vec<(u64, u64, Fault)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Unreadable,
    Suspicious,
}

/// Seconds by which a look may be behind.
const LAG: u64 = 60;

const HOLDERS: [&str; 3] = ["anna", "ben", "cleo"];

fn worlds(exclusive: bool) -> impl Strategy<Value = World> {
    let copies = prop::collection::vec((0..3usize, 0..4u64), 1..6);
    let times = || CALLED..WINDOW_ENDS;
    let ours = prop::option::of((0..6usize, CALLED..=WINDOW_ENDS - LAG));
    let others = prop::collection::vec((0..6usize, times()), if exclusive { 0..1 } else { 0..3 });
    let sold_before = prop::collection::btree_set(0..6usize, 0..3);
    let arrivals = prop::collection::vec((0..3usize, times(), any::<bool>()), 0..4);
    let fault = prop_oneof![6 => Just(Fault::None), 1 => Just(Fault::Unreadable), 1 => Just(Fault::Suspicious)];
    let looks = prop::collection::vec((CALLED..WINDOW_ENDS + 700, 0..=LAG, fault), 1..8);
    (copies, ours, others, sold_before, arrivals, looks).prop_map(|(mut held, ours, others, sold_before, arrivals, looks)| {
        // The seller holds one, or nothing would have been called.
        held[0].0 = 0;
        let count = held.len();
        let ours = ours.map(|(copy, when)| (copy % count, when));
        let taken = ours.map(|(copy, _)| copy);
        let others = others.into_iter().map(|(copy, when)| (copy % count, when));
        let others: Vec<_> = others.filter(|(copy, _)| Some(*copy) != taken).collect();
        let is_left = |copy: &usize| *copy < count && Some(*copy) != taken && others.iter().all(|(other, _)| other != copy);
        let sold_before = sold_before.into_iter().filter(is_left).collect();
        World { held, ours, others, sold_before, arrivals, looks }
    })
}

impl World {
    /// What `holder` has at this second.
    fn of(&self, holder: usize, second: u64) -> Vec<HeldItem> {
        let taken = || self.ours.iter().chain(&self.others).copied().chain(self.sold_before.iter().map(|copy| (*copy, CALLED)));
        let gone = |copy: usize| taken().any(|(taken, when)| taken == copy && when <= second);
        let mut items = Vec::new();
        for (copy, (_, date)) in self.held.iter().enumerate().filter(|(copy, (owner, _))| *owner == holder && !gone(*copy)) {
            items.push(super::copy_of("card", *date, Some(copy as i64)));
        }
        for (_, when, dated) in self.arrivals.iter().filter(|(owner, when, _)| *owner == holder && *when <= second) {
            items.push(super::copy(if *dated { *when } else { 0 }));
        }
        items
    }

    /// As the store has them, whose ever pulls they gave away.
    fn sold(&self) -> Vec<SoldCopy> {
        self.sold_before.iter().map(|copy| sale_by(*copy as u128, CALLED)).collect()
    }

    fn look(&self, began: u64, behind: u64, fault: Fault) -> Vec<(UserId, Reading)> {
        let shown = |holder: usize| match fault {
            Fault::Suspicious => Vec::new(),
            Fault::None | Fault::Unreadable => self.of(holder, began - behind.min(began - CALLED + 1)),
        };
        let read = |holder| match fault {
            Fault::Unreadable if holder == 1 => told(HOLDERS[1], began, InventoryAnswer::Unreadable { why: "504".into() }),
            Fault::Unreadable | Fault::None | Fault::Suspicious => super::read(HOLDERS[holder], began, shown(holder)),
        };
        (0..HOLDERS.len()).map(read).collect()
    }

    /// Weighs its looks in their order until one settles it.
    fn settle(&self, busy: bool, rules: &Rules) -> SaleVerdict {
        let held: Vec<_> =
            (0..HOLDERS.len()).map(|holder| super::read(HOLDERS[holder], CALLED, self.of(holder, CALLED - 1))).collect();
        let sale = before(&held);
        let (why, since) = ("reset".into(), at(CALLED));
        let mut doubt = Doubt { sale, why, status: None, busy, since, looks: 0, evidence: None };
        let mut looks = self.looks.clone();
        looks.sort_by_key(|look| look.0);
        for (began, behind, fault) in looks {
            let (readings, suspicious) = (self.look(began, behind, fault), fault == Fault::Suspicious);
            let weighed = doubt.weigh(After { readings: &readings, suspicious, sold: &self.sold() }, rules);
            if !matches!(weighed.verdict, SaleVerdict::Wait(_)) {
                return weighed.verdict;
            }
            doubt.evidence = Some(Box::new(weighed.evidence));
        }
        SaleVerdict::Wait(String::new())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Where only we sell: *sold* is only said if our call took a copy, and *not sold* only if it took none.
    #[test]
    fn where_only_we_sell_a_verdict_is_true(world in worlds(true)) {
        let sold = world.ours.is_some();
        match world.settle(false, &Rules::default()) {
            SaleVerdict::Sold => prop_assert!(sold, "none of ours left"),
            SaleVerdict::NotSold => prop_assert!(!sold, "ours left"),
            SaleVerdict::Wait(_) | SaleVerdict::Unclear(..) => {}
        }
    }

    /// Where others sell too nothing is ever *sold*, and *not sold* is as true as elsewhere.
    #[test]
    fn where_others_sell_too_nothing_is_said_that_may_be_theirs(world in worlds(false)) {
        let rules = Rules { exclusive: false, ..Rules::default() };
        match world.settle(false, &rules) {
            SaleVerdict::Sold => prop_assert!(false, "it may be theirs"),
            SaleVerdict::NotSold => prop_assert!(world.ours.is_none(), "ours left"),
            SaleVerdict::Wait(_) | SaleVerdict::Unclear(..) => {}
        }
    }

    /// A call that was busy took nothing: then *not sold* needs no more than looks that miss none.
    #[test]
    fn what_was_busy_is_not_called_sold_while_nothing_left(mut world in worlds(true)) {
        world.ours = None;
        let verdict = world.settle(true, &Rules::default());
        prop_assert!(!matches!(verdict, SaleVerdict::Sold), "{verdict}");
        prop_assert!(!matches!(verdict, SaleVerdict::Unclear(ReviewCode::Ambiguous, _)), "{verdict}");
    }
}

/// The worlds above are not so doubtful that nothing is ever said of them.
#[test]
fn plain_worlds_are_settled() {
    let plain = World {
        held: vec![(0, 1), (1, 2)],
        ours: None,
        others: vec![],
        sold_before: vec![],
        arrivals: vec![(0, 1100, true)],
        looks: vec![],
    };
    let looks = |times: &[u64]| times.iter().map(|time| (*time, 0, Fault::None)).collect::<Vec<_>>();
    let still = World { looks: looks(&[1050, 1200, WINDOW_ENDS]), ..plain.clone() };
    assert_eq!(still.settle(false, &Rules::default()), SaleVerdict::NotSold);
    let sold = World { ours: Some((0, 1001)), looks: looks(&[1050]), ..plain.clone() };
    assert_eq!(sold.settle(false, &Rules::default()), SaleVerdict::Sold);
    let outrun = World { sold_before: vec![0], ..still };
    assert_eq!(outrun.settle(false, &Rules::default()), SaleVerdict::NotSold);
    let both = World { sold_before: vec![0], ours: Some((1, 1001)), looks: looks(&[1050, 1060]), ..plain };
    assert_eq!(both.settle(false, &Rules::default()), SaleVerdict::Sold);
}
