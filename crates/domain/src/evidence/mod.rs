//! What is known of an unknown outcome, and the verdict drawn from it.
//!
//! The inventory is the only witness: [`examine`] weighs one reading of it against everything that is known of its user, and is pure.
//! The rules, in the order in which they are applied:
//! - Every known pull explains one item ([`matching`]): counts, not sets, for item ids repeat.
//! - What is left, of the purchase's pack and bought since its attempt began, is *evidence*. It accumulates over looks.
//! - Everyone who may have bought it is a *rival* ([`rivals`]): who may still bring a session makes the verdict wait.
//! - Items go to purchases in whole groups of one `purchased_at` ([`assign`]). Only what holds in every way to explain all of them is
//!   a verdict.
//! - Absence is proved by *proof-grade* looks alone, and only for an attempt that was refused in words nobody documented.
//! - Everything else is for a person.
//!
//! The inventory is read before the [`Case`]: a purchase made between the two must not be claimed twice.

mod assign;
mod matching;
mod rivals;
mod scene;
mod survey;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ItemId, PartnerId, PurchaseId, Time, UserId,
    answer::InventoryAnswer,
    change::AttemptRecord,
    item::{HeldItem, Item, Pull, Shown},
    purchase::Purchase,
    reason::ReviewCode,
};

pub use rivals::Standing;
pub use survey::{Survey, survey};
pub use verdict::{Examined, examine};

/// What follows from the evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing yet; look again.
    Wait(String),
    /// These items are the purchase's.
    Recovered(Vec<HeldItem>),
    /// It surely bought nothing.
    Absent,
    /// A person must decide.
    Unclear(ReviewCode, String),
}

impl Verdict {
    /// Whether it gives or denies items for good: then it holds only while the case is as it was.
    pub fn is_ruling(&self) -> bool {
        matches!(self, Verdict::Recovered(_) | Verdict::Absent)
    }
}

/// Kept with a purchase in doubt, shown to people, carried by events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Why the outcome is in doubt.
    pub doubt: String,
    /// The HTTP status of the answer in doubt, where one was received.
    #[serde(default)]
    pub status: Option<u16>,
    /// When the attempt in doubt began: what was bought before cannot be its.
    #[serde(default)]
    pub begun_at: Option<Time>,
    /// From then on absence counts: until then it may still appear.
    #[serde(default)]
    pub window_ends_at: Option<Time>,
    /// How often the inventory was read.
    #[serde(default)]
    pub looked: u32,
    /// How many of these looks showed every pull that they had to show.
    #[serde(default)]
    pub proofs: u32,
    /// The first look and the last ones, at most [`MOST_LOOKS`].
    pub looks: Vec<Look>,
    /// What any look showed that no known pull surely explained, of the pack, bought since the attempt began.
    #[serde(default)]
    pub found: Vec<Found>,
    /// Other purchases of the user and the pack that were in doubt or under way at the last look; at most [`MOST_ITEMS`].
    #[serde(default)]
    pub rivals: Vec<Rival>,
    /// By how much the upstream's clock was seen to be off at most, in milliseconds.
    #[serde(default)]
    pub clock: Skew,
    /// The verdict in words.
    pub verdict: String,
}

/// One reading of the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Look {
    pub at: Time,
    /// Read to its end, and it echoed the user.
    pub good: bool,
    /// Good, and it showed every pull that an earlier look showed: only then does it prove absence.
    #[serde(default)]
    pub proof: bool,
    /// How many items it listed.
    pub listed: u32,
    /// Pulls that it had to show and did not.
    pub missing: u32,
    /// Items of the pack, bought since the attempt began, that no known pull explains; at most [`MOST_ITEMS`].
    pub unexplained: Vec<ItemId>,
    pub note: String,
}

/// An item that speaks for the purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    pub item_id: ItemId,
    /// By the upstream's clock; `None` where the inventory does not tell.
    pub purchased_at: Option<Time>,
    /// The most that one look showed of it.
    pub count: u32,
    pub first_seen_at: Time,
    pub last_seen_at: Time,
}

/// Another purchase that may have brought the same items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rival {
    pub purchase_id: PurchaseId,
    pub amount: u32,
    pub begun_at: Time,
    pub standing: Standing,
}

/// By how much the upstream's clock differs from ours, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Skew {
    pub behind_ms: u64,
    pub ahead_ms: u64,
}

/// One reading of an inventory, and when it began and ended by our clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub answer: InventoryAnswer,
    pub began: Time,
    pub ended: Time,
}

/// What bears on the unknown outcomes of one user, all of it as of one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Case {
    /// Rises with every ruling about this user; 0 before the first.
    pub version: i64,
    /// When a person last had a doubtful purchase of this user called again: what was bought before can no longer be told apart.
    pub retried_at: Option<Time>,
    /// The user's purchases that are not final, oldest first; at most [`MOST_OPEN`].
    pub open: Vec<Open>,
    /// Whether there is more of them, or of `unexplained`, than it holds.
    pub truncated: bool,
    /// Every known pull of the user, oldest first.
    pub pulls: Vec<Pull>,
    /// When the first attempt of each purchase that drew them began, where that is still known: they were not bought before.
    pub called: BTreeMap<PurchaseId, Time>,
    /// What looks for any of the user's purchases showed and no purchase surely explained, oldest first; at most [`MOST_UNEXPLAINED`].
    pub unexplained: Vec<Unexplained>,
}

/// A purchase that is not final, with its attempts in order of number.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    pub purchase: Purchase,
    pub attempts: Vec<AttemptRecord>,
}

/// How many open purchases of one user are weighed against each other.
pub const MOST_OPEN: u32 = 1000;

/// What one good look showed of known pulls, to be kept with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sightings {
    pub partner: PartnerId,
    pub user_id: UserId,
    /// When the look began.
    pub at: Time,
    /// Every known pull of the user, and whether the look showed it; in order of (purchase, position).
    pub pulls: Vec<(PurchaseId, u32, Option<Shown>)>,
}

/// How many unexplained items of one user are weighed.
pub const MOST_UNEXPLAINED: u32 = 1000;

/// An item in an inventory that no purchase surely explains. While an open purchase may have bought it, it is evidence, whichever
/// purchase the look was made for. Once nobody claims it, it is an *orphan*: it may have been bought twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    pub partner: PartnerId,
    pub user_id: UserId,
    pub item_id: ItemId,
    pub purchased_at: Option<Time>,
    /// The pack it was pulled from, as the inventory has it.
    pub claw_id: Option<String>,
    pub claw_slug: Option<String>,
    /// How many of the same id and time; the most that one look showed.
    pub count: u32,
    /// Whether an open purchase may have bought it.
    pub claimed: bool,
    /// When a look first showed it.
    pub found_at: Time,
    /// Purchases whose second copy it might be.
    pub candidates: Vec<PurchaseId>,
}

impl Unexplained {
    /// What tells it from others of its user.
    pub(crate) fn key(&self) -> (&ItemId, Option<Time>) {
        (&self.item_id, self.purchased_at)
    }

    /// What an inventory would tell of it.
    pub fn held(&self) -> HeldItem {
        HeldItem {
            purchased_at: self.purchased_at,
            claw_id: self.claw_id.clone(),
            claw_slug: self.claw_slug.clone(),
            ..Item::bare(self.item_id.clone()).into()
        }
    }
}

/// How many items a look names: an inventory may hold thousands, evidence is read by people.
pub const MOST_ITEMS: usize = 100;

/// How many looks are kept with a doubt.
pub const MOST_LOOKS: usize = 20;

/// So many proof-grade looks must have proved absence before an attempt counts as refused.
pub const LEAST_PROOFS: u32 = 5;
