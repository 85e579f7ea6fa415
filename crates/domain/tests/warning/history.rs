//! Random histories of one user's items through all the rules: outages, looks that fail or do not show what is there, dates that
//! change, sales, quiet hours. What was promised is checked of every warning, and at the end of every row.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{
    PackId, PartnerId, PullId, Time, UserId,
    item::{Expiry, Shown, Sight},
    warning::{
        Change, Composing, Crowd, Decision, Plan, Quiet, Row, RowState, Sale, UserSettings, WarningRules, Watched, begins_at,
        decide, next_window, plan, window,
    },
};
use proptest::prelude::*;

use super::{at, lead, leads, pull};

/// Minutes from the first up to but without the second.
type Span = (i64, i64);

#[derive(Debug, Clone)]
struct Item {
    expiry: i64,
    /// From when on the inventory tells another date, and which.
    change: Option<(i64, i64)>,
    hidden: Vec<Span>,
    sold_at: Option<i64>,
}

#[derive(Debug, Clone)]
struct World {
    items: Vec<Item>,
    /// When nothing of ours runs.
    down: Vec<Span>,
    /// When every look fails.
    blind: Vec<Span>,
    quiet: Option<(u32, u32)>,
    digest: u64,
}

const LEADS: [u64; 3] = [240, 60, 10];
const END: i64 = 700;
const ALONE: Crowd = Crowd { users: 1, reads_per_second: 1000 };

impl Item {
    fn expiry(&self, now: Time) -> Time {
        at(self.change.filter(|(since, _)| now >= at(*since)).map_or(self.expiry, |(_, expiry)| expiry))
    }

    fn is_shown(&self, now: Time) -> bool {
        !is_in(&self.hidden, now) && self.sold_at.is_none_or(|sold| now < at(sold))
    }
}

fn is_in(spans: &[Span], now: Time) -> bool {
    spans.iter().any(|(from, to)| (at(*from)..at(*to)).contains(&now))
}

/// A warning that went out.
#[derive(Debug)]
struct Sent {
    row: Row,
    at: Time,
    late: bool,
    verified: bool,
    /// As it was then.
    sight: Sight,
}

struct User<'a> {
    world: &'a World,
    rules: WarningRules,
    settings: UserSettings,
    watched: BTreeMap<PullId, Watched>,
    read_at: BTreeMap<PullId, Time>,
    rows: Vec<Row>,
    sent: Vec<Sent>,
}

impl<'a> User<'a> {
    fn new(world: &'a World) -> Self {
        let quiet = world.quiet.and_then(|(from, to)| {
            let time = |minute| chrono::NaiveTime::from_num_seconds_from_midnight_opt(minute * 60, 0).unwrap();
            Quiet::new(time(from), time(to), chrono_tz::UTC)
        });
        let rules = WarningRules::new(leads(&LEADS), Duration::from_secs(world.digest * 60), quiet).unwrap();
        let unseen =
            |n| Watched { pull: pull(n), pack: PackId::new("gold").unwrap(), sight: Sight::default(), sale: Sale::None };
        let watched = (0..world.items.len() as u128).map(|n| (pull(n), unseen(n))).collect();
        let settings = UserSettings::default();
        Self { world, rules, settings, watched, read_at: BTreeMap::new(), rows: Vec::new(), sent: Vec::new() }
    }

    fn item(&self, pull: PullId) -> &'a Item {
        &self.world.items[pull.0.as_u128() as usize]
    }

    fn turn(&mut self, now: Time) {
        let unread = self.watched.values().any(|watched| watched.sight.expiry == Expiry::NotRead);
        let (partner, user) = (PartnerId::new("acme").unwrap(), UserId::new("user").unwrap());
        let begins = |window| begins_at(window, &partner, &user, ALONE) <= now;
        let due = next_window(&self.rows, &self.rules, &self.settings).is_some_and(begins);
        if unread || due {
            self.look(now);
        }
        if due {
            self.compose(now);
        }
    }

    fn look(&mut self, now: Time) {
        if is_in(&self.world.blind, now) {
            return;
        }
        for id in self.watched.keys().copied().collect::<Vec<_>>() {
            let item = self.item(id);
            let expiry = Expiry::At(item.expiry(now));
            let shown = item.is_shown(now).then_some(Shown { expiry, ..Shown::default() });
            let watched = self.watched.get_mut(&id).unwrap();
            let before = watched.sight.expiry;
            watched.sight = watched.sight.after(now, shown);
            watched.sale = if item.sold_at.is_some_and(|sold| now >= at(sold)) { Sale::Sold } else { Sale::None };
            if watched.sight.expiry != before {
                self.read_at.insert(id, now);
            }
            let watched = watched.clone();
            self.plan(&watched, now);
        }
    }

    fn plan(&mut self, watched: &Watched, now: Time) {
        let read_at = self.read_at.get(&watched.pull).copied().unwrap_or(now);
        let Plan::Changes(changes) = plan(watched, read_at, &self.rules, &self.rows, now) else { return };
        for change in changes {
            match change {
                Change::Insert(row) => self.rows.push(row),
                Change::Update(new) => {
                    let row = self.rows.iter_mut().find(|row| (row.pull, row.lead) == (new.pull, new.lead)).unwrap();
                    assert_ne!(row.state, RowState::Sent, "what was sent is settled");
                    *row = new;
                }
            }
        }
    }

    fn compose(&mut self, now: Time) {
        let (watched, rules, settings) = (&self.watched, &self.rules, &self.settings);
        let composing = Composing { watched, rules, settings, crowd: ALONE, now };
        let decided: Vec<_> =
            decide(&self.rows, composing).into_iter().map(|(row, decision)| (row.clone(), decision)).collect();
        for (row, decision) in decided {
            let state = match decision {
                Decision::Wait { until } => {
                    assert!(until > now, "{row:?} waits for the past");
                    continue;
                }
                Decision::Skip(why) => RowState::Skipped(why),
                Decision::Send { late, verified } => {
                    let sight = self.watched[&row.pull].sight;
                    self.sent.push(Sent { row: row.clone(), at: now, late, verified, sight });
                    RowState::Sent
                }
            };
            self.rows.iter_mut().find(|other| **other == row).unwrap().state = state;
        }
    }

    fn run(mut self) -> Self {
        for step in 0..END * 2 {
            let now = at(0) + chrono::TimeDelta::seconds(step * 30);
            if !is_in(&self.world.down, now) {
                self.turn(now);
            }
        }
        self
    }

    /// What holds of every warning, whatever happens.
    fn check(&self, sent: &Sent) {
        let Sent { row, at: now, late, verified, sight } = sent;
        let own = window(row, &self.rules, &self.settings);
        let same = self.sent.iter().filter(|other| (other.row.pull, other.row.lead) == (row.pull, row.lead));
        assert_eq!(same.count(), 1, "sent once: {row:?}");
        assert!(*now < row.expiry && sight.expiry == Expiry::At(row.expiry), "{sent:?}: before it expires, as last read");
        assert_eq!(sight.seen_at, sight.looked_at, "{sent:?}: the last good look showed it");
        let fresh = sight.looked_at.is_some_and(|looked| *now - looked <= chrono::TimeDelta::seconds(60));
        assert_eq!(fresh, *verified, "{sent:?}: verified by a look at most a minute old");
        assert!(
            *now >= own.opens && *now >= row.moment() - self.rules.digest() - Duration::from_secs(30),
            "{sent:?}: too early"
        );
        assert_eq!(*late, *now > own.due + row.lead.tolerance(), "{sent:?}: late and saying so");
        let quiet_until = self.rules.quiet().and_then(|quiet| quiet.end(*now, None));
        assert!(!late || quiet_until.is_none_or(|end| end >= row.expiry), "{sent:?}: woke somebody");
        assert!(*verified || is_in(&self.world.blind, *now), "{sent:?}: nothing kept it from looking");
    }

    /// What holds in the end of an item that was there all the time and kept its date.
    fn check_end(&self, pull: PullId) {
        let item = self.item(pull);
        let Some(read_at) = self.read_at.get(&pull) else { return };
        let steady = item.change.is_none() && item.hidden.is_empty() && item.sold_at.is_none();
        let up = |from: i64, to: i64| (from..to).all(|minute| !is_in(&self.world.down, at(minute)));
        if !steady || *read_at >= at(item.expiry - 8) || !up(item.expiry - 11, item.expiry) {
            return;
        }
        let nearest = self.sent.iter().find(|sent| sent.row.pull == pull && sent.row.lead == lead(10));
        let nearest = nearest.unwrap_or_else(|| panic!("nobody was warned of {pull}: {:?}", self.rows));
        let read_in_time = *read_at < at(item.expiry - 11);
        let woken = self.rules.quiet().is_some_and(|quiet| (1..=11).any(|n| quiet.end(at(item.expiry - n), None).is_some()));
        assert!(!nearest.late || !read_in_time || woken, "it was on time: {nearest:?}");
    }
}

fn spans(most: usize) -> impl Strategy<Value = Vec<Span>> {
    proptest::collection::vec(
        (0..END - 100, 1..120_i64).prop_map(|(from, length)| (from, (from + length).min(END - 60))),
        0..=most,
    )
}

fn item() -> impl Strategy<Value = Item> {
    let date = || 1..END - 60;
    (date(), proptest::option::weighted(0.3, (0..END, date())), spans(2), proptest::option::weighted(0.2, 0..END))
        .prop_map(|(expiry, change, hidden, sold_at)| Item { expiry, change, hidden, sold_at })
}

fn world() -> impl Strategy<Value = World> {
    let steady = (1..END - 60).prop_map(|expiry| Item { expiry, change: None, hidden: vec![], sold_at: None });
    let items = proptest::collection::vec(prop_oneof![item(), steady], 1..5);
    (items, spans(2), spans(2), proptest::option::of((0..1440_u32, 0..1440_u32)), 0..20_u64)
        .prop_map(|(items, down, blind, quiet, digest)| World { items, down, blind, quiet, digest })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everyone_is_warned_once_and_of_what_is_there(world in world()) {
        let user = User::new(&world).run();
        user.sent.iter().for_each(|sent| user.check(sent));
        user.watched.keys().for_each(|pull| user.check_end(*pull));
        let open: Vec<_> = user.rows.iter().filter(|row| row.is_planned()).collect();
        prop_assert!(open.is_empty(), "every row is settled in the end: {open:?}");
    }
}

/// The histories reach what they are meant to check.
#[test]
fn a_history_with_everything_in_it() {
    let steady = |expiry| Item { expiry, change: None, hidden: vec![], sold_at: None };
    let world = World {
        items: vec![
            steady(300),
            Item { change: Some((100, 600)), ..steady(320) },
            Item { hidden: vec![(50, 120)], ..steady(400) },
            Item { sold_at: Some(200), ..steady(450) },
        ],
        down: vec![(230, 245)],
        blind: vec![(285, 295)],
        quiet: Some((535, 545)),
        digest: 5,
    };
    let user = User::new(&world).run();
    user.sent.iter().for_each(|sent| user.check(sent));
    let shown: Vec<String> = user.sent.iter().map(show).collect();
    assert_eq!(
        shown,
        [
            "0 240m of 300 in 59.5",
            "1 240m of 320 in 79.5",
            "2 240m of 400 in 159.5",
            "0 60m of 300 in 245",
            "0 10m of 300 in 291 unverified",
            "2 60m of 400 in 339.5",
            "2 10m of 400 in 389.5",
            "1 60m of 600 in 545.5",
            "1 10m of 600 in 589.5",
        ]
    );
}

fn show(sent: &Sent) -> String {
    let minute = |time: Time| (time - at(0)).num_seconds() as f64 / 60.0;
    let mark = |is: bool, text: &'static str| if is { text } else { "" };
    format!(
        "{} {}m of {} in {}{}{}",
        sent.row.pull.0.as_u128(),
        sent.row.lead.as_seconds() / 60,
        minute(sent.row.expiry),
        minute(sent.at),
        mark(sent.late, " late"),
        mark(!sent.verified, " unverified")
    )
}
