//! An order as the HTTP API and `show --json` present it.

mod sellback;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    PackId, PurchaseId, RequestId, SessionId, Time, UserId,
    command::Metadata,
    event::{PulledItem, ReviewReason},
    evidence::Evidence,
    item::Pull,
    order::AnyOrder,
    purchase::{Purchase, State, StateName},
    reason::{Failure, WaitCode, Waiting},
};

pub use sellback::SellbackResource;

/// Either kind of order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnyResource<'a> {
    Purchase(Resource<'a>),
    Sellback(SellbackResource<'a>),
}

impl<'a> AnyResource<'a> {
    /// `pulls` are the items of this order if it is a purchase, in the order of their positions.
    pub fn of(order: &'a AnyOrder, pulls: &'a [Pull]) -> Self {
        match order {
            AnyOrder::Purchase(purchase) => Self::Purchase(Resource::of(purchase, pulls)),
            AnyOrder::Sellback(sellback) => Self::Sellback(SellbackResource::of(sellback)),
        }
    }
}

/// A purchase as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Purchase")]
pub struct Resource<'a> {
    pub purchase_id: PurchaseId,
    pub request_id: RequestId,
    pub state: StateName,
    pub created_at: Time,
    pub updated_at: Time,
    pub pack_id: PackId,
    pub amount: u32,
    pub user_id: UserId,
    pub session_id: Option<SessionId>,
    /// Empty until it is fulfilled.
    pub items: Vec<PulledItem<'a>>,
    /// The upstream's answer was lost; the items were found in the inventory, or by a person.
    pub recovered: bool,
    pub evidence: Option<Cow<'a, Evidence>>,
    /// Why it failed, or is in review.
    pub reason: Option<Reason<'a>>,
    /// Why an accepted purchase has not been called yet.
    pub waiting: Option<Wait<'a>>,
    pub trace_id: Cow<'a, str>,
    pub metadata: Option<Metadata>,
}

/// Of what failed, or of what is in review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Reason<'a> {
    Failed(Cow<'a, Failure>),
    Review(ReviewReason<'a>),
}

/// What an accepted order waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wait<'a> {
    pub code: WaitCode,
    pub message: Cow<'a, str>,
    /// When it is tried again by itself; `null` when something else must happen first.
    pub until: Option<Time>,
}

impl<'a> Resource<'a> {
    /// `pulls` are the items of this purchase, in the order of their positions.
    pub fn of(purchase: &'a Purchase, pulls: &'a [Pull]) -> Self {
        let command = &*purchase.command;
        Self {
            purchase_id: purchase.id,
            request_id: command.request_id.clone(),
            state: purchase.state.name(),
            created_at: purchase.created_at,
            updated_at: purchase.updated_at,
            pack_id: command.pack_id.clone(),
            amount: command.amount,
            user_id: command.user_id.clone(),
            session_id: purchase.state.session().cloned(),
            items: pulls.iter().map(PulledItem::from).collect(),
            recovered: matches!(&purchase.state, State::Fulfilled(fulfilled) if fulfilled.recovered),
            evidence: evidence_of(&purchase.state).map(Cow::Borrowed),
            reason: reason(&purchase.state),
            waiting: purchase.state.waiting().map(Wait::from),
            trace_id: Cow::Borrowed(purchase.trace.trace_id()),
            metadata: command.metadata.clone(),
        }
    }
}

/// What is known of a doubt, while there is one and after it was settled.
pub fn evidence_of(state: &State) -> Option<&Evidence> {
    match state {
        State::Review(review) => review.evidence.as_deref(),
        State::Fulfilled(fulfilled) => fulfilled.evidence.as_deref(),
        State::Reconciling(doubt) => doubt.evidence.as_deref(),
        State::Failed { evidence, .. } => evidence.as_deref(),
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) => None,
    }
}

fn reason(state: &State) -> Option<Reason<'_>> {
    match state {
        State::Review(review) => {
            Some(Reason::Review(ReviewReason { code: review.code, message: Cow::Borrowed(&review.message) }))
        }
        State::Failed { failure, .. } => Some(Reason::Failed(Cow::Borrowed(failure))),
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_) | State::Fulfilled(_) => None,
    }
}

impl<'a> From<&'a Waiting> for Wait<'a> {
    fn from(Waiting { code, message, until }: &'a Waiting) -> Self {
        Self { code: *code, message: Cow::Borrowed(message), until: *until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PartnerId, clock::after, command::parse_purchase, purchase, reason::ReviewCode, trace::TraceContext};

    fn accepted() -> Purchase {
        let message =
            r#"{"request_id":"order-1001","user_id":"user-42","pack_id":"pack-gold","amount":1,"metadata":{"b":1.0,"a":2}}"#;
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let command = parse_purchase(None, message.as_bytes()).unwrap();
        Purchase::accept(PartnerId::new("acme").unwrap(), command, Time::UNIX_EPOCH, trace)
    }

    /// What the state alone decides: `reason`, `waiting`, `evidence`, `recovered`.
    fn told(state: State) -> String {
        let purchase = Purchase { state, ..accepted() };
        let resource = Resource::of(&purchase, &[]);
        let text = serde_json::to_string(&resource).unwrap();
        assert_eq!(serde_json::from_str::<Resource<'_>>(&text).unwrap(), resource);
        assert_eq!(resource.state, purchase.state.name());
        serde_json::to_string(&(&resource.reason, &resource.waiting, &resource.evidence, resource.recovered)).unwrap()
    }

    #[test]
    fn it_has_the_fields_of_the_contract() {
        let purchase = accepted();
        let text = serde_json::to_string(&Resource::of(&purchase, &[])).unwrap();
        let expected = concat!(
            r#"{"purchase_id":"ba735ef3-604c-5877-afd7-9fd8c207e066","request_id":"order-1001","state":"accepted","#,
            r#""created_at":"1970-01-01T00:00:00Z","updated_at":"1970-01-01T00:00:00Z","pack_id":"pack-gold","amount":1,"#,
            r#""user_id":"user-42","session_id":null,"items":[],"recovered":false,"evidence":null,"reason":null,"waiting":null,"#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","metadata":{"b":1.0,"a":2}}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn each_state_tells_why() {
        let evidence = Evidence { doubt: "reset".into(), verdict: "unclear".into(), ..Evidence::default() };
        let told_evidence = serde_json::to_string(&evidence).unwrap();
        let until = Some(after(Time::UNIX_EPOCH, std::time::Duration::from_secs(5)));
        let waiting = Waiting { code: WaitCode::Busy, message: "busy".into(), until };
        let review = purchase::Review {
            code: ReviewCode::Ambiguous,
            message: "two".into(),
            session: None,
            cancelled: false,
            attempt: None,
            evidence: Some(Box::new(evidence.clone())),
            since: Time::UNIX_EPOCH,
        };
        let fulfilled = purchase::Fulfilled {
            session: None,
            public_id: None,
            tx_hash: None,
            recovered: true,
            evidence: Some(evidence.into()),
        };
        let failure =
            Failure { code: crate::reason::FailureCode::Cancelled, message: "asked for".into(), upstream_status: None };
        let cases = [
            (
                State::Accepted { waiting: Some(waiting) },
                r#"[null,{"code":"busy","message":"busy","until":"1970-01-01T00:00:05Z"},null,false]"#.into(),
            ),
            (State::Review(review), format!(r#"[{{"code":"ambiguous","message":"two"}},null,{told_evidence},false]"#)),
            (State::Fulfilled(fulfilled), format!("[null,null,{told_evidence},true]")),
            (
                State::Failed { failure, session: None, evidence: None },
                r#"[{"code":"cancelled","message":"asked for","upstream_status":null},null,null,false]"#.into(),
            ),
        ];
        for (state, expected) in cases {
            assert_eq!(told(state), expected);
        }
    }
}
