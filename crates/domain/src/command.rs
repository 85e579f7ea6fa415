//! Commands: what partners ask for, and how a message becomes one.
//!
//! A message is read strictly: whatever is not understood to the letter is refused with *all* its problems at once, each with a
//! JSON pointer and a hint, so that a partner mends a message in one round and a misspelt guard never passes silently. What has
//! passed is held in types that need no second look.
//!
//! Rules beyond those of the ids' own types: a `request_id` never begins with `auto:`, and no id holds a Unicode control of text
//! direction (U+061C, U+200E, U+200F, U+202A–U+202E, U+2066–U+2069), because a person who reads a list of ids would be shown
//! another one. In `metadata`, which nobody decides by, they are let through. An amount is written as an integer: `1.0` and `1e2`
//! are refused. `null` in an optional field is the same as its absence.

mod digest;
mod explain;
mod json;
mod metadata;
mod parse;
mod rules;
mod settings;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ItemId, Money, PackId, PullId, RequestId, Time, UserId, reason::RejectionCode};

pub use digest::{Digest, InvalidDigest};
pub use metadata::{InvalidMetadata, MOST_METADATA_BYTES, Metadata};
pub use parse::{CLOUDEVENTS_JSON, MOST_BYTES, parse_purchase, parse_sellback};
pub use rules::MOST_AMOUNT;
pub use settings::SettingsChange;

/// Buy `amount` items of a pack for a user.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PurchaseCommand {
    /// The partner's idempotency key, for ever, one space for all commands. `auto:` at its beginning is reserved.
    #[schemars(length(min = 1, max = 128))]
    pub request_id: RequestId,
    /// The partner's name for its end user. None of `/ \ % ? #`, no white space, no control characters; not `.` or `..`.
    #[schemars(length(min = 1, max = 256))]
    pub user_id: UserId,
    /// The claw machine at the upstream.
    #[schemars(length(min = 1, max = 128))]
    pub pack_id: PackId,
    /// How many items. The pack's own limit is the upstream's to check.
    #[schemars(range(min = 1, max = 10000))]
    pub amount: u32,
    /// Never buy after it: then the purchase ends `failed` with `expired`. It does not apply once the purchase was initiated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Sell one item of a user back.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(transform = crate::schema::exactly_one)]
pub struct SellbackCommand {
    /// The partner's idempotency key, for ever, one space for all commands. `auto:` at its beginning is reserved.
    #[schemars(length(min = 1, max = 128))]
    pub request_id: RequestId,
    /// Whose item it is, by the partner's name for its end user.
    #[schemars(length(min = 1, max = 256))]
    pub user_id: UserId,
    #[serde(flatten)]
    pub target: Target,
    /// Do not sell when the price just read is lower. The upstream sets the final amount, which may be lower still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_price: Option<Money>,
    /// Never sell after it: then the sellback ends `failed` with `expired`. It does not apply once the upstream was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// What is sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Target {
    /// Any one of the user's items of this id.
    #[serde(rename = "item_id")]
    Item(#[schemars(length(min = 1, max = 256))] ItemId),
    /// The item that one purchase drew, where item ids repeat.
    #[serde(rename = "pull_id")]
    Pull(PullId),
}

impl Target {
    /// Which item id was asked for; `None` when a pull was.
    pub fn item(&self) -> Option<&ItemId> {
        if let Target::Item(item) = self { Some(item) } else { None }
    }

    pub fn pull(&self) -> Option<PullId> {
        if let Target::Pull(pull) = self { Some(*pull) } else { None }
    }
}

impl SellbackCommand {
    /// The message that [`parse_sellback`] reads as this command, one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("ids, money, a time and JSON text always serialise")
    }
}

impl PurchaseCommand {
    /// The message that [`parse_purchase`] reads as this command, one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("ids, a number, a time and JSON text always serialise")
    }
}

/// One thing that is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    pub code: RejectionCode,
    /// A sentence for people.
    pub message: String,
    /// JSON pointer to the place in the message; empty: the message as a whole.
    pub pointer: String,
    /// What was probably meant, or an example.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the message as a whole.
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), pointer: String::new(), hint: None }
    }

    pub fn at(self, pointer: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Why a message was not taken as a command, and whose it was as far as that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Never empty; bounded in number and size, so that it fits into a message header.
    pub problems: Vec<Problem>,
    pub request_id: Option<RequestId>,
    pub user_id: Option<UserId>,
}

impl Rejected {
    /// One problem of the message as a whole, whose ids were not read.
    pub fn one(code: RejectionCode, message: impl Into<String>) -> Self {
        Problem::new(code, message).into()
    }

    pub fn about(self, request_id: &RequestId, user_id: &UserId) -> Self {
        Self { request_id: Some(request_id.clone()), user_id: Some(user_id.clone()), ..self }
    }
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], request_id: None, user_id: None }
    }
}

/// All problems in one line: `/amount must be 1–10000, not 0; /colour is not a field of this command`.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let space = if problem.pointer.is_empty() { "" } else { " " };
            write!(f, "{separator}{}{space}{}", problem.pointer, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}
