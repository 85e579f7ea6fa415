//! Quiet hours where clocks change, and everywhere else.

use chrono::{NaiveTime, Timelike};
use chrono_tz::{TZ_VARIANTS, Tz};
use clawback_domain::{
    Time,
    warning::{Quiet, RuleError, zone},
};
use proptest::prelude::*;

/// Whether it is quiet at some moments, all in UTC: until when, or `-`.
fn check(name: &str, from: &str, to: &str, moments: &[(&str, &str)]) {
    let quiet = Quiet::parse(from, to, name).unwrap().expect("some hours are quiet");
    for (moment, expected) in moments {
        let end = quiet.end(moment.parse().unwrap(), None);
        let shown = end.map_or("-".into(), |end| end.format("%Y-%m-%dT%H:%M:%SZ").to_string());
        assert_eq!(shown, *expected, "{name} {from}–{to} at {moment}");
    }
}

#[test]
fn a_night_begins_at_its_first_moment_and_is_over_at_its_end() {
    check(
        "Europe/Berlin",
        "22:00",
        "08:00",
        &[
            ("2026-01-10T20:59:59Z", "-"),
            ("2026-01-10T21:00:00Z", "2026-01-11T07:00:00Z"),
            ("2026-01-10T23:30:00Z", "2026-01-11T07:00:00Z"),
            ("2026-01-11T06:59:59Z", "2026-01-11T07:00:00Z"),
            ("2026-01-11T07:00:00Z", "-"),
        ],
    );
    check(
        "Europe/Berlin",
        "12:00",
        "14:00",
        &[("2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"), ("2026-07-01T12:00:00Z", "-")],
    );
    check(
        "Asia/Kathmandu",
        "22:00",
        "08:00",
        &[("2026-05-01T16:14:59Z", "-"), ("2026-05-01T16:15:00Z", "2026-05-02T02:15:00Z"), ("2026-05-02T02:15:00Z", "-")],
    );
    // Until 1986 Nepal was a quarter of an hour behind where it is now.
    check(
        "Asia/Kathmandu",
        "22:00",
        "08:00",
        &[("1985-05-01T16:29:59Z", "-"), ("1985-05-01T16:30:00Z", "1985-05-02T02:30:00Z")],
    );
}

#[test]
fn a_night_in_which_the_clocks_change_is_shorter_or_longer() {
    check(
        "Europe/Berlin",
        "22:00",
        "08:00",
        &[("2026-03-28T21:30:00Z", "2026-03-29T06:00:00Z"), ("2026-03-29T06:00:00Z", "-")],
    );
    check(
        "Europe/Berlin",
        "22:00",
        "08:00",
        &[("2026-10-24T20:30:00Z", "2026-10-25T07:00:00Z"), ("2026-10-25T07:00:00Z", "-")],
    );
    check("Australia/Lord_Howe", "22:00", "08:00", &[("2026-10-03T12:00:00Z", "2026-10-03T21:00:00Z")]);
    check("Australia/Lord_Howe", "22:00", "08:00", &[("2026-04-04T12:00:00Z", "2026-04-04T21:30:00Z")]);
}

/// Berlin goes forward at 01:00 UTC, Lord Howe (by half an hour) at 15:30 UTC, São Paulo went forward at midnight, 03:00 UTC.
#[test]
fn a_wall_time_that_was_left_out_is_the_moment_at_which_clocks_went_forward() {
    let spring = |minute: &str| format!("2026-03-29T{minute}:00Z");
    let berlin = |from, to, moment: &str, expected: &str| check("Europe/Berlin", from, to, &[(&spring(moment), expected)]);
    berlin("22:00", "02:30", "00:59", "2026-03-29T01:00:00Z");
    berlin("22:00", "02:30", "01:00", "-");
    berlin("02:30", "06:00", "00:59", "-");
    berlin("02:30", "06:00", "01:00", "2026-03-29T04:00:00Z");
    for moment in ["00:59", "01:00", "01:20"] {
        berlin("02:10", "02:40", moment, "-");
    }
    check(
        "Australia/Lord_Howe",
        "22:00",
        "02:15",
        &[("2026-10-03T15:29:00Z", "2026-10-03T15:30:00Z"), ("2026-10-03T15:30:00Z", "-")],
    );
    check(
        "America/Sao_Paulo",
        "00:00",
        "07:00",
        &[("2018-11-04T02:59:00Z", "-"), ("2018-11-04T03:00:00Z", "2018-11-04T09:00:00Z")],
    );
    check(
        "America/Sao_Paulo",
        "22:00",
        "00:30",
        &[("2018-11-04T01:30:00Z", "2018-11-04T03:00:00Z"), ("2018-11-04T03:00:00Z", "-")],
    );
}

/// Berlin goes back at 01:00 UTC, Lord Howe at 15:00 UTC, São Paulo went back at midnight to 23:00, 02:00 UTC.
#[test]
fn a_wall_time_that_comes_twice_opens_at_its_first_and_ends_at_its_last() {
    check(
        "Europe/Berlin",
        "22:00",
        "02:30",
        &[
            ("2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z"),
            ("2026-10-25T01:29:59Z", "2026-10-25T01:30:00Z"),
            ("2026-10-25T01:30:00Z", "-"),
        ],
    );
    check(
        "Europe/Berlin",
        "02:30",
        "06:00",
        &[
            ("2026-10-25T00:29:59Z", "-"),
            ("2026-10-25T00:30:00Z", "2026-10-25T05:00:00Z"),
            ("2026-10-25T01:10:00Z", "2026-10-25T05:00:00Z"),
        ],
    );
    check(
        "Australia/Lord_Howe",
        "22:00",
        "01:45",
        &[("2026-04-04T14:50:00Z", "2026-04-04T15:15:00Z"), ("2026-04-04T15:15:00Z", "-")],
    );
    check(
        "America/Sao_Paulo",
        "20:00",
        "23:30",
        &[("2019-02-17T01:45:00Z", "2019-02-17T02:30:00Z"), ("2019-02-17T02:30:00Z", "-")],
    );
    check(
        "America/Sao_Paulo",
        "23:30",
        "06:00",
        &[("2019-02-17T01:29:59Z", "-"), ("2019-02-17T02:10:00Z", "2019-02-17T09:00:00Z")],
    );
}

/// On 29 December 2011 Samoa went from 24:00 to the 31st: two nights meet, and nobody is woken between them.
#[test]
fn a_day_that_was_left_out_joins_two_nights() {
    check("Pacific/Apia", "22:00", "08:00", &[("2011-12-30T08:30:00Z", "2011-12-30T18:00:00Z"), ("2011-12-30T18:00:00Z", "-")]);
}

#[test]
fn the_same_time_twice_means_no_quiet_hours() {
    assert_eq!(Quiet::parse("22:00", "22:00", "UTC"), Ok(None));
}

#[test]
fn the_users_zone_wins() {
    let quiet = Quiet::parse("22:00", "08:00", "Europe/Berlin").unwrap().unwrap();
    let moment = "2026-01-10T17:00:00Z".parse().unwrap();
    assert_eq!(quiet.end(moment, None), None);
    assert_eq!(quiet.end(moment, Some(Tz::Asia__Kathmandu)), Some("2026-01-11T02:15:00Z".parse().unwrap()));
}

#[test]
fn the_last_end_is_the_latest_that_has_passed() {
    let quiet = Quiet::parse("22:00", "08:00", "UTC").unwrap().unwrap();
    for (moment, expected) in [
        ("2026-01-10T12:00:00Z", "2026-01-10T08:00:00Z"),
        ("2026-01-10T08:00:00Z", "2026-01-10T08:00:00Z"),
        ("2026-01-10T07:59:59Z", "2026-01-09T08:00:00Z"),
        ("2026-01-10T23:00:00Z", "2026-01-10T08:00:00Z"),
    ] {
        assert_eq!(quiet.last_end(moment.parse().unwrap(), None), Some(expected.parse().unwrap()), "{moment}");
    }
}

#[test]
fn what_is_no_time_of_day_is_said_to_be_none() {
    for bad in ["24:00", "22", "", "22:00:00", "ten"] {
        assert_eq!(Quiet::parse(bad, "08:00", "UTC"), Err(RuleError::NotATimeOfDay(bad.into())));
        assert_eq!(Quiet::parse("08:00", bad, "UTC"), Err(RuleError::NotATimeOfDay(bad.into())));
    }
    assert!(matches!(Quiet::parse("22:00", "08:00", "Europe/Berln"), Err(RuleError::UnknownZone { .. })));
}

#[test]
fn the_ends_of_time_do_not_panic() {
    let quiet = Quiet::parse("22:00", "08:00", "Europe/Berlin").unwrap().unwrap();
    for moment in [Time::MIN_UTC, Time::MAX_UTC] {
        let _ = (quiet.end(moment, None), quiet.end(moment, Some(Tz::America__Sao_Paulo)));
        let _ = (quiet.end(moment - chrono::TimeDelta::zero(), Some(Tz::UTC)), quiet.last_end(moment, Some(Tz::UTC)));
    }
}

fn of_day(minute: u32) -> NaiveTime {
    NaiveTime::from_num_seconds_from_midnight_opt(minute * 60, 0).unwrap()
}

/// What a clock on the wall says, which knows nothing of days.
fn shows_quiet(from: u32, to: u32, moment: Time, zone: Tz) -> bool {
    let seconds = moment.with_timezone(&zone).time().num_seconds_from_midnight();
    let (from, to) = (from * 60, to * 60);
    if from < to { (from..to).contains(&seconds) } else { seconds >= from || seconds < to }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// In every zone there is, between 1970 and 2037.
    #[test]
    fn nobody_is_woken_while_his_clock_shows_a_quiet_hour(
        index in 0..TZ_VARIANTS.len(), second in 0..2_114_380_800_i64, from in 0..1440_u32, to in 0..1440_u32,
    ) {
        prop_assume!(from != to);
        let zone = TZ_VARIANTS[index];
        let quiet = Quiet::new(of_day(from), of_day(to), zone).unwrap();
        let moment = Time::from_timestamp(second, 0).unwrap();
        let offset = |days: i64| {
            use chrono::Offset;
            (moment + chrono::TimeDelta::days(days)).with_timezone(&zone).offset().fix()
        };
        let clocks_change = (-2..=2).any(|day| offset(day) != offset(0));
        let end = quiet.end(moment, None);
        if shows_quiet(from, to, moment, zone) {
            prop_assert!(end.is_some());
        } else if !clocks_change {
            prop_assert_eq!(end, None);
        }
        if let Some(end) = end {
            prop_assert!(end > moment);
            prop_assert_eq!(quiet.end(end, None), None);
            prop_assert!(!shows_quiet(from, to, end, zone));
            prop_assert_eq!(quiet.last_end(end, None), Some(end));
        }
    }
}

#[test]
fn zones_are_read_by_their_names() {
    assert_eq!(zone("Asia/Kathmandu"), Ok(Tz::Asia__Kathmandu));
}
