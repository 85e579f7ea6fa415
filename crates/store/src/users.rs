//! The users of partners: their settings, when they are due, and their warnings.
//!
//! Users become known by their first fulfilment, or by their settings. The commit that stores pulls raises the `sync_wanted` of their user
//! and makes them due [`SYNC_AFTER`](clawback_domain::user::SYNC_AFTER) it, or earlier.

use async_trait::async_trait;
use clawback_domain::{
    EventId, PartnerId, Time, UserId,
    event::Event,
    item::Pull,
    user::{Settling, User, Watching},
    warning::{Row, RowState, UserSettings},
};

use crate::StoreError;

/// A user who was due and is now claimed: `due_at` moved on, the version raised to `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueUser {
    pub partner: PartnerId,
    pub user: UserId,
    pub version: i64,
}

/// Which warnings to list: by the moment of their lead time, earliest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WarningFilter {
    pub partner: Option<PartnerId>,
    pub user: Option<UserId>,
    pub state: Option<WarningState>,
    pub from: Option<Time>,
    pub until: Option<Time>,
    pub limit: u32,
}

/// The state of a warning without the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningState {
    Planned,
    Sent,
    Skipped,
}

/// A warning as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    pub partner: PartnerId,
    pub user: UserId,
    pub row: Row,
    /// The event it went out with.
    pub event: Option<EventId>,
    pub late: bool,
    pub verified: bool,
    /// When it last changed.
    pub updated_at: Time,
}

impl WarningState {
    pub fn of(state: RowState) -> Self {
        match state {
            RowState::Planned => Self::Planned,
            RowState::Sent => Self::Sent,
            RowState::Skipped(_) => Self::Skipped,
        }
    }
}

#[async_trait]
pub trait Users: Send + Sync + 'static {
    /// What a user chose; the default for one who is not known.
    async fn user_settings(&self, partner: &PartnerId, user: &UserId) -> Result<UserSettings, StoreError>;

    /// A user who is not known becomes known. They are due now, and a turn under way does not fit any more: it decided by the old ones.
    async fn set_user_settings(
        &self,
        partner: &PartnerId,
        user: &UserId,
        settings: UserSettings,
        now: Time,
    ) -> Result<(), StoreError>;

    /// Claims up to `limit` users who are due, as [`Store::claim_due`](crate::Store::claim_due) claims orders, earliest first.
    async fn claim_due_users(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<DueUser>, StoreError>;

    /// Begins a turn: the version is raised, `due_at` moves to `due_at`, and nudges are forgotten. `None` when the row has another version.
    async fn take_turn_of_user(
        &self,
        partner: &PartnerId,
        user: &UserId,
        version: i64,
        due_at: Time,
    ) -> Result<Option<User>, StoreError>;

    /// What a user's turn rests on, all of it as of one moment. `None` for one who is not known.
    async fn watching(&self, partner: &PartnerId, user: &UserId) -> Result<Option<Watching>, StoreError>;

    /// Ends a turn. The events that it came to, in order of sequence; `None` when the row has another version: then nothing was written.
    ///
    /// Digests are composed here: a warning goes out if it is planned still, whatever the turn believed, and its pull is neither sold nor,
    /// as far as the last look tells, missing.
    async fn settle_user(&self, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError>;

    /// How many users of a partner have a warning, planned or sent, whose lead time is reached in `from..until`.
    async fn crowd(&self, partner: &PartnerId, from: Time, until: Time) -> Result<u64, StoreError>;

    async fn warnings(&self, filter: WarningFilter) -> Result<Vec<Warning>, StoreError>;

    /// Unsold pulls of a partner that expire in `from..until`, earliest first, at most `limit`.
    async fn expiring(&self, partner: &PartnerId, from: Time, until: Time, limit: u32) -> Result<Vec<Pull>, StoreError>;
}
