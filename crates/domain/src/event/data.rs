//! The `data` of each event type. The published schemas are generated from these types.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PulledItem;
use crate::{
    DeadLetterId, ItemId, Money, PackId, PublicId, PullId, PurchaseId, RequestId, SellbackId, SessionId, Time, TxHash, UserId,
    command::{Metadata, Problem},
    evidence::Evidence,
    reason::{Failure, ReviewCode},
    sellback::SaleEvidence,
};

/// The upstream said that the purchase is fulfilled, or reconciliation proved it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PurchaseFulfilled")]
pub struct FulfilledData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub purchase_id: PurchaseId,
    pub pack_id: PackId,
    pub amount: u32,
    /// `null` when it was recovered without the upstream's answer.
    pub session_id: Option<SessionId>,
    pub public_id: Option<PublicId>,
    pub tx_hash: Option<TxHash>,
    pub items: Vec<PulledItem<'a>>,
    /// The upstream's answer was lost; the items were found in the inventory, or by a person.
    pub recovered: bool,
    /// Only when recovered: how that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Cow<'a, Evidence>>,
}

/// The purchase surely had no effect, or was cancelled upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PurchaseFailed")]
pub struct FailedData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub purchase_id: PurchaseId,
    pub pack_id: PackId,
    pub amount: u32,
    pub reason: Cow<'a, Failure>,
    /// Only when it was concluded from the inventory: how that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Cow<'a, Evidence>>,
}

/// A person must decide, or time. A final event may still follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PurchaseReview")]
pub struct ReviewData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub purchase_id: PurchaseId,
    pub reason: ReviewReason<'a>,
    pub evidence: Option<Cow<'a, Evidence>>,
}

/// An item was sold back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SellbackCompleted")]
pub struct SoldData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub sellback_id: SellbackId,
    pub item_id: ItemId,
    /// `null` for an item that no purchase through Clawback drew.
    pub pull_id: Option<PullId>,
    /// `null` when neither the upstream's answer nor the inventory before it told a price.
    pub amount: Option<Money>,
    /// ISO 4217.
    pub currency: Cow<'a, str>,
    /// The upstream's answer was lost: the amount is the price just before the sale, or a person's word.
    pub estimated: bool,
    /// Only when the answer was lost: how the sale was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Cow<'a, SaleEvidence>>,
}

/// The item was surely not sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SellbackFailed")]
pub struct NotSoldData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub sellback_id: SellbackId,
    /// `null` when the command named a pull that is not known.
    pub item_id: Option<ItemId>,
    pub pull_id: Option<PullId>,
    pub reason: Cow<'a, Failure>,
    /// Only when it was concluded from the inventory: how that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Cow<'a, SaleEvidence>>,
}

/// A person must decide whether the item was sold. A final event may still follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SellbackReview")]
pub struct SaleReviewData<'a> {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub metadata: Option<Metadata>,
    pub sellback_id: SellbackId,
    pub item_id: Option<ItemId>,
    pub pull_id: Option<PullId>,
    pub reason: ReviewReason<'a>,
    pub evidence: Option<Cow<'a, SaleEvidence>>,
}

/// Why a purchase or a sellback is in review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewReason<'a> {
    pub code: ReviewCode,
    pub message: Cow<'a, str>,
}

/// A lead time before the buyback windows of some of a user's items was reached. At most 500 items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BuybackExpiring")]
pub struct ExpiringData<'a> {
    pub user_id: UserId,
    /// The lead time; of several the nearest (`72h`, `90m`, `45s`).
    pub lead: Cow<'a, str>,
    /// It should have gone out earlier.
    pub late: bool,
    /// That the items are held, and at what price, was read just before. Otherwise it is what was read at `checked_at`.
    pub verified: bool,
    /// When the user's inventory was read.
    pub checked_at: Option<Time>,
    /// What expires first comes first.
    pub items: Vec<PulledItem<'a>>,
    /// What the items that have a price would bring together.
    pub total: Money,
    /// ISO 4217.
    pub currency: Cow<'a, str>,
}

/// The buyback windows of some of a user's items closed, and they were not sold. At most 500 items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BuybackExpired")]
pub struct ExpiredData<'a> {
    pub user_id: UserId,
    pub items: Vec<PulledItem<'a>>,
}

/// The message was not taken as a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CommandRejected")]
pub struct RejectedData<'a> {
    /// `null` when unreadable.
    pub request_id: Option<RequestId>,
    /// `null` when unreadable.
    pub user_id: Option<UserId>,
    /// Everything that is wrong with it.
    pub errors: Cow<'a, [Problem]>,
    /// The kept message.
    pub dead_letter_id: DeadLetterId,
}
