//! Does one partner's backlog delay another's purchase? The first partner has a hundred thousand commands waiting and limits that do
//! not hold it back; the second publishes one command at a time.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use clawback_domain::{PartnerId, PurchaseId, RequestId};
use clawback_tests::wait::until;
use sea_orm::DatabaseConnection;

use crate::{
    ground::{Ground, Load, Run, Schema, ask},
    pipeline::{RUN, UPSTREAM},
    product::Roles,
};

const PROBES: usize = 10;

/// The first probe is sent when the backlog is being worked on.
const UNDER_WAY: usize = 500;

#[derive(Debug, Clone, Copy)]
pub struct Fairness {
    /// What still waited in the other partner's queue after the last probe.
    pub waiting: usize,
    /// From the publish to the upstream's answer, the longest of all probes.
    pub slowest: Duration,
    pub median: Duration,
}

pub async fn measure(ground: &mut Ground, backlog: usize) -> Result<Fairness> {
    let run = ground.run(Schema::Clawback, &UPSTREAM, Load::of(backlog)).await?;
    let (first, second) = (ground.partners[0].clone(), ground.partners[1].clone());
    ground.fill(&run, &first, 0..backlog).await?;
    let roles = Roles::start(ground, &run, 1).await?;
    until("the backlog is being worked on", RUN, || async {
        let waiting = ground.waiting().await.map_err(|error| error.to_string())?;
        if waiting + UNDER_WAY <= backlog { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await?;
    let db = run.open().await?;
    let mut took = Vec::new();
    for probe in 0..PROBES {
        took.push(answered_after(ground, &run, &db, &second, backlog + probe).await?);
    }
    db.close().await?;
    let waiting = ground.waiting().await?;
    ensure!(waiting > 0, "the backlog was gone before the last probe: give a larger --backlog");
    // What was not begun is thrown away with the queue.
    ground.sweep().await?;
    roles.stop().await?;
    ground.sweep().await?;
    took.sort_unstable();
    Ok(Fairness { waiting, slowest: took[PROBES - 1], median: took[PROBES / 2] })
}

async fn answered_after(ground: &Ground, run: &Run, db: &DatabaseConnection, partner: &str, number: usize) -> Result<Duration> {
    let id = PurchaseId::of(&PartnerId::new(partner)?, &RequestId::new(run.request(number))?);
    let published = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    ground.fill(run, partner, [number]).await?;
    let sql = format!("SELECT (extract(epoch FROM answered_at) * 1000000)::bigint FROM attempts WHERE order_id = '{}'", id.0);
    let answered = until("the other partner's purchase is called", RUN, || ask::<i64>(db, &sql)).await?;
    Ok(Duration::from_micros(answered.unsigned_abs()).saturating_sub(published))
}
