//! A user's turn: what is to be done for them now, and when the next is due.
//!
//! A turn is decided twice by the same rules. Before any look: is one wanted? After it: what is planned, told and sold, and when is the
//! user due again. A turn that wanted no look is settled at once.
//!
//! | why a user is due | when |
//! |---|---|
//! | a fulfilment wants a look | a minute after it; a look that was no good again, at growing intervals |
//! | an expiry was not read yet | a minute after the last look, later half the pull's age, at most a day; for thirty days |
//! | a warning | when their place in the crowd comes ([`begins_at`]); until the crowd can be counted, as early as the largest would ask for |
//! | a warning waits for a look, or for quiet hours to end | as [`decide`] says, and no later than [`RETRY`] while a look is owed |
//! | the window of an item closes | then, and up to a digest later |
//! | an automatic sale | at the user's own place in the span, later ever again while it may still come about |

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use super::{
    closed::{Closed, closed},
    digest::{Composing, Decision, MOST_ITEMS, decide, digests},
    due::{Window, next_window, window},
    plan::{Change, Plan, plan},
    row::{Lead, Row, RowState, Sale, Watched},
    rules::WarningRules,
    sale::{SaleRule, Unsold, Verdict, sale},
    spread::{Crowd, begins_at, jitter, part},
};
use crate::{
    PullId, Time,
    clock::{after, until},
    command::Target,
    item::{Expiry, GONE_AFTER, Pull, Standing},
    planted::{Bug, planted},
    user::{Settling, User, Watching},
};

/// How soon a look that was no good is made again while a warning or a sale waits for it.
pub const RETRY: Duration = Duration::from_secs(15);

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// How long what no look has shown is looked for.
const UNREAD_FOR: Duration = Duration::from_secs(30 * 86_400);

/// What a partner has configured for its users' items.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// `None`: the partner wants neither warnings nor to be told of closed windows.
    pub warnings: Option<&'a WarningRules>,
    pub sale: Option<&'a SaleRule>,
}

/// One event to be, with everything that its items may tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Digested {
    pub items: Vec<(Row, Pull)>,
    pub lead: Lead,
    pub late: bool,
    pub verified: bool,
    /// When the last good look at these items began.
    pub checked_at: Option<Time>,
}

/// A look that is wanted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What it is for is due then: of several users the earliest goes first.
    pub by: Time,
}

/// An automatic sale to be handed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer<'a> {
    pub pull: &'a Pull,
    /// The price below which it is not to be sold.
    pub floor: Option<crate::Money>,
    /// Not to be called after it.
    pub until: Time,
}

type Changes = BTreeMap<(PullId, Lead), Change>;

/// A user's rows and pulls, planned as of `now`.
#[derive(Debug)]
pub struct Turn<'a> {
    watching: &'a Watching,
    watch: Watch<'a>,
    watched: BTreeMap<PullId, Watched>,
    /// As the changes leave them.
    rows: Vec<Row>,
    changes: Changes,
    now: Time,
}

impl<'a> Turn<'a> {
    pub fn new(watching: &'a Watching, watch: Watch<'a>, now: Time) -> Self {
        let watched: BTreeMap<_, _> = watching.pulls.iter().map(|pull| (pull.id, watched(pull, &watching.selling))).collect();
        let mut turn = Self { watching, watch, watched, rows: Vec::new(), changes: Changes::new(), now };
        turn.plan();
        turn
    }

    fn user(&self) -> &'a User {
        &self.watching.user
    }

    fn plan(&mut self) {
        let mut rows: BTreeMap<(PullId, Lead), Row> =
            self.watching.rows.iter().map(|row| ((row.pull, row.lead), row.clone())).collect();
        if let Some(rules) = self.watch.warnings {
            for pull in &self.watching.pulls {
                let own: Vec<Row> = rows
                    .range((pull.id, Lead::seconds(0))..=(pull.id, Lead::seconds(u32::MAX)))
                    .map(|(_, row)| row.clone())
                    .collect();
                let over = matches!(pull.sight.expiry, Expiry::At(expiry) if expiry <= self.now);
                if over && own.is_empty() {
                    continue;
                }
                let read_at = pull.sight.expiry_read_at.unwrap_or(self.now);
                let Plan::Changes(changes) = plan(&self.watched[&pull.id], read_at, rules, &own, self.now) else { continue };
                for change in changes {
                    rows.insert((pull.id, change.row().lead), change.row().clone());
                    self.changes.insert((pull.id, change.row().lead), change);
                }
            }
        }
        self.rows = rows.into_values().collect();
    }

    /// The next digest of what is held.
    fn window(&self) -> Option<Window> {
        let rules = self.watch.warnings?;
        next_window(self.rows.iter().filter(|row| self.is_held(row.pull)), rules, &self.user().settings)
    }

    fn is_held(&self, pull: PullId) -> bool {
        self.watched.get(&pull).is_some_and(|watched| watched.sight.standing() == Standing::Held)
    }

    /// Between which moments of lead times the crowd of the next digest is to be counted. `None`: it does not matter yet.
    pub fn crowd(&self) -> Option<(Time, Time)> {
        let rules = self.watch.warnings?;
        let windows = self.rows.iter().filter(|row| row.is_planned()).map(|row| window(row, rules, &self.user().settings));
        let next = windows.min_by_key(|window| window.due).filter(|window| window.opens <= self.now)?;
        // What a night has held came due over the night.
        let before = if next.held { DAY } else { rules.digest() };
        Some((super::row::sooner(next.due, before), after(next.due, rules.digest())))
    }

    /// When work on a window begins. Before the largest crowd would begin nothing is counted: it may still grow.
    fn begins(&self, window: Window, crowd: Crowd) -> Time {
        let place = |crowd| begins_at(window, &self.user().partner, &self.user().id, crowd);
        let earliest = place(Crowd { users: u64::MAX, ..crowd });
        if self.now < earliest { earliest } else { place(crowd) }
    }

    /// Whether the inventory is to be read now.
    pub fn look(&self, crowd: Crowd) -> Option<Wanted> {
        let synced = self.user().wants_sync().then(|| self.user().wanted_at.map_or(self.now, |at| after(at, 5 * MINUTE)));
        let digest = self.window().filter(|window| self.begins(*window, crowd) <= self.now).map(|window| window.due);
        let wanted = [synced, digest, self.unshown(crowd), self.unread(), self.selling()];
        wanted.into_iter().flatten().min().map(|by| Wanted { by })
    }

    /// Warnings of what the last look did not show: due for another one.
    fn unshown(&self, crowd: Crowd) -> Option<Time> {
        let rules = self.watch.warnings?;
        let unshown = self.rows.iter().filter(|row| row.is_planned() && !self.is_held(row.pull) && self.may_return(row.pull));
        let windows = unshown.map(|row| window(row, rules, &self.user().settings));
        windows.filter(|window| self.begins(*window, crowd) <= self.now).map(|window| window.due).min()
    }

    fn may_return(&self, pull: PullId) -> bool {
        self.watched.get(&pull).is_some_and(|watched| {
            let waited = watched.sight.looked_at.is_none_or(|at| after(at, GONE_AFTER) <= self.now);
            watched.sale != Sale::Sold && watched.sight.standing() != Standing::Sold && waited
        })
    }

    fn unread(&self) -> Option<Time> {
        self.unread_at().filter(|at| *at <= self.now).map(|at| after(at, 5 * MINUTE))
    }

    /// When an expiry that was not read yet is next looked for.
    fn unread_at(&self) -> Option<Time> {
        if planted(Bug::UnreadForgotten) {
            return None;
        }
        let unread = self.watching.pulls.iter().filter(|pull| pull.sale.is_none() && pull.sight.expiry == Expiry::NotRead);
        let next = unread.filter_map(|pull| {
            let last = pull.sight.looked_at.unwrap_or(pull.created_at);
            let age = until(pull.created_at, last);
            (age < UNREAD_FOR).then(|| after(last, (age / 2).clamp(MINUTE, DAY)))
        });
        next.min()
    }

    fn selling(&self) -> Option<Time> {
        let due = self.sales().filter_map(|(pull, verdict)| match verdict {
            Verdict::LookFirst if self.sells_at(pull) <= self.now => Some(self.sells_until(pull)),
            Verdict::LookFirst | Verdict::Sell | Verdict::NotYet { .. } | Verdict::No(_) => None,
        });
        due.min()
    }

    /// What becomes of every pull whose automatic sale was not handed over.
    fn sales(&self) -> impl Iterator<Item = (&'a Pull, Verdict)> + '_ {
        let rule = self.watch.sale;
        let pulls = self.watching.pulls.iter().filter(|pull| pull.told.offered_at.is_none() && pull.sale.is_none());
        pulls.filter_map(move |pull| {
            let verdict = sale(rule?, &self.watched[&pull.id], pull.item.buyback_price, &self.user().settings, self.now);
            Some((pull, verdict))
        })
    }

    /// The user's own place in the first three quarters of a pull's span: not all are handed over in one second, and what is refused for
    /// now has time left.
    fn sells_at(&self, pull: &Pull) -> Time {
        let Some((from, to)) = self.sale_span(pull) else { return self.now };
        after(from, part(until(from, to) * 3 / 4, self.place()))
    }

    fn sells_until(&self, pull: &Pull) -> Time {
        self.sale_span(pull).map_or(self.now, |(_, to)| to)
    }

    fn sale_span(&self, pull: &Pull) -> Option<(Time, Time)> {
        match pull.sight.expiry {
            Expiry::At(expiry) => Some(self.watch.sale?.span(expiry)),
            Expiry::NotRead | Expiry::Never => None,
        }
    }

    fn place(&self) -> u64 {
        jitter(&self.user().partner, &self.user().id)
    }

    /// What is to be sold now, shortest time left first.
    pub fn offers(&self) -> Vec<Offer<'a>> {
        let sell = |(pull, verdict): (&'a Pull, Verdict)| {
            (verdict == Verdict::Sell && self.sells_at(pull) <= self.now).then_some(pull)
        };
        let mut pulls: Vec<&Pull> = self.sales().filter_map(sell).collect();
        pulls.sort_by_key(|pull| (self.sells_until(pull), pull.id));
        let floor = |pull: &Pull| self.watch.sale.and_then(|rule| rule.floor(pull.item.buyback_price));
        pulls.into_iter().map(|pull| Offer { pull, floor: floor(pull), until: self.sells_until(pull) }).collect()
    }

    /// What is written. `good`: whether a look made in this turn was good; `None`: none was made. `offered`: whose sale was handed over.
    pub fn settle(&self, crowd: Crowd, good: Option<bool>, offered: Vec<PullId>) -> Settling {
        let (user, now) = (self.user(), self.now);
        let mut changes = self.changes.clone();
        let mut tallied = Tally { due: Vec::new(), digests: Vec::new(), closed: Vec::new() };
        if let Some(rules) = self.watch.warnings {
            self.compose(rules, crowd, good, &mut changes, &mut tallied);
            self.close(rules, &mut tallied);
        }
        let synced = if good == Some(true) { user.sync_wanted } else { user.synced };
        if user.sync_wanted > synced {
            let waited = until(user.wanted_at.unwrap_or(now), now);
            tallied.due.push(after(now, (waited / 2).clamp(RETRY / 3, 5 * MINUTE)));
        }
        tallied.due.extend(self.unread_at().map(|at| at.max(after(now, RETRY))));
        tallied.due.extend(
            self.sales()
                .filter(|(pull, _)| !offered.contains(&pull.id))
                .filter_map(|(pull, verdict)| self.sells_next(pull, verdict)),
        );
        Settling {
            partner: user.partner.clone(),
            user_id: user.id.clone(),
            version: user.version,
            sequence: user.sequence,
            seen: user.sync_wanted,
            synced,
            at: now,
            due_at: tallied.due.into_iter().min().filter(|_| !planted(Bug::UserNeverDue)),
            changes: changes.into_values().collect(),
            digests: tallied.digests,
            closed: tallied.closed.chunks(MOST_ITEMS).map(<[Pull]>::to_vec).collect(),
            offered,
        }
    }

    fn compose(&self, rules: &WarningRules, crowd: Crowd, good: Option<bool>, changes: &mut Changes, tally: &mut Tally) {
        let settings = &self.user().settings;
        let composing = Composing { watched: &self.watched, rules, settings, crowd, now: self.now };
        let decided = decide(&self.rows, composing);
        for (row, decision) in &decided {
            match decision {
                Decision::Send { .. } => {}
                Decision::Skip(why) => skip(changes, Row { state: RowState::Skipped(*why), ..(*row).clone() }),
                Decision::Wait { until } => {
                    tally.due.push(self.waits_until(row, window(row, rules, settings), *until, crowd, good))
                }
            }
        }
        let pulls: BTreeMap<PullId, &Pull> = self.watching.pulls.iter().map(|pull| (pull.id, pull)).collect();
        tally.digests = digests(&decided)
            .into_iter()
            .map(|digest| Digested {
                items: digest.rows.iter().filter_map(|row| Some(((*row).clone(), (*pulls.get(&row.pull)?).clone()))).collect(),
                lead: digest.lead,
                late: digest.late,
                verified: digest.verified,
                checked_at: digest.rows.iter().filter_map(|row| self.watched.get(&row.pull)?.sight.looked_at).min(),
            })
            .collect();
    }

    fn waits_until(&self, row: &Row, own: Window, decided: Time, crowd: Crowd, good: Option<bool>) -> Time {
        let begins = self.begins(own, crowd);
        if begins > self.now {
            return begins;
        }
        // It could go out by now, but for a look.
        let again = match good {
            Some(true) => decided,
            Some(false) | None => decided.min(after(self.now, RETRY)),
        };
        let again = if self.is_held(row.pull) { again } else { decided };
        again.max(after(self.now, Duration::from_secs(1)))
    }

    fn close(&self, rules: &WarningRules, tally: &mut Tally) {
        for pull in &self.watching.pulls {
            match closed(&self.watched[&pull.id], pull.told.closed_at.is_some(), self.now) {
                Closed::Say => tally.closed.push(pull.clone()),
                Closed::NotYet { at } => tally.due.push(after(at, part(rules.digest(), self.place()))),
                Closed::WhenSaleEnds => tally.due.push(after(self.now, MINUTE)),
                Closed::Never(_) => {}
            }
        }
    }

    fn sells_next(&self, pull: &Pull, verdict: Verdict) -> Option<Time> {
        let (from, to) = self.sale_span(pull)?;
        let again = after(self.now, (until(from, to) / 8).max(RETRY));
        match verdict {
            Verdict::NotYet { .. } => Some(self.sells_at(pull)),
            Verdict::Sell | Verdict::LookFirst => Some(self.sells_at(pull).max(after(self.now, RETRY))),
            Verdict::No(
                Unsold::UnderWay
                | Unsold::NotRead
                | Unsold::NotSeen
                | Unsold::NoPrice
                | Unsold::PriceTooLow
                | Unsold::ShareTooLow,
            ) => (again < to).then_some(again),
            Verdict::No(
                Unsold::OptedOut | Unsold::Sold | Unsold::NoExpiry | Unsold::TooLate | Unsold::Gone | Unsold::NoPriceAtPurchase,
            ) => None,
        }
    }
}

/// What a turn gathers.
struct Tally {
    due: Vec<Time>,
    digests: Vec<Digested>,
    closed: Vec<Pull>,
}

/// The last word on a row stands: what was just planned may be skipped at once.
fn skip(changes: &mut Changes, row: Row) {
    match changes.entry((row.pull, row.lead)) {
        Entry::Vacant(entry) => drop(entry.insert(Change::Update(row))),
        Entry::Occupied(mut entry) => match entry.get_mut() {
            Change::Insert(planned) | Change::Update(planned) => *planned = row,
        },
    }
}

fn watched(pull: &Pull, selling: &[Target]) -> Watched {
    let is_selling = || {
        selling.iter().any(|target| match target {
            Target::Pull(id) => *id == pull.id,
            Target::Item(item) => *item == pull.item.item_id,
        })
    };
    let sale = match pull.sale {
        Some(_) if planted(Bug::SoldIsWarnedOf) => Sale::None,
        Some(_) => Sale::Sold,
        None if is_selling() => Sale::UnderWay,
        None => Sale::None,
    };
    Watched { pull: pull.id, pack: pull.pack_id.clone(), sight: pull.sight, sale }
}
