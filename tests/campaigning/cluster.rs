//! Three RabbitMQ nodes, and the leader of a purchase queue killed while purchases flow.
//!
//! Everybody reaches the cluster through one address, as behind a load balancer, and lands on whichever node is there: those who were
//! on the dead node come back on another, and the queues' next leaders go on with what the old ones had confirmed.

use std::time::Duration;

use anyhow::{Context, Result};
use clawback_tests::{
    Database, PrivatePostgres, PrivateRabbitmq, Proxy,
    rehearsal::{Books, Order, Plan, Stage, orders},
    wait::until,
};
use tokio::{task::block_in_place, time::Instant, try_join};

use crate::{
    Options,
    crew::Crew,
    cycles::rest,
    record::Record,
    recovery::Watch,
    site::{PARTNERS, UPSTREAM, purchase_queue},
    troubles::Struck,
    verdict::{Asking, Verdict},
};

const NODES: usize = 3;
/// Published and confirmed at once; repeated as a whole when its connection breaks.
const BATCH: usize = 50;
const PUBLISHED: Duration = Duration::from_secs(120);
const STORED: Duration = Duration::from_secs(180);
const WORKS: Duration = Duration::from_secs(60);
const LEADER_KILLED: &str = "queue leader killed";

/// As in the cycles, but faster: 2,000 purchases in a minute.
const DEFAULTS: &str = "concurrency = 50\nrate_per_second = 12\n\
     timeouts = { connect = \"1s\", init = \"3s\", status = \"3s\", inventory = \"3s\" }\n\
     poll = { first = \"500ms\", max = \"2s\" }\n\
     reconcile = { first = \"1s\", max = \"2s\", window = \"6s\" }";

/// In the order in which its parts must end.
struct Ground {
    crew: Crew,
    stage: Stage,
    _way: Proxy,
    nodes: Vec<PrivateRabbitmq>,
    database: Database,
    _postgres: PrivatePostgres,
}

impl Ground {
    async fn set() -> Result<Self> {
        let nodes = PrivateRabbitmq::cluster(NODES).await?;
        let postgres = PrivatePostgres::start().await?;
        let database = Database::create_in(&postgres.url()).await?;
        let ports: Vec<u16> = nodes.iter().map(PrivateRabbitmq::port).collect();
        let way = Proxy::before(&ports).await?;
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f?heartbeat=2", way.port());
        let plan = Plan { partners: PARTNERS, upstream: &UPSTREAM, defaults: DEFAULTS };
        let mut stage = Stage::set(&url, database.url(), plan).await?;
        let mut crew = Crew::default();
        crew.mend(&mut stage)?;
        crew.ready(WORKS).await?;
        Ok(Self { crew, stage, _way: way, nodes, database, _postgres: postgres })
    }
}

async fn publish(stage: &Stage, orders: &[Order]) -> Result<()> {
    for batch in orders.chunks(BATCH) {
        until("the commands are published", PUBLISHED, || stage.publish(batch)).await?;
    }
    Ok(())
}

/// Kills the leader when a third of the purchases are rows, starts it again when two thirds are.
async fn lose_the_leader(
    stage: &Stage,
    crew: &Crew,
    nodes: &mut [PrivateRabbitmq],
    purchases: usize,
    watch: &Watch,
) -> Result<()> {
    stage.stored(purchases / 3, STORED).await?;
    let queue = purchase_queue(&stage.partners[0]);
    let leader = block_in_place(|| leader_of(nodes, &queue))?;
    nodes[leader].kill()?;
    let killed = Instant::now();
    eprintln!("campaign: {} led {queue} and is killed", nodes[leader].name());
    watch.began(1, LEADER_KILLED, killed).await?;
    crew.ready(WORKS).await?;
    watch.serves(1).await;
    eprintln!("campaign: every process is ready again after {:.1} s", killed.elapsed().as_secs_f64());
    stage.stored(purchases * 2 / 3, STORED).await?;
    nodes[leader].start_again().await?;
    eprintln!("campaign: {} is back", nodes[leader].name());
    Ok(())
}

/// The place of the node that leads this queue, as the first node knows it.
fn leader_of(nodes: &[PrivateRabbitmq], queue: &str) -> Result<usize> {
    let listed = nodes[0].ctl(&["list_queues", "name", "leader"])?;
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(queue));
    let leader = line.and_then(|line| line.split_whitespace().nth(1)).with_context(|| format!("no leader in {listed}"))?;
    let place = nodes.iter().position(|node| node.name() == leader);
    place.with_context(|| format!("{leader} is no node of ours"))
}

/// Runs to the last line. Whether every promise was kept.
pub async fn run(options: &Options) -> Result<bool> {
    let (purchases, began) = (options.purchases(), Instant::now());
    eprintln!("campaign: a cluster of {NODES}, {purchases} purchases");
    let mut ground = Ground::set().await?;
    let watch = Watch::start(ground.database.url()).await?;
    let orders = orders(purchases, &ground.stage.partners)?;
    let mut record = Record { cycles: 1, ..Record::default() };
    record.count(LEADER_KILLED, Struck::Hit);
    record.wrong.extend(break_and_wait(&mut ground, &orders, &watch).await.err().map(|error| format!("{error:#}")));
    record.wrong.extend(ground.crew.mend(&mut ground.stage)?);
    record.wrong.extend(watch.too_long().await);
    record.recoveries = watch.took().await;
    record.seconds = began.elapsed().as_secs();
    let asking = Asking { orders: &orders, ..Asking::default() };
    let verdict = Verdict::on(Books::read(&ground.stage).await?, asking);
    verdict.show_wrong(&record);
    println!("{}", verdict.json(&record, asking));
    if let Some(folder) = &options.logs {
        ground.stage.installation().keep_logs(folder)?;
    }
    Ok(verdict.is_sound(&record))
}

/// Purchases flow all the while.
async fn break_and_wait(ground: &mut Ground, orders: &[Order], watch: &Watch) -> Result<()> {
    let Ground { crew, stage, nodes, .. } = ground;
    let broken = lose_the_leader(stage, crew, nodes, orders.len(), watch);
    try_join!(publish(stage, orders), broken)?;
    rest(stage, orders.len(), 0).await
}
