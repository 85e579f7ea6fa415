//! One partner with everything of its own, and what a test asks of it: publish, wait until, tell me what you said.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clawback_broker::{
    Broker, Message, Properties, Routing, Topology,
    steps::{Row, Step, hand_over},
    topology::{self, PartnerTopology},
};
use clawback_domain::{
    Clock, DeadLetterId, PartnerId, PurchaseId, RequestId,
    clock::Time,
    poll::{PollRules, ReconcileRules, Timeouts},
    purchase::{Purchase, Rules, State, StateName},
    reason::WaitCode,
    warning::WarningRules,
};
use clawback_phygitals::{ApiKey, Phygitals, Upstream};
use clawback_sandbox::{Engine, InProcess, Options, engine::Shared};
use clawback_store::{DeadLetter, Store};
use clawback_webhook::Recorder;
use clawback_worker::{Doors, Limits, Partner, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{Double, JumpingClock, Plant, looked_at::LookedAt, plant::Spawned};
use crate::wait::{until, until_true};

/// Milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);
/// Of the one account.
pub const KEY: &str = "sandbox-key";

/// What a stage is made of.
#[derive(Clone)]
pub struct Setup {
    pub upstream: Options,
    pub limits: Limits,
    pub rules: Rules,
    pub closed: bool,
    /// How long every answer of the upstream is on its way.
    pub latency: Duration,
    /// The upstream that is called over HTTP, instead of one in the process.
    pub over_http: Option<OverHttp>,
}

/// An upstream behind a socket, and the engine that knows what it did.
#[derive(Clone)]
pub struct OverHttp {
    pub engine: Shared,
    pub base: String,
}

impl Default for Setup {
    /// Timers of milliseconds, deadlines that no busy machine meets, and an upstream that fulfils at once.
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            upstream: Options { api_keys: vec![KEY.into()], ..Options::default() },
            limits: Limits::default(),
            rules: Rules {
                poll: PollRules { first: millis(20), max: millis(50), deadline: Duration::from_secs(3600) },
                timeouts: Timeouts { connect: millis(100), init: millis(500), status: millis(500), ..Timeouts::default() },
                reconcile: ReconcileRules {
                    first: millis(20),
                    max: millis(50),
                    window: millis(600),
                    ..ReconcileRules::default()
                },
                ..Rules::default()
            },
            closed: false,
            latency: Duration::ZERO,
            over_http: None,
        }
    }
}

/// An event as its partner's queue brought it.
#[derive(Debug, Clone)]
pub struct Told {
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub body: Value,
}

/// It works until it is stopped or dropped.
pub struct Stage {
    pub partner: PartnerId,
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub engine: Shared,
    pub upstream: Arc<Double>,
    pub clock: Arc<JumpingClock>,
    setup: Setup,
    told: Arc<Mutex<Vec<Told>>>,
    worker: Arc<Worker>,
    /// The worker's own connection.
    connection: Arc<LookedAt>,
    running: TaskTracker,
    shutdown: CancellationToken,
}

impl Stage {
    /// A partner of this name, its queues, its reader of events and its worker.
    pub async fn set(plant: &Plant, name: &str, setup: Setup) -> Result<Self> {
        Ok(Self::set_together(plant, &[name], setup).await?.remove(0))
    }

    /// Several partners with one worker and one clock for all; each has an upstream of its own.
    pub async fn set_together(plant: &Plant, names: &[&str], setup: Setup) -> Result<Vec<Self>> {
        let partners: Vec<PartnerId> = names.iter().map(|name| PartnerId::new(*name)).collect::<Result<_, _>>()?;
        let each = |partner: &PartnerId| PartnerTopology { partner: partner.clone(), event_queue: true };
        plant.broker.declare(&Topology { partners: partners.iter().map(each).collect() }).await?;
        let clock = Arc::new(JumpingClock::default());
        let engines: Vec<Shared> = names.iter().map(|_| engine(&setup)).collect();
        let upstreams: Vec<_> = engines.iter().map(|engine| Double::new(account(engine, &clock, &setup, KEY))).collect();
        let configured = partners.iter().zip(&upstreams).map(|(partner, upstream)| configured(partner, upstream, &setup));
        let connection = LookedAt::new(plant.connect().await?);
        let worker = Worker::new(doors(plant, &clock, &connection), configured.collect());
        let (running, shutdown) = run(&worker);
        let mut stages = Vec::new();
        for ((partner, upstream), engine) in partners.into_iter().zip(upstreams).zip(engines) {
            stages.push(Self {
                told: read_events(&*plant.broker, &partner).await?,
                store: plant.store.clone(),
                broker: plant.broker.clone(),
                clock: clock.clone(),
                setup: setup.clone(),
                worker: worker.clone(),
                connection: connection.clone(),
                running: running.clone(),
                shutdown: shutdown.clone(),
                partner,
                upstream,
                engine,
            });
        }
        Ok(stages)
    }

    /// Drains; an error when a handler did not end.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.running.wait()).await.context("the worker does not stop")
    }

    /// Another worker for the same partner, with a connection, a clock and a double of its own.
    pub async fn beside(&self, plant: &Plant) -> Result<Self> {
        let clock = Arc::new(JumpingClock::default());
        let upstream = self.upstream.beside(account(&self.engine, &clock, &self.setup, KEY));
        let connection = LookedAt::new(plant.connect().await?);
        let partner = configured(&self.partner, &upstream, &self.setup);
        let worker = Worker::new(doors(plant, &clock, &connection), vec![partner]);
        let (running, shutdown) = run(&worker);
        Ok(Self {
            partner: self.partner.clone(),
            store: self.store.clone(),
            broker: self.broker.clone(),
            engine: self.engine.clone(),
            setup: self.setup.clone(),
            told: self.told.clone(),
            upstream,
            clock,
            worker,
            connection,
            running,
            shutdown,
        })
    }

    /// How often the worker has begun to measure a queue.
    pub fn looks(&self, queue: &str) -> usize {
        self.connection.looks(queue)
    }

    /// Whether the worker's own task still runs.
    pub fn lives(&self) -> bool {
        !self.running.is_empty() && self.worker.ready()
    }

    /// Gives the partner another key; calls go through a new double, which is returned.
    pub fn rekey(&self, key: &str) -> Arc<Double> {
        let upstream = Double::new(account(&self.engine, &self.clock, &self.setup, key));
        self.worker.reload(vec![configured(&self.partner, &upstream, &self.setup)]);
        upstream
    }

    /// From now on the partner may send no commands.
    pub fn close(&mut self) {
        self.setup.closed = true;
        self.reload();
    }

    pub fn open(&mut self) {
        self.setup.closed = false;
        self.reload();
    }

    /// How many calls of `buy/init` may be under way.
    pub fn limit(&mut self, concurrency: u32) {
        self.setup.limits.concurrency = concurrency;
        self.reload();
    }

    fn reload(&self) {
        self.worker.reload(vec![configured(&self.partner, &self.upstream, &self.setup)]);
    }

    pub fn id(&self, request: &str) -> PurchaseId {
        PurchaseId::of(&self.partner, &RequestId::new(request).expect("tests name requests well"))
    }

    /// Publishes one `rookie` for `alice`.
    pub async fn buy(&self, request: &str) -> Result<PurchaseId> {
        self.buy_with(request, json!({})).await
    }

    /// The same with these fields added or replaced.
    pub async fn buy_with(&self, request: &str, fields: Value) -> Result<PurchaseId> {
        let mut command = json!({ "request_id": request, "user_id": "alice", "pack_id": "rookie", "amount": 1 });
        let fields = fields.as_object().cloned().unwrap_or_default();
        command.as_object_mut().expect("it is one").extend(fields);
        self.publish("purchase", command.to_string(), Properties::default()).await?;
        Ok(self.id(request))
    }

    /// Publishes anything to the partner's exchange.
    pub async fn publish(&self, routing_key: &str, body: impl Into<Bytes>, properties: Properties) -> Result<()> {
        let exchange = topology::commands(&self.partner);
        let message = Message { exchange, routing_key: routing_key.into(), body: body.into(), properties };
        ensure!(self.broker.publish(message).await? == Routing::Routed, "no queue took the message");
        Ok(())
    }

    /// The row, once there is one that is so.
    pub async fn row(&self, what: &str, id: PurchaseId, is: impl Fn(&Purchase) -> bool) -> Result<Purchase> {
        until(&format!("{}: {what}", self.partner), SOON, || async {
            match self.store.purchase(id).await {
                Ok(Some(row)) if is(&row) => Ok(row),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Skips a timer of the worker: waits until it sleeps for such a span, and jumps to the span's end.
    pub async fn skip(&self, spans: Range<Duration>) -> Result<()> {
        let is_set = || self.clock.is_asleep_for(&spans);
        until_true(&format!("{}: a timer of {spans:?} is set", self.partner), SOON, is_set).await?;
        self.clock.advance(spans.end);
        Ok(())
    }

    pub async fn reaches(&self, id: PurchaseId, state: StateName) -> Result<Purchase> {
        self.row(state.as_str(), id, |row| row.state.name() == state).await
    }

    /// Until it is accepted, not called, and says why.
    pub async fn waits_for(&self, id: PurchaseId, code: WaitCode) -> Result<Purchase> {
        let waits = |row: &Purchase| matches!(&row.state, State::Accepted { waiting: Some(waiting) } if waiting.code == code);
        self.row(&format!("it waits: {code}"), id, waits).await
    }

    /// The timeline, a line per entry: the state it led to, and its words.
    pub async fn story(&self, id: PurchaseId) -> Result<Vec<String>> {
        let entries = self.store.timeline(id).await?;
        Ok(entries.iter().map(|entry| format!("{}: {}", entry.to, entry.note)).collect())
    }

    /// What the scheduler does when the row is due: hands it over.
    pub async fn step(&self, id: PurchaseId) -> Result<()> {
        let row = self.store.purchase(id).await?.context("there is no such row")?;
        hand_over(&*self.broker, &self.partner, Step { row: Row::Order(id), version: row.version }).await?;
        Ok(())
    }

    /// Everything told about a subject so far, repeats included.
    pub fn told(&self, subject: Uuid) -> Vec<Told> {
        let subject = json!(subject);
        self.told.lock().iter().filter(|told| told.body["subject"] == subject).cloned().collect()
    }

    /// Completes when these events, in this order, and no others were told about a subject. Each is one by its id; their sequence
    /// rises from one. Gives their `data`.
    pub async fn tells(&self, subject: Uuid, types: &[&str]) -> Result<Vec<Value>> {
        let told = until(&format!("{} tells {types:?}", self.partner), SOON, || async {
            let mut told = self.told(subject);
            let mut seen = std::collections::BTreeSet::new();
            told.retain(|each| seen.insert(each.message_id.clone()));
            let found: Vec<_> = told.iter().map(|each| each.body["type"].as_str().unwrap_or_default()).collect();
            if found == types { Ok(told) } else { Err(format!("{found:?}")) }
        })
        .await?;
        for (index, each) in told.iter().enumerate() {
            assert_eq!(each.body["sequence"], json!(format!("{:020}", index + 1)), "{}", each.body);
            assert_eq!(each.message_id.as_deref(), each.body["id"].as_str());
            assert_eq!(each.correlation_id.as_deref(), each.body["data"]["request_id"].as_str());
            assert_eq!(each.body["source"], json!(format!("/clawback/{}", self.partner)));
        }
        Ok(told.into_iter().map(|each| each.body["data"].clone()).collect())
    }

    /// A dead letter, once it is stored.
    pub async fn buried(&self, id: DeadLetterId) -> Result<DeadLetter> {
        until(&format!("{}: the dead letter is stored", self.partner), SOON, || async {
            match self.store.dead_letter(id).await {
                Ok(Some(letter)) => Ok(letter),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// How often a purchase was bought, by what the upstream says.
    pub fn bought(&self, id: PurchaseId) -> usize {
        self.bought_items(id).len()
    }

    /// The item ids of each time the upstream says it was bought, sorted.
    pub fn bought_items(&self, id: PurchaseId) -> Vec<Vec<String>> {
        let name = format!("{id}.");
        let purchases = self.engine.lock().ledger().purchases.into_iter();
        let ours = purchases.filter(|each| each.client_ref.as_ref().is_some_and(|text| text.starts_with(&name)));
        let items = ours.map(|each| {
            let mut items: Vec<_> = each.items.into_iter().map(|item| item.item_id).collect();
            items.sort();
            items
        });
        items.collect()
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn doors(plant: &Plant, clock: &Arc<JumpingClock>, connection: &Arc<LookedAt>) -> Doors {
    Doors {
        store: plant.store.clone(),
        broker: connection.clone(),
        receiver: Arc::new(Recorder::new()),
        clock: clock.clone(),
        tasks: Arc::new(Spawned),
    }
}

fn run(worker: &Arc<Worker>) -> (TaskTracker, CancellationToken) {
    let (running, shutdown) = (TaskTracker::new(), CancellationToken::new());
    running.spawn(worker.clone().run(shutdown.clone(), DRAIN));
    running.close();
    (running, shutdown)
}

fn engine(setup: &Setup) -> Shared {
    match &setup.over_http {
        Some(there) => there.engine.clone(),
        None => Engine::shared(setup.upstream.clone()),
    }
}

fn account(engine: &Shared, clock: &Arc<JumpingClock>, setup: &Setup, key: &str) -> Arc<dyn Upstream> {
    let Some(there) = &setup.over_http else {
        let account = InProcess::new(engine.clone(), clock.clone(), key);
        return Arc::new(account.with_latency(setup.latency).with_timeouts(setup.rules.timeouts));
    };
    let key = ApiKey::new(key).expect("tests have good keys");
    Arc::new(Phygitals::new(&there.base, key, setup.rules.timeouts, clock.clone()).expect("the base is a URL"))
}

fn configured(partner: &PartnerId, upstream: &Arc<Double>, setup: &Setup) -> Partner {
    Partner {
        id: partner.clone(),
        upstream: upstream.clone(),
        limits: setup.limits,
        rules: setup.rules,
        closed: setup.closed,
        webhook: None,
        warnings: Some(Arc::new(WarningRules::default())),
        sale: None,
    }
}

/// Reads the partner's event queue for as long as the test runs.
async fn read_events(broker: &dyn Broker, partner: &PartnerId) -> Result<Arc<Mutex<Vec<Told>>>> {
    const PREFETCH: u16 = 64;
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut consumer = broker.consume(&topology::event_queue(partner), PREFETCH).await?;
    let heard = told.clone();
    tokio::spawn(async move {
        while let Some(delivery) = consumer.next().await {
            let body = serde_json::from_slice(&delivery.body).expect("an event is JSON");
            let (message_id, correlation_id) =
                (delivery.properties.message_id.clone(), delivery.properties.correlation_id.clone());
            heard.lock().push(Told { message_id, correlation_id, body });
            let _ = delivery.ack().await;
        }
    });
    Ok(told)
}
