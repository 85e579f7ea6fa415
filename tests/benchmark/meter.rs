//! CPU and memory of processes, from `/proc`, looked at several times a second with the time of the look: what a run used between its
//! first delivery and its last event is read off afterwards, so that nobody's start counts.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use clawback_tests::vhost::rabbitmqctl;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::ground::{Ground, Run};

/// A look costs half a millisecond; a run lasts seconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What `/proc/…/stat` counts in: 100 a second wherever Linux runs.
const TICK: f64 = 0.01;

/// Which processes to watch.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The product's own, or the variant's.
    pub workers: Vec<i32>,
    pub upstream: i32,
    pub rabbitmq: i32,
    pub postmaster: i32,
    /// Of PostgreSQL's processes those that serve this database count, and those that serve all.
    pub database: String,
}

impl Watched {
    pub fn of(ground: &Ground, run: &Run, workers: Vec<i32>) -> Self {
        Self {
            workers,
            upstream: run.upstream.role().pid().as_raw_nonzero().get(),
            rabbitmq: ground.rabbitmq,
            postmaster: ground.postmaster,
            database: run.database_name().to_owned(),
        }
    }
}

/// Seconds of CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    pub worker: f64,
    pub postgres: f64,
    pub rabbitmq: f64,
    pub upstream: f64,
}

type Looks = Arc<Mutex<Vec<(f64, Cpu)>>>;

pub struct Meter {
    watched: Watched,
    looks: Looks,
    looking: JoinHandle<()>,
}

impl Meter {
    pub fn start(watched: Watched) -> Self {
        let looks = Looks::default();
        let (to, mut eye) = (looks.clone(), Eye { watched: watched.clone(), postgres: HashMap::new() });
        let looking = tokio::spawn(async move {
            let mut interval = tokio::time::interval(LOOK_EVERY);
            loop {
                interval.tick().await;
                let look = eye.look();
                to.lock().push(look);
            }
        });
        Self { watched, looks, looking }
    }

    /// What was used between two moments, in microseconds since 1970. Ask before the processes end.
    pub async fn between(&self, first: i64, last: i64) -> Cpu {
        // One look after the end.
        tokio::time::sleep(2 * LOOK_EVERY).await;
        let looks = self.looks.lock();
        at(&looks, last as f64 / 1e6).minus(at(&looks, first as f64 / 1e6))
    }

    /// The most memory the largest of the workers ever had, in MiB.
    pub fn peak(&self) -> Result<f64> {
        let peaks: Result<Vec<f64>> = self.watched.workers.iter().map(|pid| peak(*pid)).collect();
        Ok(peaks?.into_iter().fold(0.0, f64::max))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// The process of the server that tests share.
pub fn rabbitmq() -> Result<i32> {
    let pid = rabbitmqctl(&["eval", "os:getpid()."])?;
    pid.trim_matches('"').parse().with_context(|| format!("RabbitMQ's process: {pid}"))
}

struct Eye {
    watched: Watched,
    /// The last that was seen of each process, so that one that ends takes nothing back.
    postgres: HashMap<i32, f64>,
}

impl Eye {
    fn look(&mut self) -> (f64, Cpu) {
        let database = self.watched.database.clone();
        for pid in children(self.watched.postmaster).into_iter().filter(|pid| counts(*pid, &database)) {
            self.postgres.insert(pid, cpu(pid));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let cpu = Cpu {
            worker: self.watched.workers.iter().map(|pid| cpu(*pid)).sum(),
            postgres: self.postgres.values().sum(),
            rabbitmq: cpu(self.watched.rabbitmq),
            upstream: cpu(self.watched.upstream),
        };
        (now, cpu)
    }
}

/// Whether a process of PostgreSQL works for this database, or for all of them. Its title says so.
fn counts(pid: i32, database: &str) -> bool {
    const FOR_ALL: [&str; 4] = ["checkpointer", "background writer", "walwriter", "autovacuum launcher"];
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let title = String::from_utf8_lossy(&title);
    title.contains(database) || FOR_ALL.iter().any(|name| title.contains(name))
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// User and system time of a process; nothing when it is gone.
fn cpu(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the parenthesis may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK
}

/// The most memory a process ever had, in MiB.
pub fn peak(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a process has a peak")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Between two looks it was used evenly.
fn at(looks: &[(f64, Cpu)], moment: f64) -> Cpu {
    let after = looks.partition_point(|(time, _)| *time <= moment);
    match (after.checked_sub(1).and_then(|before| looks.get(before)), looks.get(after)) {
        (Some((from, before)), Some((to, then))) => before.towards(*then, (moment - from) / (to - from)),
        (Some((_, only)), None) | (None, Some((_, only))) => *only,
        (None, None) => Cpu::default(),
    }
}

impl Cpu {
    fn each(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            worker: of(self.worker, other.worker),
            postgres: of(self.postgres, other.postgres),
            rabbitmq: of(self.rabbitmq, other.rabbitmq),
            upstream: of(self.upstream, other.upstream),
        }
    }

    fn minus(self, earlier: Self) -> Self {
        self.each(earlier, |late, early| late - early)
    }

    fn towards(self, later: Self, share: f64) -> Self {
        self.each(later, |early, late| early + (late - early) * share)
    }
}
