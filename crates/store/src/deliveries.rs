//! What goes to partners' webhooks: the door's second half.
//!
//! Every webhook has a *place* in the order of events of its own. Events after it become rows, due now, and the place moves on, in one
//! transaction; so no event is passed by, whichever workers know of the webhook, and what nobody could deliver anyway stays where it is
//! kept in any case. A row is there for as long as its event is not delivered. Who claims one has moved its `due_at` beyond the end of the
//! attempt: a crash costs time, and the event goes out again with the id it had.

use std::time::Duration;

use async_trait::async_trait;
use clawback_domain::{EventId, PartnerId, Time, event::Event, webhook::Breaker};

use crate::StoreError;

/// A delivery to be made now.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub position: i64,
    pub event: Event,
    /// How often it was tried before.
    pub tries: u32,
    /// Nobody else claims it before; and how [`Deliveries::settle_delivery`] knows whose it is.
    pub until: Time,
    /// The only one that goes out, to see whether an endpoint that was held is back.
    pub is_probe: bool,
}

/// What became of a claimed delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Delivered,
    Failed {
        why: String,
        /// When to try again; `None` gives it up.
        due_at: Option<Time>,
        /// How long the endpoint wants no deliveries at all.
        pause: Option<Duration>,
    },
    /// The endpoint wants no deliveries any more: it is disabled, and this one waits with all others.
    Gone {
        why: String,
    },
}

/// A webhook as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub partner: PartnerId,
    /// The last event that became a delivery.
    pub position: i64,
    /// Since when and why nothing is delivered.
    pub disabled: Option<(Time, String)>,
    pub breaker: Breaker,
    /// What a person did with it last, and when.
    pub acted: Option<(Time, String)>,
    /// Deliveries that are due, tried again or under way; events after `position` are not counted.
    pub waiting: u64,
    pub given_up: u64,
    /// When the oldest event happened that still waits.
    pub oldest: Option<Time>,
    /// Why the delivery that waits longest failed last.
    pub last_error: Option<String>,
}

/// Which events to deliver once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    Event(EventId),
    /// A page of those after a position that happened at `since` or later.
    Since {
        since: Time,
        position: i64,
        limit: u32,
    },
    /// The first so many of those that were given up.
    GivenUp {
        limit: u32,
    },
}

/// A page of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Now due; those that were waiting anyway are not among them.
    pub count: u64,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<i64>,
}

#[async_trait]
pub trait Deliveries: Send + Sync + 'static {
    /// Makes deliveries of the first `limit` events after the place of the partner's webhook, due now, and moves its place on; returns how
    /// many. None while it is disabled or held, or another worker is at it: what cannot go out waits in the order of events. A webhook that
    /// was not known begins with what happens after.
    async fn spool(&self, partner: &PartnerId, now: Time, limit: u32) -> Result<u32, StoreError>;

    /// Claims up to `limit` due deliveries of a partner and moves their `due_at` `lease` ahead: at most one per subject and none with an
    /// earlier one of its subject waiting. None while the webhook is disabled or held; when the hold is over, one.
    async fn claim_deliveries(
        &self,
        partner: &PartnerId,
        now: Time,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Writes what became of a delivery, and what that says of its endpoint. A failure changes nothing once somebody else has claimed it;
    /// that it arrived is always true.
    async fn settle_delivery(&self, claimed: &Claimed, settled: Settled, now: Time) -> Result<(), StoreError>;

    /// All that were ever spooled for, by partner.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Delivers again to a webhook that is disabled or held. `act`: who and why. `false` when it is not known.
    async fn enable_webhook(&self, partner: &PartnerId, act: &str, now: Time) -> Result<bool, StoreError>;

    /// Has events of a partner delivered once more, at `due_at`, with the ids they had. Events after the webhook's place are left: they
    /// come by themselves.
    async fn replay_deliveries(
        &self,
        partner: &PartnerId,
        what: Replay,
        due_at: Time,
        act: &str,
    ) -> Result<Replayed, StoreError>;
}
