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

use crate::{EventId, PartnerId, RequestId, Time, reason::codes, trace::TraceContext};

pub use build::{Fulfilled, Subject, failed, fulfilled, rejected, review};
pub use data::{FailedData, FulfilledData, RejectedData, ReviewData, ReviewReason};
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

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub kind: EventType,
    pub partner: PartnerId,
    /// The purchase or dead letter it is about.
    pub subject: Uuid,
    /// Rises per subject, from 1.
    pub sequence: u64,
    pub request_id: Option<RequestId>,
    pub time: Time,
    pub trace: Option<TraceContext>,
    /// The whole structured CloudEvent, one line of JSON.
    pub body: Arc<str>,
}
