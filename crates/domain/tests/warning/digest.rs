//! What goes out, decided for each row.

use std::collections::BTreeMap;

use clawback_domain::{
    PartnerId, PullId, UserId,
    item::{Expiry, Shown},
    warning::{
        Composing, Crowd, Decision, MOST_ITEMS, Row, RowState, Sale, Skipped, UserSettings, WarningRules, Watched, begins_at,
        decide, digests, next_window,
    },
};
use proptest::prelude::*;

use super::{HOUR, at, lead, leads, row, rules, watched};

/// What is decided about `rows`, of pulls as `watched`, in this minute: `send`, `send late`, `send unverified`, `wait 61`, or a reason.
fn decided(rows: &[Row], watched: &[Watched], rules: &WarningRules, settings: &UserSettings, now: i64) -> Vec<String> {
    let watched: BTreeMap<PullId, Watched> = watched.iter().map(|watched| (watched.pull, watched.clone())).collect();
    let composing = Composing { watched: &watched, rules, settings, crowd: ALONE, now: at(now) };
    decide(rows, composing).into_iter().map(|(_, decision)| show(decision)).collect()
}

const ALONE: Crowd = Crowd { users: 1, reads_per_second: 1000 };

fn show(decision: Decision) -> String {
    match decision {
        Decision::Send { late, verified } => {
            format!("send{}{}", if late { " late" } else { "" }, if verified { "" } else { " unverified" })
        }
        Decision::Wait { until } => {
            let seconds = (until - at(0)).num_seconds();
            format!("wait {}{}", seconds / 60, if seconds % 60 == 0 { "" } else { ".5" })
        }
        Decision::Skip(why) => why.to_string(),
    }
}

/// One row of 1 h for a pull that expires in hour 10: due in minute 540.
fn check_one(pull: &Watched, now: i64, expected: &str) {
    let decided = decided(&[row(1, 60, 10 * HOUR)], std::slice::from_ref(pull), &rules(None), &UserSettings::default(), now);
    assert_eq!(decided, [expected], "{:?} in minute {now}", pull.sight);
}

fn seen(looks: &[(i64, bool)]) -> Watched {
    watched(1, Expiry::At(at(10 * HOUR)), looks)
}

#[test]
fn how_the_pull_stands_in_the_look_just_made_decides() {
    check_one(&seen(&[(540, true)]), 540, "send");
    check_one(&seen(&[(539, true)]), 540, "send");
    check_one(&seen(&[(0, true), (540, false)]), 540, "wait 542");
    check_one(&seen(&[(0, true), (530, false), (540, false)]), 540, "gone");
    check_one(&seen(&[(0, true), (530, false), (540, true)]), 540, "send");
    check_one(&seen(&[(540, false)]), 540, "wait 542");
    check_one(&Watched { sale: Sale::Sold, ..seen(&[(540, true)]) }, 540, "sold");
    check_one(&Watched { sale: Sale::UnderWay, ..seen(&[(540, true)]) }, 540, "send");
    check_one(&watched(1, Expiry::Never, &[(540, true)]), 540, "no_expiry");
    check_one(&watched(1, Expiry::At(at(539)), &[(530, true)]), 540, "expired");
}

#[test]
fn without_a_good_look_it_waits_for_three_minutes_and_then_says_so() {
    let old = seen(&[(538, true)]);
    check_one(&old, 540, "wait 543");
    check_one(&old, 542, "wait 543");
    check_one(&old, 543, "send unverified");
    check_one(&old, 546, "send unverified");
    check_one(&old, 547, "send late unverified");
    check_one(&seen(&[(546, true)]), 546, "send");
    check_one(&seen(&[(547, true)]), 547, "send late");
}

#[test]
fn what_a_good_look_did_not_show_is_never_warned_of_unverified() {
    let missing = seen(&[(0, true), (530, false)]);
    for now in [540, 543, 550, 580] {
        check_one(&missing, now, &format!("wait {}", now + 2));
    }
    check_one(&missing, 599, "wait 600");
    check_one(&missing, 600, "expired");
    check_one(&seen(&[]), 543, "wait 545");
}

#[test]
fn a_short_lead_waits_for_a_tenth_of_it() {
    let rows = [Row { lead: lead(10), ..row(1, 60, 10 * HOUR) }];
    let old = [seen(&[(500, true)])];
    let check = |now, expected: &str| {
        assert_eq!(decided(&rows, &old, &rules(None), &UserSettings::default(), now), [expected]);
    };
    check(590, "wait 591");
    check(591, "send unverified");
    check(592, "send unverified");
    check(593, "send late unverified");
}

/// Held until 08:00, and expires at 08:02: due at 08:01, and three minutes of patience would be too many.
#[test]
fn nobody_is_patient_until_it_is_too_late() {
    let night = rules(Some(("22:00", "08:00")));
    let old = [watched(1, Expiry::At(at(1922)), &[(1900, true)])];
    assert_eq!(decided(&[row(1, 60, 1922)], &old, &night, &UserSettings::default(), 1921), ["wait 1921.5"]);
}

#[test]
fn nothing_goes_out_after_expiry() {
    check_one(&seen(&[(599, true)]), 599, "send late");
    check_one(&seen(&[(600, true)]), 600, "expired");
    let unknown = decided(&[row(1, 60, 10 * HOUR)], &[], &rules(None), &UserSettings::default(), 600);
    assert_eq!(unknown, ["expired"]);
}

#[test]
fn of_several_missed_lead_times_the_nearest_goes_out() {
    let rows = [row(1, 72 * 60, 100 * HOUR), row(1, 24 * 60, 100 * HOUR), row(1, 60, 100 * HOUR)];
    let check = |now, expected: [&str; 3]| {
        let held = [watched(1, Expiry::At(at(100 * HOUR)), &[(now, true)])];
        assert_eq!(decided(&rows, &held, &rules(None), &UserSettings::default(), now), expected, "minute {now}");
    };
    check(28 * HOUR, ["send", "wait 4559.5", "wait 5939.5"]);
    check(50 * HOUR, ["send late", "wait 4559.5", "wait 5939.5"]);
    check(76 * HOUR, ["superseded", "send", "wait 5939.5"]);
    check(80 * HOUR, ["superseded", "send late", "wait 5939.5"]);
    check(99 * HOUR + 30, ["superseded", "superseded", "send late"]);
    check(100 * HOUR, ["expired", "expired", "expired"]);
}

#[test]
fn the_nearest_waits_for_its_look_and_the_superseded_do_not_go_out_instead() {
    let rows = [row(1, 24 * 60, 100 * HOUR), row(1, 60, 100 * HOUR)];
    let missing = [watched(1, Expiry::At(at(100 * HOUR)), &[(0, true), (99 * HOUR, false)])];
    assert_eq!(decided(&rows, &missing, &rules(None), &UserSettings::default(), 99 * HOUR), ["superseded", "wait 5942"]);
}

#[test]
fn a_digest_takes_what_is_due_within_it() {
    let rows: Vec<Row> = [0, 14, 15, 16].iter().enumerate().map(|(n, later)| row(n as u128, 60, 10 * HOUR + later)).collect();
    let check = |now, expected: [&str; 4]| {
        let held: Vec<_> = (0..4).map(|n| watched(n, Expiry::At(rows[n as usize].expiry), &[(now, true)])).collect();
        assert_eq!(decided(&rows, &held, &rules(None), &UserSettings::default(), now), expected, "minute {now}");
    };
    check(540, ["send", "send", "send", "wait 555.5"]);
    check(530, ["wait 539.5", "wait 553.5", "wait 554.5", "wait 555.5"]);
    // Overdue: from now on, or a row after the other would go out.
    check(541, ["send", "send", "send", "send"]);
    check(550, ["send late", "send", "send", "send"]);
}

#[test]
fn a_digest_holds_a_pull_once_however_near_its_lead_times_are() {
    let rules = rules(None).with_pack(seen(&[]).pack, leads(&[60, 50]));
    let rows = [row(1, 60, 10 * HOUR), row(1, 50, 10 * HOUR)];
    let check = |now, expected: [&str; 2]| {
        assert_eq!(decided(&rows, &[seen(&[(now, true)])], &rules, &UserSettings::default(), now), expected);
    };
    check(540, ["send", "wait 549.5"]);
    check(549, ["send late", "wait 549.5"]);
    check(550, ["superseded", "send"]);
}

/// The first is missing, and waits to be seen again for as long as it takes; the other is not sent early for that.
#[test]
fn what_waits_to_be_seen_makes_no_digest() {
    let rows = [row(1, 60, 600), row(2, 60, 612)];
    for (now, expected) in [(541, ["wait 542", "wait 551.5"]), (552, ["wait 554", "send"])] {
        let expiry = |n: usize| Expiry::At(rows[n].expiry);
        let pulls = [watched(1, expiry(0), &[(0, true), (540, false)]), watched(2, expiry(1), &[(now, true)])];
        assert_eq!(decided(&rows, &pulls, &rules(None), &UserSettings::default(), now), expected);
    }
}

/// Quiet from 22:00 to 08:00: minutes 1320 to 1920.
#[test]
fn quiet_hours_hold_what_does_not_expire_in_them() {
    let night = rules(Some(("22:00", "08:00")));
    let check = |expiry, now, expected: &str| {
        let held = [watched(1, Expiry::At(at(expiry)), &[(now, true)])];
        let decided = decided(&[row(1, 60, expiry)], &held, &night, &UserSettings::default(), now);
        assert_eq!(decided, [expected], "expires in {expiry}, minute {now}");
    };
    check(1440, 1380, "send");
    check(1920, 1860, "send");
    // Expires at 08:40, due at 07:40: held until 08:00, due by 08:15.
    check(1960, 1900, "wait 1920");
    check(1960, 1920, "send");
    check(1960, 1935, "send");
    check(1960, 1942, "send late");
    // Expires at 08:02: halfway from 08:00 to there is the latest.
    check(1922, 1870, "wait 1920");
    check(1922, 1921, "send");
    check(1985, 1920, "wait 1924.5");
    check(1985, 1925, "send");
}

/// One is held until 08:00 and due by 08:15. Who is due before that is waited for; who is due after it goes along only if that is no more
/// than a digest early, for the one that was held goes out at once.
#[test]
fn what_was_held_takes_along_what_is_due_within_a_digest_of_its_end() {
    let (night, settings) = (rules(Some(("22:00", "08:00"))), UserSettings::default());
    for (later, expected) in [(1934, ["wait 1935", "wait 1933.5"]), (1935, ["send", "send"]), (1940, ["send", "wait 1939.5"])] {
        let rows = [row(1, 60, 1970), row(2, 60, later + 60)];
        let held = [0, 1].map(|n| watched(n as u128 + 1, Expiry::At(rows[n].expiry), &[(1920, true)]));
        assert_eq!(decided(&rows, &held, &night, &settings, 1920), expected, "due in {later}");
    }
}

/// Due at 08:05; 2,000 users at one a second would have begun in the night.
#[test]
fn nobody_is_woken_for_the_sake_of_a_crowd() {
    let (rows, night, settings) = ([row(1, 60, 1985)], rules(Some(("22:00", "08:00"))), UserSettings::default());
    for (now, expected) in [(1910, "wait 1920"), (1919, "wait 1920"), (1920, "send")] {
        let held = watched(1, Expiry::At(at(1985)), &[(now, true)]);
        let watched = BTreeMap::from([(held.pull, held)]);
        let crowd = Crowd { users: 2000, reads_per_second: 1 };
        let composing = Composing { watched: &watched, rules: &night, settings: &settings, crowd, now: at(now) };
        assert_eq!(show(decide(&rows, composing)[0].1), expected, "minute {now}");
    }
}

#[test]
fn what_is_late_does_not_wake_anybody_either() {
    let night = rules(Some(("22:00", "08:00")));
    let rows = [row(1, 60, 1379)];
    let soon = [watched(1, Expiry::At(at(1379)), &[(1321, true)])];
    assert_eq!(decided(&rows, &soon, &night, &UserSettings::default(), 1321), ["send"], "it expires before they end");
    let rows = [row(1, 24 * 60, 1319 + 24 * 60)];
    for (now, expected) in [(1321, "send"), (1330, "wait 1920"), (1919, "wait 1920"), (1920, "send late")] {
        let held = [watched(1, Expiry::At(at(1319 + 24 * 60)), &[(now, true)])];
        assert_eq!(decided(&rows, &held, &night, &UserSettings::default(), now), [expected], "minute {now}");
    }
}

#[test]
fn who_wants_no_warnings_gets_none_and_loses_none_that_are_to_come() {
    let none = UserSettings { warnings: false, ..UserSettings::default() };
    let rows = [row(1, 72 * 60, 100 * HOUR), row(1, 24 * 60, 100 * HOUR)];
    assert_eq!(decided(&rows, &[], &rules(None), &none, 28 * HOUR), ["opted_out", "wait 4559.5"]);
}

#[test]
fn a_turn_that_comes_too_early_or_twice_sends_nothing() {
    let pull = seen(&[(500, true)]);
    check_one(&pull, 500, "wait 539.5");
    let watched = BTreeMap::from([(pull.pull, pull)]);
    let (rows, rules, settings) = ([row(1, 60, 600)], rules(None), UserSettings::default());
    // 2,000 users at one a second begin up to 2,500 s and the time of a look before: from minute 497.8 on.
    for (users, expected) in [(2000, "send"), (1900, "send"), (1800, "wait 502")] {
        let crowd = Crowd { users, reads_per_second: 1 };
        let composing = Composing { watched: &watched, rules: &rules, settings: &settings, crowd, now: at(500) };
        assert_eq!(show(decide(&rows, composing)[0].1), expected, "{users}");
    }
}

proptest! {
    /// Whoever's turn begins when it should, and finds the item, is warned then: on time, and in the night only of what it takes.
    #[test]
    fn who_begins_is_warned(
        lead in 1..2000_u32, expiry in 4000..8000_i64, quiet in proptest::option::of((0..24_u32, 0..24_u32)),
        users in 0..200_000_u64, name in "[a-z]{1,8}",
    ) {
        let quiet = quiet.map(|(from, to)| (format!("{from:02}:00"), format!("{to:02}:00")));
        let rules = rules(quiet.as_ref().map(|(from, to)| (from.as_str(), to.as_str())));
        let (rows, settings) = ([row(1, lead, expiry)], UserSettings::default());
        let crowd = Crowd { users, reads_per_second: 50 };
        let window = next_window(&rows, &rules, &settings).unwrap();
        let now = begins_at(window, &PartnerId::new("acme").unwrap(), &UserId::new(name).unwrap(), crowd);
        let mut pull = watched(1, Expiry::At(at(expiry)), &[]);
        pull.sight = pull.sight.after(now, Some(Shown { expiry: pull.sight.expiry, ..Shown::default() }));
        let watched = BTreeMap::from([(pull.pull, pull)]);
        let composing = Composing { watched: &watched, rules: &rules, settings: &settings, crowd, now };
        prop_assert_eq!(show(decide(&rows, composing)[0].1), "send");
        prop_assert!(now <= window.due && now < at(expiry));
        let quiet_until = rules.quiet().and_then(|quiet| quiet.end(now, None));
        prop_assert!(quiet_until.is_none_or(|end| end >= at(expiry) || quiet_until == rules.quiet().unwrap().end(window.due, None)));
    }
}

#[test]
fn rows_that_are_not_planned_are_left_out() {
    let rows =
        [Row { state: RowState::Sent, ..row(1, 60, 600) }, Row { state: RowState::Skipped(Skipped::Gone), ..row(2, 60, 600) }];
    assert!(decided(&rows, &[], &rules(None), &UserSettings::default(), 540).is_empty());
}

#[test]
fn an_event_holds_at_most_500_items_and_what_expires_first_comes_first() {
    let rows: Vec<Row> = (0..1001).map(|n| row(n, if n == 700 { 24 * 60 } else { 60 }, 2000 - n as i64)).collect();
    let send = |row: &Row, verified| Decision::Send { late: row.lead == lead(24 * 60), verified };
    let decided: Vec<_> = rows.iter().map(|row| (row, send(row, true))).collect();
    let events = digests(&decided);
    assert_eq!(events.iter().map(|event| event.rows.len()).collect::<Vec<_>>(), [MOST_ITEMS, MOST_ITEMS, 1]);
    assert_eq!(events.iter().map(|event| event.late).collect::<Vec<_>>(), [true, false, false]);
    assert!(events.iter().all(|event| event.verified && event.lead == lead(60)));
    let order: Vec<_> = events.iter().flat_map(|event| &event.rows).map(|row| row.expiry).collect();
    assert!(order.is_sorted() && order.len() == 1001);
}

#[test]
fn verified_and_unverified_never_share_an_event() {
    let rows: Vec<Row> = (0..4).map(|n| row(n, 60, 600)).collect();
    let decided: Vec<_> = rows
        .iter()
        .zip([
            Decision::Send { late: false, verified: true },
            Decision::Send { late: true, verified: false },
            Decision::Wait { until: at(0) },
            Decision::Skip(Skipped::Sold),
        ])
        .collect();
    let events: Vec<_> = digests(&decided).into_iter().map(|event| (event.rows, event.late, event.verified)).collect();
    assert_eq!(events, [(vec![&rows[0]], false, true), (vec![&rows[1]], true, false)]);
}
