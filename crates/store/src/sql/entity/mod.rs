//! Rows as sea-orm reads them, a file per table. They stay inside the store: each converts into its domain type, once, here.

pub mod attempts;
pub mod cases;
pub mod dead_letters;
pub mod events;
pub mod orders;
pub mod pauses;
pub mod pulls;
pub mod timeline;
pub mod unexplained;
pub mod users;
pub mod warnings;

use std::fmt::Display;

use crate::StoreError;

/// A text of a row as the id it is.
pub(super) fn id<T: std::str::FromStr<Err = E>, E: Display>(column: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: E| super::json::corrupt(column, &error))
}

/// A number of a row that is never negative.
fn count<T: TryFrom<i64>>(column: &str, number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| super::json::corrupt(column, &number))
}
