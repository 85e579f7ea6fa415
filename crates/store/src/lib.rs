//! The truth: purchases, sellbacks, attempts, pulls, events and timelines.
//!
//! [`Store`] is the door. Behind it stand sea-orm on PostgreSQL, sea-orm on SQLite, and a model in memory; all three pass one
//! conformance suite. Transitions of concurrent purchases share a transaction (*group commit*), yet each caller gets its own result.
//!
//! `now` always comes from the caller; no statement asks the database for the time to decide anything.

pub mod audit;
mod deliveries;
mod draft;
pub mod memory;
mod retention;
pub mod sql;
mod unexplained;
mod users;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use clawback_domain::{
    AttemptToken, DeadLetterId, EventId, OrderId, PartnerId, PurchaseId, RequestId, SellbackId, SessionId, Time, UserId,
    change::{Change, Fact, Insertion},
    command::Target,
    event::Event,
    evidence::{Case, Sightings, Unexplained},
    item::Pull,
    order::{AnyOrder, Machine, StateName},
    pause::{CommandKind, Pause, PauseScope},
    purchase::Purchase,
    reason::WaitCode,
    sellback::{SaleCase, Sellback},
    timeline::Entry,
};

pub use clawback_domain::change::AttemptRecord;
pub use deliveries::{Claimed, Deliveries, Replay, Replayed, Settled, Webhook};
pub use draft::{Draft, Open};
pub use retention::{Page, Place, Prunable, Prune, Pruned, Retention};
pub use users::{DueUser, Users, Warning, WarningFilter, WarningState};

/// What a caller does next is what tells these apart.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Surely nothing was written. Try again later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The commit was sent and its answer lost: it may or may not stand. Read back before anything else.
    #[error("the commit's outcome is unknown: {0}")]
    Unknown(String),
    /// This write alone can never succeed; nothing of it was written, its neighbours were not harmed.
    #[error("the store refused the write: {0}")]
    Refused(String),
    /// A row that this version cannot read.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Inserted {
    New,
    /// The (partner, request_id) is taken: the row that has it, as it stands, pruned or not. Nothing was written.
    Exists(Box<AnyOrder>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Committed,
    /// The row, or the case of the change's ruling, has another version: nothing was written but the fact.
    Lost,
}

/// A row that was due and is now claimed: its `due_at` moved on, its version raised to `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub partner: PartnerId,
    pub order: OrderId,
    pub version: i64,
}

/// An event as stored, with its place in the order of insertion.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    pub position: i64,
    pub event: Event,
    pub sent_at: Option<Time>,
    /// The broker had no queue for it: kept for replay, not retried.
    pub unrouted: bool,
}

/// A message that could not be handled, kept with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    pub partner: PartnerId,
    /// The queue it was taken from.
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
    pub reason: String,
    /// The problems found, as the event tells them (JSON text).
    pub problems: String,
    /// The message as it came; at most what the broker let through.
    pub body: Vec<u8>,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub received_at: Time,
    pub state: DeadLetterState,
    /// Who redrove or discarded it, and why.
    pub settled_by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    Kept,
    Redriven,
    Discarded,
}

/// Which orders to list, by when they were accepted: newest first unless `oldest_first`. One that was pruned is found by its request alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub kind: Option<CommandKind>,
    pub partner: Option<PartnerId>,
    pub state: Option<StateName>,
    pub user: Option<UserId>,
    pub request: Option<RequestId>,
    pub created_before: Option<Time>,
    /// The last row of the page before.
    pub after: Option<(Time, OrderId)>,
    pub oldest_first: bool,
    pub limit: u32,
}

/// How many orders of each kind are in each state, for operators.
pub type Counts = BTreeMap<(PartnerId, CommandKind, StateName), u64>;

#[async_trait]
pub trait Store: Deliveries + Prune + Users {
    // The way of an order. These three share group commits.

    /// Inserts an order, with its attempt if it is called at once.
    async fn insert(&self, insertion: Insertion) -> Result<Inserted, StoreError>;

    /// Writes the fact always, the rest only if the row's version is still `after.version() - 1` and, for a ruling that was concluded, the
    /// version of its user's case still `ruling.case`. A ruling raises that by one. Takes the draft as late as it
    /// can. Refused: a sellback whose item id another sellback is selling.
    async fn apply_draft(&self, draft: Arc<Draft>) -> Result<Applied, StoreError>;

    /// The same for a change that nothing will join.
    async fn apply(&self, change: Change) -> Result<Applied, StoreError> {
        self.apply_draft(Draft::new(change)).await
    }

    /// Marks events as sent, or as unrouted; marking twice is no error.
    async fn mark_sent(&self, events: Vec<Sent>) -> Result<(), StoreError>;

    /// Stores what an attempt brought, whatever its order's state; once.
    async fn record_fact(&self, fact: Fact) -> Result<(), StoreError>;

    /// Stores nothing but the session of an attempt, when the whole answer cannot be stored.
    async fn record_bare_session(&self, token: AttemptToken, session: SessionId, at: Time) -> Result<(), StoreError>;

    // Reading.

    async fn order(&self, id: OrderId) -> Result<Option<AnyOrder>, StoreError>;
    async fn orders(&self, filter: Filter) -> Result<Vec<AnyOrder>, StoreError>;
    async fn attempts(&self, id: OrderId) -> Result<Vec<AttemptRecord>, StoreError>;
    async fn timeline(&self, id: OrderId) -> Result<Vec<Entry>, StoreError>;

    /// `None` too for the id of a sellback.
    async fn purchase(&self, id: PurchaseId) -> Result<Option<Purchase>, StoreError> {
        Ok(self.order(id).await?.and_then(Machine::of))
    }

    async fn purchases(&self, filter: Filter) -> Result<Vec<Purchase>, StoreError> {
        let orders = self.orders(Filter { kind: Some(CommandKind::Purchase), ..filter }).await?;
        Ok(orders.into_iter().filter_map(Machine::of).collect())
    }

    /// `None` too for the id of a purchase.
    async fn sellback(&self, id: SellbackId) -> Result<Option<Sellback>, StoreError> {
        Ok(self.order(id).await?.and_then(Machine::of))
    }

    async fn sellbacks(&self, filter: Filter) -> Result<Vec<Sellback>, StoreError> {
        let orders = self.orders(Filter { kind: Some(CommandKind::Sellback), ..filter }).await?;
        Ok(orders.into_iter().filter_map(Machine::of).collect())
    }

    async fn pulls(&self, id: PurchaseId) -> Result<Vec<Pull>, StoreError>;
    /// Every known pull of a user, oldest first.
    async fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Result<Vec<Pull>, StoreError>;
    /// What bears on the unknown outcomes of a user, all of it as of one moment: its open purchases, the pulls as
    /// [`Store::pulls_of_user`] gives them, and the items that no purchase explains, oldest found first.
    async fn case(&self, partner: &PartnerId, user: &UserId) -> Result<Case, StoreError>;
    /// What bears on selling `target`, all of it as of one moment.
    async fn sale_case(&self, partner: &PartnerId, user: &UserId, target: &Target) -> Result<SaleCase, StoreError>;
    /// Items that no purchase surely explains, claimed or not; oldest found first.
    async fn unexplained(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Unexplained>, StoreError>;
    async fn counts(&self) -> Result<Counts, StoreError>;
    /// Whether the books are sound, and what is not; all of it as of one moment.
    async fn audit(&self, scope: audit::Scope) -> Result<audit::Books, StoreError>;

    // What looks at inventories show.

    /// Keeps what a good look showed of its user's pulls, as [`Sight::after`](clawback_domain::item::Sight::after) says: an older
    /// look changes nothing. Pulls that are not known are ignored. After an error some may be written; the same look again is safe.
    async fn record_look(&self, look: Sightings) -> Result<(), StoreError>;

    /// Records items that no purchase surely explains, each by its user, item and time of purchase. One that is known keeps its
    /// `found_at` and takes the rest. Returns how many are orphans now and were not before.
    async fn record_unexplained(&self, found: Vec<Unexplained>) -> Result<u64, StoreError>;

    /// Removes those that are explained by now; one that is not there is no error.
    async fn forget_explained(&self, explained: Vec<Unexplained>) -> Result<(), StoreError>;

    // The clock's side.

    /// Claims up to `limit` rows that are due: `due_at` moves to `now + next_nudge(nudges)` (never beyond what the row itself had
    /// planned earlier than that), `nudges` and `version` rise, in one statement, skipping rows that others are claiming.
    /// Rows of partners in `except` are left.
    async fn claim_due(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<Due>, StoreError>;

    /// Sets `due_at` of accepted rows that wait for one of `codes` to now, spread so that `rate_per_second` rows become due a
    /// second. Returns how many.
    async fn lift(&self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate_per_second: u32) -> Result<u64, StoreError>;

    // Events.

    /// Claims up to `limit` unsent events whose look is due, at most one per subject and never one whose predecessor is unsent, and
    /// moves their look `again` ahead of now. What the hot path has just stored is not due before its first look.
    async fn claim_unsent(&self, now: Time, limit: u32, again: std::time::Duration) -> Result<Vec<StoredEvent>, StoreError>;

    /// Whether every event of `subject` with a smaller sequence is sent.
    async fn predecessors_sent(&self, subject: uuid::Uuid, sequence: u64) -> Result<bool, StoreError>;
    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;
    /// The last event of a subject.
    async fn last_event(&self, subject: uuid::Uuid) -> Result<Option<StoredEvent>, StoreError>;
    /// Events in order of position after `position`.
    async fn events(&self, partner: Option<&PartnerId>, position: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError>;

    // Dead letters.

    /// Records a dead letter together with its event. `false` when it was recorded before; then nothing is written.
    async fn bury(&self, letter: DeadLetter, event: Event) -> Result<bool, StoreError>;
    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError>;
    /// Newest first.
    async fn dead_letters(&self, partner: Option<&PartnerId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;
    /// Settles one that is kept. `false` when it was settled already, or is not there.
    async fn settle_dead_letter(
        &self,
        id: DeadLetterId,
        state: DeadLetterState,
        by: &str,
        at: Time,
    ) -> Result<bool, StoreError>;

    // Pauses.

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
    /// Pausing what is paused keeps the first pause. `false` then.
    async fn pause(&self, pause: Pause) -> Result<bool, StoreError>;
    /// `false` when there was none.
    async fn resume(&self, scope: &PauseScope, by: &str, reason: &str, at: Time) -> Result<bool, StoreError>;

    // Itself.

    /// The store's own clock, for measuring the offset of ours. It decides nothing.
    async fn clock(&self) -> Result<Time, StoreError>;
    /// Applies what is missing of the schema; several processes may call it at once.
    async fn migrate(&self) -> Result<(), StoreError>;
    /// The names of migrations that are not applied yet.
    async fn pending_migrations(&self) -> Result<Vec<String>, StoreError>;
    /// Waits for writes under way, then closes.
    async fn close(&self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub event: EventId,
    pub at: Time,
    pub unrouted: bool,
}

/// How long after its commit an event is left to the hot path before the relay's look finds it.
pub const FIRST_LOOK: std::time::Duration = std::time::Duration::from_secs(5);
