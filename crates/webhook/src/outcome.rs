//! What became of a delivery, split by what the caller does next.
//!
//! A sentence here is for people: it says what the endpoint did, in our words. Nothing that the endpoint wrote is repeated but its
//! status, so that no answer can bring a secret into a log, or make Clawback a way to read what stands behind somebody's firewall.

use std::{fmt, time::Duration};

use crate::retry_after;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered 2xx: it has the event.
    Delivered { status: u16 },
    /// The endpoint answered 410: it wants no deliveries any more, and gets none until a person says otherwise.
    Gone,
    /// Not delivered, or delivered without our knowing: to be tried again with the same id.
    Retry {
        why: String,
        /// `None` when no answer came.
        status: Option<u16>,
        /// How long the endpoint asks us to wait, at most a day.
        retry_after: Option<Duration>,
    },
    /// Not sent: the address is one that Clawback connects to for nobody. Trying again helps only once the host's name leads elsewhere,
    /// and until then somebody should ask why it leads there.
    Refused { why: String },
}

impl Outcome {
    /// What an answer means: the whole table.
    pub fn answered(status: u16, retry_after: Option<Duration>) -> Self {
        let retry = |why: &str| Self::Retry {
            why: format!("the endpoint answered {status}{why}"),
            status: Some(status),
            retry_after: retry_after.map(|wish| wish.min(retry_after::LONGEST)),
        };
        match status {
            200..=299 => Self::Delivered { status },
            300..=399 => retry(": no redirect is followed, so its URL must be corrected"),
            400 | 401 | 403 => retry(": it may not have accepted the signature"),
            404 | 405 => retry(": nothing takes deliveries at its URL"),
            410 => Self::Gone,
            413 => retry(": the event is too large for it"),
            429 => retry(": it gets too many"),
            _ => retry(""),
        }
    }

    /// No answer came.
    pub fn unanswered(why: impl Into<String>) -> Self {
        Self::Retry { why: why.into(), status: None, retry_after: None }
    }
}

/// The sentence.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { status } => write!(f, "the endpoint answered {status}: it has the event"),
            Self::Gone => f.write_str("the endpoint answered 410: it wants no deliveries any more"),
            Self::Retry { why, .. } | Self::Refused { why } => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_meaning() {
        for status in 0..=u16::MAX {
            let found = Outcome::answered(status, None);
            let right = match status {
                200..=299 => found == Outcome::Delivered { status },
                410 => found == Outcome::Gone,
                _ => matches!(found, Outcome::Retry { status: Some(said), retry_after: None, .. } if said == status),
            };
            assert!(right, "{status}: {found:?}");
            assert!(found.to_string().starts_with(&format!("the endpoint answered {status}")), "{found}");
        }
    }

    #[test]
    fn a_wish_is_kept_up_to_a_day_whoever_passes_it_on() {
        for (wish, kept) in [(0, 0), (7, 7), (86_400, 86_400), (u64::MAX, 86_400)] {
            let found = Outcome::answered(503, Some(Duration::from_secs(wish)));
            assert!(matches!(found, Outcome::Retry { retry_after: Some(span), .. } if span.as_secs() == kept), "{found:?}");
        }
    }
}
