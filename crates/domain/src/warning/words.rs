//! How spans, times of day and shares read in a sentence.

use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::Tz;

use crate::Time;

/// The largest of hours, minutes, seconds and milliseconds that fits exactly.
pub(super) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

pub(super) fn time_of_day(time: NaiveTime) -> String {
    let format = if time.format("%S").to_string() == "00" { "%H:%M" } else { "%H:%M:%S" };
    time.format(format).to_string()
}

/// A moment as the user's clock shows it.
pub(super) fn moment(time: Time, zone: Tz) -> String {
    time.with_timezone(&zone).format("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Millionths as a percentage with no more decimals than it needs.
pub(super) fn share(millionths: u32) -> String {
    let (whole, part) = (millionths / 10_000, millionths % 10_000);
    if part == 0 {
        return format!("{whole} %");
    }
    format!("{whole}.{} %", format!("{part:04}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_percentages() {
        for (millionths, text) in
            [(0, "0 %"), (900_000, "90 %"), (1_000_000, "100 %"), (875_000, "87.5 %"), (1, "0.0001 %"), (10_500, "1.05 %")]
        {
            assert_eq!(share(millionths), text);
        }
    }
}
