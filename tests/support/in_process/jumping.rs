//! The system's clock, which a test may move ahead: a day passes in a moment, and every sleeper on it wakes that was due in it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use clawback_domain::{
    Clock, Time,
    clock::{BoxFuture, after, micros},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

/// Each has its own offset.
#[derive(Debug, Default)]
pub struct JumpingClock {
    offset: watch::Sender<Duration>,
    asleep: Arc<Mutex<BTreeMap<Uuid, Duration>>>,
}

impl JumpingClock {
    pub fn advance(&self, span: Duration) {
        self.offset.send_modify(|offset| *offset += span);
    }

    /// Whether anybody sleeps for such a span. A jump made before a timer is set does not shorten it.
    pub fn is_asleep_for(&self, spans: &Range<Duration>) -> bool {
        self.asleep.lock().values().any(|span| spans.contains(span))
    }
}

/// Struck off the list when it wakes or is given up.
struct Asleep(Uuid, Arc<Mutex<BTreeMap<Uuid, Duration>>>);

impl Drop for Asleep {
    fn drop(&mut self) {
        self.1.lock().remove(&self.0);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Time {
        micros(after(Utc::now(), *self.offset.borrow()))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let mut offset = self.offset.subscribe();
        let (started, at) = (Instant::now(), *offset.borrow());
        let asleep = Asleep(Uuid::new_v4(), self.asleep.clone());
        self.asleep.lock().insert(asleep.0, span);
        Box::pin(async move {
            let _asleep = asleep;
            loop {
                let passed = started.elapsed() + (*offset.borrow_and_update() - at);
                let left = span.saturating_sub(passed);
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    jumped = offset.changed() => if jumped.is_err() {
                        // Nobody can move it any more.
                        return tokio::time::sleep(left).await;
                    }
                }
            }
        })
    }

    fn draw(&self) -> u64 {
        Uuid::new_v4().as_u64_pair().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_jump_wakes_who_was_due_in_it_and_nobody_else() {
        let clock = JumpingClock::default();
        let (before, short) = (clock.now(), clock.sleep(Duration::from_secs(3600)));
        let long = clock.sleep(Duration::from_secs(7201));
        clock.advance(Duration::from_secs(7200));
        short.await;
        assert!((clock.now() - before).num_seconds() >= 7200);
        let hour = Duration::from_secs(7000)..Duration::from_secs(7500);
        assert!(clock.is_asleep_for(&hour));
        assert!(futures_util::FutureExt::now_or_never(long).is_none());
        assert!(!clock.is_asleep_for(&hour));
    }
}
