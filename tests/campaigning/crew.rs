//! The processes of Clawback: how many there should be, and who of them is there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clawback_domain::rehearsal::Point;
use clawback_tests::{
    Role,
    rehearsal::{DRAIN, Stage, gauge},
    wait::until,
};

/// A process that restarts while the machine is busy and its servers come up beside it.
const READY: Duration = Duration::from_secs(60);

/// Commands come every half second.
const IN_THE_ACT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    Worker,
    Scheduler,
}

impl Duty {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }

    /// Two of each: one alone would leave nobody to give its work to, more than the machine has cores only wait for each other.
    fn wanted(self) -> usize {
        2
    }
}

/// Ended when it drops.
#[derive(Default)]
pub struct Crew {
    workers: Vec<Role>,
    schedulers: Vec<Role>,
}

impl Crew {
    pub fn of(&mut self, duty: Duty) -> &mut Vec<Role> {
        match duty {
            Duty::Worker => &mut self.workers,
            Duty::Scheduler => &mut self.schedulers,
        }
    }

    /// Waits until the oldest worker has a call of this kind under way, or lets it be: a trouble that strikes between two calls proves
    /// less.
    pub async fn in_the_act(&self, calls: &str) {
        let worker = &self.workers[0];
        let caught = until("a call is under way", IN_THE_ACT, || async {
            ensure!(gauge(worker, calls).await? > 0, "none is");
            Ok(())
        });
        let _ = caught.await;
    }

    /// The one that has served longest; another takes its place in the next [`mend`](Self::mend).
    pub fn take_oldest(&mut self, duty: Duty) -> Result<Role> {
        let serving = self.of(duty);
        ensure!(!serving.is_empty(), "there is no {}", duty.name());
        Ok(serving.remove(0))
    }

    /// Puts one that dies at its `visit`-th visit of this point in the place of the oldest.
    pub async fn doom(&mut self, stage: &mut Stage, duty: Duty, point: Point, visit: usize) -> Result<Role> {
        self.take_oldest(duty)?.kill()?;
        let order = format!("{}:{visit}", point.as_str());
        let mut doomed = stage.start(duty.name(), &[("CLAWBACK_CRASH_AT", &order)])?;
        // A point on the way to readiness is as good as any.
        until("the doomed process is ready, or dead", READY, || {
            let ended = doomed.ended();
            let ready = doomed.is_ready();
            async move { if ended?.is_some() { Ok(()) } else { ready.await } }
        })
        .await?;
        Ok(doomed)
    }

    /// Starts those that are missing, without waiting for them. Tells of those that ended without being told to: nothing that
    /// happens around a process may end it.
    pub fn mend(&mut self, stage: &mut Stage) -> Result<Vec<String>> {
        let mut fallen = Vec::new();
        for duty in [Duty::Worker, Duty::Scheduler] {
            let serving = self.of(duty);
            for place in (0..serving.len()).rev() {
                if let Some(status) = serving[place].ended()? {
                    let role = serving.remove(place);
                    let log = role.log();
                    let last = log.lines().last().unwrap_or_default();
                    fallen.push(format!("{} ended by itself with {status}: {last}", role.name()));
                }
            }
            while self.of(duty).len() < duty.wanted() {
                let started = stage.start(duty.name(), &[])?;
                self.of(duty).push(started);
            }
        }
        Ok(fallen)
    }

    /// Completes when every process says that it is ready.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        for role in self.workers.iter().chain(&self.schedulers) {
            let what = format!("{} is ready", role.name());
            until(&what, within, || role.is_ready()).await?;
        }
        Ok(())
    }

    /// SIGTERM to everybody, one after the other, each replaced before the next. How many there were.
    pub async fn restart_in_turn(&mut self, stage: &mut Stage) -> Result<usize> {
        let mut count = 0;
        for duty in [Duty::Worker, Duty::Scheduler] {
            for _ in 0..self.of(duty).len() {
                let role = self.take_oldest(duty)?;
                let name = role.name().to_owned();
                role.terminate(DRAIN * 2).await.with_context(|| format!("{name} was told to end"))?;
                self.mend(stage)?;
                count += 1;
            }
        }
        Ok(count)
    }
}
