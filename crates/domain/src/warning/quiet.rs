//! Quiet hours: wall time in a zone, resolved to moments.
//!
//! On each local date `from` opens them and the next `to` ends them. Where the clocks change:
//! - A wall time that does not exist that day (clocks go forward) is the moment at which they go forward.
//! - A wall time that exists twice (clocks go back) opens the quiet hours when it first comes, and ends them when it last comes.
//!
//! So each night is one unbroken stretch, and whoever's clock shows a quiet hour is never woken. It may be longer than the wall
//! times say by what the clocks went back, and empty if both ends fall into the hour that was left out.

use chrono::{Datelike, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::{GapInfo, Tz};

use super::{rules::RuleError, zone::zone};
use crate::Time;

/// Hours in which no warning goes out, over midnight if `to` is before `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    from: NaiveTime,
    to: NaiveTime,
    zone: Tz,
}

impl Quiet {
    /// `None` if both are the same: then no hour is quiet.
    pub fn new(from: NaiveTime, to: NaiveTime, zone: Tz) -> Option<Self> {
        (from != to).then_some(Self { from, to, zone })
    }

    /// Reads times such as `22:00` and an IANA zone such as `Europe/Berlin`.
    ///
    /// # Errors
    /// What is no time of day or no zone.
    pub fn parse(from: &str, to: &str, zone_name: &str) -> Result<Option<Self>, RuleError> {
        Ok(Self::new(time_of_day(from)?, time_of_day(to)?, zone(zone_name)?))
    }

    pub fn from(&self) -> NaiveTime {
        self.from
    }

    pub fn to(&self) -> NaiveTime {
        self.to
    }

    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The zone that counts for a user: his own, if he has one.
    pub fn zone_of(&self, user: Option<Tz>) -> Tz {
        user.unwrap_or(self.zone)
    }

    /// When the quiet hours around `at` end; `None` if it is not quiet then. Their first moment is quiet, their end is not.
    pub fn end(&self, at: Time, user: Option<Tz>) -> Option<Time> {
        let mut end = self.end_of_one(at, user)?;
        // Where hardly an hour is not quiet, two stretches can meet when the clocks change; three cannot.
        while let Some(later) = self.end_of_one(end, user) {
            end = later;
        }
        Some(end)
    }

    /// When the last quiet hours that had ended by `at` did.
    pub fn last_end(&self, at: Time, user: Option<Tz>) -> Option<Time> {
        self.stretches(at, user).map(|(_, to)| to).filter(|to| *to <= at).max()
    }

    fn end_of_one(&self, at: Time, user: Option<Tz>) -> Option<Time> {
        self.stretches(at, user).filter(|(from, to)| (*from..*to).contains(&at)).map(|(_, to)| to).max()
    }

    /// Those of the days around `at`.
    fn stretches(&self, at: Time, user: Option<Tz>) -> impl Iterator<Item = (Time, Time)> + use<'_> {
        let zone = self.zone_of(user);
        // RFC 3339 has no other years, and the ends of time have no local date.
        let at = at.with_year(at.year().clamp(0, 9999)).unwrap_or_default();
        let today = at.with_timezone(&zone).date_naive();
        // One that began yesterday may still last; before it ends the last that has ended began two days ago. Where the clocks go
        // back at midnight tomorrow's may have begun.
        let days = (0..4).filter_map(move |day| today.checked_sub_days(Days::new(2))?.checked_add_days(Days::new(day)));
        days.filter_map(move |date| self.stretch(date, zone)).filter(|(from, to)| from < to)
    }

    /// The quiet hours that begin on `date`.
    fn stretch(&self, date: NaiveDate, zone: Tz) -> Option<(Time, Time)> {
        let until = if self.to > self.from { date } else { date.checked_add_days(Days::new(1))? };
        Some((resolve(date, self.from, zone, Twice::First)?, resolve(until, self.to, zone, Twice::Last)?))
    }
}

/// Reads a time such as `22:00`.
///
/// # Errors
/// What is no time of day.
pub fn time_of_day(text: &str) -> Result<NaiveTime, RuleError> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| RuleError::NotATimeOfDay(text.chars().take(32).collect()))
}

/// Which of the two moments that a wall time names.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Last,
}

/// The moment of a wall time. `None` only at the ends of what a timestamp can hold.
fn resolve(date: NaiveDate, time: NaiveTime, zone: Tz, twice: Twice) -> Option<Time> {
    let wall = date.and_time(time);
    let local = match (zone.from_local_datetime(&wall), twice) {
        (MappedLocalTime::Single(only), _) => only,
        (MappedLocalTime::Ambiguous(first, _), Twice::First) => first,
        (MappedLocalTime::Ambiguous(_, last), Twice::Last) => last,
        (MappedLocalTime::None, _) => GapInfo::new(&wall, &zone)?.end?,
    };
    Some(local.to_utc())
}
