//! Events: what partners are told.
//!
//! An event is built once, in the commit that makes it true, as the whole text of a structured CloudEvent; sending it again sends
//! the same bytes. Its id follows from its subject and sequence, so that the same event computed twice is one event.

mod build;
mod data;
mod envelope;
mod pulled;

use std::sync::Arc;

use uuid::Uuid;

use crate::{EventId, PartnerId, RequestId, Time, order::StateName, pause::CommandKind, reason::codes, trace::TraceContext};

pub use build::{
    Fulfilled, Subject, UserSubject, expired, expiring, failed, fulfilled, not_sold, rejected, review, sale_review, sold,
};
pub use data::{
    ExpiredData, ExpiringData, FailedData, FulfilledData, NotSoldData, RejectedData, ReviewData, ReviewReason, SaleReviewData,
    SoldData,
};
pub use envelope::{CloudEvent, SPEC_VERSION, data_schema};
pub use pulled::PulledItem;

codes!(
    /// The types of the contract.
    EventType {
        PurchaseFulfilled = "clawback.purchase.fulfilled",
        PurchaseFailed = "clawback.purchase.failed",
        PurchaseReview = "clawback.purchase.review",
        SellbackCompleted = "clawback.sellback.completed",
        SellbackFailed = "clawback.sellback.failed",
        SellbackReview = "clawback.sellback.review",
        BuybackExpiring = "clawback.buyback.expiring",
        BuybackExpired = "clawback.buyback.expired",
        CommandRejected = "clawback.command.rejected",
    }
);

impl EventType {
    /// What entering a state is told with; `None` where it is not told.
    pub fn of_state(kind: CommandKind, state: StateName) -> Option<Self> {
        match (kind, state) {
            (CommandKind::Purchase, StateName::Fulfilled) => Some(Self::PurchaseFulfilled),
            (CommandKind::Purchase, StateName::Failed) => Some(Self::PurchaseFailed),
            (CommandKind::Purchase, StateName::Review) => Some(Self::PurchaseReview),
            (CommandKind::Sellback, StateName::Sold) => Some(Self::SellbackCompleted),
            (CommandKind::Sellback, StateName::Failed) => Some(Self::SellbackFailed),
            (CommandKind::Sellback, StateName::Review) => Some(Self::SellbackReview),
            (CommandKind::Purchase | CommandKind::Sellback, _) => None,
        }
    }

    /// Whether an order has exactly one of these, ever.
    pub fn is_final(self) -> bool {
        matches!(self, Self::PurchaseFulfilled | Self::PurchaseFailed | Self::SellbackCompleted | Self::SellbackFailed)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub kind: EventType,
    pub partner: PartnerId,
    /// The purchase, sellback, user or dead letter it is about.
    pub subject: Uuid,
    /// Rises per subject, from 1.
    pub sequence: u64,
    pub request_id: Option<RequestId>,
    pub time: Time,
    pub trace: Option<TraceContext>,
    /// The whole structured CloudEvent, one line of JSON.
    pub body: Arc<str>,
}
