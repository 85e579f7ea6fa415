//! The rule of each field, once, for the way that reads and the way that explains.

use chrono::{DateTime, Datelike};

use super::json::shown;
use crate::{InvalidId, ItemId, Money, PackId, PullId, RequestId, Time, UserId};

/// A sanity bound; the pack's own limit is the upstream's to check.
pub const MOST_AMOUNT: u32 = 10_000;

/// Every field of a purchase, in the order of the contract.
pub(super) const FIELDS: [&str; 6] = ["request_id", "user_id", "pack_id", "amount", "not_after", "metadata"];

/// Every field of a sellback.
pub(super) const SELLBACK_FIELDS: [&str; 7] =
    ["request_id", "user_id", "item_id", "pull_id", "min_price", "not_after", "metadata"];

/// What may follow a field's name in a sentence.
type Broken = String;

pub(super) fn request_id(text: &str) -> Result<RequestId, Broken> {
    if text.starts_with("auto:") {
        return Err("must not begin with auto:, which is reserved".into());
    }
    id(RequestId::new(text), text)
}

pub(super) fn user_id(text: &str) -> Result<UserId, Broken> {
    id(UserId::new(text), text)
}

pub(super) fn pack_id(text: &str) -> Result<PackId, Broken> {
    id(PackId::new(text), text)
}

pub(super) fn item_id(text: &str) -> Result<ItemId, Broken> {
    id(ItemId::new(text), text)
}

/// As events and resources tell it.
pub(super) fn pull_id(text: &str) -> Result<PullId, Broken> {
    let id: Option<PullId> = text.parse().ok();
    id.filter(|id| id.to_string() == text).ok_or_else(|| format!("must be a pull's id as it was told, not {:?}", shown(text)))
}

/// Without an exponent: it is money, and people read it.
pub(super) fn min_price(text: &str) -> Result<Money, Broken> {
    let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let plain = Some(text).filter(is_plain).ok_or(crate::money::MoneyError::NotANumber);
    plain.and_then(Money::parse_usd).map_err(|error| format!("must be a decimal of US dollars, but {:?} {error}", shown(text)))
}

fn id<T>(checked: Result<T, InvalidId>, text: &str) -> Result<T, Broken> {
    let id = checked.map_err(|InvalidId(broken)| broken)?;
    match text.chars().find(|&c| turns_text(c)) {
        Some(c) => Err(format!("must not contain U+{:04X}, which changes the direction of text", c as u32)),
        None => Ok(id),
    }
}

/// Unicode's `Bidi_Control`.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(super) fn amount(amount: u32) -> Result<u32, Broken> {
    match amount {
        1..=MOST_AMOUNT => Ok(amount),
        _ => Err(format!("must be 1–{MOST_AMOUNT}, not {amount}")),
    }
}

/// Any offset is taken; the instant is kept in UTC and whole microseconds. A leap second is the second after it, as in the stores.
pub(super) fn not_after(text: &str) -> Result<Time, Broken> {
    let given = DateTime::parse_from_rfc3339(text)
        .map_err(|_| format!("must be an RFC 3339 time with a zone, not {:?}", shown(text)))?;
    let time = DateTime::from_timestamp_micros(given.timestamp_micros());
    // Outside of these years a UTC time has no RFC 3339 form.
    time.filter(|time| (1..=9999).contains(&time.year())).ok_or_else(|| "must lie in the years 1 to 9999 UTC".into())
}
