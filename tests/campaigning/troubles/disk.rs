//! The store's disk is full.

use std::time::Duration;

use anyhow::Result;
use clawback_tests::{PrivatePostgres, servers, wait::until};
use sea_orm::ConnectionTrait;
use tokio::task::block_in_place;

use super::Struck;
use crate::{chance::Chance, site::Site};

/// How PostgreSQL says it.
const FULL: &str = "No space left on device";
/// Some batches: what comes into pages that are there needs no room.
const NOTICED: Duration = Duration::from_secs(6);
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Commits are refused, or the server gives up and comes again: nothing is called that is not stored, and all goes on when there is
/// room.
pub async fn full(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    let disk = match &site.disk {
        Ok(disk) => disk,
        Err(why) => return Ok(Struck::Missed(format!("there is no small disk: {why:#}"))),
    };
    let before = times_full(&site.postgres);
    block_in_place(|| disk.fill())?;
    let noticed = until("PostgreSQL finds its disk full", NOTICED, || async {
        use_up_segments(&site.postgres).await;
        let times = times_full(&site.postgres);
        (times > before).then_some(()).ok_or("it has room")
    });
    let noticed = noticed.await;
    if noticed.is_ok() {
        tokio::time::sleep(AFTERWARDS).await;
    }
    disk.free()?;
    if !block_in_place(|| site.postgres.is_running()) {
        site.postgres.start_again().await?;
    }
    Ok(noticed.map_or_else(|error| Struck::Missed(format!("{error:#}")), |()| Struck::Hit))
}

fn times_full(postgres: &PrivatePostgres) -> usize {
    postgres.log().matches(FULL).count()
}

/// The log's segments that are there already would take some megabytes more. That this fails is what is wanted.
async fn use_up_segments(postgres: &PrivatePostgres) {
    let Ok(connection) = servers::connect(&postgres.url()).await else { return };
    let _ = connection.execute_unprepared("SELECT pg_logical_emit_message(false, 'campaign', 'full'), pg_switch_wal()").await;
    let _ = connection.close().await;
}
