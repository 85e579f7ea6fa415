//! The parts of the demo: the real ones, small.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use chrono::Utc;
use clawback_broker::{Broker, Embedded, Topology, topology::PartnerTopology};
use clawback_domain::{
    Clock, ItemId, PartnerId, Time,
    clock::until,
    poll::{PollRules, ReconcileRules, Timeouts},
    purchase::{MARGIN, Rules, SEND_WINDOW},
    warning::{SaleRule, WarningRules},
};
use clawback_phygitals::{ApiKey, Phygitals};
use clawback_sandbox::{Engine, Fault, Mode, Options, engine::Shared, server};
use clawback_scheduler::Scheduler;
use clawback_store::Store;
use clawback_worker::{Doors, Limits, Partner, Worker};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use crate::{
    clock::{Tracked, UpstreamClock},
    context::{creating, sqlite_url},
    failure::Failure,
    roles::{sandbox, webhooks},
};

/// Made up.
pub const PARTNERS: [&str; 3] = ["arcade-north", "claw-club", "toybox"];

/// Its server sells an item back for the first user who is warned for the last time.
pub const ASKS: &str = PARTNERS[0];
/// What its users do not sell is sold before it expires.
pub const SELLS: &str = PARTNERS[1];
/// One of its users sells an item elsewhere.
pub const LOSES: &str = PARTNERS[2];

/// Calls begun per second and partner, and as many sales.
pub const RATE: u32 = 200;

/// An outcome in doubt is looked into once its call has surely ended: short time-outs shorten the demo.
const CALL: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_millis(500);
const LONGEST_CALL: Duration = SEND_WINDOW.saturating_add(CONNECT).saturating_add(CALL).saturating_add(MARGIN);

const SETTLE: Duration = Duration::from_millis(1200);

/// A few of each kind among some hundred calls. After its effect a lost answer leaves an unknown outcome; before it, too.
const FAULTS: [&str; 8] = [
    "init:reset-before=0.004",
    "init:reset-after=0.008",
    "init:error-after=0.004",
    "init:cut-body=0.004",
    "init:rate-limited=0.04",
    "status:error-before=0.02",
    "status:cut-body=0.02",
    "status:rubbish=0.01",
];

pub struct Plant {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    /// The stand-in's: it is moved by [`Plant::advance_to`].
    pub clock: Arc<UpstreamClock>,
    pub upstream: Shared,
    pub events: Events,
    shutdown: CancellationToken,
    tasks: Tracked,
    /// Removed with everything in it at the end.
    _folder: TempDir,
}

impl Plant {
    /// # Errors
    /// The temporary folder, or a free port.
    pub async fn start(seed: u64, shutdown: CancellationToken) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("clawback-demo-").tempdir().map_err(Failure::failed)?;
        let url = creating(sqlite_url(&folder.path().join("demo.sqlite"))?);
        let store: Arc<dyn Store> =
            Arc::new(clawback_store::sql::connect(&url, clawback_store::sql::Options::default()).await?);
        store.migrate().await?;
        let broker: Arc<dyn Broker> = Arc::new(Embedded::new());
        broker.declare(&topology_of_all()).await?;
        let (upstream, base) = start_sandbox(seed, shutdown.clone()).await?;
        let clock = Arc::new(UpstreamClock::new(&base, LONGEST_CALL).map_err(Failure::failed)?);
        clock.read().await.map_err(Failure::failed)?;
        let tasks = Tracked::default();
        let plant =
            Self { events: Events::listen(&broker).await?, store, broker, clock, upstream, shutdown, tasks, _folder: folder };
        plant.start_work(&base)?;
        Ok(plant)
    }

    fn start_work(&self, base: &str) -> Result<(), Failure> {
        let (store, broker) = (self.store.clone(), self.broker.clone());
        let clock: Arc<dyn Clock> = self.clock.clone();
        let scheduler = Scheduler::new(store.clone(), broker.clone(), clock.clone(), partner_ids());
        let partners = PARTNERS.iter().map(|name| partner(name, base, &clock)).collect::<Result<_, _>>()?;
        let doors = Doors { store, broker, receiver: webhooks::receiver()?, clock, tasks: Arc::new(self.tasks.clone()) };
        let worker = Worker::new(doors, partners);
        self.tasks.0.spawn(worker.run(self.shutdown.clone(), Duration::from_secs(3)));
        self.tasks.0.spawn(scheduler.run(self.shutdown.clone()));
        Ok(())
    }

    /// Moves the stand-in's clock, and lets everybody here know before it returns. What has passed is not gone back to.
    ///
    /// # Errors
    /// The stand-in does not answer.
    pub async fn advance_to(&self, then: Time) -> Result<(), Failure> {
        self.upstream.lock().advance(until(self.clock.now(), then));
        self.clock.read().await.map_err(Failure::failed)
    }

    /// Takes an item away from a user as a sale by another way does. `false` when nobody holds it.
    pub fn sell_elsewhere(&self, partner: &PartnerId, item: &ItemId) -> bool {
        self.upstream.lock().take_away(Utc::now(), &key(partner.as_str()), item.as_str())
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.0.close();
        // Nobody waits for the drain of a demo for long.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.0.wait()).await;
        self.broker.close(Duration::from_secs(1)).await;
        self.store.close().await;
    }
}

pub fn partner_ids() -> Vec<PartnerId> {
    PARTNERS.iter().map(|name| PartnerId::new(name).expect("the demo's names are lower case and short")).collect()
}

fn topology_of_all() -> Topology {
    let partners = partner_ids().into_iter().map(|partner| PartnerTopology { partner, event_queue: true });
    Topology { partners: partners.collect() }
}

fn key(name: &str) -> String {
    format!("sandbox-{name}")
}

async fn start_sandbox(seed: u64, shutdown: CancellationToken) -> Result<(Shared, String), Failure> {
    let faults = FAULTS.iter().map(|fault| fault.parse::<Fault>().expect("the demo's faults are the sandbox's"));
    let engine = Engine::shared(Options {
        mode: Mode::Production,
        settle: SETTLE,
        pending_polls: 1,
        seed,
        api_keys: PARTNERS.iter().map(|name| key(name)).collect(),
        faults: faults.collect(),
        ..Options::default()
    });
    let (listener, url) = sandbox::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let serving = server::serve(listener, engine.clone(), server::ServerOptions::default(), shutdown.cancelled_owned());
    tokio::spawn(serving);
    Ok((engine, url))
}

/// As configured in production, only that everything happens sooner.
fn partner(name: &str, base: &str, clock: &Arc<dyn Clock>) -> Result<Partner, Failure> {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { connect: CONNECT, init: CALL, status: 5 * second, inventory: 3 * second, buyback: CALL };
    let poll = PollRules { first: Duration::from_millis(400), max: 2 * second, deadline: 60 * second };
    let client = Phygitals::new(base, ApiKey::new(&key(name)).map_err(Failure::failed)?, timeouts, clock.clone());
    Ok(Partner {
        id: PartnerId::new(name).map_err(Failure::failed)?,
        upstream: Arc::new(client.map_err(Failure::failed)?),
        limits: Limits { poll_concurrency: 256, rate_per_second: RATE, sells_per_second: RATE, ..Limits::default() },
        rules: Rules {
            poll,
            timeouts,
            reconcile: ReconcileRules { first: SETTLE, max: 2 * second, window: 10 * second, ..ReconcileRules::default() },
            max_wait: 60 * second,
            exclusive: true,
            item_ids_repeat: true,
        },
        closed: false,
        webhook: None,
        warnings: Some(Arc::new(WarningRules::default())),
        sale: (name == SELLS).then(sale_rule),
    })
}

fn sale_rule() -> SaleRule {
    const MINUTE: Duration = Duration::from_secs(60);
    const HALF: u32 = 500_000;
    SaleRule::new(30 * MINUTE, 5 * MINUTE, Some(HALF), None).expect("it begins before it stops")
}
