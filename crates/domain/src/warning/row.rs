//! Lead times, and the row that stands for one warning.

use std::{fmt, time::Duration};

use crate::{
    PackId, PullId, Time,
    clock::after,
    item::Sight,
    planted::{Bug, planted},
    reason::codes,
};

/// How long before expiry a warning goes out, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lead(u32);

/// The longest wait for a look after a warning is due.
const MOST_PATIENCE: Duration = Duration::from_secs(180);

impl Lead {
    pub const fn seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    pub const fn as_seconds(self) -> u32 {
        self.0
    }

    pub const fn span(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// The moment of this lead time for what expires at `expiry`.
    pub fn before(self, expiry: Time) -> Time {
        sooner(expiry, self.span())
    }

    /// How long after it is due a warning waits for a good look: a tenth of the lead time, at most three minutes.
    pub fn patience(self) -> Duration {
        (self.span() / 10).min(MOST_PATIENCE)
    }

    /// How long after it is due a warning may be sent without being late: the wait for a look, and as long again for a busy system.
    pub fn tolerance(self) -> Duration {
        self.patience() * 2
    }
}

/// As configurations write it: the largest unit that fits exactly (`72h`, `90m`, `45s`).
impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::words::span(self.span()))
    }
}

/// `time - span`, clamped to what a timestamp can hold.
pub(super) fn sooner(time: Time, span: Duration) -> Time {
    chrono::TimeDelta::from_std(span).ok().and_then(|span| time.checked_sub_signed(span)).unwrap_or(Time::MIN_UTC)
}

/// The moment in the middle of `from` and `to`: surely before `to`, however near it is.
pub(super) fn midway(from: Time, to: Time) -> Time {
    after(from, crate::clock::until(from, to) / 2)
}

/// One warning: there is one row per pull and lead, for ever, and it is sent at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub pull: PullId,
    pub lead: Lead,
    /// The expiry that it was last planned for.
    pub expiry: Time,
    pub state: RowState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    Planned,
    Sent,
    Skipped(Skipped),
}

impl Row {
    pub fn is_planned(&self) -> bool {
        match self.state {
            RowState::Planned => true,
            RowState::Sent | RowState::Skipped(_) => false,
        }
    }

    /// The moment of its lead time.
    pub fn moment(&self) -> Time {
        self.lead.before(self.expiry)
    }
}

codes!(
    /// Why a warning does not go out.
    Skipped {
        /// Its lead time was past already when the expiry was first read.
        PastWhenRead = "past_when_read",
        /// A nearer lead time of the same pull was reached before it could go out.
        Superseded = "superseded",
        Expired = "expired",
        /// The upstream says that the window does not shut.
        NoExpiry = "no_expiry",
        Gone = "gone",
        Sold = "sold",
        OptedOut = "opted_out",
        /// The configuration does not name this lead time any more.
        LeadRemoved = "lead_removed",
    }
);

impl Skipped {
    /// Whether what made it skip can pass, so that it is planned again, though the expiry is the same.
    pub fn may_return(self) -> bool {
        match self {
            Skipped::NoExpiry | Skipped::Gone | Skipped::Sold | Skipped::LeadRemoved => true,
            Skipped::PastWhenRead | Skipped::Superseded | Skipped::Expired | Skipped::OptedOut => false,
        }
    }
}

/// What we know of a sale of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sale {
    None,
    /// A sellback is not final yet.
    UnderWay,
    Sold,
}

/// A pull with everything that its warnings and its automatic sale depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub pull: PullId,
    pub pack: PackId,
    pub sight: Sight,
    pub sale: Sale,
}

/// A digest and a sale rest on a look that began at most this long ago.
pub const FRESH: Duration = Duration::from_secs(60);

impl Watched {
    /// Whether the last good look is recent enough to act on.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.sight.looked_at.is_some_and(|at| after(at, FRESH) >= now || planted(Bug::StaleIsVerified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_tenth_of_the_lead_time_and_at_most_three_minutes() {
        for (lead, patience) in [(60, 6), (600, 60), (1800, 180), (3600, 180), (259_200, 180)] {
            assert_eq!(Lead::seconds(lead).patience().as_secs(), patience, "{lead}");
            assert_eq!(Lead::seconds(lead).tolerance().as_secs(), 2 * patience, "{lead}");
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        assert_eq!(Lead::seconds(60).before(Time::MIN_UTC), Time::MIN_UTC);
        assert_eq!(sooner(Time::UNIX_EPOCH, Duration::MAX), Time::MIN_UTC);
    }

    #[test]
    fn a_lead_time_reads_as_it_was_written() {
        for (seconds, text) in [(259_200, "72h"), (86_400, "24h"), (3600, "1h"), (5400, "90m"), (90, "90s"), (518_400, "144h")]
        {
            assert_eq!(Lead::seconds(seconds).to_string(), text);
        }
    }
}
