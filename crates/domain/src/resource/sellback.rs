//! A sellback as the HTTP API and `show --json` present it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reason, Wait};
use crate::{
    Currency, ItemId, Money, PullId, RequestId, SellbackId, Time, UserId,
    command::Metadata,
    event::ReviewReason,
    order::StateName,
    sellback::{PullPlace, SaleEvidence, Sellback, State},
};

/// A sellback as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sellback")]
pub struct SellbackResource<'a> {
    pub sellback_id: SellbackId,
    pub request_id: RequestId,
    pub state: StateName,
    pub created_at: Time,
    pub updated_at: Time,
    pub user_id: UserId,
    /// `null` until the upstream is called, when the command named a pull.
    pub item_id: Option<ItemId>,
    /// `null` as long as it is not known which pull is sold, and for an item that no purchase through Clawback drew.
    pub pull_id: Option<PullId>,
    pub min_price: Option<Money>,
    /// What it was sold for; `null` until then, and where nothing told a price.
    pub amount: Option<Money>,
    /// ISO 4217.
    pub currency: Cow<'a, str>,
    /// The upstream's answer was lost: the amount is the price just before the sale, or a person's word.
    pub estimated: bool,
    pub evidence: Option<Cow<'a, SaleEvidence>>,
    /// Why it failed, or is in review.
    pub reason: Option<Reason<'a>>,
    /// Why an accepted sellback has not been called yet.
    pub waiting: Option<Wait<'a>>,
    pub trace_id: Cow<'a, str>,
    pub metadata: Option<Metadata>,
}

impl<'a> SellbackResource<'a> {
    pub fn of(sellback: &'a Sellback) -> Self {
        let command = &*sellback.command;
        let (item, pull) = what(&sellback.state);
        let sold = sellback.state.sold();
        let amount = sold.and_then(|sold| sold.amount);
        Self {
            sellback_id: sellback.id,
            request_id: command.request_id.clone(),
            state: sellback.state.name(),
            created_at: sellback.created_at,
            updated_at: sellback.updated_at,
            user_id: command.user_id.clone(),
            item_id: item.or(command.target.item()).cloned(),
            pull_id: pull.map(PullPlace::id).or_else(|| command.target.pull()),
            min_price: command.min_price,
            amount,
            currency: Cow::Borrowed(amount.map_or(Currency::default(), Money::currency).code()),
            estimated: sold.is_some_and(|sold| sold.estimated),
            evidence: sellback.state.evidence().map(Cow::Borrowed),
            reason: reason(&sellback.state),
            waiting: sellback.state.waiting().map(Wait::from),
            trace_id: Cow::Borrowed(sellback.trace.trace_id()),
            metadata: command.metadata.clone(),
        }
    }
}

/// The item, and which of the user's pulls it is, as far as a call has settled that.
fn what(state: &State) -> (Option<&ItemId>, Option<PullPlace>) {
    match (state.sold(), state.sale()) {
        (Some(sold), _) => (Some(&sold.item_id), sold.pull),
        (None, Some(sale)) => (Some(&sale.item_id), sale.pull),
        (None, None) => (None, None),
    }
}

fn reason(state: &State) -> Option<Reason<'_>> {
    match state {
        State::Review(review) => {
            Some(Reason::Review(ReviewReason { code: review.code, message: Cow::Borrowed(&review.message) }))
        }
        State::Failed { failure, .. } => Some(Reason::Failed(Cow::Borrowed(failure))),
        State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) | State::Sold(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AttemptToken, PartnerId, PurchaseId,
        command::parse_sellback,
        order::{Attempt, Rules},
        reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting},
        sellback::{Holding, Review, Sale, Sold},
        trace::TraceContext,
    };

    fn accepted(target: &str) -> Sellback {
        let message =
            format!(r#"{{"request_id":"sale-1","user_id":"user-42",{target},"min_price":"8.50","metadata":{{"b":1.0}}}}"#);
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let command = parse_sellback(None, message.as_bytes()).unwrap();
        Sellback::accept(PartnerId::new("acme").unwrap(), command, Time::UNIX_EPOCH, trace)
    }

    fn place() -> PullPlace {
        PullPlace { purchase: PurchaseId(uuid::Uuid::from_u128(5)), position: 1 }
    }

    fn sale() -> Sale {
        let attempt: Attempt =
            accepted(r#""item_id":"i""#).attempt(AttemptToken(uuid::Uuid::from_u128(1)), Time::UNIX_EPOCH, &Rules::default());
        let item_id = ItemId::new("card").unwrap();
        Sale { attempt, item_id, pull: Some(place()), before: Holding::default(), known_sales: vec![], retried: false }
    }

    /// What the state alone decides, of a sellback by pull: item, amount, estimated, reason, waiting, evidence.
    fn told(state: State) -> String {
        let target = format!(r#""pull_id":"{}""#, place().id());
        let sellback = Sellback { state, ..accepted(&target) };
        let resource = SellbackResource::of(&sellback);
        let text = serde_json::to_string(&resource).unwrap();
        assert_eq!(serde_json::from_str::<SellbackResource<'_>>(&text).unwrap(), resource);
        assert_eq!((resource.state, resource.pull_id), (sellback.state.name(), Some(place().id())));
        let SellbackResource { item_id, amount, estimated, reason, waiting, evidence, .. } = resource;
        serde_json::to_string(&(item_id, amount, estimated, reason, waiting, evidence.is_some())).unwrap()
    }

    #[test]
    fn it_has_the_fields_of_the_contract() {
        let sellback = accepted(r#""item_id":"card""#);
        let text = serde_json::to_string(&SellbackResource::of(&sellback)).unwrap();
        let expected = format!(
            concat!(
                r#"{{"sellback_id":"{}","request_id":"sale-1","state":"accepted","created_at":"1970-01-01T00:00:00Z","#,
                r#""updated_at":"1970-01-01T00:00:00Z","user_id":"user-42","item_id":"card","pull_id":null,"min_price":"8.50","#,
                r#""amount":null,"currency":"USD","estimated":false,"evidence":null,"reason":null,"waiting":null,"#,
                r#""trace_id":"0af7651916cd43dd8448eb211c80319c","metadata":{{"b":1.0}}}}"#,
            ),
            sellback.id
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn each_state_tells_what_is_sold_and_why() {
        let waiting = Waiting { code: WaitCode::ItemBusy, message: "busy".into(), until: None };
        let review = Review {
            code: ReviewCode::Ambiguous,
            message: "two".into(),
            sale: Some(sale()),
            evidence: Some(Box::default()),
            since: Time::UNIX_EPOCH,
        };
        let sold = Sold {
            item_id: ItemId::new("card").unwrap(),
            pull: Some(place()),
            amount: Some(Money::usd(9_250_000)),
            estimated: true,
            evidence: Some(Box::default()),
        };
        let failure = Failure { code: FailureCode::PriceBelowMinimum, message: "less".into(), upstream_status: None };
        let cases = [
            (
                State::Accepted { waiting: Some(waiting), unsettled: None },
                r#"[null,null,false,null,{"code":"item_busy","message":"busy","until":null},false]"#,
            ),
            (State::Selling(sale()), r#"["card",null,false,null,null,false]"#),
            (State::Review(review), r#"["card",null,false,{"code":"ambiguous","message":"two"},null,true]"#),
            (State::Sold(sold), r#"["card","9.25",true,null,null,true]"#),
            (
                State::Failed { failure, evidence: None },
                r#"[null,null,false,{"code":"price_below_minimum","message":"less","upstream_status":null},null,false]"#,
            ),
        ];
        for (state, expected) in cases {
            assert_eq!(told(state), expected);
        }
    }
}
