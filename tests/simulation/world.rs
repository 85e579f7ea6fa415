//! Process 0: the world. It carries every effect and answers as late, as often and as wrongly as chance has it.
//!
//! A door call starts a task of the world and waits for its answer. So a killed process's commit or `buy/init` still lands, and a
//! frozen one's answer waits. The doubles behind the doors stay free of faults: here is where things go wrong.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clawback_broker::embedded::Embedded;
use clawback_domain::{PartnerId, Time, UserId, clock::after};
use clawback_sandbox::engine::Shared;
use clawback_store::{StoreError, memory::Memory};
use clawback_webhook::Recorder;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    chance::Chance,
    checks::Watch,
    executor::{Handle, Process, WORLD},
    faults::{self, Rates},
    trace::Trace,
    workload::FAULTS,
};

/// When virtual time begins.
pub fn epoch() -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(1_800_000_000))
}

/// How far the upstream's clock may be off, in either direction.
const MOST_OFFSET: Duration = Duration::from_secs(10);

/// What all processes of one run share, as one of them sees it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
    process: Process,
}

struct Inner {
    handle: Handle,
    chance: Chance,
    rates: Rates,
    heals_at: Duration,
    healed: AtomicBool,
    /// Of the upstream's clock, less [`MOST_OFFSET`].
    offset: Duration,
    store: Arc<Memory>,
    broker: Embedded,
    engine: Shared,
    watch: Watch,
    trace: Trace,
    /// While no answer of the upstream arrives.
    outages: Vec<(Duration, Duration)>,
    /// Users whom the upstream does not know for a while.
    spells: Mutex<BTreeMap<(PartnerId, UserId), Duration>>,
    hooks: Recorder,
}

/// What a world is made of.
pub struct Parts {
    pub handle: Handle,
    pub chance: Chance,
    pub heals_at: Duration,
    pub store: Arc<Memory>,
    pub broker: Embedded,
    pub engine: Shared,
    pub watch: Watch,
    pub trace: Trace,
}

impl World {
    pub fn new(parts: Parts) -> Self {
        let Parts { handle, chance, heals_at, store, broker, engine, watch, trace } = parts;
        let rates = Rates::draw(&chance);
        let healed = AtomicBool::new(false);
        let offset = chance.span("upstream offset", Duration::ZERO, MOST_OFFSET * 2);
        let spells = Mutex::default();
        let outages = outages(&chance);
        let hooks = Recorder::new();
        let inner = Inner {
            handle,
            chance,
            rates,
            heals_at,
            healed,
            offset,
            store,
            broker,
            engine,
            watch,
            trace,
            outages,
            spells,
            hooks,
        };
        Self { inner: Arc::new(inner), process: WORLD }
    }

    /// The same world, seen by `process`.
    pub fn seen_by(&self, process: Process) -> Self {
        Self { process, ..self.clone() }
    }

    pub fn process(&self) -> Process {
        self.process
    }

    pub fn store(&self) -> Arc<Memory> {
        self.inner.store.clone()
    }

    pub fn broker(&self) -> &Embedded {
        &self.inner.broker
    }

    /// What partners' servers took.
    pub fn hooks(&self) -> &Recorder {
        &self.inner.hooks
    }

    pub fn engine(&self) -> &Shared {
        &self.inner.engine
    }

    pub fn chance(&self) -> &Chance {
        &self.inner.chance
    }

    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    pub fn rates(&self) -> &Rates {
        &self.inner.rates
    }

    pub fn watch(&self) -> &Watch {
        &self.inner.watch
    }

    /// Until when things go wrong.
    pub fn heals_at(&self) -> Duration {
        self.inner.heals_at
    }

    /// From now on nothing goes wrong any more; what has begun to goes on to its end.
    pub fn heal(&self) {
        self.inner.healed.store(true, Ordering::Relaxed);
        self.say("healed", || "from here on nothing goes wrong".into());
    }

    pub fn now(&self) -> Time {
        after(epoch(), self.inner.handle.now())
    }

    /// Whether no answer of the upstream arrives at this moment.
    pub fn is_cut_off(&self) -> bool {
        let now = self.inner.handle.now();
        self.inner.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Until when the upstream does not know a user; from now on until `until`, if that is given.
    pub fn blind_until(&self, partner: &PartnerId, user: &UserId, until: Option<Duration>) -> Option<Duration> {
        let mut spells = self.inner.spells.lock();
        let user = (partner.clone(), user.clone());
        spells.extend(until.map(|until| (user.clone(), until)));
        spells.get(&user).copied()
    }

    /// The upstream's clock goes its own way, and nobody corrects it.
    pub fn upstream_now(&self) -> Time {
        after(self.now() - MOST_OFFSET, self.inner.offset)
    }

    /// When something happened, from the upstream's clock.
    pub fn by_our_clock(&self, at: Time) -> Time {
        after(at - self.inner.offset, MOST_OFFSET)
    }

    /// One line of the trace.
    pub fn say(&self, what: &str, how: impl FnOnce() -> String) {
        self.inner.trace.line(self.inner.handle.now(), self.process, what, how);
    }

    pub fn fires(&self, site: &str, rate: u64) -> bool {
        let rate = faults::rate_at(self.inner.handle.now(), rate);
        let fires = !self.inner.healed.load(Ordering::Relaxed) && self.inner.chance.fires(site, rate);
        if fires {
            self.say("fault", || site.into());
        }
        fires
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.handle.spawn(WORLD, Box::pin(task));
    }

    pub async fn sleep(&self, span: Duration) {
        self.inner.handle.sleep(span).await;
    }

    pub async fn latency(&self, site: &str) {
        self.sleep(self.chance().span(site, Duration::from_micros(50), Duration::from_millis(20))).await;
    }

    /// Starts `effect` as a task of the world; it happens whatever becomes of the caller.
    pub fn carry<T, F>(&self, effect: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.spawn(async move {
            let _ = answer.send(effect.await);
        });
        async move { answered.await.expect("the world answers every call") }
    }

    /// A store call that may find the store away.
    pub async fn read<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let world = self.clone();
        self.carry(async move {
            world.reach_store().await?;
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
            world.reach_store().await?;
            if world.fires("commit lost", world.rates().commit_lost) {
                return Err(StoreError::Unknown("lost before the commit".into()));
            }
            world.watch().commits_for(world.process);
            let result = operation.await;
            if world.fires("commit answer lost", world.rates().commit_answer_lost) {
                return Err(StoreError::Unknown("lost after the commit".into()));
            }
            if world.fires("commit answer hangs", world.rates().commit_answer_hangs) {
                world.sleep(world.chance().span("commit hangs for", Duration::ZERO, Duration::from_secs(90))).await;
                return Err(StoreError::Unknown("the connection hung after the commit, and broke".into()));
            }
            world.latency("store latency").await;
            result
        })
        .await
    }

    async fn reach_store(&self) -> Result<(), StoreError> {
        self.latency("store latency").await;
        if self.fires("store slow", self.rates().store_slow) {
            self.sleep(self.chance().span("store slow for", Duration::ZERO, Duration::from_secs(8))).await;
        }
        if self.fires("store away", self.rates().store_away) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    }
}

/// Up to two spans of some seconds, so that several purchases of one user come into doubt together.
fn outages(chance: &Chance) -> Vec<(Duration, Duration)> {
    let happens = (0..chance.below("outages", 3)).filter(|_| chance.fires("outage", 1000));
    let spans = happens.map(|_| {
        let from = chance.span("outage at", Duration::ZERO, FAULTS / 2);
        (from, from + chance.span("outage lasts", Duration::from_secs(1), Duration::from_secs(8)))
    });
    spans.collect()
}
