//! Whole lives of a user, turn by turn: a world that shows what it holds, and everything that the turns come to, in minutes.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{
    ItemId, Money, PartnerId, PullId, PurchaseId, Time, UserId,
    item::{Expiry, Item, Pull, PullSale, Shown, Sight, Told},
    user::{SYNC_AFTER, User, Watching},
    warning::{Crowd, Row, RowState, SaleRule, Turn, UserSettings, WarningRules, Watch},
};

use super::{HOUR, at, pull, rules};

/// One pull of the upstream's: when it is held and what it shows.
struct Thing {
    bought: i64,
    /// Shown in inventories from and to these minutes.
    shown: (i64, i64),
    expires: Option<i64>,
    /// When we sell it.
    sold: Option<i64>,
    price: i64,
}

const DAY: i64 = 24 * HOUR;

fn thing(bought: i64, expires: i64) -> Thing {
    Thing { bought, shown: (bought, i64::MAX), expires: Some(expires), sold: None, price: 10 }
}

struct World<'a> {
    things: &'a [Thing],
    rules: &'a WarningRules,
    sale: Option<SaleRule>,
    settings: UserSettings,
    crowd: u64,
    /// Minutes in which no look is good.
    dark: (i64, i64),
    /// Minutes in which no turn is taken: we are down.
    down: (i64, i64),
}

impl Default for World<'_> {
    fn default() -> Self {
        static RULES: std::sync::LazyLock<WarningRules> = std::sync::LazyLock::new(|| rules(None));
        let settings = UserSettings::default();
        Self { things: &[], rules: &RULES, sale: None, settings, crowd: 1, dark: (0, 0), down: (0, 0) }
    }
}

/// What happened, and how many turns and looks it took.
struct Life {
    story: Vec<String>,
    turns: u32,
    looks: u32,
    watching: Watching,
}

fn minute(time: Time) -> i64 {
    (time - at(0)).num_seconds().div_euclid(60)
}

impl World<'_> {
    fn live(&self, until: i64) -> Life {
        let user = User {
            partner: PartnerId::new("acme").unwrap(),
            id: UserId::new("user-1").unwrap(),
            settings: self.settings,
            sync_wanted: 0,
            synced: 0,
            wanted_at: None,
            version: 1,
            sequence: 0,
            due_at: None,
        };
        let watching = Watching { user, pulls: Vec::new(), rows: Vec::new(), selling: Vec::new() };
        let mut life = Life { story: Vec::new(), turns: 0, looks: 0, watching };
        let mut bought: Vec<(usize, &Thing)> = self.things.iter().enumerate().collect();
        bought.sort_by_key(|(_, thing)| std::cmp::Reverse(thing.bought));
        loop {
            let next = bought.last().map(|(_, thing)| at(thing.bought));
            let due = life.watching.user.due_at.map(|due| self.up(due));
            let Some(now) = next.into_iter().chain(due).min().filter(|now| *now < at(until)) else { return life };
            if next == Some(now) {
                let (n, thing) = bought.pop().expect("there is a next one");
                life.buys(n, thing);
            } else {
                self.turn(&mut life, now);
            }
        }
    }

    fn up(&self, due: Time) -> Time {
        if (at(self.down.0)..at(self.down.1)).contains(&due) { at(self.down.1) } else { due }
    }

    fn turn(&self, life: &mut Life, now: Time) {
        life.turns += 1;
        assert!(life.turns < 3000, "turns without end: {:#?}", &life.story);
        let watch = Watch { warnings: Some(self.rules), sale: self.sale.as_ref() };
        let crowd = Crowd { users: self.crowd, reads_per_second: 50 };
        for (n, thing) in self.things.iter().enumerate() {
            let sold = thing.sold.filter(|sold| at(*sold) <= now);
            let by = clawback_domain::SellbackId(uuid::Uuid::nil());
            let Some(pull) = life.watching.pulls.iter_mut().find(|own| own.id == pull(n as u128)) else { continue };
            pull.sale = sold.map(|sold| PullSale { by, at: at(sold) });
        }
        let wanted = Turn::new(&life.watching, watch, now).look(crowd);
        let good = wanted.map(|_| !(at(self.dark.0)..at(self.dark.1)).contains(&now));
        life.looks += u32::from(wanted.is_some());
        if good == Some(true) {
            self.look(&mut life.watching, now);
        }
        let turn = Turn::new(&life.watching, watch, now);
        let offered: Vec<PullId> = turn.offers().iter().map(|offer| offer.pull.id).collect();
        let settling = turn.settle(crowd, good, offered);
        for pull in &settling.offered {
            life.story.push(format!("{} sell {}", minute(now), pull.0.as_u128()));
        }
        for digest in &settling.digests {
            let pulls: Vec<String> = digest.items.iter().map(|(row, _)| row.pull.0.as_u128().to_string()).collect();
            let marks = [(digest.late, " late"), (!digest.verified, " unverified")];
            let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            life.story.push(format!("{} {} {}{marks}", minute(now), digest.lead, pulls.join("+")));
        }
        for pull in settling.closed.iter().flatten() {
            life.story.push(format!("{} closed {}", minute(now), pull.id.0.as_u128()));
        }
        life.keeps(&settling, now);
    }

    fn look(&self, watching: &mut Watching, now: Time) {
        for (n, thing) in self.things.iter().enumerate() {
            let held = end(thing.shown.0) <= now && now < end(thing.shown.1);
            let held = held && thing.sold.is_none_or(|sold| now < at(sold));
            let expiry = thing.expires.map_or(Expiry::Never, |expires| Expiry::At(at(expires)));
            let shown = Shown { expiry, price: Some(Money::usd(thing.price * 1_000_000)), ..Shown::default() };
            if let Some(own) = watching.pulls.iter_mut().find(|own| own.id == pull(n as u128)) {
                own.sight = own.sight.after(now, held.then_some(shown));
            }
        }
    }
}

fn end(minutes: i64) -> Time {
    if minutes == i64::MAX { Time::MAX_UTC } else { at(minutes) }
}

impl Life {
    fn buys(&mut self, n: usize, thing: &Thing) {
        self.watching.pulls.push(Pull {
            id: pull(n as u128),
            purchase: PurchaseId(uuid::Uuid::nil()),
            position: n as u32,
            partner: self.watching.user.partner.clone(),
            user_id: self.watching.user.id.clone(),
            pack_id: clawback_domain::PackId::new("gold").unwrap(),
            item: Item { buyback_price: Some(Money::usd(20_000_000)), ..Item::bare(ItemId::new("card").unwrap()) },
            created_at: at(thing.bought),
            sight: Sight::default(),
            sale: None,
            told: Told::default(),
        });
        let user = &mut self.watching.user;
        user.sync_wanted += 1;
        user.wanted_at = user.wanted_at.or(Some(at(thing.bought)));
        let soon = at(thing.bought) + SYNC_AFTER;
        user.due_at = Some(user.due_at.map_or(soon, |due| due.min(soon)));
    }

    /// What a store keeps of a turn.
    fn keeps(&mut self, settling: &clawback_domain::user::Settling, now: Time) {
        let mut rows: BTreeMap<_, Row> = self.watching.rows.drain(..).map(|row| ((row.pull, row.lead), row)).collect();
        for change in &settling.changes {
            let row = change.row();
            assert_ne!(rows.get(&(row.pull, row.lead)).map(|row| row.state), Some(RowState::Sent), "what was sent stays so");
            rows.insert((row.pull, row.lead), row.clone());
        }
        for (row, _) in settling.digests.iter().flat_map(|digest| &digest.items) {
            let row = rows.get_mut(&(row.pull, row.lead)).expect("it was planned");
            assert_eq!(row.state, RowState::Planned, "sent once");
            row.state = RowState::Sent;
        }
        self.watching.rows = rows.into_values().collect();
        for pull in &mut self.watching.pulls {
            let closed = settling.closed.iter().flatten().any(|closed| closed.id == pull.id);
            pull.told.closed_at = pull.told.closed_at.or(closed.then_some(now));
            pull.told.offered_at = pull.told.offered_at.or(settling.offered.contains(&pull.id).then_some(now));
        }
        let user = &mut self.watching.user;
        user.synced = settling.synced;
        user.wanted_at = user.wanted_at.filter(|_| user.sync_wanted > user.synced);
        user.due_at = settling.due_at;
        assert!(settling.due_at.is_none_or(|due| due > now), "a turn is followed by a later one");
        user.version += 1;
    }

    fn is(&self, expected: &[&str]) {
        assert_eq!(self.story, expected, "{} turns", self.turns);
        let planned = self.watching.rows.iter().any(Row::is_planned);
        assert!(!planned || self.watching.user.due_at.is_some(), "what is planned is due");
    }
}

/// Bought in minute 0, expires after seven days: due at 5760, 8640 and 10020.
#[test]
fn an_item_is_warned_of_at_each_lead_time_and_told_to_have_closed() {
    let life = World { things: &[thing(0, 7 * DAY)], ..World::default() }.live(8 * DAY);
    life.is(&["5759 72h 0", "8639 24h 0", "10019 1h 0", "10084 closed 0"]);
    assert_eq!((life.looks, life.turns), (4, 8), "a look to read it, one each, and a turn before each to count the crowd");
    assert_eq!(life.watching.user.due_at, None);
}

#[test]
fn what_is_due_together_goes_out_together_and_looks_are_shared() {
    let things = [thing(0, 7 * DAY), thing(3, 7 * DAY + 10), thing(7, 7 * DAY + 40)];
    let life = World { things: &things, ..World::default() }.live(8 * DAY);
    let expected = [
        "5759 72h 0+1",
        "5799 72h 2",
        "8639 24h 0+1",
        "8679 24h 2",
        "10019 1h 0+1",
        "10059 1h 2",
        "10084 closed 0",
        "10094 closed 1",
        "10124 closed 2",
    ];
    life.is(&expected);
}

#[test]
fn a_large_crowd_is_spread_before_the_moment_and_never_late() {
    let life = World { things: &[thing(0, 7 * DAY)], crowd: 100_000, ..World::default() }.live(8 * DAY);
    let moments: Vec<i64> = life.story.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    for (moment, due) in moments.iter().zip([5760, 8640, 10_020]) {
        assert!((due - 43..due).contains(moment), "{:?}", life.story);
    }
}

#[test]
fn what_is_sold_or_gone_is_not_warned_of() {
    let sold = Thing { sold: Some(6000), ..thing(0, 7 * DAY) };
    World { things: &[sold], ..World::default() }.live(8 * DAY).is(&["5759 72h 0"]);
    let elsewhere = Thing { shown: (0, 6000), ..thing(0, 7 * DAY) };
    World { things: &[elsewhere], ..World::default() }.live(8 * DAY).is(&["5759 72h 0"]);
    // Sold by us or elsewhere, the others are warned of.
    let things = [Thing { shown: (0, 6000), ..thing(0, 7 * DAY) }, thing(0, 7 * DAY)];
    let life = World { things: &things, ..World::default() }.live(8 * DAY);
    life.is(&["5759 72h 0+1", "8639 24h 1", "10019 1h 1", "10084 closed 1"]);
}

#[test]
fn what_is_shown_late_is_warned_of_from_then_on() {
    let things = [Thing { shown: (9000, i64::MAX), ..thing(0, 7 * DAY) }, thing(0, 7 * DAY)];
    let life = World { things: &things, ..World::default() }.live(8 * DAY);
    assert!(life.story.iter().any(|line| line == "10019 1h 0+1"), "{:?}", life.story);
}

#[test]
fn an_upstream_that_is_away_costs_the_verification_and_not_the_warning() {
    let life = World { things: &[thing(0, 7 * DAY)], dark: (5700, 5800), ..World::default() }.live(8 * DAY);
    life.is(&["5763 72h 0 unverified", "8639 24h 0", "10019 1h 0", "10084 closed 0"]);
}

#[test]
fn after_a_night_down_what_is_missed_comes_late_and_once() {
    let life = World { things: &[thing(0, 7 * DAY)], down: (8600, 9000), ..World::default() }.live(8 * DAY);
    life.is(&["5759 72h 0", "9000 24h 0 late", "10019 1h 0", "10084 closed 0"]);
    let life = World { things: &[thing(0, 7 * DAY)], down: (5700, 10_030), ..World::default() }.live(8 * DAY);
    life.is(&["10030 1h 0 late", "10084 closed 0"]);
    let life = World { things: &[thing(0, 7 * DAY)], down: (5700, 10_200), ..World::default() }.live(8 * DAY);
    life.is(&["10200 closed 0"]);
}

#[test]
fn what_does_not_expire_rests_and_what_is_never_shown_is_looked_for_ever_more_rarely() {
    let life = World { things: &[Thing { expires: None, ..thing(0, 0) }], ..World::default() }.live(60 * DAY);
    life.is(&[]);
    assert_eq!((life.looks, life.watching.user.due_at), (1, None));
    let hidden = Thing { shown: (i64::MAX, i64::MAX), ..thing(0, 7 * DAY) };
    let life = World { things: &[hidden], ..World::default() }.live(90 * DAY);
    life.is(&[]);
    assert!((20..60).contains(&life.looks), "{} looks", life.looks);
    assert_eq!(life.watching.user.due_at, None, "after a month nobody looks for it any more");
}

#[test]
fn an_automatic_sale_is_handed_over_in_its_span_if_the_price_is_right() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let rule = |share| SaleRule::new(minutes(30), minutes(5), Some(share), None).unwrap();
    let world = World { things: &[thing(0, 7 * DAY)], ..World::default() };
    let life = World { sale: Some(rule(500_000)), ..world }.live(8 * DAY);
    let sells: Vec<&String> = life.story.iter().filter(|line| line.contains("sell")).collect();
    let [sell] = &sells[..] else { panic!("{:?}", life.story) };
    let moment: i64 = sell.split(' ').next().unwrap().parse().unwrap();
    assert!((7 * DAY - 30..7 * DAY - 11).contains(&moment), "{sell}");
    // Ten of twenty dollars are half of the price.
    let world = World { things: &[thing(0, 7 * DAY)], ..World::default() };
    let life = World { sale: Some(rule(500_001)), ..world }.live(8 * DAY);
    assert!(!life.story.iter().any(|line| line.contains("sell")), "{:?}", life.story);
}

#[test]
fn who_wants_no_warnings_gets_none_and_is_hardly_looked_at() {
    let settings = UserSettings { warnings: false, ..UserSettings::default() };
    let life = World { things: &[thing(0, 7 * DAY)], settings, ..World::default() }.live(8 * DAY);
    life.is(&["10084 closed 0"]);
}
