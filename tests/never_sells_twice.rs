//! Thousands of sellbacks while workers are killed and the broker restarts: no item is sold twice, none is lost, and every amount is the
//! ledger's or marked as estimated.
//!
//! `CLAWBACK_TEST_SELLBACKS` says how many; by default as many as take a minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clawback_domain::{
    Money, OrderId, PartnerId, RequestId,
    item::Pull,
    order::StateName,
    sellback::{Sellback, State},
};
use clawback_store::{Filter, Store};
use clawback_tests::{
    Database, PrivateRabbitmq, Role,
    rehearsal::{Plan, Stage},
    wait::until,
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

/// One sale, as its partner asks for it.
struct Asked {
    partner: String,
    id: OrderId,
    item: String,
    command: Value,
}

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
            asked.push(Asked::of(asked.len(), &partner, &pull)?);
        }
    }
    ensure!(asked.len() >= wanted, "{} items were drawn, {wanted} are to be sold", asked.len());
    asked.truncate(wanted);
    Ok(asked)
}

fn purchase(number: usize) -> Value {
    json!({"request_id": format!("buy-{number}"), "user_id": format!("user-{}", number % 50), "pack_id": "rookie", "amount": EACH})
}

impl Asked {
    fn of(number: usize, partner: &str, pull: &Pull) -> Result<Self> {
        let (request, item) = (format!("sell-{number}"), pull.item.item_id.to_string());
        let mut command = json!({"request_id": request, "user_id": pull.user_id});
        match number % 2 {
            0 => command["pull_id"] = json!(pull.id),
            _ => command["item_id"] = json!(item),
        }
        let id = OrderId::of(&PartnerId::new(partner)?, &RequestId::new(&request)?);
        Ok(Self { partner: partner.to_owned(), id, item, command })
    }
}

async fn publish(stage: &Stage, asked: &[Asked]) -> Result<()> {
    let each = stage.partners.iter().map(|name| async move {
        let theirs = asked.iter().enumerate().filter(|(_, one)| one.partner == *name);
        let twice = theirs.flat_map(|(number, one)| (0..1 + usize::from(number % 10 == 0)).map(|_| one.command.clone()));
        stage.partner(name).await?.publish_all("sellback", twice).await
    });
    try_join_all(each).await.map(drop).context("the commands could not be published")
}

async fn audit(stage: &Stage, asked: &[Asked]) -> Result<()> {
    until("every event is sent", Duration::from_secs(60), || async {
        let unsent = stage.store.events(None, 0, 100_000).await?.iter().filter(|event| event.sent_at.is_none()).count();
        ensure!(unsent == 0, "{unsent} are not");
        Ok(())
    })
    .await?;
    let ledger = stage.upstream().ledger().await?;
    ensure!(ledger.sold_twice().is_empty(), "sold twice: {:?}", ledger.sold_twice());
    let made: BTreeMap<_, _> = ledger.sellbacks.iter().map(|sale| (sale.item_id.as_str(), sale)).collect();
    let (mut states, mut estimated) = (BTreeMap::<StateName, usize>::new(), 0);
    for one in asked {
        let row = stage.store.sellback(one.id).await?.with_context(|| format!("{} is lost", one.id))?;
        *states.entry(row.state.name()).or_default() += 1;
        let amount = made.get(one.item.as_str()).map(|sale| sale.amount.to_string());
        estimated += usize::from(agrees(&row, amount.as_deref())?);
    }
    ends_told_once(stage, asked).await?;
    let open = stage.store.sellbacks(Filter { state: Some(StateName::Accepted), limit: 10, ..Filter::default() }).await?;
    ensure!(open.is_empty(), "{open:?}");
    println!("{} sellbacks: {states:?}, {estimated} estimated; the ledger has {} sales", asked.len(), made.len());
    Ok(())
}

/// Whether its amount is estimated.
fn agrees(row: &Sellback, made: Option<&str>) -> Result<bool> {
    let made = made.map(|amount| Money::parse_usd(amount).context("an amount")).transpose()?;
    match (&row.state, made) {
        (State::Sold(sold), Some(made)) => {
            ensure!(sold.estimated || sold.amount == Some(made), "{} says {:?}, the ledger {made}", row.id, sold.amount);
            Ok(sold.estimated)
        }
        (State::Failed { .. }, None) | (State::Review(_), _) => Ok(false),
        (state, made) => anyhow::bail!("{} is {}, the ledger says {made:?}: {state:?}", row.id, state.name()),
    }
}

/// One final event of each, however often it came.
async fn ends_told_once(stage: &Stage, asked: &[Asked]) -> Result<()> {
    let mut heard = BTreeMap::<String, BTreeSet<String>>::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for name in &stage.partners {
        for event in stage.partner(name).await?.take_events().await? {
            if ["clawback.sellback.completed", "clawback.sellback.failed"].iter().any(|end| event["type"] == *end) {
                heard.entry(text(&event["subject"])).or_default().insert(text(&event["id"]));
            }
        }
    }
    for one in asked {
        let row = stage.store.sellback(one.id).await?.context("it was there")?;
        let ends = heard.get(&one.id.to_string()).map_or(0, BTreeSet::len);
        ensure!(ends == usize::from(row.state.name().is_final()), "{} is {}: told {ends} ends", one.id, row.state.name());
    }
    Ok(())
}
