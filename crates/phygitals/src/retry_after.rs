//! The `Retry-After` header: seconds or a date, by whoever writes it. Rubbish is no wish.

use std::time::Duration;

use clawback_domain::{Time, clock};

/// How long the upstream asks us to wait. As it said it: whoever waits caps it.
pub(crate) fn parse(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(clock::until(now, then.to_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_rubbish() {
        let now: Time = "2026-08-01T12:00:00Z".parse().unwrap();
        let cases: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("315360000", Some(315_360_000)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sat, 01 Aug 2026 12:00:30 GMT", Some(30)),
            ("Sat, 01 Aug 2026 11:00:00 GMT", Some(0)),
            ("Fri, 01 Aug 2036 12:00:00 GMT", Some(315_619_200)),
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
