//! A store and a broker of a test's own, and the scheduler that every stage on them shares.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use clawback_broker::{Amqp, Broker, Embedded, amqp};
use clawback_domain::{Clock, Tasks, clock::BoxFuture};
use clawback_scheduler::Scheduler;
use clawback_store::{Store, memory::Memory, sql};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::JumpingClock;
use crate::{Database, VirtualHost};

/// Both end at once when nothing is under way.
const CLOSE: Duration = Duration::from_secs(5);

/// Everything it made is removed when it drops.
pub struct Plant {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    wire: Wire,
    shutdown: CancellationToken,
    // Last, so that they go after what is connected to them.
    _database: Option<Database>,
    _folder: Option<TempDir>,
}

/// How another process would connect.
enum Wire {
    Embedded(Embedded),
    Rabbitmq(VirtualHost),
}

impl Plant {
    /// The embedded broker and the model of a store.
    pub async fn in_memory() -> Result<Self> {
        Self::start(Arc::new(Memory::new(Arc::new(JumpingClock::default()))), Wire::Embedded(Embedded::new()), None, None).await
    }

    /// The embedded broker and a SQLite file: what `clawback up` runs on.
    pub async fn on_sqlite() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clawback-plant-").tempdir()?;
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("clawback.db").display());
        let store = sql::connect(&url, sql::Options::default()).await?;
        Self::start(Arc::new(store), Wire::Embedded(Embedded::new()), None, Some(folder)).await
    }

    /// RabbitMQ and PostgreSQL.
    pub async fn on_servers() -> Result<Self> {
        let database = Database::create().await?;
        let store = sql::connect(database.url(), sql::Options::default()).await?;
        Self::start(Arc::new(store), Wire::Rabbitmq(VirtualHost::create().await?), Some(database), None).await
    }

    async fn start(store: Arc<dyn Store>, wire: Wire, database: Option<Database>, folder: Option<TempDir>) -> Result<Self> {
        store.migrate().await?;
        let broker = wire.connect().await?;
        let shutdown = CancellationToken::new();
        let clock: Arc<dyn Clock> = Arc::new(JumpingClock::default());
        let scheduler = Scheduler::new(store.clone(), broker.clone(), clock, Vec::new());
        tokio::spawn(scheduler.run(shutdown.clone()));
        Ok(Self { store, broker, wire, shutdown, _database: database, _folder: folder })
    }

    /// What another process would have: a connection of its own.
    pub async fn connect(&self) -> Result<Arc<dyn Broker>> {
        self.wire.connect().await
    }

    /// Where an ordinary AMQP client connects to; `None` on the embedded broker, which has no door for one.
    pub fn amqp_url(&self) -> Option<&str> {
        match &self.wire {
            Wire::Embedded(_) => None,
            Wire::Rabbitmq(host) => Some(host.url()),
        }
    }

    /// After the stages on it.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.broker.close(CLOSE).await;
        self.store.close().await;
    }
}

impl Wire {
    async fn connect(&self) -> Result<Arc<dyn Broker>> {
        Ok(match self {
            Wire::Embedded(broker) => Arc::new(broker.connect()),
            Wire::Rabbitmq(host) => Arc::new(Amqp::connect(host.url(), amqp::Options::default()).await?),
        })
    }
}

/// Tasks of the test's runtime: they end with the test.
pub(super) struct Spawned;

impl Tasks for Spawned {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}
