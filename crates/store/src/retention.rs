//! What is removed after a while, and what never is: the door's third part.
//!
//! An order's row is never removed. It is what a repeat is told from a conflict by, and its key is what a second insert meets; a tombstone in
//! another table would want a second look-up at every insert, and an insert that began just before would not see it. So a pruned order is
//! its own tombstone: the row without what hung on it. The rules, and why: `decisions/retention.md`.
//!
//! Everything is found through an index in the order of its age, a page at a time, so that each transaction is short and a pass reads each
//! row once, whatever has to stay.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use clawback_domain::Time;
use uuid::Uuid;

use crate::StoreError;

/// What there is to remove. In this order: what comes later may wait for what comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prunable {
    /// Sent events that are of no order, by when they happened, and their deliveries that were given up. Of each subject that goes on the
    /// last stays.
    Events,
    /// Redriven or discarded ones, by when that was, once their event is gone: under its id a letter is buried once.
    DeadLetters,
    /// The timelines of final orders, by when those ended.
    Timelines,
    /// All else but their rows: attempts, events and their deliveries, metadata, evidence. Those whose timeline is gone, by when they ended.
    Orders,
    /// Pulls that were sold, by when, if their purchase was pruned; their warnings go with them. Every other may be held, and explains what
    /// an inventory shows.
    Pulls,
}

impl Prunable {
    pub const ALL: [Self; 5] = [Self::Events, Self::DeadLetters, Self::Timelines, Self::Orders, Self::Pulls];

    /// For metrics and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::DeadLetters => "dead_letters",
            Self::Timelines => "timelines",
            Self::Orders => "orders",
            Self::Pulls => "pulls",
        }
    }
}

/// How long things are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub events: Option<Duration>,
    pub timelines: Option<Duration>,
    pub orders: Option<Duration>,
    pub dead_letters: Option<Duration>,
}

impl Retention {
    pub const FOR_EVER: Self = Self { events: None, timelines: None, orders: None, dead_letters: None };

    /// A sold pull is kept as long as an order.
    fn of(&self, what: Prunable) -> Option<Duration> {
        match what {
            Prunable::Events => self.events,
            Prunable::DeadLetters => self.dead_letters,
            Prunable::Timelines => self.timelines,
            Prunable::Orders | Prunable::Pulls => self.orders,
        }
    }

    /// What is not kept for ever, and before when it may go.
    pub fn due(&self, now: Time) -> Vec<(Prunable, Time)> {
        let before = |what| {
            let span = TimeDelta::from_std(self.of(what)?).ok()?;
            Some((what, now.checked_sub_signed(span)?))
        };
        Prunable::ALL.into_iter().filter_map(before).collect()
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        Self { events: days(30), timelines: days(90), orders: days(400), dead_letters: days(90) }
    }
}

/// Where a page ended: by what it is found by, then by id.
pub type Place = (Time, Uuid);

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// `None` for the first.
    pub after: Option<Place>,
    /// At least 1.
    pub limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    pub removed: u64,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Place>,
}

#[async_trait]
pub trait Prune: Send + Sync + 'static {
    /// Looks at a page of what is older than `before` and removes of it what nobody needs any more, in one transaction. Several may prune
    /// at once: each thing is removed, and counted, by one of them.
    async fn prune(&self, what: Prunable, before: Time, page: Page) -> Result<Pruned, StoreError>;

    /// How many would be removed at most by pruning everything before `before`.
    async fn prunable(&self, what: Prunable, before: Time) -> Result<u64, StoreError>;
}
