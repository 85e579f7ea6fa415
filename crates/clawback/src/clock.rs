//! The clocks a process may go by, and tasks that `main` can wait for.
//!
//! Most go by the system's, corrected to the store's: several machines write to one store, and each decides by its own time; so each measures how far its clock is from the store's and
//! adds that. An offset beyond [`MOST`] is no drift but a broken clock: the process is not ready then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use clawback_domain::{
    Clock, Tasks, Time,
    clock::{BoxFuture, micros},
};
use clawback_store::Store;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod timekeeper;
mod upstream;

pub use timekeeper::Timekeeper;
pub use upstream::UpstreamClock;

/// The largest offset with which a process is ready.
pub const MOST: Duration = Duration::from_secs(5);

/// Clocks drift by seconds a day: this often keeps the offset within a millisecond, and tells soon that the store is away.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Of several measurements the one with the shortest round trip is the least wrong.
const SAMPLES: usize = 3;

/// Without a successful measurement for this long the store counts as away.
const STALE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct SystemClock {
    /// Microseconds to add to the system's time.
    offset: AtomicI64,
    /// The offset as measured, applied or not.
    measured: AtomicI64,
    last: Mutex<Option<Instant>>,
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        micros(Utc::now() + TimeDelta::microseconds(self.offset.load(Ordering::Relaxed)))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn draw(&self) -> u64 {
        rand::random()
    }
}

impl SystemClock {
    /// Measures the offset to the store's clock. An offset beyond [`MOST`] is not applied: [`SystemClock::check`] tells of it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn measure(&self, store: &dyn Store) -> Result<(), clawback_store::StoreError> {
        let mut best: Option<(Duration, i64)> = None;
        for _ in 0..SAMPLES {
            let (wall, started) = (Utc::now(), Instant::now());
            let there = store.clock().await?;
            let round_trip = started.elapsed();
            let here = wall + TimeDelta::from_std(round_trip / 2).unwrap_or_default();
            let offset = (there - here).num_microseconds().unwrap_or(i64::MAX);
            if best.is_none_or(|(shortest, _)| round_trip < shortest) {
                best = Some((round_trip, offset));
            }
        }
        let (round_trip, offset) = best.expect("there is at least one sample");
        self.take(offset, round_trip);
        Ok(())
    }

    /// What is within the measurement's own error is not corrected: on one machine both clocks are the same.
    fn take(&self, offset: i64, round_trip: Duration) {
        self.measured.store(offset, Ordering::Relaxed);
        *self.last.lock() = Some(Instant::now());
        if offset.unsigned_abs() > MOST.as_micros() as u64 {
            return;
        }
        let noise = round_trip.as_micros() as u64 + 1_000;
        let applied = if offset.unsigned_abs() <= noise { 0 } else { offset };
        self.offset.store(applied, Ordering::Relaxed);
        metrics::gauge!(clawback_telemetry::names::CLOCK_OFFSET).set(applied as f64 / 1e6);
    }

    /// # Errors
    /// Why this process is not ready, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        self.store_answers()?;
        let measured = Duration::from_micros(self.measured.load(Ordering::Relaxed).unsigned_abs());
        if measured > MOST {
            return Err(format!("the clock is {measured:.1?} off the store's; at most {MOST:?} is tolerated"));
        }
        Ok(())
    }

    /// # Errors
    /// The store has not told its time for a while.
    pub fn store_answers(&self) -> Result<(), String> {
        match self.last.lock().is_none_or(|last| last.elapsed() > STALE) {
            true => Err("the store does not answer".into()),
            false => Ok(()),
        }
    }

    /// Measures again and again until `shutdown`.
    pub async fn follow(self: Arc<Self>, store: Arc<dyn Store>, shutdown: CancellationToken) {
        let mut away = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(MEASURE_EVERY)).await.is_some() {
            match self.measure(&*store).await {
                Ok(()) => away = false,
                Err(error) if away => tracing::debug!(%error, "the store's clock could not be read"),
                Err(error) => {
                    away = true;
                    tracing::warn!(%error, "the store's clock could not be read");
                }
            }
        }
    }
}

/// Tasks on the runtime, tracked so that `main` can wait for them.
#[derive(Clone, Default)]
pub struct Tracked(pub TaskTracker);

impl Tasks for Tracked {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_offset_is_applied_and_a_large_one_makes_the_process_not_ready() {
        let clock = SystemClock::default();
        assert!(clock.check().is_err(), "never measured");

        clock.take(2_000_000, Duration::from_millis(1));
        assert_eq!(clock.check(), Ok(()));
        assert!((clock.now() - Utc::now()).num_milliseconds() > 1_900);

        clock.take(6_000_000, Duration::from_millis(1));
        assert!(clock.check().unwrap_err().contains("6.0s off"), "{:?}", clock.check());
        assert!((clock.now() - Utc::now()).num_milliseconds() < 2_100, "a broken offset is not applied");

        clock.take(500, Duration::from_millis(1));
        assert_eq!(clock.offset.load(Ordering::Relaxed), 0, "within the measurement's own error");
    }
}
