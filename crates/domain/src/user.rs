//! A partner's users: whose inventories are read, and who is warned.
//!
//! A user has one row. Each fulfilment of theirs raises `sync_wanted`; whoever reads the inventory remembers the value that it had before
//! and clears only that. While there is something to be done for a user the row has a `due_at`, and one turn at a time does it:
//! [`Turn`](crate::warning::Turn) decides what.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    PartnerId, PullId, Time, UserId,
    command::Target,
    event::{self, Event, UserSubject},
    id,
    item::Pull,
    warning::{Change, Digested, Row, UserSettings},
};

/// How long after a fulfilment the inventory is read: what is bought together is read together, and the upstream has it by then.
pub const SYNC_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub partner: PartnerId,
    pub id: UserId,
    pub settings: UserSettings,
    /// Rises with every wish for a look.
    pub sync_wanted: i64,
    /// What `sync_wanted` was when the last good look began.
    pub synced: i64,
    /// Since when a look is wanted; `None` when none is.
    pub wanted_at: Option<Time>,
    /// Rises with every turn, and when the settings change.
    pub version: i64,
    /// Of the user's last event; 0 before the first.
    pub sequence: u64,
    /// When the next turn is due; `None`: nothing is to be done.
    pub due_at: Option<Time>,
}

impl User {
    /// What the user's events are ordered by.
    pub fn subject(partner: &PartnerId, user: &UserId) -> Uuid {
        id::user_subject(partner, user)
    }

    pub fn wants_sync(&self) -> bool {
        self.sync_wanted > self.synced
    }
}

/// All that a turn rests on, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Watching {
    pub user: User,
    /// Every known pull, oldest first.
    pub pulls: Vec<Pull>,
    /// Every warning of these pulls, in order of pull and lead time, shortest first.
    pub rows: Vec<Row>,
    /// What sellbacks that are not final are to sell.
    pub selling: Vec<Target>,
}

/// What a turn comes to, written in one commit; it fits only if the user's row still has the turn's version.
#[derive(Debug, Clone, PartialEq)]
pub struct Settling {
    pub partner: PartnerId,
    pub user_id: UserId,
    /// The turn's; the row gets the next.
    pub version: i64,
    /// Of the user's last event so far.
    pub sequence: u64,
    /// `sync_wanted` as the turn found it: if it has risen since, the user is due [`SYNC_AFTER`] `at`, or earlier.
    pub seen: i64,
    /// What the row's `synced` becomes.
    pub synced: i64,
    pub at: Time,
    pub due_at: Option<Time>,
    pub changes: Vec<Change>,
    /// Warnings to be sent, an event each. What goes into it is decided by the commit: those rows that are planned still, of pulls that
    /// are neither sold nor missing by then. If one of them is not, the user is due [`SYNC_AFTER`] `at`, or earlier.
    pub digests: Vec<Digested>,
    /// Pulls whose window closed unsold, at most [`MOST_ITEMS`](crate::warning::MOST_ITEMS) each: an event of those of which it was not said.
    pub closed: Vec<Vec<Pull>>,
    /// Pulls whose automatic sale was handed over.
    pub offered: Vec<PullId>,
}

impl Settling {
    fn subject(&self, sequence: u64) -> UserSubject<'_> {
        UserSubject { partner: &self.partner, user_id: &self.user_id, sequence, time: self.at }
    }

    /// The event of a digest, of those of its rows that the commit keeps. `None` when it keeps none.
    pub fn expiring(&self, digest: &Digested, sequence: u64, keeps: impl Fn(&Row) -> bool) -> Option<Event> {
        let items: Vec<&Pull> = digest.items.iter().filter(|(row, _)| keeps(row)).map(|(_, pull)| pull).collect();
        (!items.is_empty()).then(|| event::expiring(&self.subject(sequence), digest, &items))
    }

    /// The event of pulls whose window closed, of those that the commit keeps.
    pub fn expired(&self, pulls: &[Pull], sequence: u64, keeps: impl Fn(PullId) -> bool) -> Option<Event> {
        let items: Vec<&Pull> = pulls.iter().filter(|pull| keeps(pull.id)).collect();
        (!items.is_empty()).then(|| event::expired(&self.subject(sequence), &items))
    }
}
