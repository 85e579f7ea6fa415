//! How long to wait before the next attempt to connect or to consume.

use std::time::Duration;

use rand::Rng;

/// A restarted broker is found again at once; a dead one is not hammered.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Doubles from attempt to attempt. Half of it is drawn, so that many workers that lost one broker do not come back at once.
    pub fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_cap_and_starts_again_after_a_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        for _ in 0..50 {
            assert!(backoff.next() < LONGEST);
        }
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
