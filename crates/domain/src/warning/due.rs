//! When a warning, and so its user, is due.
//!
//! A warning has a [`Window`]: it is due at its end, and goes out no earlier than at its beginning. Mostly it is due at the moment of
//! its lead time, and its window opens a digest before that, or for the sake of a very large crowd (see [`super::spread`]) as much as its
//! lead time before, but never before quiet hours have ended. One that falls into quiet hours is held, if they end before the item
//! expires: its window opens when they end and lasts as long as a digest, so that what a night has held does not go out in one second.

use super::{
    row::{Row, midway},
    rules::{UserSettings, WarningRules},
};
use crate::{Time, clock::after};

/// From when to when a warning is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub opens: Time,
    pub due: Time,
    /// Whether quiet hours hold it until it opens. Then it goes out soon after that, else shortly before it is due.
    pub held: bool,
}

/// The window of one row, whatever its state.
pub fn window(row: &Row, rules: &WarningRules, settings: &UserSettings) -> Window {
    let moment = row.moment();
    let Some(quiet) = rules.quiet() else { return Window { opens: rules.earliest(row, moment), due: moment, held: false } };
    match quiet.end(moment, settings.zone).filter(|end| *end < row.expiry) {
        // At the latest halfway to the expiry, however near that is.
        Some(end) => Window { opens: end, due: after(end, rules.digest()).min(midway(end, row.expiry)), held: true },
        None => {
            // Nobody is woken for being early.
            let earliest = rules.earliest(row, moment);
            let opens = quiet.last_end(moment, settings.zone).map_or(earliest, |end| end.max(earliest));
            Window { opens, due: moment, held: false }
        }
    }
}

/// The window of a user's next digest: that of the row that is due first. `None`: nothing is planned.
pub fn next_window<'a>(
    rows: impl IntoIterator<Item = &'a Row>,
    rules: &WarningRules,
    settings: &UserSettings,
) -> Option<Window> {
    let windows = rows.into_iter().filter(|row| row.is_planned()).map(|row| window(row, rules, settings));
    windows.min_by_key(|window| (window.due, std::cmp::Reverse(window.opens), !window.held))
}

/// When a user is due: never later than this, by plan.
pub fn due_moment<'a>(rows: impl IntoIterator<Item = &'a Row>, rules: &WarningRules, settings: &UserSettings) -> Option<Time> {
    next_window(rows, rules, settings).map(|window| window.due)
}
