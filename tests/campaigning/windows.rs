//! Buyback windows that shut while things break, and the end of the last of them.
//!
//! No lead time is shorter than a minute, and no user's turn comes sooner than a minute after a fulfilment, unless the user or a sale calls
//! for it. So windows are a little longer than that; what the last cycles buy keeps its window of days, or the campaign would wait for it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use clawback_domain::{PartnerId, UserId, order::StateName};
use clawback_store::{Filter, Store};
use clawback_tests::{
    rehearsal::{Books, Order, Stage},
    sandbox::Held,
    servers,
    wait::until,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::sellers::all_speak;

const WINDOWS: (Duration, Duration) = (Duration::from_secs(65), Duration::from_secs(90));
/// Most of a window's time has gone by when they are over and everything has come to rest.
const LAST_CYCLES: usize = 5;
/// A turn that was cut off comes once more after a minute and a half.
const AT_REST: Duration = Duration::from_secs(180);
const MOST: u32 = 10_000;

type Person = (PartnerId, UserId);

/// Between which spans after its purchase the window of what this cycle buys shuts; `None`: after days.
pub fn of_cycle(cycle: usize, cycles: usize) -> Option<(Duration, Duration)> {
    (cycle <= cycles.saturating_sub(LAST_CYCLES).max(1)).then_some(WINDOWS)
}

/// Completes when no user's turn is due any more but those of days hence: then every short window has shut, and that was told.
pub async fn shut(stage: &Stage, orders: &[Order], database: &str) -> Result<()> {
    eprintln!("campaign: waiting until the last window shuts");
    all_speak(stage, orders).await?;
    let database = servers::connect(database).await?;
    until("no user is due", AT_REST, || async {
        let waiting = waiting(stage).await?;
        let due: Vec<_> = due(&database).await?.into_iter().filter(|person| !waiting.contains(person)).collect();
        ensure!(due.is_empty(), "{} are, the first of them {:?}", due.len(), due[0]);
        Ok(())
    })
    .await
}

async fn due(database: &DatabaseConnection) -> Result<Vec<Person>> {
    let sql = "SELECT partner, user_id FROM users WHERE due_at < now() + interval '1 hour' ORDER BY due_at";
    let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await?;
    let person = |row: sea_orm::QueryResult| {
        anyhow::Ok((
            PartnerId::new(row.try_get::<String>("", "partner")?)?,
            UserId::new(row.try_get::<String>("", "user_id")?)?,
        ))
    };
    rows.into_iter().map(person).collect()
}

/// Whose sale waits for a person: whether its window shut unsold is asked again and again.
async fn waiting(stage: &Stage) -> Result<BTreeSet<Person>> {
    let sellbacks = stage.store.sellbacks(Filter { state: Some(StateName::Review), limit: MOST, ..Filter::default() }).await?;
    Ok(sellbacks.into_iter().map(|sellback| (sellback.partner, sellback.command.user_id.clone())).collect())
}

/// All that any user holds.
pub async fn held(stage: &Stage, books: &Books) -> Result<Vec<Held>> {
    let fulfilled = books.rows.values().filter(|row| row.name() == StateName::Fulfilled).map(|row| &row.purchase);
    let users: BTreeSet<_> = fulfilled.map(|purchase| (purchase.partner.as_str(), purchase.command.user_id.as_str())).collect();
    let mut held = Vec::new();
    for (partner, user) in users {
        held.extend(stage.inventory(partner, user).await?);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cycle_has_short_windows_and_the_last_ones_have_not() {
        for (cycles, expected) in [(1, 1), (2, 1), (6, 1), (8, 3), (300, 295)] {
            let short = (1..=cycles).filter(|cycle| of_cycle(*cycle, cycles).is_some()).count();
            assert_eq!(short, expected, "of {cycles}");
        }
    }
}
