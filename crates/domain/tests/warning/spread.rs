//! When users are due, and how a crowd is spread.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{
    PartnerId, Time, UserId,
    warning::{
        Crowd, Row, RowState, UserSettings, Window, begins_at, due_moment, next_window,
        spread::{LOOKING, jitter},
        window,
    },
};
use proptest::prelude::*;

use super::{HOUR, at, row, rules};

/// When the window of a row opens, and when it is due.
fn check(quiet: Option<(&str, &str)>, lead: u32, expiry: i64, expected: (i64, i64)) {
    let window = window(&row(1, lead, expiry), &rules(quiet), &UserSettings::default());
    let minutes = |time: Time| (time - at(0)).num_minutes();
    assert_eq!((minutes(window.opens), minutes(window.due)), expected, "{lead} minutes before {expiry}, quiet {quiet:?}");
}

#[test]
fn a_warning_is_due_at_its_lead_time_and_no_later() {
    check(None, 60, 600, (480, 540));
    check(None, 24 * 60, 3000, (120, 1560));
    check(None, 5, 600, (580, 595));
}

/// Quiet from minute 1320 to 1920.
#[test]
fn what_quiet_hours_hold_is_due_within_a_digest_after_they_end() {
    let night = Some(("22:00", "08:00"));
    check(night, 60, 1379, (1259, 1319));
    check(night, 24 * 60, 1320 + 24 * 60, (1920, 1935));
    check(night, 24 * 60, 1919 + 24 * 60, (1920, 1935));
    check(night, 24 * 60, 1920 + 24 * 60, (1920, 1920));
    check(night, 60, 1940, (1920, 1930));
    // Expires when or before they end: not held.
    check(night, 60, 1920, (1800, 1860));
    check(night, 60, 1400, (1280, 1340));
    // Early only as far as nobody is woken.
    check(night, 60, 1990, (1920, 1930));
    check(night, 24 * 60, 2500 + 24 * 60, (1920, 2500));
}

#[test]
fn a_user_is_due_with_the_earliest_of_his_planned_rows() {
    let (rules, settings) = (rules(Some(("22:00", "08:00"))), UserSettings::default());
    let sent = Row { state: RowState::Sent, ..row(1, 60, 100) };
    let rows = [row(1, 60, 700), sent, row(2, 60, 600), row(3, 24 * 60, 1400 + 24 * 60)];
    assert_eq!(due_moment(&rows, &rules, &settings), Some(at(540)));
    assert_eq!(due_moment(&rows[3..], &rules, &settings), Some(at(1935)));
    assert_eq!(due_moment(&rows[1..2], &rules, &settings), None);
    assert_eq!(next_window(&rows, &rules, &settings), Some(Window { opens: at(480), due: at(540), held: false }));
}

fn user(n: u64) -> UserId {
    UserId::new(format!("user-{n}")).unwrap()
}

fn partner() -> PartnerId {
    PartnerId::new("acme").unwrap()
}

/// The begins of so many users whose item expires in minute 10,000, for a warning of this lead, sorted.
fn begins(users: u64, reads_per_second: u32, lead: u32) -> (Window, Vec<Time>) {
    let window = window(&row(1, lead, 10_000), &rules(None), &UserSettings::default());
    let crowd = Crowd { users, reads_per_second };
    let mut begins: Vec<Time> = (0..users).map(|n| begins_at(window, &partner(), &user(n), crowd)).collect();
    begins.sort();
    (window, begins)
}

/// The most that begins within any `seconds` of the clock.
fn most_in(begins: &[Time], seconds: i64) -> usize {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    begins.iter().for_each(|time| *counts.entry(time.timestamp().div_euclid(seconds)).or_default() += 1);
    counts.into_values().max().unwrap_or(0)
}

/// How long the last look of a queue that is served at the budget waits.
fn longest_wait(begins: &[Time], reads_per_second: u32) -> Duration {
    let gap = chrono::TimeDelta::from_std(Duration::from_secs(1) / reads_per_second).unwrap();
    let mut free = Time::MIN_UTC;
    let waits = begins.iter().map(|begin| {
        let served = free.max(*begin);
        free = served + gap;
        (served - *begin).to_std().unwrap()
    });
    waits.max().unwrap_or_default()
}

#[test]
fn no_second_of_a_crowd_asks_for_more_than_the_budget_and_nobody_is_late() {
    for (users, reads_per_second, lead) in
        [(1000, 5, 60), (30_000, 50, 60), (100_000, 50, 60), (60_000, 200, 60), (100_000, 20, 24 * 60), (100_000, 1000, 60)]
    {
        let (window, begins) = begins(users, reads_per_second, lead);
        let crowd = Crowd { users, reads_per_second };
        let (first, last) = (begins[0], begins[begins.len() - 1]);
        // Draws of a mean of four fifths: five standard deviations above it in one second, none of it left over ten.
        let mean = f64::from(reads_per_second) * 0.8;
        let (second, ten) = (most_in(&begins, 1) as f64, most_in(&begins, 10));
        assert!(second <= mean + 5.0 * mean.sqrt(), "{crowd:?}: {second} in a second");
        assert!(ten <= reads_per_second as usize * 10 + 5 * (mean.sqrt() as usize), "{crowd:?}: {ten} in ten seconds");
        assert!(last <= window.due - LOOKING && first >= window.opens, "{crowd:?}: {first} to {last}");
        assert!(first >= window.due - LOOKING - crowd.span(), "no earlier than it must");
        // What is left of LOOKING is the time-out of the look.
        assert!(longest_wait(&begins, reads_per_second) < Duration::from_secs(15), "{crowd:?}");
    }
}

#[test]
fn a_crowd_that_fits_the_digest_is_early_by_no_more_than_the_digest() {
    let most = Crowd::room(Duration::from_secs(900), 50);
    assert_eq!(most, 34_800);
    let (window, begins) = begins(most, 50, 60);
    assert!(begins[0] >= window.due - Duration::from_secs(900));
    assert!(begins[0] < window.due - Duration::from_secs(890), "and it needs all of it");
}

#[test]
fn an_hour_is_never_warned_of_more_than_two_hours_before_expiry() {
    let (window, begins) = begins(200_000, 25, 60);
    assert_eq!(window.opens, at(10_000 - 2 * HOUR));
    assert!(begins[0] >= window.opens);
    assert!(most_in(&begins, 1) > 40, "then it is the budget's turn to make them wait");
}

/// Held until minute 1920, and all due in minute 1935.
#[test]
fn what_a_night_has_held_is_spread_from_its_end() {
    let window = window(&row(1, 60, 1970), &rules(Some(("22:00", "08:00"))), &UserSettings::default());
    let begins = |users| {
        let crowd = Crowd { users, reads_per_second: 50 };
        let mut begins: Vec<Time> = (0..users).map(|n| begins_at(window, &partner(), &user(n), crowd)).collect();
        begins.sort();
        begins
    };
    assert_eq!((window.opens, window.due), (at(1920), at(1935)));
    assert!(begins(10).iter().all(|begin| *begin < at(1920) + Duration::from_secs(1)), "few need no spreading");
    let many = begins(30_000);
    assert!(most_in(&many, 1) <= 40 + 5 * 7 && many[0] >= at(1920) && many[29_999] <= at(1935) - LOOKING);
}

#[test]
fn a_few_users_begin_just_before_they_are_due() {
    let (window, begins) = begins(10, 50, 60);
    assert!(begins.iter().all(|begin| *begin > window.due - LOOKING - Duration::from_secs(1)));
}

proptest! {
    #[test]
    fn work_begins_within_the_window_and_earlier_in_a_larger_crowd(
        length in 0..100_000_u64, users in 0..10_000_000_u64, more in 0..1_000_000_u64, reads_per_second in 0..5000_u32, n: u64,
    ) {
        let window = Window { opens: at(0), due: at(0) + Duration::from_secs(length), held: false };
        let begins = |users| begins_at(window, &partner(), &user(n), Crowd { users, reads_per_second });
        prop_assert!(window.opens <= begins(users) && begins(users) <= window.due);
        prop_assert!(begins(users + more) <= begins(users));
        let held = begins_at(Window { held: true, ..window }, &partner(), &user(n), Crowd { users, reads_per_second });
        prop_assert!(window.opens <= held && held <= window.due);
    }
}

#[test]
fn places_are_spread_over_all_there_are() {
    let mut tenths = [0; 10];
    (0..100_000).for_each(|n| tenths[((u128::from(jitter(&partner(), &user(n))) * 10) >> 64) as usize] += 1);
    assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
}
