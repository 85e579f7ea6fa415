//! The doors for time, chance and tasks.
//!
//! Worker and scheduler reach none of these in any other way, so that the simulation can put virtual time, named draws and its own
//! executor behind them, and `main` the system's.

use std::{future::Future, pin::Pin, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::future::{Either, select};
use uuid::Uuid;

/// An instant: UTC, whole microseconds, because that is what the stores keep. Two times that are equal in memory are equal in the
/// store.
pub type Time = DateTime<Utc>;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Cuts an instant to the stores' precision.
pub fn micros(time: Time) -> Time {
    time.trunc_subsecs(6)
}

/// `time + span`, clamped to what a timestamp can hold instead of a panic.
pub fn after(time: Time, span: Duration) -> Time {
    chrono::TimeDelta::from_std(span).ok().and_then(|span| time.checked_add_signed(span)).map_or(Time::MAX_UTC, micros)
}

/// How long until `then`; zero when it has passed.
pub fn until(now: Time, then: Time) -> Duration {
    (then - now).to_std().unwrap_or_default()
}

pub trait Clock: Send + Sync + 'static {
    /// Wall time in whole microseconds, corrected to the store's.
    fn now(&self) -> Time;

    /// Completes when `span` of this clock's time has passed.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;

    /// What has surely passed on real time too. Behind [`Clock::now`] for a while after a clock was moved ahead: what was under way then
    /// has not ended for that. Deadlines of calls are compared with this, everything else with `now`.
    fn settled(&self) -> Time {
        self.now()
    }

    /// Completes when `span` of real time has passed: for time-outs.
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.sleep(span)
    }

    /// 64 fresh random bits.
    fn draw(&self) -> u64;
}

/// What every caller of a [`Clock`] wants and no implementation has to repeat.
impl dyn Clock {
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes((((self.draw() as u128) << 64) | self.draw() as u128).to_be_bytes()).into_uuid()
    }

    /// A factor in `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `span` give or take a quarter, so that many timers set at once do not fire at once.
    pub fn jitter(&self, span: Duration) -> Duration {
        span.mul_f64(0.75 + self.fraction() / 2.0)
    }

    pub async fn sleep_until(&self, then: Time) {
        let now = self.now();
        if then > now {
            self.sleep(until(now, then)).await;
        }
    }

    /// `None` when `span` of real time passed before `future` was done; the future is dropped then.
    pub async fn timeout<F: Future>(&self, span: Duration, future: F) -> Option<F::Output> {
        let sleep = self.wait(span);
        match select(std::pin::pin!(future), sleep).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }
}

/// Where tasks are spawned: a tracker that `main` waits for, or the simulation's executor.
pub trait Tasks: Send + Sync + 'static {
    fn spawn(&self, task: BoxFuture<'static, ()>);
}
