//! Permits: how many calls a partner has in flight, and how many it begins per second, in this process's share.
//!
//! Limits change while permits are out (a worker joins, SIGHUP), so a shrunk limit is paid off as permits come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clawback_domain::{Clock, Time, clock};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of calls in flight that can be changed.
pub(crate) struct Concurrency {
    permits: Arc<Semaphore>,
    /// How many permits exist, in hand or free.
    size: Mutex<u32>,
    waiting: AtomicU32,
}

impl Concurrency {
    pub fn new(limit: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit as usize)), size: Mutex::new(limit), waiting: AtomicU32::new(0) }
    }

    /// Approaches `limit`: at once upwards, downwards as far as permits are free. Called every few seconds, so it gets there.
    pub fn resize(&self, limit: u32) {
        let mut size = self.size.lock();
        if limit > *size {
            self.permits.add_permits((limit - *size) as usize);
            *size = limit;
        } else {
            *size -= self.permits.forget_permits((*size - limit) as usize) as u32;
        }
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn free(&self) -> bool {
        self.permits.available_permits() > 0
    }

    pub async fn acquire(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return permit;
        }
        let _waiting = Waiting::of(&self.waiting);
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// Counts one waiter for as long as it waits, however the wait ends.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A rate as the generic cell rate algorithm has it: one instant, moved on by each call. `governor` brings its own clock and cannot
/// run on ours.
pub(crate) struct Rate {
    per_second: AtomicU32,
    /// When the next call would be exactly on time.
    next: Mutex<Time>,
}

/// How far calls may run ahead of an even spacing: timers are no finer than milliseconds.
const BURST: Duration = Duration::from_millis(100);

impl Rate {
    pub fn new(per_second: u32) -> Self {
        Self { per_second: AtomicU32::new(per_second), next: Mutex::new(Time::MIN_UTC) }
    }

    pub fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Takes the next place and waits for it.
    pub async fn wait(&self, clock: &dyn Clock) {
        let wait = self.reserve(clock.now());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    fn reserve(&self, now: Time) -> Duration {
        let spacing = Duration::from_secs(1) / self.per_second.load(Ordering::Relaxed).max(1);
        let mut next = self.next.lock();
        let place = (*next).max(now - BURST);
        *next = clock::after(place, spacing);
        clock::until(now, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spaces_calls_after_a_small_burst() {
        let rate = Rate::new(100);
        let now = Time::UNIX_EPOCH;
        let waits: Vec<_> = (0..13).map(|_| rate.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 20]);
        assert_eq!(rate.reserve(clock::after(now, Duration::from_secs(60))), Duration::ZERO);
    }

    #[test]
    fn a_shrunk_limit_is_paid_off_as_permits_come_back() {
        let limit = Concurrency::new(2);
        let first = limit.permits.clone().try_acquire_owned().unwrap();
        let second = limit.permits.clone().try_acquire_owned().unwrap();
        limit.resize(1);
        assert_eq!(*limit.size.lock(), 2);
        drop(first);
        limit.resize(1);
        assert_eq!(*limit.size.lock(), 1);
        assert!(!limit.free());
        drop(second);
        assert!(limit.free());
        limit.resize(3);
        assert_eq!(limit.permits.available_permits(), 3);
    }
}
