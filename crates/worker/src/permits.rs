//! Permits: how many calls a partner has in flight, and how many it begins per second, in this process's share.
//!
//! Limits change while permits are out (a worker joins, SIGHUP), so a shrunk limit is paid off as permits come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clawback_domain::{Clock, Time, clock};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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

/// A number of calls in flight, given to whoever has the least time left.
pub(crate) struct Urgency(Arc<Mutex<Queue>>);

/// A permit; dropping it gives it to the next.
pub(crate) struct Urgent(Arc<Mutex<Queue>>);

struct Queue {
    limit: u32,
    out: u32,
    /// In order of time left, then of arrival.
    waiting: BTreeMap<(Time, u64), oneshot::Sender<Urgent>>,
    arrivals: u64,
}

impl Urgency {
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(Mutex::new(Queue { limit, out: 0, waiting: BTreeMap::new(), arrivals: 0 })))
    }

    /// Upwards at once, downwards as permits come back.
    pub fn resize(&self, limit: u32) {
        self.0.lock().limit = limit;
        hand_out(&self.0);
    }

    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Waits for a permit; dropping the future gives up the place.
    pub async fn acquire(&self, by: Time) -> Urgent {
        let (sender, permit) = oneshot::channel();
        let place = {
            let mut queue = self.0.lock();
            queue.arrivals += 1;
            let place = (by, queue.arrivals);
            queue.waiting.insert(place, sender);
            place
        };
        let _place = Place(&self.0, place);
        hand_out(&self.0);
        permit.await.expect("the sender stays in the queue until a permit is handed out")
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.lock().out -= 1;
        hand_out(&self.0);
    }
}

/// A place in the queue, given up however the wait ends.
struct Place<'a>(&'a Arc<Mutex<Queue>>, (Time, u64));

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting.remove(&self.1);
    }
}

/// Gives free permits to those who wait. One that is not taken any more comes back by its drop, outside the lock.
fn hand_out(queue: &Arc<Mutex<Queue>>) {
    loop {
        let next = {
            let mut inner = queue.lock();
            if inner.out >= inner.limit {
                return;
            }
            let Some((_, next)) = inner.waiting.pop_first() else { return };
            inner.out += 1;
            next
        };
        drop(next.send(Urgent(queue.clone())));
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
            clock.wait(wait).await;
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

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn who_has_the_least_time_left_goes_first_and_who_gives_up_takes_nothing() {
        let at = |seconds| clock::after(Time::UNIX_EPOCH, Duration::from_secs(seconds));
        let sales = Urgency::new(1);
        let first = poll(std::pin::pin!(sales.acquire(at(9)))).expect("it is free");
        let mut late = std::pin::pin!(sales.acquire(at(30)));
        let mut soon = std::pin::pin!(sales.acquire(at(10)));
        assert!(poll(late.as_mut()).is_none() && poll(soon.as_mut()).is_none());
        {
            let mut gives_up = std::pin::pin!(sales.acquire(at(1)));
            assert!(poll(gives_up.as_mut()).is_none());
            assert_eq!(sales.waiting(), 3);
        }
        drop(first);
        let second = poll(soon.as_mut()).expect("it has the least time left");
        assert!(poll(late.as_mut()).is_none());
        sales.resize(2);
        let third = poll(late.as_mut()).expect("there is room for two");
        sales.resize(1);
        drop((second, third));
        let out = sales.0.lock().out;
        assert_eq!((out, sales.waiting()), (0, 0));
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
