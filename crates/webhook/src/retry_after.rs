//! The `Retry-After` header: seconds or a date, by whoever writes it. Rubbish is no wish, and nobody is waited for longer than a day.

use std::time::Duration;

use clawback_domain::{Time, clock};

/// A wish for more is taken as one for this much: an event's news is worth little later, and a mistaken `Retry-After` must not
/// silence a partner for years.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the endpoint asks us to wait; `now` by the clock that wrote it, if it is a date.
pub(crate) fn parse(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let wish = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        clock::until(now, date(text)?)
    };
    Some(wish.min(LONGEST))
}

/// An HTTP date.
pub(crate) fn date(text: &str) -> Option<Time> {
    Some(chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_rubbish() {
        let now: Time = "2026-08-01T12:00:00Z".parse().unwrap();
        let cases: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86399", Some(86_399)),
            ("86401", Some(86_400)),
            ("315360000", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Sat, 01 Aug 2026 12:00:30 GMT", Some(30)),
            ("Sat, 01 Aug 2026 11:00:00 GMT", Some(0)),
            ("Fri, 01 Aug 2036 12:00:00 GMT", Some(86_400)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("Sat, 99 Aug 2026 12:00:30 GMT", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
