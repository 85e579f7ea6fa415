//! Process 0: the world. It carries every effect and answers as late, as often and as wrongly as chance has it.
//!
//! A door call starts a task of the world and waits for its answer. So a killed process's commit or `buy/init` still lands, and a
//! frozen one's answer waits. The doubles behind the doors stay free of faults: here is where things go wrong.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use clawback_broker::{
    Broker, BrokerError, Consumer, Delivery, Health, Message, Mismatch, PublishError, QueueState, Routing, Settle, Settlement,
    Stale, Topology, embedded::Embedded, topology,
};
use clawback_domain::{
    Clock, SessionId, Tasks, Time, UserId,
    answer::{Answer, BuybackAnswer, BuybackRequest, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
    clock::{BoxFuture, after},
};
use clawback_phygitals::Upstream;
use clawback_sandbox::engine::Shared;
use clawback_store::{StoreError, memory::Memory};
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::{
    chance::Chance,
    executor::{Handle, Process, WORLD},
};

/// When virtual time begins.
pub fn epoch() -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(1_800_000_000))
}

/// How often each fault happens, in a thousand. Drawn per seed: half of them are off.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub store_away: u64,
    pub commit_lost: u64,
    pub commit_answer_lost: u64,
    pub publish_lost: u64,
    pub confirm_lost: u64,
    pub published_twice: u64,
    pub step_lost: u64,
    pub never_sent: u64,
    pub slow_upstream: u64,
}

impl Rates {
    pub fn draw(chance: &Chance) -> Self {
        Self {
            store_away: chance.rate("store away", 60),
            commit_lost: chance.rate("commit lost", 40),
            commit_answer_lost: chance.rate("commit answer lost", 40),
            publish_lost: chance.rate("publish lost", 60),
            confirm_lost: chance.rate("confirm lost", 60),
            published_twice: chance.rate("published twice", 60),
            step_lost: chance.rate("step lost", 200),
            never_sent: chance.rate("never sent", 100),
            slow_upstream: chance.rate("slow upstream", 60),
        }
    }
}

/// What all processes of one run share.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    handle: Handle,
    chance: Chance,
    rates: Rates,
    healed: AtomicBool,
    pub store: Arc<Memory>,
    pub broker: Embedded,
    pub engine: Shared,
}

impl World {
    pub fn new(handle: Handle, chance: Chance, store: Arc<Memory>, broker: Embedded, engine: Shared) -> Self {
        let rates = Rates::draw(&chance);
        Self(Arc::new(Inner { handle, chance, rates, healed: AtomicBool::new(false), store, broker, engine }))
    }

    pub fn store(&self) -> Arc<Memory> {
        self.0.store.clone()
    }

    pub fn broker(&self) -> &Embedded {
        &self.0.broker
    }

    pub fn engine(&self) -> &Shared {
        &self.0.engine
    }

    pub fn chance(&self) -> &Chance {
        &self.0.chance
    }

    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::Relaxed);
        self.0.engine.lock().set_faults(Vec::new());
    }

    pub fn now(&self) -> Time {
        after(epoch(), self.0.handle.now())
    }

    fn fires(&self, site: &str, rate: u64) -> bool {
        !self.0.healed.load(Ordering::Relaxed) && self.0.chance.fires(site, rate)
    }

    async fn latency(&self, site: &str) {
        let span = self.0.chance.span(site, Duration::from_micros(50), Duration::from_millis(20));
        self.0.handle.sleep(span).await;
    }

    /// Starts `effect` as a task of the world; it happens whatever becomes of the caller.
    fn carry<T: Send + 'static>(&self, effect: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> + Send {
        let (answer, answered) = oneshot::channel();
        self.0.handle.spawn(
            WORLD,
            Box::pin(async move {
                let _ = answer.send(effect.await);
            }),
        );
        async move { answered.await.expect("the world answers every call") }
    }

    /// A store call that may find the store away.
    pub async fn read<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let world = self.clone();
        self.carry(async move {
            world.latency("store latency").await;
            if world.fires("store away", world.0.rates.store_away) {
                return Err(StoreError::Unavailable("away".into()));
            }
            let result = operation.await;
            world.latency("store latency").await;
            result
        })
        .await
    }

    /// A store call whose commit may be lost, or whose answer.
    pub async fn write<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let world = self.clone();
        self.carry(async move {
            world.latency("store latency").await;
            if world.fires("store away", world.0.rates.store_away) {
                return Err(StoreError::Unavailable("away".into()));
            }
            if world.fires("commit lost", world.0.rates.commit_lost) {
                return Err(StoreError::Unknown("lost before the commit".into()));
            }
            let result = operation.await;
            if world.fires("commit answer lost", world.0.rates.commit_answer_lost) {
                return Err(StoreError::Unknown("lost after the commit".into()));
            }
            world.latency("store latency").await;
            result
        })
        .await
    }
}

/// A process's clock: its own offset, the world's time.
pub struct SimClock {
    pub world: World,
    pub process: Process,
    pub offset: Duration,
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        after(self.world.now(), self.offset)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.0.handle.sleep(span))
    }

    fn draw(&self) -> u64 {
        self.world.0.chance.draw(&format!("clock of {}", self.process))
    }
}

pub struct SimTasks {
    pub world: World,
    pub process: Process,
}

impl Tasks for SimTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.0.handle.spawn(self.process, task);
    }
}

/// One process's connection to the broker.
pub struct SimBroker {
    pub world: World,
    pub connection: Embedded,
}

#[async_trait]
impl Broker for SimBroker {
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.connection.declare(topology).await
    }

    async fn check(&self, topology: &Topology) -> Result<Vec<Mismatch>, BrokerError> {
        self.connection.check(topology).await
    }

    async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        let (world, connection) = (self.world.clone(), self.connection.clone());
        self.world
            .carry(async move {
                let rates = world.0.rates;
                world.latency("publish latency").await;
                if world.fires("publish lost", rates.publish_lost) {
                    return Err(PublishError::Unconfirmed("lost".into()));
                }
                if message.exchange == topology::STEPS && world.fires("step lost", rates.step_lost) {
                    return Ok(Routing::Routed);
                }
                if world.fires("published twice", rates.published_twice) {
                    connection.publish(message.clone()).await?;
                    world.latency("second copy").await;
                }
                let routing = connection.publish(message).await;
                if world.fires("confirm lost", rates.confirm_lost) {
                    return Err(PublishError::Unconfirmed("the confirm was lost".into()));
                }
                world.latency("confirm latency").await;
                routing
            })
            .await
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let inner = self.connection.consume(queue, prefetch).await?;
        Ok(Box::new(SimConsumer { world: self.world.clone(), inner }))
    }

    async fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        self.connection.queue_state(queue).await
    }

    fn health(&self) -> Health {
        self.connection.health()
    }

    async fn close(&self, within: Duration) {
        self.connection.close(within).await;
    }
}

struct SimConsumer {
    world: World,
    inner: Box<dyn Consumer>,
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.inner.next().await?;
        let settle = SimSettle { world: self.world.clone(), inner: delivery.settle };
        Some(Delivery { settle: Box::new(settle), ..delivery })
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A settlement takes its time: whoever hands it over before what it stands for is done can die in between.
struct SimSettle {
    world: World,
    inner: Box<dyn Settle>,
}

#[async_trait]
impl Settle for SimSettle {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Stale> {
        let Self { world, inner } = *self;
        let carrying = world.clone();
        world
            .carry(async move {
                carrying.latency("settle latency").await;
                let settled = inner.settle(settlement).await;
                carrying.latency("settle latency").await;
                settled
            })
            .await
    }
}

/// One process's way to the upstream.
pub struct SimUpstream {
    pub world: World,
    pub key: String,
    pub clock: Arc<SimClock>,
}

/// The client's own time-out for calls that move money; shorter than the attempt's deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

impl SimUpstream {
    /// The way there, the effect, the way back; `None` when the client gave up waiting.
    async fn call<T: Send + 'static>(
        &self,
        effect: impl FnOnce(&mut clawback_sandbox::Engine, Time, &str) -> T + Send + 'static,
    ) -> Option<T> {
        let (world, key) = (self.world.clone(), self.key.clone());
        let carried = self.world.carry(async move {
            world.upstream_latency().await;
            let answer = effect(&mut world.0.engine.lock(), world.now(), &key);
            world.upstream_latency().await;
            answer
        });
        let given_up = self.world.0.handle.sleep(CALL_TIMEOUT);
        match select(std::pin::pin!(carried), given_up).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }
}

impl World {
    async fn upstream_latency(&self) {
        let slow = self.fires("slow upstream", self.0.rates.slow_upstream);
        let most = if slow { Duration::from_secs(40) } else { Duration::from_millis(200) };
        let span = self.0.chance.span("upstream latency", Duration::from_millis(1), most);
        self.0.handle.sleep(span).await;
    }
}

#[async_trait]
impl Upstream for SimUpstream {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        if self.clock.now() > request.send_by {
            return Answer::NeverSent { why: "send_by passed".into() };
        }
        if self.world.fires("never sent", self.world.0.rates.never_sent) {
            return Answer::NeverSent { why: "connection refused".into() };
        }
        let answer = self.call(move |engine, now, key| engine.buy_init(now, key, &request)).await;
        answer.unwrap_or(Answer::Unknown { why: "no answer in time".into(), status: None })
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        let session = session.clone();
        let answer = self.call(move |engine, now, key| engine.buy_status(now, key, &session)).await;
        answer.unwrap_or(StatusAnswer::Unreadable { why: "no answer in time".into() })
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        let user = user.clone();
        let answer = self.call(move |engine, now, key| engine.read_inventory(now, key, &user)).await;
        answer.unwrap_or(InventoryAnswer::Unreadable { why: "no answer in time".into() })
    }

    async fn packs(&self) -> PacksAnswer {
        let answer = self.call(|engine, now, key| engine.list_packs(now, key)).await;
        answer.unwrap_or(PacksAnswer::Unreadable { why: "no answer in time".into() })
    }

    async fn buyback(&self, request: BuybackRequest) -> BuybackAnswer {
        let answer = self.call(move |engine, now, key| engine.sell_back(now, key, &request)).await;
        answer.unwrap_or(BuybackAnswer::Unknown { why: "no answer in time".into(), status: None })
    }

    fn key_fingerprint(&self) -> String {
        self.key.clone()
    }
}
