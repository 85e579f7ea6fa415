//! What a call comes to: the answer, and how much of it arrives.

use std::{borrow::Cow, time::Duration};

/// The end of a call, seen from the upstream.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<R> {
    /// 200 with its body.
    Success(R),
    /// Another status with `{"error": …}`.
    Error(Refusal),
    /// 200 whose body breaks off.
    CutBody(R),
    /// 200 with a page of HTML.
    Rubbish,
    /// 307 to the same address.
    Redirect,
    /// The connection is reset without an answer.
    Reset,
    /// Nothing is ever answered.
    Hang,
}

impl<R> Outcome<R> {
    pub fn map<T>(self, change: impl FnOnce(R) -> T) -> Outcome<T> {
        match self {
            Outcome::Success(reply) => Outcome::Success(change(reply)),
            Outcome::CutBody(reply) => Outcome::CutBody(change(reply)),
            Outcome::Error(refusal) => Outcome::Error(refusal),
            Outcome::Rubbish => Outcome::Rubbish,
            Outcome::Redirect => Outcome::Redirect,
            Outcome::Reset => Outcome::Reset,
            Outcome::Hang => Outcome::Hang,
        }
    }

    /// The reply that arrived whole.
    ///
    /// # Errors
    /// What arrived, or did not, instead.
    pub fn success(self) -> Result<R, Outcome<()>> {
        match self {
            Outcome::Success(reply) => Ok(reply),
            other => Err(other.map(drop)),
        }
    }
}

impl<R> From<Result<R, Refusal>> for Outcome<R> {
    fn from(result: Result<R, Refusal>) -> Self {
        result.map_or_else(Outcome::Error, Outcome::Success)
    }
}

/// An error as the pages list them. There are no codes: the text is the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub error: Cow<'static, str>,
    pub retry_after: Option<Duration>,
}

impl Refusal {
    const fn new(status: u16, error: &'static str) -> Self {
        Self { status, error: Cow::Borrowed(error), retry_after: None }
    }

    pub(crate) fn amount_above(most: u32) -> Self {
        let error = format!("Amount must be less than or equal to {most}");
        Self { status: 400, error: Cow::Owned(error), retry_after: None }
    }
}

pub const INVALID_KEY: Refusal = Refusal::new(401, "Invalid API key");

pub const OUT_OF_STOCK: Refusal = Refusal::new(400, "Claw machine is out of stock");
pub const AMOUNT_TOO_SMALL: Refusal = Refusal::new(400, "Amount must be greater than 0");
pub const UNKNOWN_PACK: Refusal = Refusal::new(400, "VM not found");
pub const USER_REQUIRED: Refusal = Refusal::new(400, "user_id is required");
pub const ERROR_DURING_TRANSACTION: Refusal = Refusal::new(500, "Error during transaction");

pub const TRANSACTION_FAILED: Refusal = Refusal::new(400, "Transaction failed");

pub const ITEM_NOT_FOUND: Refusal = Refusal::new(400, "Item not found");
pub const ITEM_EXPIRED: Refusal = Refusal::new(400, "Item has expired");
pub const ACTIVE_SESSION: Refusal = Refusal::new(400, "Item already has an active buyback session");
pub const ALREADY_PROCESSED: Refusal = Refusal::new(429, "A buyback request for this item is already being processed");

pub const USER_NOT_FOUND: Refusal = Refusal::new(404, "User not found");
pub const UNEXPECTED_ERROR: Refusal = Refusal::new(500, "An unexpected error occurred");

/// No page has this text; what counts is the status.
pub const RATE_LIMITED: Refusal = Refusal::new(429, "Too many requests");

/// What no page describes, answered as most servers do. The key is looked at first.
pub(crate) const INVALID_JSON: Refusal = Refusal::new(400, "Invalid JSON");
