//! What a sellback's state carries.

use clawback_domain::{
    ItemId, Money, PurchaseId, SellbackId, Time,
    order::StateName,
    reason::{Failure, ReviewCode, WaitCode},
    sellback::{Doubt, Holding, PullPlace, Review, Sale, SaleEvidence, Sold, State},
};
use sea_orm::sqlx;
use serde::{Deserialize, Serialize};

use super::{AttemptRow, WaitingRow, corrupt, read, read_waiting, write};
use crate::StoreError;

/// A state in the columns of its row.
pub struct SaleColumns<'a> {
    pub name: StateName,
    pub waiting: Option<WaitCode>,
    /// The item id whose sale is not settled.
    pub selling: Option<&'a ItemId>,
    /// The item id that was sold.
    pub sold: Option<&'a ItemId>,
    pub detail: Option<String>,
}

pub fn sale_columns(state: &State) -> Result<SaleColumns<'_>, sqlx::Error> {
    let detail = match state {
        State::Accepted { waiting: None, unsettled: None } => None,
        State::Accepted { waiting, unsettled } => Some(write(&AcceptedRow {
            waiting: waiting.as_ref().map(WaitingRow::from),
            unsettled: unsettled.as_deref().map(SaleRow::from),
        })?),
        State::Selling(sale) => Some(write(&SaleRow::from(sale))?),
        State::Reconciling(doubt) => Some(write(&DoubtRow::from(doubt))?),
        State::Review(review) => Some(write(&ReviewRow::from(review))?),
        State::Sold(sold) => Some(write(&SoldRow::from(sold))?),
        State::Failed { failure, evidence } => {
            Some(write(&FailedRow { failure: failure.clone(), evidence: evidence.clone() })?)
        }
    };
    let waiting = state.waiting().map(|waiting| waiting.code);
    let (selling, sold) = (state.sale().map(|sale| &sale.item_id), state.sold().map(|sold| &sold.item_id));
    Ok(SaleColumns { name: state.name(), waiting, selling, sold, detail })
}

/// The state that a row's columns tell of.
pub fn sale(name: &str, waiting: Option<&str>, detail: Option<&str>) -> Result<State, StoreError> {
    let name = StateName::parse(name).ok_or_else(|| StoreError::Corrupt(format!("a state called {name:?}")))?;
    let needed = || detail.ok_or_else(|| corrupt("detail", &"is missing"));
    Ok(match name {
        StateName::Accepted => accepted(waiting, detail)?,
        StateName::Selling => State::Selling(read::<SaleRow>("detail", needed()?)?.into()),
        StateName::Reconciling => State::Reconciling(read::<DoubtRow>("detail", needed()?)?.into()),
        StateName::Review => State::Review(read::<ReviewRow>("detail", needed()?)?.into()),
        StateName::Sold => State::Sold(read::<SoldRow>("detail", needed()?)?.into()),
        StateName::Failed => {
            let FailedRow { failure, evidence } = read("detail", needed()?)?;
            State::Failed { failure, evidence }
        }
        StateName::Initiating | StateName::Pending | StateName::Fulfilled => {
            return Err(corrupt("state", &"is a purchase's"));
        }
    })
}

fn accepted(code: Option<&str>, detail: Option<&str>) -> Result<State, StoreError> {
    let Some(detail) = detail else { return Ok(State::Accepted { waiting: None, unsettled: None }) };
    let AcceptedRow { waiting, unsettled } = read("detail", detail)?;
    let waiting = match (code, waiting) {
        (Some(code), Some(row)) => Some(read_waiting(code, row)?),
        (None, None) => None,
        _ => return Err(corrupt("waiting_code", &"does not fit the detail")),
    };
    Ok(State::Accepted { waiting, unsettled: unsettled.map(|row| Box::new(row.into())) })
}

#[derive(Serialize, Deserialize)]
struct AcceptedRow {
    waiting: Option<WaitingRow>,
    unsettled: Option<SaleRow>,
}

#[derive(Serialize, Deserialize)]
struct PlaceRow {
    purchase: PurchaseId,
    position: u32,
}

impl From<PullPlace> for PlaceRow {
    fn from(PullPlace { purchase, position }: PullPlace) -> Self {
        Self { purchase, position }
    }
}

impl From<PlaceRow> for PullPlace {
    fn from(PlaceRow { purchase, position }: PlaceRow) -> Self {
        Self { purchase, position }
    }
}

#[derive(Serialize, Deserialize)]
struct SaleRow {
    attempt: AttemptRow,
    item_id: ItemId,
    pull: Option<PlaceRow>,
    before: Holding,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    known_sales: Vec<SellbackId>,
    retried: bool,
}

impl From<&Sale> for SaleRow {
    fn from(sale: &Sale) -> Self {
        Self {
            attempt: (&sale.attempt).into(),
            item_id: sale.item_id.clone(),
            pull: sale.pull.map(PlaceRow::from),
            before: sale.before.clone(),
            known_sales: sale.known_sales.clone(),
            retried: sale.retried,
        }
    }
}

impl From<SaleRow> for Sale {
    fn from(SaleRow { attempt, item_id, pull, before, known_sales, retried }: SaleRow) -> Self {
        Self { attempt: attempt.into(), item_id, pull: pull.map(PullPlace::from), before, known_sales, retried }
    }
}

#[derive(Serialize, Deserialize)]
struct DoubtRow {
    sale: SaleRow,
    why: String,
    status: Option<u16>,
    busy: bool,
    since: Time,
    looks: u32,
    evidence: Option<Box<SaleEvidence>>,
}

impl From<&Doubt> for DoubtRow {
    fn from(doubt: &Doubt) -> Self {
        let Doubt { sale, why, status, busy, since, looks, evidence } = doubt.clone();
        Self { sale: (&sale).into(), why, status, busy, since, looks, evidence }
    }
}

impl From<DoubtRow> for Doubt {
    fn from(DoubtRow { sale, why, status, busy, since, looks, evidence }: DoubtRow) -> Self {
        Self { sale: sale.into(), why, status, busy, since, looks, evidence }
    }
}

#[derive(Serialize, Deserialize)]
struct ReviewRow {
    code: ReviewCode,
    message: String,
    sale: Option<SaleRow>,
    evidence: Option<Box<SaleEvidence>>,
    since: Time,
}

impl From<&Review> for ReviewRow {
    fn from(review: &Review) -> Self {
        let Review { code, message, sale, evidence, since } = review.clone();
        Self { code, message, sale: sale.as_ref().map(SaleRow::from), evidence, since }
    }
}

impl From<ReviewRow> for Review {
    fn from(ReviewRow { code, message, sale, evidence, since }: ReviewRow) -> Self {
        Self { code, message, sale: sale.map(Sale::from), evidence, since }
    }
}

#[derive(Serialize, Deserialize)]
struct SoldRow {
    item_id: ItemId,
    pull: Option<PlaceRow>,
    amount: Option<Money>,
    estimated: bool,
    evidence: Option<Box<SaleEvidence>>,
}

impl From<&Sold> for SoldRow {
    fn from(sold: &Sold) -> Self {
        let Sold { item_id, pull, amount, estimated, evidence } = sold.clone();
        Self { item_id, pull: pull.map(PlaceRow::from), amount, estimated, evidence }
    }
}

impl From<SoldRow> for Sold {
    fn from(SoldRow { item_id, pull, amount, estimated, evidence }: SoldRow) -> Self {
        Self { item_id, pull: pull.map(PullPlace::from), amount, estimated, evidence }
    }
}

#[derive(Serialize, Deserialize)]
struct FailedRow {
    #[serde(flatten)]
    failure: Failure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Box<SaleEvidence>>,
}
