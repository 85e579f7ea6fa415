//! The timeline of an order: one entry per transition, in the words a support person reads to a customer.
//!
//! Entries are numbered by the version they led to, so that a timeline folds to the state it tells of.

use crate::{OrderId, Time, order::StateName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub order: OrderId,
    pub version: i64,
    pub at: Time,
    /// What happened, a [`HappenedName`](crate::order::HappenedName), or `accepted`.
    pub what: String,
    /// `None` for the first entry.
    pub from: Option<StateName>,
    pub to: StateName,
    /// A sentence.
    pub note: String,
    /// The person behind it, where there is one.
    pub by: Option<String>,
}
