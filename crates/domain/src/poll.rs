//! When to ask again: growing spans with a cap, for polls, looks, reviews and repeated attempts.
//!
//! Spans here carry no jitter. Who sets a timer spreads it by at most [`JITTER`]; who writes a `due_at` reckons with the whole of it.

use std::time::Duration;

use crate::{Time, clock};

/// How much later than asked a jittered timer may fire.
pub const JITTER: f64 = 1.25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollRules {
    /// The wait before the second poll; it doubles from there.
    pub first: Duration,
    pub max: Duration,
    /// After this long without an end a pending purchase goes to `review`.
    pub deadline: Duration,
}

impl Default for PollRules {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(30), deadline: Duration::from_secs(30 * 60) }
    }
}

/// How an unknown outcome is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileRules {
    /// The wait before the first look; it doubles from there.
    pub first: Duration,
    pub max: Duration,
    /// For how long what was bought may still appear; then a person decides.
    pub window: Duration,
    /// By how much the upstream's clock may be off, beyond what is measured.
    pub clock_skew: Duration,
}

impl Default for ReconcileRules {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { first: seconds(5), max: seconds(60), window: seconds(45 * 60), clock_skew: seconds(30) }
    }
}

/// How long each call may take, from the start of the call to the last byte of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name look-up, TCP and TLS together; within the call's own.
    pub connect: Duration,
    pub init: Duration,
    /// Above the window in which the upstream holds the call.
    pub status: Duration,
    /// Inventories and the list of packs.
    pub inventory: Duration,
    pub buyback: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(2), init: seconds(30), status: seconds(90), inventory: seconds(15), buyback: seconds(30) }
    }
}

/// `first`, doubled `times`, at most `max`.
pub fn backoff(first: Duration, max: Duration, times: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times.min(20))).min(max)
}

/// The wait after the `polls`-th poll that said pending, never beyond the moment at which the purchase must change by itself.
pub fn next_poll(rules: &PollRules, polls: u32, since: Time, now: Time) -> Duration {
    let wait = backoff(rules.first, rules.max, polls.saturating_sub(1));
    let left = clock::until(now, clock::after(since, rules.deadline));
    if left.is_zero() { wait } else { wait.min(left) }
}

/// The wait after the `looks`-th look. The first look after the window is over comes no later than it must.
pub fn next_look(rules: &ReconcileRules, looks: u32, since: Time, now: Time) -> Duration {
    const BEYOND: Duration = Duration::from_millis(100);
    let wait = backoff(rules.first, rules.max, looks);
    let left = clock::until(now, clock::after(since, rules.window));
    // A jittered timer may fire a quarter early.
    if left.is_zero() { wait } else { wait.min(left.mul_f64(1.0 / 0.75) + BEYOND) }
}

/// How often a review is looked at: hourly for 7 days, then daily for 30, then every 30 days: it is never forgotten.
pub fn next_review_look(since: Time, now: Time) -> Duration {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match clock::until(since, now).as_secs() {
        age if age < 7 * DAY => Duration::from_secs(HOUR),
        age if age < 37 * DAY => Duration::from_secs(DAY),
        _ => Duration::from_secs(30 * DAY),
    }
}

/// The wait before another attempt of a purchase whose last one surely had no effect. The upstream's own wish counts, capped: a
/// `Retry-After` of ten years must not park a purchase.
pub fn next_attempt(attempts: u32, retry_after: Option<Duration>) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);
    let own = backoff(FIRST, MAX, attempts.saturating_sub(1));
    retry_after.map_or(own, |wish| wish.clamp(FIRST, MAX).max(own.min(wish)))
}

/// How far the scheduler moves a row that it steps again and again without anybody taking the turn: 5 s doubling to 5 min.
pub fn next_nudge(nudges: u32) -> Duration {
    backoff(Duration::from_secs(5), Duration::from_secs(300), nudges)
}

/// The same of a user, to whom something may be due within minutes: 5 s doubling to a minute.
pub fn next_nudge_of_user(nudges: u32) -> Duration {
    backoff(Duration::from_secs(5), Duration::from_secs(60), nudges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn polls_grow_to_a_cap_and_end_at_the_deadline() {
        let rules = PollRules::default();
        let since = Time::UNIX_EPOCH;
        let waits: Vec<_> = (1..8).map(|polls| next_poll(&rules, polls, since, since).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(next_poll(&rules, 9, since, clock::after(since, seconds(1795))), seconds(5));
    }

    #[test]
    fn the_upstreams_wish_is_capped() {
        assert_eq!(next_attempt(1, None), seconds(1));
        assert_eq!(next_attempt(40, None), seconds(60));
        assert_eq!(next_attempt(1, Some(seconds(7))), seconds(7));
        assert_eq!(next_attempt(1, Some(Duration::ZERO)), seconds(1));
        assert_eq!(next_attempt(1, Some(seconds(315_360_000))), seconds(60));
    }

    #[test]
    fn a_review_is_looked_at_ever_more_rarely_but_for_ever() {
        let at = |days: u64| next_review_look(Time::UNIX_EPOCH, clock::after(Time::UNIX_EPOCH, seconds(days * 86_400)));
        assert_eq!((at(0), at(7), at(36), at(400)), (seconds(3600), seconds(86_400), seconds(86_400), seconds(30 * 86_400)));
    }
}
