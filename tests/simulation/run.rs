//! One run: faults first, then all heals, and the system must come to rest.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clawback_broker::{Broker, Topology, embedded::Embedded, topology, topology::PartnerTopology};
use clawback_domain::{
    answer::Answer,
    planted::Bug,
    poll::{PollRules, ReconcileRules},
    purchase::{Purchase, Rules, State, StateName},
    sellback::Sellback,
};
use clawback_sandbox::{Engine, Mode, Options};
use clawback_store::memory::{Memory, Snapshot};
use clawback_worker::Limits;
use futures_util::FutureExt;
use parking_lot::Mutex;

use crate::{
    chance::{Chance, Fired},
    checks::{self, Seen, Violation, Watch},
    coverage::Coverage,
    customers,
    doors::StillClock,
    executor::{End, Executor, mixed},
    faults,
    fleet::{Fleet, Settings},
    hooks,
    observer::{Observed, observe},
    operators, rehearsed,
    rest::{Told, Whole, bought_by_us, brought, is_at_rest, panicked},
    sales::waits_for_a_person,
    trace::Trace,
    warned,
    workload::{self, Ordered},
    world::{Parts, World},
};

/// How long the healed system may take to come to rest, in virtual time: the longest waits are doubled due times and review windows.
const HEALING: Duration = Duration::from_secs(6 * 3600);
/// Between two looks at whether it rests.
const TICK: Duration = Duration::from_secs(10);
/// How often reviews that all could settle by sight are given another hour: each is looked at that often.
const SECOND_SIGHTS: u32 = 3;
const SECOND_SIGHT: Duration = Duration::from_secs(75 * 60);
/// Of the reconciliations: how far clocks may differ beyond what is measured.
pub const CLOCK_SKEW: Duration = Duration::from_secs(15);
/// Within one tick; more, and something spins.
const MOST_POLLS: u64 = 3_000_000;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub seed: u64,
    pub commands: u64,
    /// Only these faults happen.
    pub only: Option<BTreeSet<Fired>>,
    pub bug: Option<Bug>,
    pub trace: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub violations: Vec<Violation>,
    pub digest: u64,
    pub commits: u64,
    pub polls: u64,
    /// Purchases whose last attempt brought nothing, or nothing that tells.
    pub unknown: u64,
    /// Of those: fulfilled by evidence, without a session and without a person.
    pub recovered: u64,
    pub reviews: u64,
    pub observed: Observed,
    pub faults: Vec<Fired>,
    pub coverage: Coverage,
}

pub fn run(plan: &Plan) -> Report {
    let chance = Chance::new(plan.seed, plan.only.clone());
    let mut executor = Executor::default();
    let watch = Watch::default();
    let world = build_world(&executor, &chance, &watch, Trace { on: plan.trace });
    let coverage = Arc::new(Mutex::new(Coverage::default()));
    rehearsed::begin(&world, &coverage, plan.bug);

    let settings = settings(&world);
    let ordered = workload::publish(&world, plan.commands);
    customers::own_items(&world);
    customers::sell_and_ship(&world);
    customers::sell_back(&world);
    customers::opt_out(&world);
    operators::operate(&world, &ordered, settings.rules);
    let told = collect_events(&world);
    let end = live(&mut executor, &world, settings, &ordered);
    rehearsed::end();
    let report = judge(plan, &executor, &world, end, &ordered, &told.lock(), &coverage.lock());
    // The world holds the store, which would go on holding the world.
    world.store().on_commit(Box::new(|_| {}));
    report
}

/// From the first command to rest, or to the end of all patience.
fn live(executor: &mut Executor, world: &World, settings: Settings, ordered: &Ordered) -> End {
    let mut fleet = Fleet::start(world, settings, ordered);
    let heals_at = world.heals_at();
    let mut end = fleet.run(executor, heals_at, MOST_POLLS);
    world.heal();
    // At rest twice in a row: what is on its way to the partners arrives meanwhile, and a look may begin something anew.
    let (mut rests, mut until, mut sights) = (0, heals_at, 0);
    while end == End::Time && until < heals_at + HEALING && !world.watch().look(Seen::is_broken) {
        if rests == 2 {
            if sights == SECOND_SIGHTS || !is_avoidable(world, ordered) {
                break;
            }
            (rests, sights, until) = (0, sights + 1, until + SECOND_SIGHT);
        }
        until += TICK;
        end = fleet.run(executor, until, MOST_POLLS);
        rests = if fleet.is_calm() && rest(world, ordered) { rests + 1 } else { 0 };
    }
    end
}

/// Whether a review is left that all could settle.
fn is_avoidable(world: &World, ordered: &Ordered) -> bool {
    let (snapshot, ledger) = (world.store().snapshot(), bought_by_us(world));
    let observed =
        world.watch().look(|seen| observe(&Whole { world, snapshot: &snapshot, ordered, ledger: &ledger, told: &[], seen }));
    !observed.avoidable.is_empty()
}

/// Whether nothing more is owed: every command has ended or waits for a person, and every event is out.
fn rest(world: &World, ordered: &Ordered) -> bool {
    // Some window may still be open.
    if world.handle().now() < warned::windows(world.heals_at()).1 {
        return false;
    }
    let settled =
        world.watch().look(|seen| seen.unsent.is_empty() && ordered.commands.keys().all(|id| seen.resting.contains(id)));
    let snapshot = world.store().snapshot();
    let calm = warned::is_calm(&snapshot, world.now()) && hooks::is_calm(world);
    settled && is_at_rest(&snapshot) && sales_rest(world, &snapshot) && calm
}

/// Every sellback has ended, waits for a person, or waits for one that does; or its message is kept.
fn sales_rest(world: &World, snapshot: &Snapshot) -> bool {
    let rows: BTreeSet<_> = snapshot.sellbacks().map(|row| row.id).collect();
    let kept = snapshot.dead_letters.iter().filter(|letter| panicked(letter)).count();
    let missing = world.watch().look(|seen| seen.sellbacks.iter().filter(|id| !rows.contains(id)).count());
    let rests = |row: &Sellback| row.state.name().is_announced() || waits_for_a_person(snapshot, row);
    missing <= kept && snapshot.sellbacks().all(rests)
}

fn judge(
    plan: &Plan,
    executor: &Executor,
    world: &World,
    end: End,
    ordered: &Ordered,
    told: &[Told],
    coverage: &Coverage,
) -> Report {
    let snapshot = world.store().snapshot();
    let ledger = bought_by_us(world);
    world.watch().look(|seen| {
        let whole = Whole { world, snapshot: &snapshot, ordered, ledger: &ledger, told, seen };
        let mut violations = seen.violations.clone();
        if end != End::Time {
            violations.push(format!("nothing waits for ever: the run ended in {end:?}"));
        }
        violations.extend(executor.panics.iter().map(|panic| format!("nothing panics: {panic}")));
        violations.extend(whole.violations());
        let mut coverage = coverage.clone();
        coverage.walk(&snapshot);
        let unknown: Vec<_> = snapshot.purchases().filter(|row| is_unknown(row, &snapshot)).collect();
        let by_people: BTreeSet<_> =
            snapshot.entries.iter().filter(|entry| entry.by.is_some()).map(|entry| entry.order).collect();
        let recovered = unknown.iter().filter(|row| is_recovered(row) && !by_people.contains(&row.id));
        Report {
            seed: plan.seed,
            violations,
            digest: mixed(seen.digest, executor.schedule),
            commits: seen.commits,
            polls: executor.polls,
            unknown: unknown.len() as u64,
            recovered: recovered.count() as u64,
            reviews: snapshot.purchases().filter(|row| row.state.name() == StateName::Review).count() as u64,
            observed: observe(&whole),
            faults: world.chance().fired(),
            coverage,
        }
    })
}

fn is_unknown(row: &Purchase, snapshot: &Snapshot) -> bool {
    row.attempts > 0 && brought(row, snapshot).is_none_or(|answer| matches!(answer, Answer::Unknown { .. }))
}

fn is_recovered(row: &Purchase) -> bool {
    matches!(&row.state, State::Fulfilled(fulfilled) if fulfilled.recovered)
}

fn build_world(executor: &Executor, chance: &Chance, watch: &Watch, trace: Trace) -> World {
    let settles = chance.below("mode", 2) == 1;
    let heals_at = faults::heals_at(chance);
    let options = Options {
        mode: if settles { Mode::Production } else { Mode::Sandbox },
        settle: chance.span("settle", Duration::ZERO, Duration::from_secs(40)),
        pending_polls: chance.below("pending polls", 4) as u32,
        nfts_at_init: chance.below("nfts at init", 2) == 0,
        windows: Some(warned::windows(heals_at)),
        seed: chance.draw("engine"),
        api_keys: workload::partners().iter().map(workload::key).collect(),
        ..Options::default()
    };
    let parts = Parts {
        handle: executor.handle(),
        chance: chance.clone(),
        heals_at,
        store: Arc::new(Memory::new(Arc::new(StillClock))),
        broker: Embedded::new(),
        engine: Engine::shared(options),
        watch: watch.clone(),
        trace,
    };
    let world = World::new(parts);
    let (seen, traced) = (watch.clone(), world.clone());
    world.store().on_commit(Box::new(move |committed| {
        let process = seen.saw(committed);
        traced.seen_by(process).say("commit", || checks::told(committed));
    }));
    let partners = workload::partners().into_iter().map(|partner| PartnerTopology { partner, event_queue: true }).collect();
    let declared = world.broker().declare(&Topology { partners }).now_or_never();
    declared.expect("the embedded broker answers at once").expect("the topology can be declared");
    hooks::begin(&world);
    world
}

fn settings(world: &World) -> Settings {
    let chance = world.chance();
    let seconds = Duration::from_secs;
    let rules = Rules {
        poll: PollRules {
            first: seconds(1),
            max: seconds(5 + chance.below("poll max", 26)),
            deadline: chance.span("poll deadline", seconds(30), seconds(300)),
        },
        reconcile: ReconcileRules {
            first: chance.span("first look", seconds(1), seconds(6)),
            max: seconds(20),
            // Longer than a purchase takes to settle and an inventory to show it.
            window: chance.span("window", seconds(90), seconds(240)),
            clock_skew: CLOCK_SKEW,
        },
        item_ids_repeat: world.engine().lock().mode() == Mode::Sandbox,
        max_wait: if chance.below("impatient", 4) == 0 { seconds(90) } else { seconds(24 * 3600) },
        ..Rules::default()
    };
    let limits = Limits {
        concurrency: 1 + chance.below("concurrency", 16) as u32,
        poll_concurrency: 4 + chance.below("poll concurrency", 100) as u32,
        rate_per_second: 2 + chance.below("rate per second", 30) as u32,
        sell_concurrency: 1 + chance.below("sell concurrency", 4) as u32,
        sells_per_second: 1 + chance.below("sells per second", 20) as u32,
    };
    Settings { limits, rules, warnings: Arc::new(warned::rules(world)), sale: warned::sale(world) }
}

/// Collects what partners get, the first copy of each.
fn collect_events(world: &World) -> Arc<Mutex<Vec<Told>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    for partner in workload::partners() {
        let (world2, all) = (world.clone(), all.clone());
        world.spawn(async move {
            let queue = topology::event_queue(&partner);
            let mut consumer = world2.broker().consume(&queue, 100).await.expect("the queue is declared");
            let mut known = BTreeSet::new();
            while let Some(delivery) = consumer.next().await {
                let message_id = delivery.properties.message_id.clone().unwrap_or_default();
                if known.insert(message_id.clone()) {
                    let request = delivery.properties.correlation_id.clone().map(|request| (partner.clone(), request));
                    all.lock().push(Told { routing_key: delivery.routing_key.clone(), message_id, request });
                }
                let _ = delivery.ack().await;
            }
        });
    }
    all
}
