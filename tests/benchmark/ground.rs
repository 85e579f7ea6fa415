//! What runs stand on: one virtual host with the contract's topology for all of them, and for each run a database and an upstream of
//! its own, so that nothing of one run slows the next.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clawback_broker::{
    Amqp, Broker,
    amqp::Options,
    topology::{self, PartnerTopology, Topology},
};
use clawback_domain::{PartnerId, pause::CommandKind};
use clawback_tests::{Database, Installation, Partner, Sandbox, VirtualHost, servers, wait::until};
use futures_util::future::{try_join, try_join_all};
use lapin::{Channel, Connection, options::*, types::FieldTable};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TryGetable};
use serde_json::json;

use crate::{job, meter, variant::Told};

/// Preloading a hundred thousand commands takes ten seconds, and so may anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Ground {
    pub partners: Vec<String>,
    pub installation: Installation,
    host: VirtualHost,
    /// Of the server's own database: it sees every other.
    server: DatabaseConnection,
    /// Keeps `looking` open.
    _connection: Connection,
    looking: Channel,
    pub rabbitmq: i32,
    pub postmaster: i32,
    /// Numbers the runs, so that no two use the same `request_id`.
    runs: usize,
}

/// What one run has for itself.
pub struct Run {
    pub database: Database,
    pub upstream: Sandbox,
    pub told: Told,
    prefix: String,
    load: Load,
}

/// What a run's purchases are.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub purchases: usize,
    /// They are spread over so many users.
    pub users: usize,
    /// Items that each draws.
    pub items: u32,
}

impl Load {
    /// One item each, of as many users as a partner may well have.
    pub fn of(purchases: usize) -> Self {
        Self { purchases, users: 10_000, items: 1 }
    }

    /// One purchase of each user.
    pub fn of_users(users: usize, items: u32) -> Self {
        Self { purchases: users, users, items }
    }
}

impl Ground {
    pub async fn lay(partners: usize) -> Result<Self> {
        let partners = job::partners(partners);
        let host = VirtualHost::create().await?;
        let broker = Amqp::connect(host.url(), Options::default()).await?;
        let of = |name: &String| Ok(PartnerTopology { partner: PartnerId::new(name.as_str())?, event_queue: true });
        broker.declare(&Topology { partners: partners.iter().map(of).collect::<Result<_>>()? }).await?;
        broker.close(PATIENCE).await;
        let server = servers::connect(&servers::postgres().await?).await?;
        let connection = job::connect(host.url()).await?;
        let ground = Self {
            installation: Installation::new()?,
            looking: connection.create_channel().await?,
            _connection: connection,
            rabbitmq: meter::rabbitmq()?,
            postmaster: postmaster(&server).await?,
            host,
            partners,
            server,
            runs: 0,
        };
        ensure!(ground.ask::<String>("SHOW synchronous_commit").await? == "on", "PostgreSQL's synchronous_commit must be on");
        ensure!(ground.ask::<String>("SHOW fsync").await? == "on", "PostgreSQL's fsync must be on");
        Ok(ground)
    }

    /// A database with this schema and an upstream with these arguments, and no commands yet.
    pub async fn run(&mut self, schema: Schema, upstream: &[&str], load: Load) -> Result<Run> {
        self.runs += 1;
        let database = Database::create().await?;
        schema.create(database.url()).await?;
        let keys: Vec<String> = self.partners.iter().map(|partner| format!("--api-key={}", job::key(partner))).collect();
        let arguments: Vec<&str> = upstream.iter().copied().chain(keys.iter().map(String::as_str)).collect();
        let upstream = Sandbox::start(&mut self.installation, &arguments).await?;
        let told = Told {
            amqp: self.host.url().to_owned(),
            database: unencrypted(database.url()),
            upstream: upstream.url().to_owned(),
            partners: self.partners.len(),
            purchases: load.purchases,
        };
        Ok(Run { database, upstream, told, load, prefix: format!("run-{}", self.runs) })
    }

    /// Puts the run's purchases into the queues, spread over all partners; confirmed, mandatory, persistent.
    pub async fn preload(&self, run: &Run) -> Result<()> {
        let share = |index: usize| {
            let count = run.told.purchases;
            (0..count).filter(move |number| number % self.partners.len() == index)
        };
        try_join_all(self.partners.iter().enumerate().map(|(index, name)| self.fill(run, name, share(index)))).await?;
        Ok(())
    }

    /// Puts one sellback of each of these items into the queue of its partner.
    pub async fn preload_sales(&self, run: &Run, items: &[Owned]) -> Result<()> {
        try_join_all(self.partners.iter().map(async |name| {
            let partner = Partner::connect(self.host.url(), name).await?;
            let own = items.iter().filter(|item| item.partner == *name);
            partner.publish_all(CommandKind::Sellback.as_str(), own.map(|item| run.sale(item))).await
        }))
        .await?;
        Ok(())
    }

    /// Puts purchases of these numbers into the queue of one partner.
    pub async fn fill(&self, run: &Run, partner: &str, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        let partner = Partner::connect(self.host.url(), partner).await?;
        partner.purchase_all(numbers.into_iter().map(|number| run.command(number))).await
    }

    /// Ready messages in the partners' event queues.
    pub async fn events(&self) -> Result<usize> {
        self.depth(topology::event_queue).await
    }

    /// Waits until so many events are in the partners' queues.
    pub async fn all_out(&self, count: usize, within: Duration) -> Result<()> {
        until("the last event is out", within, || async {
            let events = self.events().await.map_err(|error| error.to_string())?;
            if events >= count { Ok(()) } else { Err(format!("{events} events")) }
        })
        .await
    }

    /// Ready messages in the partners' purchase queues.
    pub async fn waiting(&self) -> Result<usize> {
        self.depth(|partner| topology::command_queue(partner, CommandKind::Purchase)).await
    }

    async fn depth(&self, queue: impl Fn(&PartnerId) -> String) -> Result<usize> {
        let mut depth = 0;
        for partner in &self.partners {
            let queue = queue(&PartnerId::new(partner.as_str())?);
            let passive = QueueDeclareOptions { passive: true, ..Default::default() };
            let found = self.looking.queue_declare(queue.into(), passive, FieldTable::default()).await?;
            depth += found.message_count() as usize;
        }
        Ok(depth)
    }

    /// Empties every queue.
    pub async fn sweep(&self) -> Result<()> {
        for partner in &self.partners {
            let partner = PartnerId::new(partner.as_str())?;
            let commands = [CommandKind::Purchase, CommandKind::Sellback].map(|kind| topology::command_queue(&partner, kind));
            for queue in commands.into_iter().chain([topology::event_queue(&partner), topology::step_queue(&partner)]) {
                self.looking.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// So that no run pays for the pages of the one before.
    pub async fn checkpoint(&self) -> Result<()> {
        self.server.execute_unprepared("CHECKPOINT").await?;
        Ok(())
    }

    /// Transactions committed and rows written in the run's database. Backends tell when they end, so this waits for their end.
    pub async fn written(&self, run: &Run) -> Result<(i64, i64)> {
        let name = run.database_name();
        let open =
            format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'");
        until("the database's connections have ended", PATIENCE, || async {
            match self.ask::<i64>(&open).await {
                Ok(0) => Ok(()),
                Ok(left) => Err(format!("{left} are left")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let of = |what: &str| format!("SELECT {what} FROM pg_stat_database WHERE datname = '{name}'");
        let (commits, rows) = (of("xact_commit"), of("tup_inserted + tup_updated + tup_deleted"));
        try_join(self.ask(&commits), self.ask(&rows)).await
    }

    async fn ask<T: TryGetable>(&self, sql: &str) -> Result<T> {
        ask(&self.server, sql).await
    }
}

impl Run {
    /// A purchase as this run numbers it.
    pub fn command(&self, number: usize) -> serde_json::Value {
        let user = format!("user-{}", number % self.load.users);
        json!({"request_id": self.request(number), "user_id": user, "pack_id": "rookie", "amount": self.load.items})
    }

    fn sale(&self, item: &Owned) -> serde_json::Value {
        json!({"request_id": format!("{}-sale-{}", self.prefix, item.id), "user_id": item.user, "item_id": item.id})
    }

    pub fn request(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    pub fn database_name(&self) -> &str {
        let last = self.database.url().rsplit('/').next().expect("a URL has a last part");
        last.split('?').next().expect("a text has a beginning")
    }

    /// One connection to the run's database. It counts among the backends until it is closed.
    pub async fn open(&self) -> Result<DatabaseConnection> {
        servers::connect(self.database.url()).await
    }

    /// Every purchase bought once, and no other: who is fast because it does less is not compared.
    pub async fn check_ledger(&self) -> Result<()> {
        let ledger = self.upstream.ledger().await?;
        let times = ledger.times_bought();
        ensure!(ledger.bought_twice().is_empty(), "bought twice: {:?}", ledger.bought_twice());
        let (bought, wanted) = (times.len(), self.told.purchases);
        ensure!(bought == wanted, "{bought} of {wanted} purchases were bought");
        Ok(())
    }
}

/// An item that a user owns.
#[derive(Debug, Clone)]
pub struct Owned {
    pub partner: String,
    pub user: String,
    pub id: String,
}

/// Debian's PostgreSQL offers TLS on loopback as well, and clients take it. The product does without there, so all do.
fn unencrypted(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    if url.contains("sslmode=") { url.to_owned() } else { format!("{url}{separator}sslmode=disable") }
}

/// The process all of PostgreSQL's processes descend from.
async fn postmaster(server: &DatabaseConnection) -> Result<i32> {
    let backend: i32 = ask(server, "SELECT pg_backend_pid()").await?;
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).context("PostgreSQL must run on this machine")?;
    let (_, after_name) = stat.rsplit_once(')').context("a process has a name")?;
    after_name.split_whitespace().nth(1).context("a process has a parent")?.parse().context("its number")
}

/// The one value that `sql` selects.
pub async fn ask<T: TryGetable>(db: &DatabaseConnection, sql: &str) -> Result<T> {
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    Ok(row.with_context(|| format!("no row: {sql}"))?.try_get_by_index(0)?)
}

/// Which tables a run's database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// The product's.
    Clawback,
    /// The plain worker's and the ceiling's.
    Bare,
}

impl Schema {
    async fn create(self, url: &str) -> Result<()> {
        match self {
            Schema::Clawback => {
                use clawback_store::{Store, sql};
                let store = sql::connect(url, sql::Options::default()).await?;
                store.migrate().await?;
                store.close().await;
            }
            Schema::Bare => {
                let connection = servers::connect(url).await?;
                connection.execute_unprepared(job::SCHEMA).await?;
                connection.close().await?;
            }
        }
        Ok(())
    }
}
