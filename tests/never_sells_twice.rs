//! Thousands of sellbacks while workers are killed and the broker restarts: no item is sold twice, none is lost, and every amount is the
//! ledger's or marked as estimated.
//!
//! `CLAWBACK_TEST_SELLBACKS` says how many; by default as many as take a minute.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clawback_domain::{OrderId, PartnerId, RequestId};
use clawback_store::Store;
use clawback_tests::{
    Database, PrivateRabbitmq, Role,
    rehearsal::{Asked, Books, Plan, Stage},
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

const PARTNERS: usize = 2;
/// What one purchase draws.
const EACH: usize = 10;
const BOUGHT: Duration = Duration::from_secs(120);
/// An attempt whose owner was killed is looked into until its window is over.
const SOLD: Duration = Duration::from_secs(300);
const DEFAULTS: &str = "concurrency = 200\nrate_per_second = 2000\nsell = { concurrency = 64, rate_per_second = 2000 }\n\
    timeouts = { buyback = \"2s\", connect = \"1s\" }\nreconcile = { first = \"1s\", max = \"5s\", window = \"12s\" }";
/// A timeout, an error and a reset after the effect leave it unknown; a 429 and an active session are waited for.
const FAULTS: [&str; 6] = [
    "--fault=buyback:timeout-after=0.01",
    "--fault=buyback:error-after=0.01",
    "--fault=buyback:reset-after=0.01",
    "--fault=buyback:error-before=0.01",
    "--fault=buyback:reset-before=0.01",
    "--fault=buyback:rate-limited=0.01",
];

#[tokio::test]
async fn workers_killed_and_the_broker_restarted_while_thousands_are_sold() -> Result<()> {
    let wanted = match std::env::var("CLAWBACK_TEST_SELLBACKS") {
        Ok(text) => text.parse().context("CLAWBACK_TEST_SELLBACKS is a number")?,
        Err(_) => 300,
    };
    let mut node = PrivateRabbitmq::start().await?;
    let database = Database::create().await?;
    let upstream: Vec<_> = ["--settle=10ms", "--latency=20ms"].into_iter().chain(FAULTS).collect();
    let plan = Plan { partners: PARTNERS, upstream: &upstream, defaults: DEFAULTS };
    let mut stage = Stage::set(&node.url(), database.url(), plan).await?;
    let _scheduler = stage.scheduler().await?;
    let mut workers = vec![stage.worker().await?, stage.worker().await?];
    let asked = draw(&stage, wanted).await?;

    publish(&stage, &asked).await?;
    for share in 1..=4 {
        stage.sold(wanted * share / 6, SOLD).await?;
        replace(&mut stage, &mut workers).await?;
        if share == 2 {
            node.restart().await?;
        }
    }
    ensure!(stage.sold(wanted, Duration::ZERO).await.is_err(), "all was over before the last kill: nothing was tested");
    stage.sold(wanted, SOLD).await?;
    audit(&stage, &asked).await
}

/// kill -9, and another in its place.
async fn replace(stage: &mut Stage, workers: &mut Vec<Role>) -> Result<()> {
    workers.remove(0).kill()?;
    workers.push(stage.worker().await?);
    Ok(())
}

/// Buys `wanted` items and asks for each to be sold: half of them by the pull, half by the item id, some of them twice.
async fn draw(stage: &Stage, wanted: usize) -> Result<Vec<Asked>> {
    let purchases = wanted.div_ceil(EACH);
    let mut orders = Vec::new();
    for partner in 0..PARTNERS {
        let mine: Vec<_> = (0..purchases).filter(|number| number % PARTNERS == partner).map(purchase).collect();
        let name = &stage.partners[partner];
        orders.extend(mine.iter().map(|command| (name.clone(), command["request_id"].as_str().unwrap_or_default().to_owned())));
        stage.partner(name).await?.purchase_all(mine).await?;
    }
    stage.ended(purchases, BOUGHT).await?;
    let mut asked = Vec::new();
    for (partner, request) in orders {
        let id = OrderId::of(&PartnerId::new(&partner)?, &RequestId::new(&request)?);
        for pull in stage.store.pulls(id).await? {
            asked.push(Asked::of(asked.len(), &pull)?);
        }
    }
    ensure!(asked.len() >= wanted, "{} items were drawn, {wanted} are to be sold", asked.len());
    asked.truncate(wanted);
    Ok(asked)
}

fn purchase(number: usize) -> Value {
    json!({"request_id": format!("buy-{number}"), "user_id": format!("user-{}", number % 50), "pack_id": "rookie", "amount": EACH})
}

async fn publish(stage: &Stage, asked: &[Asked]) -> Result<()> {
    let each = stage.partners.iter().map(|name| async move {
        let theirs = asked.iter().filter(|one| one.partner == *name).flat_map(Asked::commands);
        stage.partner(name).await?.publish_all("sellback", theirs).await
    });
    try_join_all(each).await.map(drop).context("the commands could not be published")
}

async fn audit(stage: &Stage, asked: &[Asked]) -> Result<()> {
    let books = Books::read(stage).await?;
    let sales = books.audit_sales(asked)?;
    println!("{} sellbacks: {sales:?}; the ledger has {} sales", asked.len(), books.ledger.sellbacks.len());
    Ok(())
}
