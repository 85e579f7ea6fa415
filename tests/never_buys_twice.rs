//! However often a worker is killed, frozen or cut off: a command leads to one purchase at most, and to one true end.

use std::{collections::BTreeMap, env, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clawback_domain::purchase::{Attempt, State, StateName};
use clawback_tests::{
    Database, PrivateRabbitmq, Role, VirtualHost,
    rehearsal::{Books, Order, Plan, Row, Stage, UNDER_WAY, orders},
    wait::until,
};
use serde_json::json;
use tokio::time::Instant;

/// How many purchases are rehearsed: 5000 take some minutes.
const COMMANDS: &str = "CLAWBACK_REHEARSAL";
const COMMANDS_IN_CI: usize = 500;

/// One kill for so many commands that have become rows: every few seconds at the rates below.
const BETWEEN_KILLS: usize = 100;

/// From an attempt to the kill that cut it: a tenth of a second on an idle machine, up to two on one with five processes for each
/// core. While RabbitMQ restarts, and after the last kill, nobody is killed for longer than this: what goes wrong then shows.
const CUT_WITHIN: TimeDelta = TimeDelta::seconds(4);

#[tokio::test]
async fn a_worker_killed_again_and_again_buys_nothing_twice_and_loses_nothing() -> Result<()> {
    let commands = commands()?;
    let mut node = PrivateRabbitmq::start().await?;
    let database = Database::create().await?;
    let plan = Plan {
        partners: 20,
        // Long enough that a kill always finds calls in flight.
        upstream: &["--settle=2s", "--latency=150ms"],
        defaults: "rate_per_second = 2\ntimeouts = { connect = \"1s\", init = \"5s\", status = \"3s\", inventory = \"3s\" }\n\
                   reconcile = { first = \"1s\", max = \"2s\", window = \"6s\" }",
    };
    let mut stage = Stage::set(&node.url(), database.url(), plan).await?;
    let orders = orders(commands, &stage.partners)?;
    let mut workers = vec![stage.worker().await?, stage.worker().await?];
    let _schedulers = [stage.scheduler().await?, stage.scheduler().await?];

    let began = Instant::now();
    stage.publish(&orders).await?;
    let mut kills = Vec::new();
    let rounds = commands / BETWEEN_KILLS;
    for round in 1..=rounds {
        stage.stored(round * BETWEEN_KILLS, STEP).await?;
        if round == rounds / 2 {
            node.restart().await?;
            continue;
        }
        let victim = workers.remove(0);
        victim.kill()?;
        kills.push(Utc::now());
        workers.push(stage.worker().await?);
    }
    stage.ended(commands, patience(commands)).await?;
    let seconds = began.elapsed().as_secs();

    let books = Books::read(&stage).await?;
    let tally = books.audit(&orders)?;
    let mut longest = TimeDelta::zero();
    for row in books.in_review() {
        nobody_could_know(row, &books)?;
        let lived = was_cut_by_a_kill(row, &kills).with_context(|| format!("{:?}", row.purchase))?;
        longest = longest.max(lived);
    }
    let summary = json!({
        "commands": commands, "fulfilled": tally.fulfilled, "failed": tally.failed, "reviews": tally.reviews,
        "recovered": books.recovered(), "kills": kills.len(), "longest_cut_ms": longest.num_milliseconds(), "seconds": seconds,
    });
    println!("{summary}");
    Ok(())
}

/// What was bought is found, unless another purchase in doubt may have bought it as well.
fn nobody_could_know(row: &Row, books: &Books) -> Result<()> {
    let name = row.purchase.id.to_string();
    let bought = books.ledger.purchases.iter().any(|bought| bought.purchase_id() == Some(&name));
    let State::Review(review) = &row.purchase.state else { return Ok(()) };
    let rivals = review.evidence.as_ref().is_some_and(|evidence| !evidence.rivals.is_empty());
    ensure!(!bought || rivals, "it was bought, nothing else explains its items, and a person must decide: {review:?}");
    Ok(())
}

/// Between two kills: the rate allows forty a second, a restart of RabbitMQ on a busy machine takes half a minute.
const STEP: Duration = Duration::from_secs(90);

/// Attempts that a kill cut are settled after their deadline; a row may be nudged a few times before a worker takes it.
fn patience(commands: usize) -> Duration {
    Duration::from_secs(90) + Duration::from_millis(50) * commands as u32
}

fn commands() -> Result<usize> {
    let Ok(given) = env::var(COMMANDS) else { return Ok(COMMANDS_IN_CI) };
    let commands = given.parse().with_context(|| format!("{COMMANDS}={given}"))?;
    ensure!(commands >= 4 * BETWEEN_KILLS, "{COMMANDS} must be {} or more: fewer see no kill", 4 * BETWEEN_KILLS);
    Ok(commands)
}

/// A person is troubled only where nobody can know: the call was under way when its worker died. Tells how long it had been.
fn was_cut_by_a_kill(row: &Row, kills: &[DateTime<Utc>]) -> Result<TimeDelta> {
    let last = row.attempts.last().context("a review without an attempt")?;
    ensure!(row.unclear_attempts().any(|unclear| unclear == last), "its attempt was answered: {:?}", last.fact);
    let started = last.attempt.started_at;
    let kill = kills.iter().find(|kill| started <= **kill).context("nothing was killed after it began")?;
    let lived = *kill - started;
    ensure!(lived <= CUT_WITHIN, "begun at {started}, {lived} before the next kill: it had time to be answered");
    Ok(lived)
}

/// Frozen right after its commands came: some calls are under way, some are committed and not sent, some not even stored.
struct Frozen {
    worker: Role,
    orders: Vec<Order>,
    /// Keep what the stage stands on.
    stage: Stage,
    _scheduler: Role,
    _database: Database,
    _host: VirtualHost,
}

/// Enough that some are sent and some are not, and soon enough that most commands are still on their way.
const UNDER_WAY_WHEN_FROZEN: usize = 20;

const SOON: Duration = Duration::from_secs(30);

/// At most 1 s + 3 s for a call: an attempt may be sent for 5 s and is given up after 14 s.
const SHORT: &str = "concurrency = 200\nrate_per_second = 2000\n\
                     timeouts = { connect = \"1s\", init = \"3s\", status = \"3s\", inventory = \"3s\" }\n\
                     reconcile = { first = \"1s\", max = \"2s\", window = \"3s\" }";

async fn freeze_a_worker(commands: usize) -> Result<Frozen> {
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    let plan = Plan { partners: 2, upstream: &["--settle=2s", "--latency=1s"], defaults: SHORT };
    let mut stage = Stage::set(host.url(), database.url(), plan).await?;
    let orders = orders(commands, &stage.partners)?;
    let scheduler = stage.scheduler().await?;
    let worker = stage.worker().await?;
    stage.publish(&orders).await?;
    stage.in_state(StateName::Initiating, UNDER_WAY_WHEN_FROZEN, SOON).await?;
    worker.freeze()?;
    Ok(Frozen { worker, orders, stage, _scheduler: scheduler, _database: database, _host: host })
}

/// Attempts that were begun and had no answer when the worker was frozen.
async fn cut(frozen: &Frozen) -> Result<Vec<Attempt>> {
    let books = Books::snapshot(&frozen.stage).await?;
    let cut: Vec<_> = books.rows.values().flat_map(Row::unclear_attempts).map(|record| record.attempt).collect();
    ensure!(!cut.is_empty(), "the worker was frozen too late: every attempt was answered");
    Ok(cut)
}

/// Nobody waits for the answers any more: what was bought is recovered, the rest is for a person.
async fn given_up(stage: &Stage, cut: &[Attempt]) -> Result<()> {
    until("the attempts are given up", Duration::from_secs(90), || async {
        let books = Books::snapshot(stage).await?;
        let waits = |row: &&Row| matches!(row.name(), StateName::Initiating | StateName::Reconciling | StateName::Pending);
        let of_cut = |row: &&Row| row.attempts.iter().any(|record| cut.contains(&record.attempt));
        let waiting = books.rows.values().filter(of_cut).filter(waits).count();
        ensure!(waiting == 0, "{waiting} of {} are waited for", cut.len());
        Ok(())
    })
    .await
}

/// Wakes the worker up and waits for the end. The audit compares the ledger's times with each attempt's `send_by`.
async fn wake_up(frozen: &Frozen, cut: &[Attempt]) -> Result<()> {
    frozen.worker.wake()?;
    frozen.stage.ended(frozen.orders.len(), Duration::from_secs(60)).await?;
    let tokens: Vec<_> = cut.iter().map(|attempt| attempt.token).collect();
    until("the frozen worker has written what its calls came to", Duration::from_secs(60), || async {
        let books = Books::snapshot(&frozen.stage).await?;
        let open = books.rows.values().flat_map(|row| &row.attempts);
        let open = open.filter(|record| record.fact.is_none() && tokens.contains(&record.attempt.token)).count();
        ensure!(open == 0, "{open} of {} have no answer", tokens.len());
        // What was never sent is called again, however late that is known.
        let in_doubt = |row: &Row| row.purchase.state.name() == StateName::Review && row.unclear_attempts().next().is_some();
        let unsettled = books.rows.values().filter(|row| !row.purchase.state.name().is_final() && !in_doubt(row)).count();
        ensure!(unsettled == 0, "{unsettled} have not ended");
        Ok(())
    })
    .await?;
    let books = Books::read(&frozen.stage).await?;
    let tally = books.audit(&frozen.orders)?;
    let facts = books.rows.values().flat_map(|row| &row.attempts).filter(|record| tokens.contains(&record.attempt.token));
    let mut came_to = BTreeMap::<&str, usize>::new();
    for fact in facts.filter_map(|record| record.fact.as_ref()) {
        *came_to.entry(fact.answer.name()).or_default() += 1;
    }
    println!("{}", json!({"frozen": came_to, "fulfilled": tally.fulfilled, "failed": tally.failed, "reviews": tally.reviews}));
    Ok(())
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_up_after_the_deadlines_buys_nothing() -> Result<()> {
    let mut frozen = freeze_a_worker(200).await?;
    let cut = cut(&frozen).await?;
    // Another worker gives the attempts up when their time is over.
    let _other = frozen.stage.worker().await?;
    given_up(&frozen.stage, &cut).await?;
    wake_up(&frozen, &cut).await
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_up_late_but_before_the_deadlines_buys_nothing() -> Result<()> {
    let frozen = freeze_a_worker(200).await?;
    let cut = cut(&frozen).await?;
    let late = cut.iter().map(|attempt| attempt.send_by).max().context("nothing was cut")? + UNDER_WAY + TimeDelta::seconds(1);
    until("the last moment to send is over", SOON, || async { (Utc::now() > late).then_some(()).context("not yet") }).await?;
    wake_up(&frozen, &cut).await
}

/// From the moment an inventory can show what was bought.
const SETTLED_WITHIN: TimeDelta = TimeDelta::seconds(120);

/// A third of the calls buy and do not tell; the rest is as it is built in.
const SILENT: &[&str] = &[
    "--settle=2s",
    "--latency=50ms",
    "--fault=init:timeout-after=0.1",
    "--fault=init:reset-after=0.1",
    "--fault=init:error-after=0.1",
    "--fault=init:cut-body=0.05",
    "--fault=inventory:inventory-lag=0.1",
    "--fault=inventory:error-before=0.05",
];

#[tokio::test]
async fn what_was_bought_unseen_is_recovered_within_two_minutes() -> Result<()> {
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    let plan = Plan { partners: 2, upstream: SILENT, defaults: r#"timeouts = { connect = "1s", init = "3s" }"# };
    let mut stage = Stage::set(host.url(), database.url(), plan).await?;
    let mut orders = orders(400, &stage.partners)?;
    orders.retain(|order| !order.doomed);
    // Users buy a pack once: purchases of one user and pack that are in doubt together are for a person.
    for (number, order) in orders.iter_mut().enumerate() {
        order.user = format!("user-{}", number / 2);
    }
    let (_worker, _scheduler) = (stage.worker().await?, stage.scheduler().await?);
    stage.publish(&orders).await?;
    // A doubt that is not settled in time waits for the end of its window, three quarters of an hour: how many did is counted below.
    let in_time = stage.ended(orders.len(), Duration::from_secs(150)).await;
    let books = Books::snapshot(&stage).await?;
    let mut took = Vec::new();
    let mut late = Vec::new();
    for bought in &books.ledger.purchases {
        let row = books.rows.values().find(|row| bought.purchase_id() == Some(&row.purchase.id.to_string()));
        let row = row.context("nobody ordered it")?;
        if row.unclear_attempts().next().is_none() {
            continue;
        }
        let bought_at: DateTime<Utc> = bought.purchased_at.parse()?;
        let after = row.purchase.updated_at - bought_at;
        match row.is_recovered() && after <= SETTLED_WITHIN {
            true => took.push(after.num_milliseconds()),
            false => late.push(format!("{:?}", row.purchase.state)),
        }
    }
    took.sort_unstable();
    let acted = took.len() + late.len();
    ensure!(acted > 80, "only {acted} calls bought without telling");
    println!("{}", json!({"acted": acted, "recovered": took.len(), "p50_ms": took[took.len() / 2], "max_ms": took.last()}));
    ensure!(late.len() * 100 <= acted, "{} of {acted} were not recovered in time, first: {}", late.len(), late[0]);
    if late.is_empty() { in_time } else { Ok(()) }
}
