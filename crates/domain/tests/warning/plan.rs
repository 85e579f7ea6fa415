//! Which rows a pull gets.

use clawback_domain::{
    item::Expiry,
    warning::{Change, Plan, Row, RowState, Sale, Skipped, WarningRules, Watched, plan},
};
use proptest::prelude::*;

use super::{HOUR, at, leads, pull, row, rules, watched};

const SENT: RowState = RowState::Sent;
const PLANNED: RowState = RowState::Planned;

const fn skipped(why: Skipped) -> RowState {
    RowState::Skipped(why)
}

/// The rows as planning leaves them.
fn apply(rows: &[Row], plan: Plan) -> Vec<Row> {
    let Plan::Changes(changes) = plan else { return rows.to_vec() };
    let mut rows = rows.to_vec();
    for change in changes {
        match change {
            Change::Insert(new) => {
                assert!(!rows.iter().any(|row| row.lead == new.lead), "{new:?} is there already");
                rows.push(new);
            }
            Change::Update(new) => {
                let old = rows.iter_mut().find(|row| row.lead == new.lead).expect("there is such a row");
                assert_ne!(old.state, SENT, "what was sent is settled");
                assert_ne!(*old, new, "nothing changes");
                *old = new;
            }
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.lead));
    rows
}

/// `72h planned, 24h sent, 1h expired`: state or reason of each row, and what it was planned for if not the present expiry.
fn show(rows: &[Row], expiry: i64) -> String {
    let state = |row: &Row| match row.state {
        RowState::Planned => "planned".to_owned(),
        RowState::Sent => "sent".to_owned(),
        RowState::Skipped(why) => why.to_string(),
    };
    let other = |row: &Row| if row.expiry == at(expiry) { "" } else { " (other expiry)" };
    rows.iter().map(|row| format!("{} {}{}", row.lead, state(row), other(row))).collect::<Vec<_>>().join(", ")
}

struct Case<'a> {
    rules: WarningRules,
    expiry: i64,
    read_at: i64,
    now: i64,
    rows: &'a [(u32, RowState, i64)],
}

impl Case<'_> {
    fn rows(&self) -> Vec<Row> {
        let of = |(lead, state, expiry): &(u32, RowState, i64)| Row { state: *state, ..row(1, *lead, *expiry) };
        self.rows.iter().map(of).collect()
    }

    fn check_of(&self, pull: &Watched, expected: &str) {
        let (rows, read_at, now) = (self.rows(), at(self.read_at), at(self.now));
        let after = apply(&rows, plan(pull, read_at, &self.rules, &rows, now));
        assert_eq!(show(&after, self.expiry), expected);
        assert_eq!(plan(pull, read_at, &self.rules, &after, now), Plan::Changes(vec![]), "planning again changes nothing");
    }

    fn check(&self, expected: &str) {
        self.check_of(&watched(1, Expiry::At(at(self.expiry)), &[(self.read_at, true)]), expected);
    }
}

/// Read and planned in minute 0.
fn read(expiry: i64) -> Case<'static> {
    Case { rules: rules(None), expiry, read_at: 0, now: 0, rows: &[] }
}

#[test]
fn leads_past_when_the_expiry_is_first_read_are_skipped_except_the_nearest_if_none_remains() {
    read(100 * HOUR).check("72h planned, 24h planned, 1h planned");
    read(72 * HOUR + 1).check("72h planned, 24h planned, 1h planned");
    read(72 * HOUR).check("72h past_when_read, 24h planned, 1h planned");
    read(30 * HOUR).check("72h past_when_read, 24h planned, 1h planned");
    read(2 * HOUR).check("72h past_when_read, 24h past_when_read, 1h planned");
    read(HOUR).check("72h past_when_read, 24h past_when_read, 1h planned");
    read(1).check("72h past_when_read, 24h past_when_read, 1h planned");
    read(0).check("72h expired, 24h expired, 1h expired");
    read(-HOUR).check("72h expired, 24h expired, 1h expired");
    let own = |expiry| Case {
        rules: rules(None).with_pack(super::watched(1, Expiry::Never, &[]).pack, leads(&[12 * 60, 6 * 60])),
        ..read(expiry)
    };
    own(3 * HOUR).check("12h past_when_read, 6h planned");
    own(8 * HOUR).check("12h past_when_read, 6h planned");
}

#[test]
fn a_lead_that_became_past_after_the_expiry_was_read_is_missed_not_past() {
    Case { now: 10 * HOUR, ..read(30 * HOUR) }.check("72h past_when_read, 24h planned, 1h planned");
    Case { now: 30 * HOUR, ..read(30 * HOUR) }.check("72h expired, 24h expired, 1h expired");
}

#[test]
fn an_expiry_that_changed_moves_what_was_not_sent() {
    let rows = &[(72 * 60, SENT, 100 * HOUR), (24 * 60, PLANNED, 100 * HOUR), (60, PLANNED, 100 * HOUR)];
    let changed = |expiry| Case { read_at: 50 * HOUR, now: 50 * HOUR, rows, ..read(expiry) };
    changed(100 * HOUR).check("72h sent, 24h planned, 1h planned");
    changed(200 * HOUR).check("72h sent (other expiry), 24h planned, 1h planned");
    // The 24h are past now, but were promised: the digest catches up.
    changed(60 * HOUR).check("72h sent (other expiry), 24h planned, 1h planned");
    changed(50 * HOUR).check("72h sent (other expiry), 24h expired, 1h expired");
}

#[test]
fn a_lead_that_was_skipped_is_planned_for_a_later_expiry_but_never_one_that_was_sent() {
    let rows = &[(72 * 60, skipped(Skipped::PastWhenRead), 30 * HOUR), (24 * 60, SENT, 30 * HOUR), (60, SENT, 30 * HOUR)];
    let changed = |expiry| Case { read_at: 29 * HOUR, now: 29 * HOUR, rows, ..read(expiry) };
    changed(200 * HOUR).check("72h planned, 24h sent (other expiry), 1h sent (other expiry)");
    changed(60 * HOUR).check("72h past_when_read, 24h sent (other expiry), 1h sent (other expiry)");
    // One hour was warned of already: 24 hours are no news.
    let rows = &[(72 * 60, SENT, 30 * HOUR), (24 * 60, skipped(Skipped::Superseded), 30 * HOUR), (60, SENT, 30 * HOUR)];
    let case = Case { read_at: 29 * HOUR, now: 29 * HOUR, rows, ..read(50 * HOUR) };
    case.check("72h sent (other expiry), 24h past_when_read, 1h sent (other expiry)");
}

#[test]
fn what_was_decided_for_an_expiry_is_not_decided_again() {
    for why in [Skipped::PastWhenRead, Skipped::Superseded, Skipped::Expired, Skipped::OptedOut] {
        let rows = &[(72 * 60, skipped(why), 30 * HOUR), (24 * 60, skipped(why), 30 * HOUR), (60, skipped(why), 30 * HOUR)];
        Case { now: HOUR, rows, ..read(30 * HOUR) }.check(&format!("72h {why}, 24h {why}, 1h {why}"));
    }
}

#[test]
fn the_rows_of_what_is_gone_wait_and_are_planned_again_when_it_is_seen_again() {
    let planned = &[(72 * 60, SENT, 100 * HOUR), (24 * 60, PLANNED, 100 * HOUR), (60, PLANNED, 100 * HOUR)];
    let expiry = Expiry::At(at(100 * HOUR));
    let gone = watched(1, expiry, &[(0, true), (50 * HOUR, false), (50 * HOUR + 2, false)]);
    let back = |now| watched(1, expiry, &[(0, true), (50 * HOUR, false), (50 * HOUR + 2, false), (now, true)]);
    let case = |rows, now| Case { now, rows, ..read(100 * HOUR) };
    case(planned, 51 * HOUR).check_of(&gone, "72h sent, 24h planned, 1h planned");
    case(&[], 51 * HOUR).check_of(&gone, "");

    let away = &[(72 * 60, SENT, 100 * HOUR), (24 * 60, skipped(Skipped::Gone), 100 * HOUR), (60, PLANNED, 100 * HOUR)];
    case(away, 77 * HOUR).check_of(&back(77 * HOUR), "72h sent, 24h past_when_read, 1h planned");
    let away =
        &[(72 * 60, SENT, 100 * HOUR), (24 * 60, skipped(Skipped::Gone), 100 * HOUR), (60, skipped(Skipped::Gone), 100 * HOUR)];
    case(away, 77 * HOUR).check_of(&back(77 * HOUR), "72h sent, 24h past_when_read, 1h planned");
    case(away, 99 * HOUR + 1).check_of(&back(99 * HOUR + 1), "72h sent, 24h past_when_read, 1h planned");
    case(away, 100 * HOUR).check_of(&back(100 * HOUR), "72h sent, 24h expired, 1h expired");
}

#[test]
fn what_is_sold_or_does_not_expire_is_skipped_and_what_was_not_read_plans_nothing() {
    let rows = &[(72 * 60, SENT, 100 * HOUR), (24 * 60, PLANNED, 100 * HOUR)];
    let case = Case { rows, ..read(100 * HOUR) };
    case.check_of(&watched(1, Expiry::Never, &[(0, true)]), "72h sent, 24h no_expiry");
    let sold = Watched { sale: Sale::Sold, ..watched(1, Expiry::At(at(100 * HOUR)), &[(0, true)]) };
    case.check_of(&sold, "72h sent, 24h sold");
    let unread = watched(1, Expiry::NotRead, &[(0, true)]);
    assert_eq!(plan(&unread, at(0), &rules(None), &case.rows(), at(0)), Plan::NotRead);
    // And back again.
    let rows = &[(72 * 60, SENT, 100 * HOUR), (24 * 60, skipped(Skipped::NoExpiry), 100 * HOUR)];
    Case { now: 10 * HOUR, rows, ..read(100 * HOUR) }.check("72h sent, 24h planned, 1h planned");
}

#[test]
fn a_lead_that_is_configured_later_is_not_sent_for_the_past() {
    let rows = &[(72 * 60, SENT, 100 * HOUR), (60, PLANNED, 100 * HOUR)];
    Case { now: 80 * HOUR, rows, ..read(100 * HOUR) }.check("72h sent, 24h past_when_read, 1h planned");
    Case { now: 70 * HOUR, rows, ..read(100 * HOUR) }.check("72h sent, 24h planned, 1h planned");
    let rows = &[
        (72 * 60, SENT, 100 * HOUR),
        (48 * 60, PLANNED, 100 * HOUR),
        (24 * 60, PLANNED, 100 * HOUR),
        (60, PLANNED, 100 * HOUR),
    ];
    Case { now: 40 * HOUR, rows, ..read(100 * HOUR) }.check("72h sent, 48h lead_removed, 24h planned, 1h planned");
}

#[test]
fn rows_of_other_pulls_are_left_alone() {
    let others = [Row { pull: pull(2), ..row(1, 60, 100 * HOUR) }];
    let Plan::Changes(changes) =
        plan(&watched(1, Expiry::At(at(100 * HOUR)), &[(0, true)]), at(0), &rules(None), &others, at(0))
    else {
        panic!("it was read")
    };
    assert!(changes.iter().all(|change| matches!(change, Change::Insert(row) if row.pull == pull(1))));
    assert_eq!(changes.len(), 3);
}

fn state() -> impl Strategy<Value = RowState> {
    let reasons: Vec<_> = Skipped::ALL.iter().map(|why| RowState::Skipped(*why)).collect();
    prop_oneof![Just(PLANNED), Just(SENT), proptest::sample::select(reasons)]
}

proptest! {
    /// Whatever rows there are: nothing sent is touched, nothing is planned after expiry, planning again changes nothing, and if the
    /// item is there and nothing was sent or decided before, exactly one warning or more is to come.
    #[test]
    fn any_plan_is_safe_and_final(
        states in proptest::collection::vec(proptest::option::of((state(), 0..200_i64)), 3),
        expiry in 0..200_i64, read_at in 0..200_i64, wait in 0..200_i64,
    ) {
        let rows: Vec<Row> = states.iter().zip([72, 24, 1])
            .filter_map(|(state, lead)| state.map(|(state, expiry)| Row { state, ..row(1, lead * 60, expiry * HOUR) })).collect();
        let now = read_at + wait;
        let pull = watched(1, Expiry::At(at(expiry * HOUR)), &[(read_at * HOUR, true)]);
        let planned = plan(&pull, at(read_at * HOUR), &rules(None), &rows, at(now * HOUR));
        let after = apply(&rows, planned);
        prop_assert_eq!(plan(&pull, at(read_at * HOUR), &rules(None), &after, at(now * HOUR)), Plan::Changes(vec![]));
        let ahead = after.iter().filter(|row| row.is_planned()).count();
        prop_assert!(after.iter().filter(|row| row.is_planned()).all(|row| row.expiry == at(expiry * HOUR)));
        prop_assert!(expiry > now || ahead == 0);
        prop_assert!(!rows.is_empty() || expiry <= now || ahead > 0);
        prop_assert_eq!(after.len(), 3);
    }
}
