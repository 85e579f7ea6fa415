//! What a state, an answer or an item carries, as JSON text in one column.
//!
//! The row types here are private to the store: domain types derive no serde and stay free to change. One conversion each way; what
//! this version cannot read is [`StoreError::Corrupt`], never a guess.

use std::time::Duration;

use clawback_domain::{
    AttemptToken, Money, PublicId, SessionId, Time, TxHash,
    answer::Answer,
    evidence::Evidence,
    item::Item,
    order::{Attempt, StateName},
    purchase::{Fulfilled, Pending, Reconciling, Review, State},
    reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting},
};
use sea_orm::sqlx;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::StoreError;

mod sale;

pub use sale::{sale, sale_columns};

/// # Errors
/// A NUL inside: no store takes one, whether its database would or not.
pub fn write<T: Serialize>(value: &T) -> Result<String, sqlx::Error> {
    let text = serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    if holds_nul(&text) { Err(nul()) } else { Ok(text) }
}

pub fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

/// # Errors
/// The same for a bare text.
pub fn check(text: &str) -> Result<(), StoreError> {
    if text.contains('\0') { Err(StoreError::Refused(nul().to_string())) } else { Ok(()) }
}

/// The error of a text with a NUL in it.
pub fn nul() -> sqlx::Error {
    sqlx::Error::Encode("a text holds a NUL".into())
}

/// Whether a JSON text holds the escape of a NUL: `\u0000` whose backslash is not itself escaped.
fn holds_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0)
}

/// A state in the columns of its row.
pub struct StateColumns<'a> {
    pub name: StateName,
    pub waiting: Option<WaitCode>,
    pub session: Option<&'a SessionId>,
    pub detail: Option<String>,
}

pub fn state_columns(state: &State) -> Result<StateColumns<'_>, sqlx::Error> {
    let waiting = match state {
        State::Accepted { waiting } => waiting.as_ref().map(|waiting| waiting.code),
        _ => None,
    };
    let detail = match state {
        State::Accepted { waiting: None } => None,
        State::Accepted { waiting: Some(waiting) } => Some(write(&WaitingRow::from(waiting))?),
        State::Initiating(attempt) => Some(write(&AttemptRow::from(attempt))?),
        State::Pending(pending) => Some(write(&PendingRow::from(pending))?),
        State::Reconciling(doubt) => Some(write(&ReconcilingRow::from(doubt))?),
        State::Review(review) => Some(write(&ReviewRow::from(review))?),
        State::Fulfilled(fulfilled) => Some(write(&FulfilledRow::from(fulfilled))?),
        State::Failed { failure, evidence, .. } => {
            Some(write(&FailedRow { failure: failure.clone(), evidence: evidence.clone() })?)
        }
    };
    Ok(StateColumns { name: state.name(), waiting, session: state.session(), detail })
}

/// The state that a row's columns tell of.
pub fn state(name: &str, waiting: Option<&str>, session: Option<&str>, detail: Option<&str>) -> Result<State, StoreError> {
    let name = StateName::parse(name).ok_or_else(|| StoreError::Corrupt(format!("a state called {name:?}")))?;
    let session = session.map(|text| SessionId::new(text).map_err(|error| corrupt("session_id", &error))).transpose()?;
    let needed = || detail.ok_or_else(|| corrupt("detail", &"is missing"));
    let its_session = || session.clone().ok_or_else(|| corrupt("session_id", &"is missing"));
    Ok(match name {
        StateName::Accepted => {
            State::Accepted { waiting: waiting.map(|code| read_waiting(code, read("detail", needed()?)?)).transpose()? }
        }
        StateName::Initiating => State::Initiating(read::<AttemptRow>("detail", needed()?)?.into()),
        StateName::Pending => {
            let PendingRow { since, polls, cancelled } = read("detail", needed()?)?;
            State::Pending(Pending { session: its_session()?, since, polls, cancelled })
        }
        StateName::Reconciling => {
            let ReconcilingRow { attempt, why, status, since, looks, evidence } = read("detail", needed()?)?;
            State::Reconciling(Reconciling { attempt: attempt.into(), why, status, since, looks, evidence })
        }
        StateName::Review => {
            let ReviewRow { code, message, cancelled, attempt, evidence, since } = read("detail", needed()?)?;
            State::Review(Review { code, message, session, cancelled, attempt, evidence, since })
        }
        StateName::Fulfilled => {
            let FulfilledRow { public_id, tx_hash, recovered, evidence } = read("detail", needed()?)?;
            State::Fulfilled(Fulfilled { session, public_id, tx_hash, recovered, evidence })
        }
        StateName::Failed => {
            let FailedRow { failure, evidence } = read("detail", needed()?)?;
            State::Failed { failure, session, evidence }
        }
        StateName::Selling | StateName::Sold => return Err(corrupt("state", &"is a sellback's")),
    })
}

pub(super) fn read_waiting(code: &str, row: WaitingRow) -> Result<Waiting, StoreError> {
    let code = WaitCode::parse(code).ok_or_else(|| corrupt("waiting_code", &code))?;
    let WaitingRow { message, until } = row;
    Ok(Waiting { code, message, until })
}

pub fn corrupt(column: &str, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{column}: {why}"))
}

#[derive(Serialize, Deserialize)]
pub(super) struct WaitingRow {
    message: String,
    until: Option<Time>,
}

impl From<&Waiting> for WaitingRow {
    fn from(waiting: &Waiting) -> Self {
        Self { message: waiting.message.clone(), until: waiting.until }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct AttemptRow {
    number: u32,
    token: AttemptToken,
    started_at: Time,
    send_by: Time,
    deadline: Time,
    /// Millionths of a dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<i64>,
}

impl From<&Attempt> for AttemptRow {
    fn from(attempt: &Attempt) -> Self {
        let Attempt { number, token, started_at, send_by, deadline, price } = *attempt;
        Self { number, token, started_at, send_by, deadline, price: price.map(Money::millionths) }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        let AttemptRow { number, token, started_at, send_by, deadline, price } = row;
        Self { number, token, started_at, send_by, deadline, price: price.map(Money::usd) }
    }
}

#[derive(Serialize, Deserialize)]
struct PendingRow {
    since: Time,
    polls: u32,
    cancelled: bool,
}

impl From<&Pending> for PendingRow {
    fn from(pending: &Pending) -> Self {
        Self { since: pending.since, polls: pending.polls, cancelled: pending.cancelled }
    }
}

#[derive(Serialize, Deserialize)]
struct ReconcilingRow {
    attempt: AttemptRow,
    why: String,
    status: Option<u16>,
    since: Time,
    looks: u32,
    #[serde(default)]
    evidence: Option<Box<Evidence>>,
}

impl From<&Reconciling> for ReconcilingRow {
    fn from(doubt: &Reconciling) -> Self {
        Self {
            attempt: (&doubt.attempt).into(),
            why: doubt.why.clone(),
            status: doubt.status,
            since: doubt.since,
            looks: doubt.looks,
            evidence: doubt.evidence.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ReviewRow {
    code: ReviewCode,
    message: String,
    cancelled: bool,
    attempt: Option<AttemptToken>,
    evidence: Option<Box<Evidence>>,
    since: Time,
}

impl From<&Review> for ReviewRow {
    fn from(review: &Review) -> Self {
        Self {
            code: review.code,
            message: review.message.clone(),
            cancelled: review.cancelled,
            attempt: review.attempt,
            evidence: review.evidence.clone(),
            since: review.since,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct FulfilledRow {
    public_id: Option<PublicId>,
    tx_hash: Option<TxHash>,
    recovered: bool,
    evidence: Option<Box<Evidence>>,
}

impl From<&Fulfilled> for FulfilledRow {
    fn from(fulfilled: &Fulfilled) -> Self {
        Self {
            public_id: fulfilled.public_id.clone(),
            tx_hash: fulfilled.tx_hash.clone(),
            recovered: fulfilled.recovered,
            evidence: fulfilled.evidence.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct FailedRow {
    #[serde(flatten)]
    failure: Failure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Box<Evidence>>,
}

/// What an attempt brought; the outcome's name stands in a column of its own for people.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum AnswerRow {
    Done { session: SessionId, nfts: Vec<Item> },
    Sold { amount: Option<Money> },
    Refused { code: FailureCode, message: String, status: u16 },
    Unauthorized { message: String },
    Busy { retry_after: Option<Duration> },
    NeverSent { why: String },
    Unknown { why: String, status: Option<u16> },
}

pub fn answer_text(answer: &Answer) -> Result<String, sqlx::Error> {
    let answer = answer.clone();
    write(&match answer {
        Answer::Done { session, nfts } => AnswerRow::Done { session, nfts },
        Answer::Sold { amount } => AnswerRow::Sold { amount },
        Answer::Refused { code, message, status } => AnswerRow::Refused { code, message, status },
        Answer::Unauthorized { message } => AnswerRow::Unauthorized { message },
        Answer::Busy { retry_after } => AnswerRow::Busy { retry_after },
        Answer::NeverSent { why } => AnswerRow::NeverSent { why },
        Answer::Unknown { why, status } => AnswerRow::Unknown { why, status },
    })
}

pub fn answer(text: &str) -> Result<Answer, StoreError> {
    Ok(match read("answer", text)? {
        AnswerRow::Done { session, nfts } => Answer::Done { session, nfts },
        AnswerRow::Sold { amount } => Answer::Sold { amount },
        AnswerRow::Refused { code, message, status } => Answer::Refused { code, message, status },
        AnswerRow::Unauthorized { message } => Answer::Unauthorized { message },
        AnswerRow::Busy { retry_after } => Answer::Busy { retry_after },
        AnswerRow::NeverSent { why } => Answer::NeverSent { why },
        AnswerRow::Unknown { why, status } => Answer::Unknown { why, status },
    })
}
