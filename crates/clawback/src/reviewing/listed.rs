//! What is in review, longest in doubt first.

use clawback_domain::{
    ItemId, OrderId, PackId, PartnerId, PullId, RequestId, SessionId, Time, UserId,
    order::{AnyOrder, StateName},
    purchase,
    reason::ReviewCode,
    resource::SellbackResource,
    sellback,
};
use clawback_store::{Filter, Store, StoreError};
use serde::Serialize;

/// An order in review as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedReview {
    #[serde(flatten)]
    pub what: ListedOrder,
    pub partner: PartnerId,
    pub request_id: RequestId,
    pub user_id: UserId,
    pub code: ReviewCode,
    pub message: String,
    pub since: Time,
    /// How many readings of the inventory are kept as evidence.
    pub looks: usize,
}

/// What is in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ListedOrder {
    Purchase { purchase_id: OrderId, pack_id: PackId, amount: u32, session_id: Option<SessionId> },
    Sellback { sellback_id: OrderId, item_id: Option<ItemId>, pull_id: Option<PullId> },
}

impl ListedReview {
    pub fn of(order: &AnyOrder) -> Option<Self> {
        let (what, code, message, since, looks) = match order {
            AnyOrder::Purchase(row) => {
                let purchase::State::Review(review) = &row.state else { return None };
                let what = ListedOrder::Purchase {
                    purchase_id: row.id,
                    pack_id: row.command.pack_id.clone(),
                    amount: row.command.amount,
                    session_id: review.session.clone(),
                };
                let looks = review.evidence.as_ref().map_or(0, |evidence| evidence.looks.len());
                (what, review.code, &review.message, review.since, looks)
            }
            AnyOrder::Sellback(row) => {
                let sellback::State::Review(review) = &row.state else { return None };
                let SellbackResource { item_id, pull_id, .. } = SellbackResource::of(row);
                let looks = review.evidence.as_ref().and_then(|evidence| evidence.last.as_ref()).iter().count();
                let what = ListedOrder::Sellback { sellback_id: row.id, item_id, pull_id };
                (what, review.code, &review.message, review.since, looks)
            }
        };
        Some(Self {
            what,
            partner: order.partner().clone(),
            request_id: order.request_id().clone(),
            user_id: order.user_id().clone(),
            code,
            message: message.clone(),
            since,
            looks,
        })
    }

    pub fn id(&self) -> OrderId {
        match self.what {
            ListedOrder::Purchase { purchase_id: id, .. } | ListedOrder::Sellback { sellback_id: id, .. } => id,
        }
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Listed {
    pub reviews: Vec<ListedReview>,
    /// How many there are, listed or not.
    pub total: usize,
}

/// Rows read at once: each carries its evidence.
const PAGE: u32 = 500;

/// The `limit` orders that have been in review for the longest time. The store pages by when an order was accepted; no review is
/// older than its order, so reading ends where all that follow were accepted after the last one to be listed.
///
/// # Errors
/// The store's.
pub async fn list(store: &dyn Store, partner: Option<&PartnerId>, limit: u32) -> Result<Listed, StoreError> {
    let mut listed = Listed { reviews: Vec::new(), total: count(store, partner).await? };
    let oldest_first = Filter {
        partner: partner.cloned(),
        state: Some(StateName::Review),
        oldest_first: true,
        limit: PAGE,
        ..Filter::default()
    };
    let mut after = None;
    loop {
        let page = store.orders(Filter { after, ..oldest_first.clone() }).await?;
        listed.reviews.extend(page.iter().filter_map(ListedReview::of));
        listed.reviews.sort_by_key(|review| (review.since, review.id()));
        listed.reviews.truncate(limit as usize);
        let youngest = listed.reviews.last().filter(|_| listed.reviews.len() == limit as usize).map(|review| review.since);
        match page.last() {
            Some(last) if page.len() == PAGE as usize && youngest.is_none_or(|youngest| last.created_at() <= youngest) => {
                after = Some((last.created_at(), last.id()));
            }
            Some(_) | None => return Ok(listed),
        }
    }
}

async fn count(store: &dyn Store, partner: Option<&PartnerId>) -> Result<usize, StoreError> {
    let counts = store.counts().await?.into_iter();
    let counts =
        counts.filter(|((of, _, state), _)| *state == StateName::Review && partner.is_none_or(|partner| partner == of));
    Ok(counts.map(|(_, count)| count as usize).sum())
}
