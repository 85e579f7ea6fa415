//! When a webhook's delivery is tried again, and when its endpoint is left alone.
//!
//! A delivery that fails is tried again for about three days, then given up and kept for a replay. An endpoint that fails over and over,
//! whatever it is sent, is *held*: one delivery at a time is tried then, after waits that grow, until one arrives. So what waits behind a
//! dead endpoint uses up none of its own tries, and costs nobody else anything.

use std::time::Duration;

use crate::{Time, clock, poll::backoff};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The waits after each failed try, in seconds: 71 hours and 43 minutes in all.
const WAITS: [u64; 11] =
    [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 24 * HOUR];

/// So many failures with no success between them are the endpoint's, not a delivery's.
pub const FAILURES_UNTIL_HELD: u32 = 10;

/// The first hold. It doubles from failed probe to failed probe.
const FIRST_HOLD: Duration = Duration::from_secs(5);
const LONGEST_HOLD: Duration = Duration::from_secs(10 * MINUTE);

/// The wait after the `tries`-th try failed, at least as long as the endpoint wished; `None` when that was the last. The wish comes
/// capped by whoever read it.
pub fn next_try(tries: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let own = Duration::from_secs(*WAITS.get(tries.saturating_sub(1) as usize)?);
    Some(retry_after.map_or(own, |wish| wish.max(own)))
}

/// What is known of an endpoint's health, over all its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Without a success between them.
    pub failures: u32,
    /// Nothing goes out before, and then one probe.
    pub held_until: Option<Time>,
}

/// What may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    Held {
        until: Time,
    },
    /// One delivery, to see whether the endpoint is back.
    Probe,
}

impl Breaker {
    pub fn gate(self, now: Time) -> Gate {
        match self.held_until {
            None => Gate::Open,
            Some(until) if until > now => Gate::Held { until },
            Some(_) => Gate::Probe,
        }
    }

    /// After a failed delivery. `wish`: the endpoint asked for a pause in general. What was under way when the hold began and fails now
    /// tells nothing new.
    pub fn failed(self, is_probe: bool, wish: Option<Duration>, now: Time) -> Self {
        let is_held = matches!(self.gate(now), Gate::Held { .. });
        if is_held && !is_probe {
            return self;
        }
        let failures = self.failures.saturating_add(1);
        let beyond = failures.checked_sub(FAILURES_UNTIL_HELD);
        let own = beyond.map(|beyond| backoff(FIRST_HOLD, LONGEST_HOLD, beyond));
        let wish = wish.map(|wish| wish.min(Duration::from_secs(HOUR)));
        Self { failures, held_until: own.max(wish).map(|span| clock::after(now, span)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(n: u64) -> Time {
        clock::after(Time::UNIX_EPOCH, seconds(n))
    }

    #[test]
    fn a_delivery_is_tried_for_about_three_days() {
        let waits: Vec<_> = (1..).map_while(|tries| next_try(tries, None)).collect();
        assert_eq!(waits.len(), 11);
        assert!(waits.is_sorted());
        let whole: Duration = waits.iter().sum();
        assert!((seconds(70 * HOUR)..=seconds(74 * HOUR)).contains(&whole), "{whole:?}");
        assert_eq!(next_try(12, Some(seconds(1))), None, "no wish makes another try");
    }

    #[test]
    fn an_endpoints_wish_only_lengthens() {
        assert_eq!(next_try(1, Some(seconds(90))), Some(seconds(90)));
        assert_eq!(next_try(4, Some(seconds(90))), Some(seconds(600)));
        assert_eq!(next_try(1, Some(Duration::ZERO)), Some(seconds(5)));
    }

    #[test]
    fn an_endpoint_is_held_after_enough_failures_and_longer_after_each_probe() {
        let mut breaker = Breaker::default();
        for n in 1..FAILURES_UNTIL_HELD {
            breaker = breaker.failed(false, None, at(0));
            assert_eq!((breaker.failures, breaker.gate(at(0))), (n, Gate::Open));
        }
        let mut now = at(0);
        for expected in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            breaker = breaker.failed(true, None, now);
            let until = clock::after(now, seconds(expected));
            assert_eq!(breaker.gate(now), Gate::Held { until });
            assert_eq!(breaker.gate(until), Gate::Probe);
            now = until;
        }
    }

    #[test]
    fn what_was_under_way_when_the_hold_began_does_not_lengthen_it() {
        let held = Breaker { failures: FAILURES_UNTIL_HELD, held_until: Some(at(5)) };
        assert_eq!(held.failed(false, None, at(1)), held);
        assert_eq!(held.failed(true, None, at(1)).held_until, Some(at(11)));
    }

    #[test]
    fn an_endpoint_that_asks_for_a_pause_gets_one_at_once_but_not_for_ever() {
        let breaker = Breaker::default().failed(false, Some(seconds(30)), at(0));
        assert_eq!((breaker.failures, breaker.gate(at(0))), (1, Gate::Held { until: at(30) }));
        let breaker = Breaker::default().failed(false, Some(seconds(24 * HOUR)), at(0));
        assert_eq!(breaker.held_until, Some(at(HOUR)));
    }
}
