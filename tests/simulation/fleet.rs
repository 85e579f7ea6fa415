//! The processes of the installation: killed, frozen, terminated and restarted by a plan drawn up front, and wherever a crash point
//! kills them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clawback_broker::{Broker, embedded::Embedded};
use clawback_domain::{
    PartnerId,
    purchase::Rules,
    warning::{SaleRule, WarningRules},
};
use clawback_scheduler::Scheduler;
use clawback_worker::{Doors, Limits, Partner, Worker};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::SimBroker,
    chance::{Chance, Stream},
    doors::{MOST_OFFSET, SimClock, SimTasks},
    executor::{End, Executor, Process},
    hooks::{self, SimReceiver},
    operators,
    store::SimStore,
    upstream::SimUpstream,
    warned,
    workload::{self, FAULTS, Ordered},
    world::World,
};

const WORKERS: usize = 3;
const SCHEDULERS: usize = 2;

/// A worker drains within this, and is killed some time before or after.
const DRAIN: Duration = Duration::from_secs(45);

/// How all processes of one run are configured.
#[derive(Clone)]
pub struct Settings {
    pub limits: Limits,
    pub rules: Rules,
    pub warnings: Arc<WarningRules>,
    /// Of the partner who sells what is about to expire.
    pub sale: Option<SaleRule>,
}

pub struct Fleet {
    world: World,
    settings: Settings,
    next: Process,
    members: Vec<Member>,
    plan: BTreeMap<(Duration, u64), Act>,
    planned: u64,
    schedule: Stream,
}

struct Member {
    /// `None` while it is down.
    running: Option<Running>,
    is_worker: bool,
}

struct Running {
    process: Process,
    connection: Embedded,
    shutdown: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// kill -9: its tasks are gone wherever they stood, its connections end.
    Kill(usize),
    /// SIGSTOP: its timers fire late, and then it wakes up as if nothing had happened.
    Freeze(usize),
    /// SIGTERM: it drains, then it is killed.
    Terminate(usize),
    /// The broker's channels break: everything unacked goes to others, also what is being handled.
    Interrupt,
    Start(usize),
    /// Unless the process is another by then.
    KillProcess(Process),
    Thaw(Process),
}

impl Fleet {
    pub fn start(world: &World, settings: Settings, ordered: &Ordered) -> Self {
        let members = (0..WORKERS + SCHEDULERS).map(|number| Member { running: None, is_worker: number < WORKERS }).collect();
        let schedule = world.chance().stream("schedule");
        let (plan, world) = (BTreeMap::new(), world.clone());
        let mut fleet = Self { world, settings, next: 1, members, plan, planned: 0, schedule };
        for place in 0..fleet.members.len() {
            fleet.spawn(place);
        }
        fleet.draw_troubles(ordered);
        fleet
    }

    fn draw_troubles(&mut self, ordered: &Ordered) {
        let chance = self.world.chance().clone();
        let published: Vec<_> = ordered.commands.values().copied().collect();
        for _ in 0..chance.below("troubles", 16) {
            let at = trouble_at(&chance, &published);
            self.draw_trouble(at);
        }
        self.draw_second_wave();
    }

    /// Spread over its whole length: turns of users come at any time.
    fn draw_second_wave(&mut self) {
        let (chance, heals_at) = (self.world.chance().clone(), self.world.heals_at());
        if heals_at == FAULTS {
            return;
        }
        for _ in 0..chance.below("late troubles", 16) {
            let at = chance.span("late trouble at", FAULTS, heals_at);
            self.draw_trouble(at);
        }
    }

    fn draw_trouble(&mut self, at: Duration) {
        let chance = self.world.chance();
        let victim = chance.below("victim", self.members.len() as u64) as usize;
        let act = match chance.below("trouble", 6) {
            0 | 1 => Act::Kill(victim),
            2 | 3 => Act::Freeze(victim),
            4 => Act::Terminate(victim),
            _ => Act::Interrupt,
        };
        if self.world.fires("trouble", 1000) {
            self.plan_at(at, act);
        }
    }

    fn plan_at(&mut self, at: Duration, act: Act) {
        self.planned += 1;
        self.plan.insert((at, self.planned), act);
    }

    fn plan_in(&mut self, span: Duration, act: Act) {
        self.plan_at(self.world.handle().now() + span, act);
    }

    /// Whether nobody is frozen, draining or about to start.
    pub fn is_calm(&self) -> bool {
        self.plan.is_empty()
    }

    /// Runs until virtual time `until` while the plan goes on; `most` bounds the polls between two acts.
    pub fn run(&mut self, executor: &mut Executor, until: Duration, most: u64) -> End {
        loop {
            let next = self.plan.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= until);
            let schedule = &mut self.schedule;
            match executor.run(next.unwrap_or(until), most, |ready| schedule.below(ready)) {
                End::Died(process) => self.died(process),
                End::Time if next.is_some() => {
                    let (_, act) = self.plan.pop_first().expect("it was just seen");
                    self.amid(executor, act);
                    self.act(executor, act);
                }
                end => return end,
            }
        }
    }

    /// Trouble comes not only between two instants: also in the middle of what one of them does.
    fn amid(&mut self, executor: &mut Executor, act: Act) {
        if matches!(act, Act::Start(_) | Act::Thaw(_)) {
            return;
        }
        let polls = self.world.chance().below("polls before trouble", 300);
        let until = self.world.handle().now() + Duration::from_millis(5);
        let schedule = &mut self.schedule;
        if let End::Died(process) = executor.run(until, polls, |ready| schedule.below(ready)) {
            self.died(process);
        }
    }

    fn act(&mut self, executor: &mut Executor, act: Act) {
        self.world.say("trouble", || format!("{act:?}"));
        match act {
            Act::Kill(victim) => {
                if let Some(process) = self.process(victim) {
                    self.kill(executor, process);
                }
            }
            Act::KillProcess(process) => self.kill(executor, process),
            Act::Freeze(victim) => self.freeze(executor, victim),
            Act::Terminate(victim) => self.terminate(victim),
            Act::Interrupt => self.world.broker().interrupt(),
            Act::Start(place) => self.spawn(place),
            Act::Thaw(process) => {
                if self.world.chance().below("impatience before a thaw", 2) == 0 {
                    let impatient = operators::lose_patience(&self.world, &self.settings.rules);
                    impatient.now_or_never().expect("the model answers at once");
                }
                executor.thaw(process);
            }
        }
    }

    fn process(&self, place: usize) -> Option<Process> {
        self.members[place].running.as_ref().map(|running| running.process)
    }

    fn kill(&mut self, executor: &mut Executor, process: Process) {
        if self.members.iter().any(|member| member.running.as_ref().is_some_and(|running| running.process == process)) {
            executor.kill(process);
            self.died(process);
        }
    }

    /// Its connections end, and another takes its place, at once or a little later.
    fn died(&mut self, process: Process) {
        self.world.say("died", || format!("process {process}"));
        self.world.watch().died(process);
        let of = |member: &Member| member.running.as_ref().is_some_and(|running| running.process == process);
        let Some(place) = self.members.iter().position(of) else { return };
        if let Some(Running { connection, shutdown, .. }) = self.members[place].running.take() {
            shutdown.cancel();
            connection.close(Duration::ZERO).now_or_never().expect("the embedded broker answers at once");
        }
        let most = if self.world.chance().below("restarted slowly", 4) == 0 { 20 } else { 1 };
        let after = self.world.chance().span("restarted after", Duration::ZERO, Duration::from_secs(most));
        self.plan_in(after, Act::Start(place));
    }

    fn freeze(&mut self, executor: &mut Executor, victim: usize) {
        let Some(process) = self.process(victim) else { return };
        executor.freeze(process);
        if self.world.chance().below("interrupted by freeze", 2) == 0 {
            self.world.broker().interrupt();
        }
        // Now and then so long that whatever it was doing is in review when it wakes up.
        let (least, most) = if self.world.chance().below("frozen for long", 4) == 0 { (150, 450) } else { (1, 70) };
        let lasts = self.world.chance().span("frozen for", Duration::from_secs(least), Duration::from_secs(most));
        self.plan_in(lasts, Act::Thaw(process));
    }

    fn terminate(&mut self, victim: usize) {
        let Some(running) = &self.members[victim].running else { return };
        running.shutdown.cancel();
        let process = running.process;
        let patience = self.world.chance().span("killed after", Duration::ZERO, DRAIN + Duration::from_secs(5));
        self.plan_in(patience, Act::KillProcess(process));
    }

    fn spawn(&mut self, place: usize) {
        if self.members[place].running.is_some() {
            return;
        }
        let process = self.next;
        self.next += 1;
        let world = self.world.seen_by(process);
        world.say("starts", String::new);
        let connection = world.broker().connect();
        let shutdown = CancellationToken::new();
        let offset = world.chance().span("clock offset", Duration::ZERO, MOST_OFFSET * 2);
        let clock = Arc::new(SimClock::new(world.clone(), offset));
        let broker = Arc::new(SimBroker { world: world.clone(), connection: connection.clone() });
        let store = Arc::new(SimStore(world.clone()));
        if self.members[place].is_worker {
            let partners = self.partners(&world, &clock);
            let (receiver, tasks) = (Arc::new(SimReceiver(world.clone())), Arc::new(SimTasks(world.clone())));
            let doors = Doors { store, broker, receiver, clock, tasks };
            let worker = Worker::new(doors, partners);
            world.handle().spawn(process, Box::pin(worker.run(shutdown.clone(), DRAIN)));
        } else {
            let scheduler = Scheduler::new(store, broker, clock, workload::partners());
            world.handle().spawn(process, Box::pin(scheduler.run(shutdown.clone())));
        }
        self.members[place].running = Some(Running { process, connection, shutdown });
    }

    fn partners(&self, world: &World, clock: &Arc<SimClock>) -> Vec<Partner> {
        let Settings { limits, rules, warnings, sale } = self.settings.clone();
        let partner = |id: PartnerId| {
            let (world, clock) = (world.clone(), clock.clone());
            let upstream = Arc::new(SimUpstream { world, partner: id.clone(), clock, timeouts: rules.timeouts });
            let webhook = hooks::endpoint(&id);
            let (warnings, sale) = (Some(warnings.clone()), sale.filter(|_| id == warned::seller()));
            Partner { id, upstream, limits, rules, closed: false, webhook, warnings, sale }
        };
        workload::partners().into_iter().map(partner).collect()
    }
}

/// Anywhere, but more often while a command is between its arrival and its call: that is where a crash hurts.
fn trouble_at(chance: &Chance, published: &[Duration]) -> Duration {
    if chance.below("trouble near a command", 4) == 0 || published.is_empty() {
        return chance.span("trouble at", Duration::ZERO, FAULTS);
    }
    let near = published[chance.below("trouble near", published.len() as u64) as usize];
    near + chance.span("trouble after", Duration::ZERO, Duration::from_millis(80))
}
