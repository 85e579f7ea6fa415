//! What goes out, decided for each row against the look just made.
//!
//! Plan first: a look that told another expiry has moved the rows. Whoever composes stores the answer in one commit, with the event of
//! what is sent.
//!
//! | the row's pull | what follows |
//! |---|---|
//! | sold, expired, or does not expire any more | skipped at once |
//! | a nearer lead time of it was reached too | superseded: the nearest, most urgent one goes out |
//! | not due within the digest, or its window is not open yet | waits for its own moment |
//! | gone, or its user wants no warnings | skipped, now that it is due |
//! | late, it is quiet, and the quiet hours end before it expires | waits until they end |
//! | held, in a good look at most a minute old | sent, verified |
//! | missing in the last good look, or never seen | waits for another look: never told to be there, verified or not |
//! | held, but there is no good look in time | waits for the lead time's patience after it is due, then sent unverified |

use std::collections::BTreeMap;

use super::{
    due::{Window, next_window, window},
    row::{Row, Sale, Skipped, Watched, midway, sooner},
    rules::{UserSettings, WarningRules},
    spread::{Crowd, LOOKING},
};
use crate::{
    PullId, Time,
    clock::after,
    item::{Expiry, GONE_AFTER, Standing},
    planted::{Bug, planted},
};

/// An event holds at most this many items.
pub const MOST_ITEMS: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Send {
        late: bool,
        verified: bool,
    },
    /// Stays planned: not decided before this moment, unless another look tells.
    Wait {
        until: Time,
    },
    Skip(Skipped),
}

/// What a user's rows are decided by.
#[derive(Debug, Clone, Copy)]
pub struct Composing<'a> {
    /// As the look just made, or the last good one, left them. A row whose pull is not here waits.
    pub watched: &'a BTreeMap<PullId, Watched>,
    pub rules: &'a WarningRules,
    pub settings: &'a UserSettings,
    /// The one that the user's begin was reckoned with: how early his digest may be.
    pub crowd: Crowd,
    pub now: Time,
}

/// Decides about every planned row of one user; other rows are left out. Before the user's digest may begin everything waits, so a turn
/// that comes twice sends nothing early.
pub fn decide<'a>(rows: &'a [Row], composing: Composing<'_>) -> Vec<(&'a Row, Decision)> {
    let Composing { watched, rules, settings, now, .. } = composing;
    let planned = || rows.iter().filter(|row| row.is_planned());
    let skipped = |row: &Row| skip(watched.get(&row.pull), row, now);
    let mut alive: BTreeMap<PullId, Vec<&Row>> = BTreeMap::new();
    planned().filter(|row| skipped(row).is_none()).for_each(|row| alive.entry(row.pull).or_default().push(row));
    let ready = alive.iter().filter(|(pull, _)| composing.is_held(**pull)).flat_map(|(_, rows)| rows.iter().copied());
    let first = next_window(ready, rules, settings);
    let table = Table { alive: &alive, composing, first };
    planned().map(|row| (row, skipped(row).map_or_else(|| table.decide(row), Decision::Skip))).collect()
}

impl Composing<'_> {
    fn is_held(&self, pull: PullId) -> bool {
        self.watched.get(&pull).is_some_and(|watched| watched.sight.standing() == Standing::Held)
    }
}

/// Why a row is skipped without waiting until it is due, if so.
fn skip(watched: Option<&Watched>, row: &Row, now: Time) -> Option<Skipped> {
    let (sale, expiry) = watched.map_or((Sale::None, Expiry::NotRead), |watched| (watched.sale, watched.sight.expiry));
    match (sale, expiry) {
        (Sale::Sold, _) => Some(Skipped::Sold),
        (Sale::None | Sale::UnderWay, Expiry::Never) => Some(Skipped::NoExpiry),
        (Sale::None | Sale::UnderWay, Expiry::At(expiry)) => (now >= expiry).then_some(Skipped::Expired),
        (Sale::None | Sale::UnderWay, Expiry::NotRead) => (now >= row.expiry).then_some(Skipped::Expired),
    }
}

struct Table<'a> {
    /// The planned rows that nothing speaks against.
    alive: &'a BTreeMap<PullId, Vec<&'a Row>>,
    composing: Composing<'a>,
    /// The window of the first of those that are held. What waits to be seen again makes no digest.
    first: Option<Window>,
}

impl Table<'_> {
    fn decide(&self, row: &Row) -> Decision {
        let Composing { rules, settings, now, .. } = self.composing;
        let own = window(row, rules, settings);
        if self.is_superseded(row) {
            return Decision::Skip(Skipped::Superseded);
        }
        if !self.joins(row, own) || self.comes_after_another(row) {
            let earliest = self.earliest(own);
            return Decision::Wait { until: if earliest > now { earliest } else { own.due } };
        }
        if !settings.warnings && !planted(Bug::OptOutIgnored) {
            return Decision::Skip(Skipped::OptedOut);
        }
        let late = now > after(own.due, row.lead.tolerance());
        match self.quiet_again(row).filter(|_| late) {
            Some(end) => Decision::Wait { until: end },
            None => self.by_standing(row, own, late),
        }
    }

    /// Whether a row goes into this digest: the first row's time to begin has come, this one's window is open, and it is due within the
    /// digest of that one; or of now, if that one is overdue or was held.
    fn joins(&self, row: &Row, own: Window) -> bool {
        let now = self.composing.now;
        let first = self.first.filter(|_| self.composing.is_held(row.pull)).unwrap_or(own);
        // What was held goes out as soon as it may: what is due later than a digest from then is not for now.
        let reference = if first.held { now } else { first.due.max(now) };
        let until = after(reference, self.composing.rules.digest());
        self.earliest(first) <= now && own.opens <= now && own.due <= until
    }

    /// When the first of the crowd begins.
    fn earliest(&self, window: Window) -> Time {
        let spread = sooner(window.due, self.composing.crowd.span().saturating_add(LOOKING));
        if window.held { window.opens } else { window.opens.max(spread) }
    }

    /// When the present quiet hours end, if the item does not expire before. What is on time goes out all the same: only what is late,
    /// and would wake somebody because we were down, is held once more.
    fn quiet_again(&self, row: &Row) -> Option<Time> {
        let Composing { rules, settings, now, .. } = self.composing;
        rules.quiet()?.end(now, settings.zone).filter(|end| *end < row.expiry)
    }

    fn by_standing(&self, row: &Row, own: Window, late: bool) -> Decision {
        let Some(watched) = self.composing.watched.get(&row.pull) else { return self.wait_for_look(row, None) };
        let patient_until = patient_until(own, row);
        match watched.sight.standing() {
            Standing::Held if watched.is_fresh(self.composing.now) => Decision::Send { late, verified: true },
            Standing::Held if self.composing.now >= patient_until => Decision::Send { late, verified: false },
            Standing::Held => Decision::Wait { until: patient_until },
            Standing::NotSeen | Standing::Missing if planted(Bug::UnseenIsWarnedOf) => Decision::Send { late, verified: false },
            Standing::NotSeen | Standing::Missing => self.wait_for_look(row, watched.sight.missing_since),
            Standing::Gone => Decision::Skip(Skipped::Gone),
            Standing::Sold => Decision::Skip(Skipped::Sold),
        }
    }

    /// Whether a nearer lead time of the same pull was reached: then that one goes out.
    fn is_superseded(&self, row: &Row) -> bool {
        self.siblings(row).any(|other| other.lead < row.lead && other.moment() <= self.composing.now)
    }

    /// A digest holds each pull once: of lead times that are still to come, however near to each other, the first.
    fn comes_after_another(&self, row: &Row) -> bool {
        self.siblings(row).any(|other| other.lead > row.lead && row.moment() > self.composing.now)
    }

    fn siblings(&self, row: &Row) -> impl Iterator<Item = &Row> {
        self.alive.get(&row.pull).into_iter().flatten().copied()
    }

    /// Two looks [`GONE_AFTER`] apart tell whether it is gone; but no later than it expires.
    fn wait_for_look(&self, row: &Row, missing_since: Option<Time>) -> Decision {
        let settled = missing_since.map(|since| after(since, GONE_AFTER)).filter(|settled| *settled > self.composing.now);
        Decision::Wait { until: settled.unwrap_or_else(|| after(self.composing.now, GONE_AFTER)).min(row.expiry) }
    }
}

/// Until when a row that is due waits for a good look: its lead time's patience, but not so long that it would expire meanwhile.
fn patient_until(own: Window, row: &Row) -> Time {
    after(own.due, row.lead.patience()).min(midway(own.due, row.expiry))
}

/// One `clawback.buyback.expiring` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest<'a> {
    /// What expires first comes first.
    pub rows: Vec<&'a Row>,
    /// The nearest lead time among them.
    pub lead: super::Lead,
    /// Whether any of them is late.
    pub late: bool,
    pub verified: bool,
}

/// The events of what is decided to be sent: as few as hold everything. Verified and unverified rows never share one.
pub fn digests<'a>(decided: &[(&'a Row, Decision)]) -> Vec<Digest<'a>> {
    [true, false].into_iter().flat_map(|verified| digests_of(decided, verified)).collect()
}

fn digests_of<'a>(decided: &[(&'a Row, Decision)], wanted: bool) -> Vec<Digest<'a>> {
    let sent = decided.iter().filter_map(|(row, decision)| match decision {
        Decision::Send { late, verified } if *verified == wanted => Some((*row, *late)),
        Decision::Send { .. } | Decision::Wait { .. } | Decision::Skip(_) => None,
    });
    let mut sent: Vec<_> = sent.collect();
    sent.sort_by_key(|(row, _)| (row.expiry, row.pull, row.lead));
    sent.chunks(MOST_ITEMS).filter_map(|chunk| digest(chunk, wanted)).collect()
}

fn digest<'a>(chunk: &[(&'a Row, bool)], verified: bool) -> Option<Digest<'a>> {
    Some(Digest {
        rows: chunk.iter().map(|(row, _)| *row).collect(),
        lead: chunk.iter().map(|(row, _)| row.lead).min()?,
        late: chunk.iter().any(|(_, late)| *late),
        verified,
    })
}
