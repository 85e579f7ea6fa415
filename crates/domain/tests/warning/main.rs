//! The rules for warnings and for selling before expiry: tables for each, and random histories through all of them.

mod digest;
mod history;
mod plan;
mod quiet;
mod sale;
mod sentences;
mod spread;
mod turns;

use std::time::Duration;

use clawback_domain::{
    PackId, PullId, Time,
    item::{Expiry, Shown, Sight},
    warning::{Lead, Leads, Quiet, Row, RowState, Sale, WarningRules, Watched},
};

const HOUR: i64 = 60;

/// Minutes after the beginning of a day in UTC: the time line of most tables.
fn at(minutes: i64) -> Time {
    "2026-11-02T00:00:00Z".parse::<Time>().unwrap() + chrono::TimeDelta::minutes(minutes)
}

fn lead(minutes: u32) -> Lead {
    Lead::seconds(minutes * 60)
}

fn leads(minutes: &[u64]) -> Leads {
    Leads::new(&minutes.iter().map(|minutes| Duration::from_secs(minutes * 60)).collect::<Vec<_>>()).unwrap()
}

/// 72, 24 and 1 hours, a digest of 15 minutes, and these quiet hours in UTC.
fn rules(quiet: Option<(&str, &str)>) -> WarningRules {
    let quiet = quiet.and_then(|(from, to)| Quiet::parse(from, to, "UTC").unwrap());
    WarningRules::new(Leads::default(), Duration::from_secs(900), quiet).unwrap()
}

fn pull(n: u128) -> PullId {
    PullId(uuid::Uuid::from_u128(n))
}

fn row(n: u128, lead_minutes: u32, expiry: i64) -> Row {
    Row { pull: pull(n), lead: lead(lead_minutes), expiry: at(expiry), state: RowState::Planned }
}

/// A pull that expires in this minute, after looks that showed it or did not.
fn watched(n: u128, expiry: Expiry, looks: &[(i64, bool)]) -> Watched {
    let look = |sight: Sight, (minute, seen): &(i64, bool)| {
        sight.after(at(*minute), seen.then_some(Shown { expiry, ..Shown::default() }))
    };
    let sight = looks.iter().fold(Sight { expiry, ..Sight::default() }, look);
    Watched { pull: pull(n), pack: PackId::new("gold").unwrap(), sight, sale: Sale::None }
}
