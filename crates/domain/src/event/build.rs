//! The constructors of events: from borrowed fields to the finished text, written once.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use uuid::Uuid;

use super::{
    CloudEvent, Event, EventType, ExpiredData, ExpiringData, FailedData, FulfilledData, NotSoldData, PulledItem, RejectedData,
    ReviewData, ReviewReason, SPEC_VERSION, SaleReviewData, SoldData, data_schema,
};
use crate::{
    Currency, DeadLetterId, EventId, Money, OrderId, PartnerId, PublicId, RequestId, SessionId, Time, TxHash, UserId,
    command::{PurchaseCommand, Rejected, SellbackCommand},
    evidence::Evidence,
    item::Pull,
    order::Order,
    purchase::Purchase,
    reason::{Failure, ReviewCode},
    sellback::{self, PullPlace, SaleEvidence, Sellback, Sold},
    trace::TraceContext,
    user::User,
    warning::Digested,
};

/// The order that an event is about, and which event of it this is.
#[derive(Debug)]
pub struct Subject<'a, C> {
    pub partner: &'a PartnerId,
    pub id: OrderId,
    pub command: &'a C,
    pub request_id: &'a RequestId,
    /// From 1; rises with every event of the order.
    pub sequence: u64,
    /// When it happened.
    pub time: Time,
    pub trace: Option<&'a TraceContext>,
}

impl<'a> Subject<'a, PurchaseCommand> {
    pub fn of_purchase(purchase: &'a Purchase) -> Self {
        Self::new(purchase, &purchase.command.request_id)
    }
}

impl<'a> Subject<'a, SellbackCommand> {
    pub fn of_sellback(sellback: &'a Sellback) -> Self {
        Self::new(sellback, &sellback.command.request_id)
    }
}

impl<'a, C> Subject<'a, C> {
    fn new<S>(order: &'a Order<C, S>, request_id: &'a RequestId) -> Self {
        Self {
            partner: &order.partner,
            id: order.id,
            command: &order.command,
            request_id,
            sequence: order.sequence,
            time: order.updated_at,
            trace: Some(&order.trace),
        }
    }
}

/// What the upstream, the inventory or a person told of a fulfilled purchase.
#[derive(Debug, Clone, Copy)]
pub struct Fulfilled<'a> {
    pub session_id: Option<&'a SessionId>,
    pub public_id: Option<&'a PublicId>,
    pub tx_hash: Option<&'a TxHash>,
    pub pulls: &'a [Pull],
    pub recovered: bool,
    /// Told only when `recovered`.
    pub evidence: Option<&'a Evidence>,
}

pub fn fulfilled(subject: &Subject<'_, PurchaseCommand>, fulfilled: &Fulfilled<'_>) -> Event {
    let command = subject.command;
    let data = FulfilledData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        purchase_id: subject.id,
        pack_id: command.pack_id.clone(),
        amount: command.amount,
        session_id: fulfilled.session_id.cloned(),
        public_id: fulfilled.public_id.cloned(),
        tx_hash: fulfilled.tx_hash.cloned(),
        items: fulfilled.pulls.iter().map(PulledItem::from).collect(),
        recovered: fulfilled.recovered,
        evidence: fulfilled.evidence.filter(|_| fulfilled.recovered).map(Cow::Borrowed),
    };
    subject.head(EventType::PurchaseFulfilled).finish(data)
}

pub fn failed(subject: &Subject<'_, PurchaseCommand>, failure: &Failure, evidence: Option<&Evidence>) -> Event {
    let command = subject.command;
    let data = FailedData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        purchase_id: subject.id,
        pack_id: command.pack_id.clone(),
        amount: command.amount,
        reason: Cow::Borrowed(failure),
        evidence: evidence.map(Cow::Borrowed),
    };
    subject.head(EventType::PurchaseFailed).finish(data)
}

pub fn review(subject: &Subject<'_, PurchaseCommand>, code: ReviewCode, message: &str, evidence: Option<&Evidence>) -> Event {
    let command = subject.command;
    let data = ReviewData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        purchase_id: subject.id,
        reason: ReviewReason { code, message: Cow::Borrowed(message) },
        evidence: evidence.map(Cow::Borrowed),
    };
    subject.head(EventType::PurchaseReview).finish(data)
}

/// An item was sold back.
pub fn sold(subject: &Subject<'_, SellbackCommand>, sold: &Sold) -> Event {
    let command = subject.command;
    let data = SoldData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        sellback_id: subject.id,
        item_id: sold.item_id.clone(),
        pull_id: sold.pull.map(PullPlace::id),
        amount: sold.amount,
        currency: Cow::Borrowed(sold.amount.map_or(Currency::default(), Money::currency).code()),
        estimated: sold.estimated,
        evidence: sold.evidence.as_deref().map(Cow::Borrowed),
    };
    subject.head(EventType::SellbackCompleted).finish(data)
}

pub fn not_sold(subject: &Subject<'_, SellbackCommand>, failure: &Failure, evidence: Option<&SaleEvidence>) -> Event {
    let command = subject.command;
    let data = NotSoldData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        sellback_id: subject.id,
        item_id: command.target.item().cloned(),
        pull_id: command.target.pull(),
        reason: Cow::Borrowed(failure),
        evidence: evidence.map(Cow::Borrowed),
    };
    subject.head(EventType::SellbackFailed).finish(data)
}

pub fn sale_review(subject: &Subject<'_, SellbackCommand>, review: &sellback::Review) -> Event {
    let command = subject.command;
    let sale = review.sale.as_ref();
    let data = SaleReviewData {
        request_id: command.request_id.clone(),
        user_id: command.user_id.clone(),
        metadata: command.metadata.clone(),
        sellback_id: subject.id,
        item_id: sale.map(|sale| sale.item_id.clone()).or_else(|| command.target.item().cloned()),
        pull_id: sale.and_then(|sale| sale.pull).map(PullPlace::id).or_else(|| command.target.pull()),
        reason: ReviewReason { code: review.code, message: Cow::Borrowed(&review.message) },
        evidence: review.evidence.as_deref().map(Cow::Borrowed),
    };
    subject.head(EventType::SellbackReview).finish(data)
}

/// The user that an event is about, and which event of theirs this is.
#[derive(Debug)]
pub struct UserSubject<'a> {
    pub partner: &'a PartnerId,
    pub user_id: &'a UserId,
    /// From 1; rises with every event of the user.
    pub sequence: u64,
    pub time: Time,
}

impl UserSubject<'_> {
    fn finish(&self, kind: EventType, data: impl Serialize) -> Event {
        let Self { partner, user_id, sequence, time } = *self;
        let subject = User::subject(partner, user_id);
        Head { kind, partner, subject, name: Some(user_id.as_str()), sequence, request_id: None, time, trace: None }
            .finish(data)
    }
}

/// A warning, of those of the digest's items that are still to be warned of.
pub fn expiring(subject: &UserSubject<'_>, digest: &Digested, items: &[&Pull]) -> Event {
    let items: Vec<PulledItem<'_>> = items.iter().copied().map(PulledItem::as_last_seen).collect();
    let prices = items.iter().filter_map(|item| item.buyback_price).map(Money::millionths);
    let total = Money::usd(prices.fold(0, i64::saturating_add));
    let data = ExpiringData {
        user_id: subject.user_id.clone(),
        lead: digest.lead.to_string().into(),
        late: digest.late,
        verified: digest.verified,
        checked_at: digest.checked_at,
        items,
        total,
        currency: Cow::Borrowed(total.currency().code()),
    };
    subject.finish(EventType::BuybackExpiring, data)
}

/// Windows that closed unsold.
pub fn expired(subject: &UserSubject<'_>, items: &[&Pull]) -> Event {
    let items = items.iter().copied().map(PulledItem::as_last_seen).collect();
    subject.finish(EventType::BuybackExpired, ExpiredData { user_id: subject.user_id.clone(), items })
}

/// The one event of a dead letter. `time`: when it was taken in.
pub fn rejected(
    partner: &PartnerId,
    dead_letter_id: DeadLetterId,
    rejected: &Rejected,
    time: Time,
    trace: Option<&TraceContext>,
) -> Event {
    let data = RejectedData {
        request_id: rejected.request_id.clone(),
        user_id: rejected.user_id.clone(),
        errors: Cow::Borrowed(&rejected.problems),
        dead_letter_id,
    };
    let request_id = rejected.request_id.as_ref();
    let subject = dead_letter_id.0;
    Head { kind: EventType::CommandRejected, partner, subject, name: None, sequence: 1, request_id, time, trace }.finish(data)
}

/// What the envelope says.
struct Head<'a> {
    kind: EventType,
    partner: &'a PartnerId,
    subject: Uuid,
    /// What the subject is called, if not by its id.
    name: Option<&'a str>,
    sequence: u64,
    request_id: Option<&'a RequestId>,
    time: Time,
    trace: Option<&'a TraceContext>,
}

impl<'a, C> Subject<'a, C> {
    fn head(&self, kind: EventType) -> Head<'a> {
        Head {
            kind,
            partner: self.partner,
            subject: self.id.0,
            name: None,
            sequence: self.sequence,
            request_id: Some(self.request_id),
            time: self.time,
            trace: self.trace,
        }
    }
}

impl Head<'_> {
    fn finish(self, data: impl Serialize) -> Event {
        let id = EventId::of(self.subject, self.sequence);
        let event = CloudEvent {
            specversion: Cow::Borrowed(SPEC_VERSION),
            id,
            source: format!("/clawback/{}", self.partner).into(),
            kind: self.kind,
            subject: self.name.map_or_else(|| self.subject.to_string().into(), Cow::Borrowed),
            time: self.time,
            datacontenttype: Cow::Borrowed("application/json"),
            dataschema: data_schema(self.kind).into(),
            sequence: format!("{:020}", self.sequence).into(),
            traceparent: self.trace.map(|trace| trace.traceparent().into()),
            tracestate: self.trace.and_then(TraceContext::tracestate).map(Cow::Borrowed),
            data,
        };
        let body = serde_json::to_string(&event).expect("an event is text, numbers and JSON text");
        Event {
            id,
            kind: self.kind,
            partner: self.partner.clone(),
            subject: self.subject,
            sequence: self.sequence,
            request_id: self.request_id.cloned(),
            time: self.time,
            trace: self.trace.cloned(),
            body: Arc::from(body),
        }
    }
}
