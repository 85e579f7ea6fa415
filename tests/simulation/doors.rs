//! The doors for time, chance and tasks.

use std::time::Duration;

use clawback_domain::{
    Clock, Tasks, Time,
    clock::{BoxFuture, after},
};

use crate::world::World;

/// How far clocks may be apart, in either direction: a process further from the store's clock is not ready.
pub const MOST_OFFSET: Duration = Duration::from_secs(2);

/// A process's clock: its own offset, the world's time.
pub struct SimClock {
    pub world: World,
    /// Less [`MOST_OFFSET`].
    pub offset: Duration,
    site: String,
}

impl SimClock {
    pub fn new(world: World, offset: Duration) -> Self {
        let site = format!("clock of {}", world.process());
        Self { world, offset, site }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        after(self.world.now() - MOST_OFFSET, self.offset)
    }

    /// A timer may be late, as on a machine that has too much to do.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let late = self.world.fires("timer late", self.world.rates().timer_late);
        let most = if late { Duration::from_secs(20) } else { Duration::ZERO };
        Box::pin(self.world.handle().sleep(span + self.world.chance().span("timer late by", Duration::ZERO, most)))
    }

    fn draw(&self) -> u64 {
        self.world.chance().draw(&self.site)
    }
}

pub struct SimTasks(pub World);

impl Tasks for SimTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.handle().spawn(self.0.process(), task);
    }
}

/// The model's own clock decides nothing.
pub struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Time {
        crate::world::epoch()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn draw(&self) -> u64 {
        0
    }
}
