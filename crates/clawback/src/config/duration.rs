//! Durations as the configuration writes them: `20ms`, `1s`, `45m`, `72h`, `6d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// One number and one unit; nothing else is guessed at.
///
/// # Errors
/// A sentence that can stand behind a key's name.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    let number = digits.parse::<u64>().ok();
    match (number, unit) {
        (Some(number), Some((_, millis))) => {
            number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(|| format!("is too long: {text:?}"))
        }
        _ => Err(format!("must be a duration such as 20ms, 1s, 45m, 72h or 6d, not {text:?}")),
    }
}

/// The shortest text that [`parse`] reads back, whole milliseconds; days only where hours would be hard to read.
pub fn show(span: Duration) -> String {
    let millis = span.as_millis() as u64;
    let fits = |(unit, size): &&(&str, u64)| millis.is_multiple_of(*size) && (*unit != "d" || millis > 4 * size);
    match UNITS.iter().rev().find(fits) {
        Some((unit, size)) if millis > 0 => format!("{}{unit}", millis / size),
        _ => "0s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_one_number_and_one_unit() {
        for (text, expected) in [
            ("20ms", Some(20)),
            ("1s", Some(1_000)),
            ("45m", Some(2_700_000)),
            ("72h", Some(259_200_000)),
            ("6d", Some(518_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 m", None),
            ("1h30m", None),
            ("-1s", None),
            ("1.5s", None),
            ("1µs", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(parse(text).ok().map(|span| span.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["20ms", "1500ms", "1s", "90s", "45m", "72h", "24h", "6d", "0s"] {
            let span = parse(text).unwrap();
            assert_eq!(show(span), text);
        }
    }
}
