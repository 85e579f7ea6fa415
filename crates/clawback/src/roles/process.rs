//! What every role has: its configuration, the parts it shares, a way to stop and a way to be looked at.

use std::{sync::Arc, time::Duration};

use clawback_broker::{Broker, Health};
use clawback_domain::{Clock, PartnerId, purchase::Rules};
use clawback_scheduler::Pruner;
use clawback_store::{Store, sql::Sql};
use clawback_telemetry::Metrics;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{
    keys,
    parts::{Upstreams, worker_partners},
    reload,
    separate::patiently,
    signals, stored,
    webhooks::{self, Endpoints},
};
use crate::{
    clock::{Timekeeper, Tracked},
    config::{File, Partner, Setup},
    context::env,
    failure::Failure,
    ops::{self, Listen, Ops, Readiness},
};

/// What every role takes.
#[derive(Debug, Clone, clap::Args)]
pub struct RoleFlags {
    /// /livez, /readyz, /metrics, and /ops/v1 with CLAWBACK_OPS_TOKEN; `off`, or port 0 [default: 127.0.0.1:9464]
    #[arg(long, env = "CLAWBACK_OPS_LISTEN", default_value = "", hide_default_value = true, value_name = "ADDRESS")]
    pub ops_listen: Listen,
}

/// A role under way.
pub struct Process {
    pub setup: Setup,
    pub store: Arc<Sql>,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    time: Timekeeper,
    pub tasks: Tracked,
    pub shutdown: CancellationToken,
    pub readiness: Arc<Readiness>,
}

/// How long broker and store may take to flush acks, confirms and commits at the end; at most a quarter of `drain`.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

impl Process {
    /// Puts the parts together: reads the clock, refuses a configuration that leaves rows without a partner, and opens the
    /// operators' door. Signals are heard from before, since connecting may take a while.
    ///
    /// # Errors
    /// What stands in the way, in a sentence.
    pub async fn start(
        setup: Setup,
        store: Arc<Sql>,
        broker: Arc<dyn Broker>,
        ops_listen: Listen,
        shutdown: CancellationToken,
    ) -> Result<Self, Failure> {
        let time = patiently("the clock", || Timekeeper::start(&setup, &*store)).await?;
        refuse_orphaned_rows(&*store, &setup.partners).await?;
        let readiness = Arc::new(Readiness::default());
        let (clock, tasks) = (time.clock(), Tracked::default());
        let process = Self { setup, store, broker, clock, time, tasks, shutdown, readiness };
        process.watch_parts();
        process.tell_what_is_not_used();
        process.open_ops(ops_listen).await?;
        Ok(process)
    }

    fn watch_parts(&self) {
        self.time.keep(self.store.clone(), &self.shutdown);
        let time = self.time.clone();
        self.readiness.add(move || time.check());
        let broker = self.broker.clone();
        self.readiness.add(move || match broker.health() {
            Health::Connected => Ok(()),
            Health::Blocked => Err("RabbitMQ has raised an alarm and blocks publishing".into()),
            Health::Disconnected => Err("RabbitMQ is not connected".into()),
        });
        let shutdown = self.shutdown.clone();
        self.readiness.add(move || if shutdown.is_cancelled() { Err("it is draining".into()) } else { Ok(()) });
    }

    /// A setting that does nothing must not look as if it did.
    fn tell_what_is_not_used(&self) {
        let ignored = |name: &&str| env(name).is_some() && !self.setup.file.partners.is_empty();
        for name in ["PHYGITALS_API_KEY", "CLAWBACK_TOKEN"].into_iter().filter(ignored) {
            tracing::warn!("{name} is not used: the configuration file names the partners");
        }
        if env("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
            tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT is not used: this version exports no traces");
        }
    }

    async fn open_ops(&self, listen: Listen) -> Result<(), Failure> {
        let metrics = Metrics::install().map_err(Failure::failed)?;
        let ops = Ops {
            readiness: self.readiness.clone(),
            metrics,
            store: self.store.clone(),
            clock: self.clock.clone(),
            token: self.setup.ops_token.clone(),
            rates: Arc::new(rates(&self.setup)),
            rules: Arc::new(rules(&self.setup)),
        };
        ops::start(ops, listen, self.shutdown.clone()).await
    }

    /// A worker in this process, with its keys watched and its limits reloaded at SIGHUP.
    ///
    /// # Errors
    /// A key that cannot be sent, or a webhook that cannot be delivered to.
    pub fn worker(&self) -> Result<Arc<clawback_worker::Worker>, Failure> {
        let clock = self.clock.clone();
        let upstreams = Arc::new(Upstreams::open(&self.setup.partners, &self.setup.upstream, &clock)?);
        let endpoints = Arc::new(Endpoints::open(&self.setup.partners)?);
        let doors = clawback_worker::Doors {
            store: self.store.clone(),
            broker: self.broker.clone(),
            receiver: webhooks::receiver()?,
            clock,
            tasks: Arc::new(self.tasks.clone()),
        };
        let worker = clawback_worker::Worker::new(
            doors,
            worker_partners(&self.setup.partners, &upstreams, &endpoints, self.setup.item_ids_repeat()),
        );
        let ready = worker.clone();
        self.readiness.add(move || if ready.ready() { Ok(()) } else { Err("the worker is not consuming".into()) });
        self.reload_on_hangup(worker.clone(), upstreams.clone(), endpoints.clone());
        self.watch_secrets(Some((upstreams, endpoints)));
        Ok(worker)
    }

    fn reload_on_hangup(&self, worker: Arc<clawback_worker::Worker>, upstreams: Arc<Upstreams>, endpoints: Arc<Endpoints>) {
        let partners = self.setup.partners.clone();
        let current = RwLock::new(self.setup.file.clone());
        let item_ids_repeat = self.setup.item_ids_repeat();
        signals::on_hangup(move || {
            let Some(path) = current.read().path.clone() else {
                tracing::warn!("SIGHUP: there is no configuration file to read again");
                return;
            };
            // Secrets are watched by themselves; what SIGHUP changes needs none.
            match File::load(Some(&path), &env, crate::config::Needs::NOTHING) {
                Ok(file) => take_over(&mut current.write(), file, &partners, |partners| {
                    worker.reload(worker_partners(partners, &upstreams, &endpoints, item_ids_repeat));
                }),
                Err(error) => tracing::error!("SIGHUP: nothing was reloaded\n{error}"),
            }
        });
    }

    /// Reads secrets again when their files change, until the process stops.
    pub fn watch_secrets(&self, in_use: Option<(Arc<Upstreams>, Arc<Endpoints>)>) {
        tokio::spawn(keys::watch(self.setup.clone(), self.store.clone(), in_use, self.shutdown.clone()));
    }

    /// A role without limits of its own says so when asked to reload.
    pub fn nothing_to_reload(&self) {
        signals::on_hangup(|| {
            tracing::warn!("SIGHUP: limits, warnings and sales are the worker's; this role has none to reload")
        });
    }

    pub fn partner_ids(&self) -> Vec<PartnerId> {
        self.setup.partners.iter().map(|partner| partner.id.clone()).collect()
    }

    pub fn pruner(&self) -> Pruner {
        Pruner::new(self.store.clone(), self.clock.clone(), self.setup.file.retention)
    }

    /// How long the work may go on after the signal: `drain`, less what closing may take.
    pub fn drain(&self) -> Duration {
        self.setup.file.drain.saturating_sub(self.closing())
    }

    fn closing(&self) -> Duration {
        CLOSE_WITHIN.min(self.setup.file.drain / 4)
    }

    /// Counts the store's orders and deliveries for `/metrics`, in the role that also looks for what is due.
    pub fn count_stored(&self) {
        tokio::spawn(stored::watch(self.store.clone(), self.shutdown.clone()));
        tokio::spawn(webhooks::watch(self.store.clone(), self.clock.clone(), self.shutdown.clone()));
    }

    /// Waits for what was spawned, then closes broker and store. Bounded.
    pub async fn finish(self) {
        let within = self.closing();
        self.tasks.0.close();
        let closing = async {
            self.tasks.0.wait().await;
            self.broker.close(within).await;
            self.store.close().await;
        };
        if tokio::time::timeout(within, closing).await.is_err() {
            tracing::warn!(tasks = self.tasks.0.len(), "not all closed in time; what is left comes due by itself");
        }
    }
}

/// Takes what may change from `file` into the partners of this process, and says what it does not take.
fn take_over(current: &mut File, file: File, partners: &[Partner], reload: impl FnOnce(&[Partner])) {
    let changes = reload::compare(current, &file);
    if !changes.refused.is_empty() {
        let keys = changes.refused.join(", ");
        tracing::error!(keys, "SIGHUP: these keys changed and are not taken over; they take a restart");
    }
    let mut reloaded = partners.to_vec();
    for partner in &mut reloaded {
        let read = file.partners.iter().find(|read| read.id == partner.id).map(|read| &read.settings);
        // Without any partner in the file there is one, and it has what holds by default.
        if let Some(read) = read.or(current.partners.is_empty().then_some(&file.defaults)) {
            partner.settings = reload::taken(partner.settings.clone(), read.clone());
        }
    }
    reload(&reloaded);
    tracing::info!(keys = changes.taken.join(", "), "SIGHUP: limits, warnings and automatic sales were reloaded");
    // What was refused stays refused at the next SIGHUP, until a restart: only the taken keys are remembered by comparing anew.
    if changes.refused.is_empty() {
        *current = file;
    }
}

/// How fast waiting rows of a partner come due after a resume.
pub fn rates(setup: &Setup) -> impl Fn(&PartnerId) -> u32 + Send + Sync + 'static {
    let rates: std::collections::BTreeMap<_, _> =
        setup.partners.iter().map(|partner| (partner.id.clone(), partner.settings.rate_per_second)).collect();
    let slowest = rates.values().copied().min().unwrap_or(1);
    move |partner| rates.get(partner).copied().unwrap_or(slowest)
}

/// What the purchase machine must know of a partner; what is built in for one that is not configured.
pub fn rules(setup: &Setup) -> impl Fn(&PartnerId) -> Rules + Send + Sync + 'static {
    let rules: std::collections::BTreeMap<_, _> =
        setup.partners.iter().map(|partner| (partner.id.clone(), partner.settings.rules(setup.item_ids_repeat()))).collect();
    move |partner| rules.get(partner).copied().unwrap_or_default()
}

/// A partner with open rows cannot be removed: nobody would follow them.
async fn refuse_orphaned_rows(store: &dyn Store, partners: &[Partner]) -> Result<(), Failure> {
    let counts = store.counts().await?;
    let orphaned = counts.iter().find(|((partner, _, state), count)| {
        **count > 0 && !state.is_final() && partners.iter().all(|known| known.id != *partner)
    });
    match orphaned {
        None => Ok(()),
        Some(((partner, kind, state), count)) => Err(Failure::usage(format!(
            "partner {partner} is not configured, but has {count} {}(s) {state}: configure it (with `closed = true` it takes \
             no new commands) until they have ended",
            kind.as_str()
        ))),
    }
}
