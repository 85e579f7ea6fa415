//! Whatever restarts under a worker, and whenever it is told to end itself: each command comes to its end, and nobody has to look
//! into anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clawback_domain::purchase::StateName;
use clawback_telemetry::names::{INITS_IN_FLIGHT, POLLS_IN_FLIGHT};
use clawback_tests::{
    Database, PrivatePostgres, PrivateRabbitmq, Role, VirtualHost,
    rehearsal::{Books, DRAIN, Order, Plan, Stage, gauge, orders},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);
const ALL_ENDED: Duration = Duration::from_secs(90);

/// All orders came to their end, without a person and without a doubt. That one waited so long for a commit that it was not sent in
/// time, and was tried again, is as it should be.
async fn all_ended_well(stage: &Stage, orders: &[Order]) -> Result<()> {
    let books = Books::read(stage).await?;
    let tally = books.audit(orders)?;
    ensure!(tally.reviews == 0, "reviews: {:?}", books.in_review().map(|row| &row.purchase.state).collect::<Vec<_>>());
    ensure!(books.unclear_attempts() == 0, "{} attempts are unknown", books.unclear_attempts());
    Ok(())
}

async fn in_flight(worker: &Role, gauge_name: &str, at_least: usize) -> Result<()> {
    until(&format!("{gauge_name} is {at_least}"), SOON, || async {
        let found = gauge(worker, gauge_name).await?;
        ensure!(found >= at_least, "{found}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rabbitmq_restart_with_200_calls_in_flight_makes_no_outcome_unknown() -> Result<()> {
    const CALLS: usize = 200;
    let mut node = PrivateRabbitmq::start().await?;
    let database = Database::create().await?;
    // Long enough that the node is down before the first call ends.
    let plan =
        Plan { partners: 4, upstream: &["--settle=2s", "--latency=12s"], defaults: "concurrency = 50\nrate_per_second = 1000" };
    let mut stage = Stage::set(&node.url(), database.url(), plan).await?;
    let orders = orders(CALLS + 60, &stage.partners)?;
    let worker = stage.worker().await?;
    let _scheduler = stage.scheduler().await?;
    stage.publish(&orders).await?;
    in_flight(&worker, INITS_IN_FLIGHT, CALLS).await?;

    node.stop().await?;
    ensure!(gauge(&worker, INITS_IN_FLIGHT).await? >= CALLS, "the node took longer to stop than the calls to end");
    node.start_again().await?;

    stage.ended(orders.len(), ALL_ENDED).await?;
    all_ended_well(&stage, &orders).await
}

#[tokio::test]
async fn a_terminated_worker_hands_back_what_it_holds() -> Result<()> {
    const EACH: usize = 60;
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    // Polls are held, so that they are under way when the worker is told to end; their time-out is far longer than this test waits.
    let plan = Plan {
        partners: 3,
        upstream: &["--latency=2s", "--settle=8s", "--poll-window=5s"],
        defaults: "concurrency = 40\nrate_per_second = 1000\npoll = { first = \"1s\", max = \"2s\" }",
    };
    let mut stage = Stage::set(host.url(), database.url(), plan).await?;
    let orders = orders(2 * EACH, &stage.partners)?;
    let (first, second) = orders.split_at(EACH);
    let worker = stage.worker().await?;
    let _scheduler = stage.scheduler().await?;
    stage.publish(first).await?;
    in_flight(&worker, POLLS_IN_FLIGHT, EACH / 2).await?;
    stage.publish(second).await?;
    in_flight(&worker, INITS_IN_FLIGHT, EACH / 2).await?;

    let status = worker.terminate(DRAIN).await?;
    ensure!(status.success(), "it ended with {status}");
    let left = Books::snapshot(&stage).await?;
    ensure!(left.unclear_attempts() == 0, "{} calls were not waited for", left.unclear_attempts());
    let now = chrono::Utc::now();
    let pending = left.rows.values().filter(|row| row.purchase.state.name() == StateName::Pending);
    ensure!(pending.clone().count() >= EACH / 2, "only {} rows were left pending", pending.count());
    for row in pending {
        let due = row.purchase.due_at.context("a pending row that is never due")?;
        // The scheduler may have nudged it since: that moves it on by seconds, and it is nobody's.
        ensure!(row.purchase.nudges > 0 || due <= now, "{} was not handed back: due at {due}", row.purchase.id);
    }

    let _other = stage.worker().await?;
    stage.ended(orders.len(), ALL_ENDED).await?;
    all_ended_well(&stage, &orders).await
}

#[tokio::test]
async fn postgresql_restarted_under_load_loses_nothing() -> Result<()> {
    const COMMANDS: usize = 400;
    let host = VirtualHost::create().await?;
    let server = PrivatePostgres::start().await?;
    let database = Database::create_in(&server.url()).await?;
    let plan = Plan { partners: 4, upstream: &["--settle=2s", "--latency=100ms"], defaults: "rate_per_second = 8" };
    let mut stage = Stage::set(host.url(), database.url(), plan).await?;
    let orders = orders(COMMANDS, &stage.partners)?;
    let _workers = [stage.worker().await?, stage.worker().await?];
    let _schedulers = [stage.scheduler().await?, stage.scheduler().await?];
    stage.publish(&orders).await?;

    stage.stored(COMMANDS / 4, SOON).await?;
    server.restart().await?;
    stage.stored(COMMANDS / 2, ALL_ENDED).await?;
    server.kill()?;
    server.start_again().await?;
    stage.stored(COMMANDS * 3 / 4, ALL_ENDED).await?;
    ensure!(stage.ended(COMMANDS, Duration::ZERO).await.is_err(), "all was over before the last outage: nothing was tested");

    stage.ended(COMMANDS, ALL_ENDED).await?;
    all_ended_well(&stage, &orders).await
}
