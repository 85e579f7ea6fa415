//! Against a control endpoint of the test's own.

use std::sync::atomic::AtomicBool;

use axum::{Router, http::StatusCode, routing::get};
use clawback_domain::clock::after;
use futures_util::poll;
use tokio::net::TcpListener;

use super::*;

const CALL: Duration = Duration::from_secs(42);
const DAY: Duration = Duration::from_secs(86_400);

/// A sandbox of which there is nothing but the clock.
struct Sandbox {
    base: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ahead: AtomicI64,
    is_away: AtomicBool,
}

impl Sandbox {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let there = state.clone();
        let clock = get(move || async move { there.tell() });
        tokio::spawn(axum::serve(listener, Router::new().route("/_control/clock", clock)).into_future());
        Self { base, state }
    }

    fn move_to(&self, ahead: Duration) {
        self.state.ahead.store(ahead.as_micros() as i64, Ordering::SeqCst);
    }

    fn go_away(&self) {
        self.state.is_away.store(true, Ordering::SeqCst);
    }

    async fn clock(&self) -> Arc<UpstreamClock> {
        let clock = UpstreamClock::new(&self.base, CALL).unwrap();
        clock.read().await.unwrap();
        Arc::new(clock)
    }
}

impl State {
    fn tell(&self) -> Result<String, StatusCode> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let now = Utc::now() + TimeDelta::microseconds(self.ahead.load(Ordering::SeqCst));
        Ok(format!(r#"{{"now":"{}"}}"#, now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)))
    }
}

/// It is behind the sandbox by the way of an answer at most, and never ahead of it.
#[track_caller]
fn assert_ahead_by(clock: &UpstreamClock, span: Duration) {
    let least = span.saturating_sub(ANSWER_WITHIN);
    assert!((least..=span).contains(&clock.ahead()), "{:?} is not {span:?}", clock.ahead());
    let shown = clock.now() - Utc::now();
    assert!(shown <= TimeDelta::from_std(span).unwrap() && shown >= TimeDelta::from_std(least).unwrap() - SLOW, "{shown}");
}

/// Between two readings of the clock in one line.
const SLOW: TimeDelta = TimeDelta::seconds(10);

/// How long ago the sandbox answered, without waiting for it.
fn pretend_silence(clock: &UpstreamClock, span: Duration) {
    *clock.answered.lock() = Some(Instant::now().checked_sub(span).expect("the machine has run for that long"));
}

#[tokio::test]
async fn it_goes_with_the_sandbox_ahead_and_never_back() {
    let sandbox = Sandbox::start().await;
    let clock = sandbox.clock().await;
    assert_ahead_by(&clock, Duration::ZERO);

    sandbox.move_to(6 * DAY);
    clock.read().await.unwrap();
    assert_ahead_by(&clock, 6 * DAY);
    assert_eq!(clock.check(), Ok(()));

    sandbox.move_to(DAY);
    let before = clock.now();
    clock.read().await.unwrap();
    assert!(clock.now() >= before, "what was decided at a moment was decided at that moment");
    assert_ahead_by(&clock, 6 * DAY);
    assert!(clock.check().unwrap_err().contains("does not go back"), "{:?}", clock.check());

    sandbox.move_to(7 * DAY);
    clock.read().await.unwrap();
    assert_ahead_by(&clock, 7 * DAY);
    assert_eq!(clock.check(), Ok(()));
}

#[tokio::test]
async fn a_sandbox_that_was_ahead_already_is_met_where_it_is() {
    let sandbox = Sandbox::start().await;
    sandbox.move_to(3 * DAY);
    let clock = sandbox.clock().await;
    assert_ahead_by(&clock, 3 * DAY);
    assert_eq!(clock.check(), Ok(()));
}

#[tokio::test]
async fn a_jump_wakes_whoever_sleeps_less_and_shortens_the_rest() {
    let sandbox = Sandbox::start().await;
    let clock = sandbox.clock().await;
    let (short, mut long) = (tokio::spawn(clock.sleep(DAY)), clock.sleep(4 * DAY));
    assert!(poll!(&mut long).is_pending());
    let shutdown = CancellationToken::new();
    let following = tokio::spawn(clock.clone().follow(shutdown.clone()));

    sandbox.move_to(2 * DAY);
    short.await.unwrap();
    assert_ahead_by(&clock, 2 * DAY);
    assert!(poll!(&mut long).is_pending(), "two days of its sleep are left");
    sandbox.move_to(5 * DAY);
    long.await;
    shutdown.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_sleep_ends_by_itself_at_real_pace() {
    let clock = UpstreamClock::new("http://127.0.0.1:1", CALL).unwrap();
    let began = Instant::now();
    let sleep = clock.sleep(Duration::from_millis(30));
    drop(clock);
    sleep.await;
    assert!(began.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_sandbox_that_is_away_leaves_time_going_on_and_the_process_not_ready_after_a_while() {
    let sandbox = Sandbox::start().await;
    sandbox.move_to(DAY);
    let clock = sandbox.clock().await;
    sandbox.go_away();
    let why = clock.read().await.unwrap_err();
    assert!(why.contains("/_control/clock cannot be read") && why.contains("500"), "{why}");
    assert_ahead_by(&clock, DAY);
    assert_eq!(clock.check(), Ok(()));
    let before = clock.now();
    clock.sleep(Duration::from_millis(5)).await;
    assert!(clock.now() > before);

    pretend_silence(&clock, STALE + Duration::from_secs(1));
    assert!(clock.check().unwrap_err().contains("has not answered for 6s"), "{:?}", clock.check());
}

#[tokio::test]
async fn a_clock_that_was_never_read_or_is_none_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let rubbish = get(|| async { r#"{"now":"noon"}"# });
    tokio::spawn(axum::serve(listener, Router::new().route("/_control/clock", rubbish)).into_future());
    let clock = UpstreamClock::new(&base, CALL).unwrap();
    assert!(clock.check().unwrap_err().contains("was never read"));
    assert!(clock.read().await.is_err());
    assert!(clock.check().is_err());
}

#[test]
fn a_shorter_way_corrects_it_without_waking_anybody() {
    let clock = UpstreamClock::new("http://127.0.0.1:1", CALL).unwrap();
    let here = Utc::now();
    clock.take(here, here);
    let sleepers = clock.ahead.subscribe();
    clock.take(here + TimeDelta::milliseconds(3), here);
    assert_eq!((*clock.ahead.borrow(), sleepers.has_changed().unwrap()), (3_000, false));
    clock.take(here + TimeDelta::milliseconds(1), here);
    assert_eq!(*clock.ahead.borrow(), 3_000, "a longer way tells nothing");
    clock.take(here + TimeDelta::seconds(1), here);
    assert_eq!((*clock.ahead.borrow(), sleepers.has_changed().unwrap()), (1_000_000, true));
}

#[test]
fn what_was_under_way_at_a_jump_has_not_ended_for_it() {
    let clock = UpstreamClock::new("http://127.0.0.1:1", CALL).unwrap();
    let here = Utc::now();
    clock.take(here, here);
    let deadline = after(clock.now(), CALL);
    assert!(clock.settled() < deadline);
    clock.take(here + 6 * DAY, here);
    assert!(clock.now() > deadline && clock.settled() < deadline);
    for (at, _) in clock.jumps.lock().iter_mut() {
        *at = at.checked_sub(clock.longest_call).expect("the machine has run for that long");
    }
    assert!(clock.settled() > deadline, "no call that does not know of the jump is left");
}

#[tokio::test]
async fn a_timeout_does_not_end_for_a_jump() {
    let clock: Arc<UpstreamClock> = Arc::new(UpstreamClock::new("http://127.0.0.1:1", CALL).unwrap());
    let here = Utc::now();
    clock.take(here, here);
    let (mut wait, sleep) = (clock.wait(DAY), clock.sleep(DAY));
    assert!(poll!(&mut wait).is_pending());
    clock.take(here + 6 * DAY, here);
    sleep.await;
    assert!(poll!(&mut wait).is_pending());
}
