//! The timeline of a purchase: one entry per transition, in the words a support person reads to a customer.
//!
//! Entries are numbered by the version they led to, so that a timeline folds to the state it tells of.

use crate::{PurchaseId, Time, purchase::StateName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub purchase: PurchaseId,
    pub version: i64,
    pub at: Time,
    /// What happened, one of the names of [`Happened`](crate::purchase::Happened).
    pub what: String,
    /// `None` for the first entry.
    pub from: Option<StateName>,
    pub to: StateName,
    /// A sentence.
    pub note: String,
    /// The person behind it, where there is one.
    pub by: Option<String>,
}
