//! What an audit of the books asks and finds.
//!
//! The books are sound when every purchase that was accepted stands in exactly one state, and when what hangs on it (pulls, events,
//! attempts, its due time) says the same as its row. An audit only reads. It trusts nothing that a constraint should have kept:
//! it exists for the day on which somebody wrote past us, a restore went wrong, or we have a bug.

use std::{collections::BTreeMap, fmt, time::Duration};

use clawback_domain::{ItemId, Money, PartnerId, PurchaseId, Time, UserId, evidence::Unexplained, purchase::StateName};
use uuid::Uuid;

/// How many differences of a kind are named; all of them are counted.
pub const MOST_NAMED: u32 = 1000;

/// An open purchase that nobody has looked at for this long is not late but forgotten: a step doubles its wait up to minutes.
pub const OVERDUE: Duration = Duration::from_secs(3600);

/// The relay looks into the store every second; what is unsent for this long does not get out.
pub const UNSENT: Duration = Duration::from_secs(60);

/// What to audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Only what was accepted, or found in an inventory, then or later.
    pub since: Option<Time>,
    pub now: Time,
}

/// What the audit found, all of it at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Books {
    pub partners: BTreeMap<PartnerId, Sums>,
    /// By kind, then by subject; of each kind at most [`MOST_NAMED`].
    pub differences: Vec<Difference>,
    /// How many there are of each kind that was found, by its code.
    pub found: BTreeMap<&'static str, u64>,
    /// How many items are in inventories that no purchase explains.
    pub orphan_items: u64,
    /// How many orders accepted then were pruned. They are in no sum, and with no difference: what hung on them is gone.
    pub pruned: u64,
}

/// What a partner's purchases and sellbacks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    pub accepted: u64,
    pub fulfilled: u64,
    pub failed: u64,
    pub review: u64,
    pub open: u64,
    /// `buy/init` calls begun.
    pub attempts: u64,
    /// Those that brought a session: each of them spent money, or may still.
    pub sessions: u64,
    /// Purchases that spent money, as far as is known: fulfilled, or with a session and not failed.
    pub paid: u64,
    /// Of these how many had a price when they were called.
    pub paid_known: u64,
    /// The sum of those prices in millionths of a dollar.
    pub spent: i128,
    pub pulls: u64,
    /// Pulls whose buyback price is known.
    pub priced: u64,
    /// The sum of those prices in millionths of a dollar, as told when the items were drawn.
    pub worth: i128,
    pub sellbacks: SaleSums,
}

/// What a partner's sellbacks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SaleSums {
    pub accepted: u64,
    pub sold: u64,
    /// Of those sold, how many amounts were not told by the upstream.
    pub estimated: u64,
    pub failed: u64,
    pub review: u64,
    pub open: u64,
    /// The sum of what they were sold for in millionths of a dollar.
    pub brought: i128,
}

impl SaleSums {
    /// Accepted, and in none of the states: zero in sound books.
    pub fn difference(&self) -> i64 {
        self.accepted.cast_signed() - (self.sold + self.failed + self.review + self.open).cast_signed()
    }

    /// `None` when it is more than money can say.
    pub fn brought(&self) -> Option<Money> {
        i64::try_from(self.brought).ok().map(Money::usd)
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            sold: self.sold + other.sold,
            estimated: self.estimated + other.estimated,
            failed: self.failed + other.failed,
            review: self.review + other.review,
            open: self.open + other.open,
            brought: self.brought + other.brought,
        }
    }
}

/// Something the books do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The order, or the dead letter whose event it is about; nil for an item that no purchase may explain.
    pub subject: Uuid,
    /// `None` where nothing tells it any more.
    pub partner: Option<PartnerId>,
    pub finding: Finding,
}

/// What is wrong. States and sessions are texts, as they are stored: damaged books are read too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its timeline tells that it was accepted, and there is no row.
    Vanished {
        accepted_at: Time,
    },
    /// Its state is none of ours, so it counts nowhere.
    UnknownState {
        state: String,
    },
    /// Open, and nobody will ever look at it.
    NeverDue {
        state: String,
    },
    Overdue {
        state: String,
        due_at: Time,
    },
    /// The attempt rows are not as many as it counts, or it was called without one.
    Attempts {
        state: String,
        counted: i64,
        stored: i64,
    },
    /// An attempt brought a session that its purchase does not know: it may be bought twice.
    Orphan {
        attempt: i64,
        session: String,
        known: Option<String>,
    },
    /// The items drawn are not what its state and its amount say.
    Pulls {
        state: String,
        amount: i64,
        drawn: i64,
    },
    /// Its events are not those that its state and its sequence say.
    Events {
        state: String,
        sequence: i64,
        stored: i64,
        finals: i64,
        last: i64,
    },
    /// An event that did not get out.
    Unsent {
        kind: String,
        sequence: i64,
        time: Time,
    },
    /// An inventory shows an item that no purchase explains: it may be bought twice.
    OrphanItem {
        user: UserId,
        item_id: ItemId,
        purchased_at: Option<Time>,
        count: u32,
        candidates: Vec<PurchaseId>,
    },
}

impl Books {
    /// Of all partners.
    pub fn total(&self) -> Sums {
        self.partners.values().fold(Sums::default(), |sum, next| sum.plus(next))
    }

    /// Sessions that their purchases do not know, and items that no purchase explains.
    pub fn orphans(&self) -> u64 {
        self.found.get(Finding::ORPHAN).copied().unwrap_or_default() + self.orphan_items
    }

    /// Orphans are `found` rows of `items` items, of which these are named.
    pub(crate) fn tell_orphans(&mut self, found: u64, items: u64, named: Vec<Unexplained>) {
        if found == 0 {
            return;
        }
        self.found.insert(Finding::ORPHAN_ITEM, found);
        self.orphan_items = items;
        let mut differences: Vec<_> = named.into_iter().map(Difference::from).collect();
        differences.sort_by_key(|difference| difference.subject);
        self.differences.extend(differences);
    }

    pub fn are_sound(&self) -> bool {
        self.found.is_empty() && self.partners.values().all(|sums| sums.difference() == 0 && sums.sellbacks.difference() == 0)
    }
}

impl From<Unexplained> for Difference {
    fn from(orphan: Unexplained) -> Self {
        let Unexplained { partner, user_id, item_id, purchased_at, count, candidates, .. } = orphan;
        Self {
            subject: candidates.first().map_or(Uuid::nil(), |purchase| purchase.0),
            partner: Some(partner),
            finding: Finding::OrphanItem { user: user_id, item_id, purchased_at, count, candidates },
        }
    }
}

impl Sums {
    /// Accepted, and in none of the states: zero in sound books.
    pub fn difference(&self) -> i64 {
        self.accepted.cast_signed() - (self.fulfilled + self.failed + self.review + self.open).cast_signed()
    }

    /// `None` when it is more than money can say.
    pub fn worth(&self) -> Option<Money> {
        i64::try_from(self.worth).ok().map(Money::usd)
    }

    /// As [`worth`](Self::worth).
    pub fn spent(&self) -> Option<Money> {
        i64::try_from(self.spent).ok().map(Money::usd)
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            fulfilled: self.fulfilled + other.fulfilled,
            failed: self.failed + other.failed,
            review: self.review + other.review,
            open: self.open + other.open,
            attempts: self.attempts + other.attempts,
            sessions: self.sessions + other.sessions,
            paid: self.paid + other.paid,
            paid_known: self.paid_known + other.paid_known,
            spent: self.spent + other.spent,
            pulls: self.pulls + other.pulls,
            priced: self.priced + other.priced,
            worth: self.worth + other.worth,
            sellbacks: self.sellbacks.plus(&other.sellbacks),
        }
    }
}

impl Finding {
    pub const ORPHAN: &'static str = "orphan";
    pub const ORPHAN_ITEM: &'static str = "orphan_item";

    /// Its kind, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Finding::Vanished { .. } => "vanished",
            Finding::UnknownState { .. } => "unknown_state",
            Finding::NeverDue { .. } => "never_due",
            Finding::Overdue { .. } => "overdue",
            Finding::Attempts { .. } => "attempts",
            Finding::Orphan { .. } => Self::ORPHAN,
            Finding::Pulls { .. } => "pulls",
            Finding::Events { .. } => "events",
            Finding::Unsent { .. } => "unsent",
            Finding::OrphanItem { .. } => Self::ORPHAN_ITEM,
        }
    }
}

/// The rest of a sentence that begins with the subject.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Vanished { accepted_at } => write!(f, "was accepted at {}, and its row is gone", moment(accepted_at)),
            Finding::UnknownState { state } => write!(f, "is in state {state:?}, which is none"),
            Finding::NeverDue { state } => write!(f, "is {state} and has no due time: nobody will look at it again"),
            Finding::Overdue { state, due_at } => write!(f, "is {state} and overdue since {}", moment(due_at)),
            Finding::Attempts { state, counted: 0, stored: 0 } => write!(f, "is {state}, yet no attempt was ever begun"),
            Finding::Attempts { state, counted, stored } => {
                write!(f, "is {state}; attempts counted: {counted}, stored: {stored}")
            }
            Finding::Orphan { attempt, session, known: Some(known) } => {
                write!(f, "has session {known}, and its attempt {attempt} brought session {session}: it may be bought twice")
            }
            Finding::Orphan { attempt, session, known: None } => {
                write!(f, "failed, and its attempt {attempt} brought session {session}: it may be bought all the same")
            }
            Finding::Pulls { state, amount, drawn } => write!(f, "is {state}; items ordered: {amount}, pulls: {drawn}"),
            Finding::Events { state, sequence, stored, finals, last } => {
                write!(f, "is {state}; events counted: {sequence}, stored: {stored}, of these final: {finals}")?;
                let announced = StateName::parse(state).is_some_and(StateName::is_announced);
                if announced && *last != 1 { write!(f, ", and the last does not say {state}") } else { Ok(()) }
            }
            Finding::Unsent { kind, sequence, time } => {
                write!(f, "has an unsent event: {kind}, sequence {sequence}, of {}", moment(time))
            }
            Finding::OrphanItem { user, item_id, purchased_at, count, candidates } => {
                let verb = if candidates.is_empty() { "explains" } else { "may explain" };
                write!(f, "{verb} item {item_id} ({count} of it")?;
                purchased_at.iter().try_for_each(|at| write!(f, ", purchased at {}", moment(at)))?;
                write!(f, ") in the inventory of user {user}: it may be bought twice")
            }
        }
    }
}

fn moment(time: &Time) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
