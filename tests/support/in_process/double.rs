//! An upstream that does what a test tells it to, call by call, and else what the sandbox behind it does. It counts the calls.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use clawback_domain::{
    SessionId, UserId,
    answer::{Answer, BuybackRequest, Fulfilment, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
};
use clawback_phygitals::Upstream;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

/// What one `buy/init` does instead.
pub enum Init {
    /// Nothing reaches the upstream; this is what came back.
    Answer(Answer),
    Panic,
}

/// What one `buy/status` does instead.
pub enum Status {
    Answer(StatusAnswer),
    Panic,
    /// Of a fulfilment another one.
    Twist(fn(Fulfilment) -> Fulfilment),
}

/// One account at the sandbox behind a script.
pub struct Double {
    inner: Arc<dyn Upstream>,
    inits: Mutex<VecDeque<Init>>,
    statuses: Mutex<VecDeque<Status>>,
    /// Each call of `buy/init` needs one of these.
    gate: Semaphore,
    pending: AtomicBool,
    begun: AtomicUsize,
    gauge: Arc<Gauge>,
    came: Notify,
}

/// What the doubles of one partner's workers see together.
#[derive(Default)]
struct Gauge {
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    begins: Mutex<Vec<Instant>>,
}

/// A gate that nobody minds.
const OPEN: usize = Semaphore::MAX_PERMITS / 2;

impl Double {
    pub fn new(inner: Arc<dyn Upstream>) -> Arc<Self> {
        Self::with_gauge(inner, Arc::default())
    }

    /// For another worker of the same partner: what is under way is counted together.
    pub fn beside(&self, inner: Arc<dyn Upstream>) -> Arc<Self> {
        Self::with_gauge(inner, self.gauge.clone())
    }

    fn with_gauge(inner: Arc<dyn Upstream>, gauge: Arc<Gauge>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            inits: Mutex::default(),
            statuses: Mutex::default(),
            gate: Semaphore::new(OPEN),
            pending: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            gauge,
            came: Notify::new(),
        })
    }

    /// For the next calls of `buy/init`, in this order.
    pub fn next_init(&self, init: Init) {
        self.inits.lock().push_back(init);
    }

    /// For the next calls of `buy/status`, in this order.
    pub fn next_status(&self, status: Status) {
        self.statuses.lock().push_back(status);
    }

    /// From now on every `buy/init` hangs before it has any effect.
    pub fn hang(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub fn go_on(&self) {
        self.gate.add_permits(OPEN);
    }

    /// Whether every `buy/status` that has no script says pending.
    pub fn pend(&self, pending: bool) {
        self.pending.store(pending, Ordering::SeqCst);
    }

    /// Calls of `buy/init` so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// The most calls of `buy/init` that were under way at once.
    pub fn most_in_flight(&self) -> usize {
        self.gauge.most_in_flight.load(Ordering::SeqCst)
    }

    /// When each `buy/init` began, in order.
    pub fn begins(&self) -> Vec<Instant> {
        self.gauge.begins.lock().clone()
    }

    /// Completes when `buy/init` has been called so often.
    pub async fn called(&self, times: usize) {
        loop {
            let came = self.came.notified();
            if self.begun() >= times {
                return;
            }
            came.await;
        }
    }
}

/// Counted out however the call ends.
struct InFlight<'a>(&'a Double);

impl<'a> InFlight<'a> {
    fn of(double: &'a Double) -> Self {
        double.gauge.begins.lock().push(Instant::now());
        double.begun.fetch_add(1, Ordering::SeqCst);
        let now = double.gauge.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        double.gauge.most_in_flight.fetch_max(now, Ordering::SeqCst);
        double.came.notify_waiters();
        Self(double)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.gauge.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Upstream for Double {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        let _in_flight = InFlight::of(self);
        self.gate.acquire().await.expect("the gate is never closed").forget();
        self.gate.add_permits(1);
        let scripted = self.inits.lock().pop_front();
        match scripted {
            Some(Init::Answer(answer)) => answer,
            Some(Init::Panic) => panic!("the upstream's client broke"),
            None => self.inner.buy_init(request).await,
        }
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        let scripted = self.statuses.lock().pop_front();
        match scripted {
            Some(Status::Answer(answer)) => answer,
            Some(Status::Panic) => panic!("the upstream's client broke"),
            Some(Status::Twist(twist)) => match self.inner.buy_status(session).await {
                StatusAnswer::Fulfilled(fulfilment) => StatusAnswer::Fulfilled(twist(fulfilment)),
                other => other,
            },
            None if self.pending.load(Ordering::SeqCst) => StatusAnswer::Pending,
            None => self.inner.buy_status(session).await,
        }
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        self.inner.inventory(user).await
    }

    async fn packs(&self) -> PacksAnswer {
        self.inner.packs().await
    }

    async fn buyback(&self, request: BuybackRequest) -> Answer {
        self.inner.buyback(request).await
    }

    fn key_fingerprint(&self) -> String {
        self.inner.key_fingerprint()
    }
}
