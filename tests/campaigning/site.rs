//! Where a campaign takes place: private servers, a proxy before each, the processes, and what they are asked to buy.
//!
//! The campaign itself reaches the servers directly; only Clawback's own processes go through the proxies. The sandbox keeps its
//! ledger in memory and is never ended, for the ledger is the judge: its *restart* is all its connections cut and new ones refused
//! for a while, and its *hanging* is SIGSTOP.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clawback_domain::OrderId;
use clawback_store::Store;
use clawback_tests::{
    Database, PrivatePostgres, PrivateRabbitmq, Proxy, SmallDisk, amqp,
    rehearsal::{Asked, Order, Plan, Stage},
    wait::until,
};
use lapin::options::QueueDeclareOptions;
use reqwest::Url;
use serde_json::json;

use crate::crew::Crew;

pub const PARTNERS: usize = 5;

/// A few calls a second and partner, so that a batch is spread over a second or two. At most 1 s + 3 s for a call: an attempt may be
/// sent for 5 s and is given up after 14 s. What is unknown is looked into for 6 s. Lead times are as short as may be: see
/// [`windows`](crate::windows).
pub const DEFAULTS: &str = "concurrency = 50\nrate_per_second = 10\n\
     timeouts = { connect = \"1s\", init = \"3s\", buyback = \"3s\", status = \"3s\", inventory = \"3s\" }\n\
     poll = { first = \"500ms\", max = \"2s\" }\n\
     reconcile = { first = \"1s\", max = \"2s\", window = \"6s\" }\n\
     sell = { concurrency = 50, rate_per_second = 10 }\n\
     warnings = { leads = [\"70s\", \"1m\"], digest = \"2s\" }";
/// Slow enough that a trouble finds calls under way.
pub const UPSTREAM: [&str; 2] = ["--settle=1s", "--latency=150ms"];

/// See [`DEFAULTS`]: the deadline, and a little.
pub const PAST_DEADLINES: Duration = Duration::from_secs(16);

/// Ready, consuming, and every command a row, after whatever came before. A server that starts beside everything else is slow.
const WORKS: Duration = Duration::from_secs(90);

/// Of the small disk: a new cluster and its log take 100, some thousand purchases 30.
const DISK_MEBIBYTES: u64 = 400;
/// A silent peer is given up after twice this, in seconds.
const HEARTBEAT: u32 = 2;

/// In the order in which its parts must end.
pub struct Site {
    pub crew: Crew,
    pub stage: Stage,
    pub broker_way: Proxy,
    pub store_way: Proxy,
    pub upstream_way: Proxy,
    pub rabbitmq: PrivateRabbitmq,
    database: Database,
    pub postgres: PrivatePostgres,
    /// Why not, where it could not be mounted.
    pub disk: Result<SmallDisk>,
    published: BTreeSet<OrderId>,
    password: u32,
}

impl Site {
    pub async fn set() -> Result<Self> {
        let disk = SmallDisk::mount(DISK_MEBIBYTES);
        let postgres = match &disk {
            Ok(disk) => PrivatePostgres::start_on(disk).await?,
            Err(_) => PrivatePostgres::start().await?,
        };
        let database = Database::create_in(&postgres.url()).await?;
        let rabbitmq = PrivateRabbitmq::start().await?;
        let plan = Plan { partners: PARTNERS, upstream: &UPSTREAM, defaults: DEFAULTS };
        let stage = Stage::set(&rabbitmq.url(), database.url(), plan).await?;
        let broker_way = Proxy::before(&[rabbitmq.port()]).await?;
        let store_way = Proxy::before(&[postgres.port()]).await?;
        let upstream_way = Proxy::before(&[port_of(stage.upstream().url())?]).await?;
        let published = BTreeSet::new();
        let mut site = Self {
            crew: Crew::default(),
            stage,
            broker_way,
            store_way,
            upstream_way,
            rabbitmq,
            database,
            postgres,
            disk,
            published,
            password: 0,
        };
        site.lead_through_the_proxies()?;
        site.crew.mend(&mut site.stage)?;
        site.serves().await?;
        Ok(site)
    }

    /// Of the store, without a proxy.
    pub fn database(&self) -> &str {
        self.database.url()
    }

    fn lead_through_the_proxies(&mut self) -> Result<()> {
        self.rabbitmq.ctl(&["add_user", ROLES, &self.password()])?;
        self.rabbitmq.ctl(&["set_permissions", "-p", "/", ROLES, ".*", ".*", ".*"])?;
        self.write_amqp_url()?;
        let (store, upstream) = (self.store_way.port(), self.upstream_way.port());
        let database = at_port(self.database.url(), store)?;
        let installation = self.stage.installation();
        let file = installation.path(AMQP_FILE);
        installation.set("AMQP_URL", "").set("AMQP_URL_FILE", file).set("DATABASE_URL", database);
        installation.set("PHYGITALS_URL", format!("http://127.0.0.1:{upstream}"));
        Ok(())
    }

    fn password(&self) -> String {
        format!("password-{}", self.password)
    }

    fn write_amqp_url(&mut self) -> Result<()> {
        let (password, port) = (self.password(), self.broker_way.port());
        let url = format!("amqp://{ROLES}:{password}@127.0.0.1:{port}/%2f?heartbeat={HEARTBEAT}");
        let file = self.stage.installation().path(AMQP_FILE);
        fs::write(&file, url).context(file)
    }

    /// Another password for RabbitMQ, in RabbitMQ and in the file that names it to the processes.
    pub fn rotate_password(&mut self) -> Result<()> {
        self.password += 1;
        self.rabbitmq.ctl(&["change_password", ROLES, &self.password()])?;
        self.write_amqp_url()
    }

    /// What is published from now on must become rows.
    pub fn expect(&mut self, orders: &[Order], sales: &[Asked]) {
        self.published.extend(orders.iter().map(|order| order.id).chain(sales.iter().map(|sale| sale.id)));
    }

    /// Completes when every process is ready and every queue is consumed.
    pub async fn serves(&self) -> Result<()> {
        self.crew.ready(WORKS).await?;
        until("every queue is consumed", WORKS, || self.consumed()).await
    }

    /// Completes when everything that was to be published is a row.
    pub async fn stored(&mut self) -> Result<()> {
        let (published, stage) = (&mut self.published, &self.stage);
        let store = &stage.store;
        until("every published command is a row", WORKS, || {
            let missing: Vec<OrderId> = published.iter().copied().collect();
            async move {
                for id in missing {
                    ensure!(store.order(id).await?.is_some(), "{id} is not");
                }
                anyhow::Ok(())
            }
        })
        .await?;
        // What is a row once is one for ever; the audit at the end looks at all of them.
        published.clear();
        Ok(())
    }

    /// Whoever consumes has declared again what was deleted, bindings and all.
    async fn consumed(&self) -> Result<()> {
        let connection = amqp::connect(&self.rabbitmq.url()).await?;
        for name in self.stage.partners.iter().flat_map(|partner| queues(partner)) {
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
            let queue = channel.queue_declare(name.as_str().into(), passive, Default::default()).await?;
            ensure!(queue.consumer_count() > 0, "{name} has no consumer");
            channel.close(200, "".into()).await?;
        }
        Ok(connection.close(200, "".into()).await?)
    }

    /// What every process and the servers have said, into a folder.
    pub fn keep_logs(&mut self, folder: &Path) -> Result<()> {
        self.stage.installation().keep_logs(folder)?;
        fs::write(folder.join("postgresql.log"), self.postgres.log())?;
        fs::copy(self.rabbitmq.home().join("said"), folder.join("rabbitmq.log"))?;
        Ok(())
    }

    /// Messages that no queue wanted: partners' commands among them would be lost without an operator.
    pub async fn unrouted(&self) -> Result<u32> {
        let connection = amqp::connect(&self.rabbitmq.url()).await?;
        let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let channel = connection.create_channel().await?;
        let queue = channel.queue_declare("clawback.unrouted".into(), passive, Default::default()).await?;
        Ok(queue.message_count())
    }
}

/// The processes' own user in RabbitMQ, so that its password may change.
const ROLES: &str = "clawback-roles";
const AMQP_FILE: &str = "amqp-url";

pub fn purchase_queue(partner: &str) -> String {
    format!("clawback.purchases.{partner}")
}

fn queues(partner: &str) -> [String; 3] {
    [purchase_queue(partner), format!("clawback.sellbacks.{partner}"), step_queue(partner)]
}

pub fn step_queue(partner: &str) -> String {
    format!("clawback.steps.{partner}")
}

/// A command with a field that does not exist: it becomes a dead letter and an event.
#[derive(Debug, Clone)]
pub struct Spoilt {
    pub partner: String,
    pub request: String,
}

impl Spoilt {
    /// So many of this cycle, all of one partner: a queue hands the first of several to each of its consumers.
    pub fn of_cycle(cycle: usize, count: usize, partners: &[String]) -> Vec<Self> {
        let partner = &partners[cycle % partners.len()];
        (0..count).map(|number| Self { partner: partner.clone(), request: format!("spoilt-{cycle}-{number}") }).collect()
    }

    pub fn body(&self) -> String {
        json!({"request_id": self.request, "user_id": "user", "pack_id": "rookie", "amount": 1, "not_aftr": "never"})
            .to_string()
    }
}

fn port_of(url: &str) -> Result<u16> {
    Url::parse(url)?.port().with_context(|| format!("{url} names no port"))
}

fn at_port(url: &str, port: u16) -> Result<String> {
    let mut parsed = Url::parse(url)?;
    if parsed.set_port(Some(port)).is_err() {
        bail!("{url} cannot have a port");
    }
    Ok(parsed.into())
}
