//! The `Date` header: the upstream's clock, in whole seconds.

use clawback_domain::Time;
use reqwest::header::{DATE, HeaderMap};

/// When the upstream answered, by its own clock; `None` when it does not tell.
pub(crate) fn of(headers: &HeaderMap) -> Option<Time> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_or_nothing() {
        let of = |text: &'static str| of(&HeaderMap::from_iter([(DATE, text.parse().unwrap())]));
        assert_eq!(of("Sat, 01 Aug 2026 12:00:30 GMT"), Some("2026-08-01T12:00:30Z".parse().unwrap()));
        assert_eq!(of("soon"), None);
        assert_eq!(super::of(&HeaderMap::new()), None);
    }
}
