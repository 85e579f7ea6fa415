//! One run: processes are started, killed, frozen and restarted by a plan drawn up front; then all heals, and the system must come to
//! rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use clawback_broker::{Broker, Topology, embedded::Embedded, topology, topology::PartnerTopology};
use clawback_domain::{PurchaseId, purchase::Rules};
use clawback_sandbox::{Engine, Fault, Kind, Mode, Options};
use clawback_scheduler::Scheduler;
use clawback_store::memory::Memory;
use clawback_worker::{Doors, Limits, Partner, Worker};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    chance::Chance,
    checks::{self, Bought, Violation, Watch},
    executor::{End, Executor, Process},
    store::SimStore,
    workload::{self, Commands, FAULTS},
    world::{SimBroker, SimClock, SimTasks, SimUpstream, World, epoch},
};

/// How long the healed system may take to come to rest, in virtual time: the longest waits are doubled due times and review windows.
const HEALING: Duration = Duration::from_secs(2 * 3600);
const MOST_POLLS: u64 = 3_000_000;
const WORKERS: usize = 3;
const SCHEDULERS: usize = 2;

pub struct Report {
    pub seed: u64,
    pub violations: Vec<Violation>,
    pub digest: u64,
    pub commits: u64,
    pub polls: u64,
    pub reviews: usize,
    pub recovered: usize,
    pub faults: BTreeMap<String, u64>,
}

pub fn run(seed: u64, commands: u64) -> Report {
    let chance = Chance::new(seed);
    let mut executor = Executor::default();
    let watch = Watch::default();
    let world = build_world(&executor, &chance, &watch);
    let commands = workload::publish(&world, commands);
    workload::operate(&world, &commands);
    let published = collect_events(&world);
    world.engine().lock().set_faults(faults(&chance));

    let mut fleet = Fleet::start(&world);
    let mut end = fleet.suffer(&mut executor, &world, &commands);
    world.heal();
    fleet.recover(&mut executor, &world);
    let limit = FAULTS + HEALING;
    let mut until = FAULTS;
    // At rest twice in a row: what is on its way to the partners arrives meanwhile, and a look may begin something anew.
    let mut rests = 0;
    while end == End::Time && until < limit && rests < 2 {
        until += Duration::from_secs(10);
        end = advance(&mut executor, &world, until);
        rests = if checks::is_at_rest(&world.store().snapshot(), &commands) { rests + 1 } else { 0 };
    }

    let mut violations = watch.violations();
    if end != End::Time {
        violations.push(format!("nothing waits for ever: the run ended in {end:?}"));
    }
    let snapshot = world.store().snapshot();
    violations.extend(checks::at_rest(&snapshot, &commands, &bought(&world), &published.lock()));
    let count = |name| snapshot.purchases.iter().filter(|row| row.state.name() == name).count();
    Report {
        seed,
        violations,
        digest: watch.digest(),
        commits: watch.commits(),
        polls: executor.polls,
        reviews: count(clawback_domain::purchase::StateName::Review),
        recovered: 0,
        faults: chance.fired(),
    }
}

fn build_world(executor: &Executor, chance: &Chance, watch: &Watch) -> World {
    let settles = chance.below("mode", 2) == 1;
    let options = Options {
        mode: if settles { Mode::Production } else { Mode::Sandbox },
        settle: chance.span("settle", Duration::ZERO, Duration::from_secs(20)),
        seed: chance.draw("engine"),
        api_keys: workload::partners().iter().map(workload::key).collect(),
        ..Options::default()
    };
    let engine = Engine::shared(options);
    let broker = Embedded::new();
    let clock = Arc::new(StillClock);
    let store = Arc::new(Memory::new(clock));
    let seen = watch.clone();
    store.on_commit(Box::new(move |committed| seen.saw(committed)));
    let world = World::new(executor.handle(), chance.clone(), store, broker, engine);
    let partners = workload::partners().into_iter().map(|partner| PartnerTopology { partner, event_queue: true }).collect();
    let declared = futures_util::FutureExt::now_or_never(world.broker().declare(&Topology { partners }));
    declared.expect("the embedded broker answers at once").expect("the topology can be declared");
    world
}

fn faults(chance: &Chance) -> Vec<Fault> {
    let kinds = [
        Kind::ResetBefore,
        Kind::ResetAfter,
        Kind::TimeoutBefore,
        Kind::TimeoutAfter,
        Kind::ErrorBefore,
        Kind::ErrorAfter,
        Kind::CutBody,
        Kind::Rubbish,
        Kind::RateLimited,
        Kind::TransactionFailed,
    ];
    let fault = |kind: Kind| {
        let rate = chance.rate(&format!("{kind:?}"), 80);
        (rate > 0).then(|| Fault::new(None, kind, rate as f64 / 1000.0).expect("a rate between 0 and 1"))
    };
    kinds.into_iter().filter_map(fault).collect()
}

/// Collects the ids of the events that partners get.
fn collect_events(world: &World) -> Arc<Mutex<BTreeSet<String>>> {
    let published = Arc::new(Mutex::new(BTreeSet::new()));
    for partner in workload::partners() {
        let (world2, published) = (world.clone(), published.clone());
        world.handle().spawn(
            crate::executor::WORLD,
            Box::pin(async move {
                let queue = topology::event_queue(&partner);
                let mut consumer = world2.broker().consume(&queue, 100).await.expect("the queue is declared");
                while let Some(delivery) = consumer.next().await {
                    published.lock().extend(delivery.properties.message_id.clone());
                    let _ = delivery.ack().await;
                }
            }),
        );
    }
    published
}

fn bought(world: &World) -> Bought {
    let mut bought = Bought::new();
    for purchase in world.engine().lock().ledger().purchases {
        let reference = purchase.client_ref.expect("every call of ours has a reference");
        let (id, _) = reference.rsplit_once('.').expect("<purchase_id>.<attempt>");
        *bought.entry(id.parse::<PurchaseId>().expect("a purchase id")).or_default() += 1;
    }
    bought
}

fn advance(executor: &mut Executor, world: &World, until: Duration) -> End {
    let chance = world.chance().clone();
    executor.run(until, MOST_POLLS, |ready| chance.below("schedule", ready as u64) as usize)
}

/// The processes of the installation, restarted as often as they die.
struct Fleet {
    next: Process,
    members: Vec<Member>,
}

struct Member {
    process: Process,
    connection: Embedded,
    is_worker: bool,
    shutdown: CancellationToken,
}

/// A worker drains within this, and then some for what it waits for last.
const DRAIN: Duration = Duration::from_secs(45);

impl Fleet {
    fn start(world: &World) -> Self {
        let mut fleet = Self { next: 1, members: Vec::new() };
        for number in 0..WORKERS + SCHEDULERS {
            let member = fleet.spawn(world, number < WORKERS);
            fleet.members.push(member);
        }
        fleet
    }

    fn spawn(&mut self, world: &World, is_worker: bool) -> Member {
        let process = self.next;
        self.next += 1;
        let connection = world.broker().connect();
        let offset = world.chance().span("clock offset", Duration::ZERO, Duration::from_secs(2));
        let clock = Arc::new(SimClock { world: world.clone(), process, offset });
        let broker = Arc::new(SimBroker { world: world.clone(), connection: connection.clone() });
        let store = Arc::new(SimStore(world.clone()));
        let shutdown = CancellationToken::new();
        if is_worker {
            let tasks = Arc::new(SimTasks { world: world.clone(), process });
            let doors = Doors { store, broker, clock: clock.clone(), tasks };
            let worker = Worker::new(doors, partners(world, &clock));
            world.handle().spawn(process, Box::pin(worker.run(shutdown.clone(), DRAIN)));
        } else {
            let scheduler = Scheduler::new(store, broker, clock, workload::partners());
            world.handle().spawn(process, Box::pin(scheduler.run(shutdown.clone())));
        }
        Member { process, connection, is_worker, shutdown }
    }

    /// Kills and freezes by chance until the faults end.
    fn suffer(&mut self, executor: &mut Executor, world: &World, commands: &Commands) -> End {
        let chance = world.chance().clone();
        let troubles = chance.below("troubles", 12);
        let published: Vec<_> = commands.values().copied().collect();
        let mut times: Vec<_> = (0..troubles).map(|_| trouble_at(&chance, &published)).collect();
        times.sort();
        for at in times {
            let end = advance(executor, world, at);
            if end != End::Time {
                return end;
            }
            // Not only between two instants: in the middle of what one of them does.
            let polls = chance.below("polls before trouble", 300);
            executor.run(at + Duration::from_millis(5), polls, |ready| chance.below("schedule", ready as u64) as usize);
            let victim = chance.below("victim", self.members.len() as u64) as usize;
            match chance.below("trouble", 5) {
                0 | 1 => self.kill(executor, world, victim),
                2 => self.freeze(executor, world, victim),
                3 => self.terminate(executor, world, victim),
                _ => world.broker().interrupt(),
            }
        }
        advance(executor, world, FAULTS)
    }

    /// kill -9, and a new process in its place: its tasks are gone wherever they stood, its connections end.
    fn kill(&mut self, executor: &mut Executor, world: &World, victim: usize) {
        let process = self.members[victim].process;
        executor.kill(process);
        let closed = self.members[victim].connection.close(Duration::ZERO);
        futures_util::FutureExt::now_or_never(closed).expect("the embedded broker answers at once");
        let is_worker = self.members[victim].is_worker;
        self.members[victim] = self.spawn(world, is_worker);
    }

    /// SIGTERM: it drains, then its process ends.
    fn terminate(&mut self, executor: &mut Executor, world: &World, victim: usize) {
        self.members[victim].shutdown.cancel();
        let process = self.members[victim].process;
        let until = world.handle().now() + DRAIN;
        while executor.has_tasks(process) && world.handle().now() < until {
            let next = world.handle().now() + Duration::from_millis(500);
            advance(executor, world, next);
        }
        self.kill(executor, world, victim);
    }

    /// SIGSTOP: the broker gives its deliveries to others, its timers fire late, and then it wakes up as if nothing had happened.
    fn freeze(&mut self, executor: &mut Executor, world: &World, victim: usize) {
        let process = self.members[victim].process;
        executor.freeze(process);
        world.broker().interrupt();
        let lasts = world.chance().span("frozen for", Duration::from_secs(1), Duration::from_secs(60));
        let until = (world.handle().now() + lasts).min(FAULTS);
        advance(executor, world, until);
        executor.thaw(process);
    }

    fn recover(&mut self, executor: &mut Executor, world: &World) {
        for victim in 0..self.members.len() {
            executor.thaw(self.members[victim].process);
            if !executor.has_tasks(self.members[victim].process) {
                self.kill(executor, world, victim);
            }
        }
    }
}

/// Anywhere, but more often while a command is between its arrival and its call: that is where a crash hurts.
fn trouble_at(chance: &Chance, published: &[Duration]) -> Duration {
    if chance.below("trouble near a command", 4) == 0 {
        return chance.span("trouble at", Duration::ZERO, FAULTS);
    }
    let near = published[chance.below("trouble near", published.len() as u64) as usize];
    near + chance.span("trouble after", Duration::ZERO, Duration::from_millis(80))
}

fn partners(world: &World, clock: &Arc<SimClock>) -> Vec<Partner> {
    let partner = |id| {
        let upstream = SimUpstream { world: world.clone(), key: workload::key(&id), clock: clock.clone() };
        let limits = Limits { concurrency: 12, poll_concurrency: 100, rate_per_second: 30 };
        Partner { id, upstream: Arc::new(upstream), limits, rules: Rules::default(), closed: false }
    };
    workload::partners().into_iter().map(partner).collect()
}

/// The model's own clock decides nothing.
struct StillClock;

impl clawback_domain::Clock for StillClock {
    fn now(&self) -> clawback_domain::Time {
        epoch()
    }

    fn sleep(&self, _: Duration) -> clawback_domain::clock::BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn draw(&self) -> u64 {
        0
    }
}
