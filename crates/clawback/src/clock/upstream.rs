//! The sandbox's clock, followed: what takes days in production is seen in a test within a second.
//!
//! It is the system's time, and as far ahead of it as the sandbox's was moved. The sandbox is asked a few times a second; in between,
//! and while it does not answer, time goes on at its real pace. A sleeper sleeps on this time: a jump takes off what is left of its
//! sleep, and wakes it if nothing is. Every process that follows the same sandbox sees a jump within [`ASK_EVERY`] of the others, not
//! at the same moment.
//!
//! This clock never goes back: what was decided at a moment was decided at that moment. A sandbox that is found behind (it was
//! started anew) is waited for, and the process is not ready meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use clawback_domain::{
    Clock, Time,
    clock::{BoxFuture, micros},
};
use clawback_telemetry::names;
use parking_lot::Mutex;
use reqwest::{Client, redirect::Policy};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::show_duration;

/// How long a jump may go unseen. An answer costs the sandbox microseconds.
pub const ASK_EVERY: Duration = Duration::from_millis(200);

/// It is on this machine and answers at once, or something is wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Without an answer for this long nobody knows what time it is there, and the process is not ready.
const STALE: Duration = Duration::from_secs(5);

/// By how much the sandbox may be behind with the process ready: more than an answer's way explains.
const MOST_BEHIND: Duration = Duration::from_secs(5);

/// What gains less than this is a better measurement, not a jump, and no reason to wake every sleeper.
const JUMP: i64 = 20_000;

pub struct UpstreamClock {
    http: Client,
    url: String,
    /// For so long after a jump a call may be under way that was begun by a process which had not seen it yet.
    longest_call: Duration,
    /// When this clock jumped, and by how many microseconds: those that a call under way may not know of.
    jumps: Mutex<Vec<(Instant, i64)>>,
    /// Microseconds that this clock is ahead of the system's. Told to the sleepers when it jumps.
    ahead: watch::Sender<i64>,
    /// Microseconds that the sandbox was behind this clock when it was last asked.
    behind: AtomicI64,
    answered: Mutex<Option<Instant>>,
}

impl Clock for UpstreamClock {
    fn now(&self) -> Time {
        micros(Utc::now() + TimeDelta::microseconds(*self.ahead.borrow()))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let (mut ahead, began) = (self.ahead.subscribe(), Instant::now());
        let first = *ahead.borrow_and_update();
        Box::pin(async move {
            loop {
                let jumped = Duration::from_micros(ahead.borrow_and_update().abs_diff(first));
                let left = span.saturating_sub(began.elapsed().saturating_add(jumped));
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(left) => return,
                    Ok(()) = ahead.changed() => {}
                }
            }
        })
    }

    /// As if no jump had been made since the oldest call that may be under way began.
    fn settled(&self) -> Time {
        // In this order: a jump is listed before it is made, so none is in `now` that is not in the list.
        let now = self.now();
        let recent = |(at, _): &&(Instant, i64)| at.elapsed() < self.longest_call;
        let jumped: i64 = self.jumps.lock().iter().filter(recent).map(|(_, by)| by).sum();
        now - TimeDelta::microseconds(jumped)
    }

    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn draw(&self) -> u64 {
        rand::random()
    }
}

/// What the sandbox says of its clock.
#[derive(Deserialize)]
struct Told {
    now: Time,
}

impl UpstreamClock {
    /// The clock of the sandbox at `base`. It is the system's until it was [read](UpstreamClock::read).
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(base: &str, longest_call: Duration) -> Result<Self, String> {
        let builder = Client::builder().http1_only().no_proxy().redirect(Policy::none()).timeout(ANSWER_WITHIN);
        let builder = if base.starts_with("https:") { builder } else { builder.tls_certs_only([]) };
        Ok(Self {
            http: builder.build().map_err(|error| error.to_string())?,
            url: format!("{}/_control/clock", base.trim_end_matches('/')),
            longest_call: longest_call + ASK_EVERY + ANSWER_WITHIN,
            jumps: Mutex::default(),
            ahead: watch::Sender::new(0),
            behind: AtomicI64::new(0),
            answered: Mutex::new(None),
        })
    }

    /// How far it is ahead of the system's.
    pub fn ahead(&self) -> Duration {
        Duration::from_micros((*self.ahead.borrow()).try_into().unwrap_or_default())
    }

    /// Asks the sandbox.
    ///
    /// # Errors
    /// It does not say what time it is: why, in a sentence.
    pub async fn read(&self) -> Result<(), String> {
        let there = self.ask().await.map_err(|error| format!("the sandbox's clock at {} cannot be read: {error}", self.url))?;
        self.take(there, Utc::now());
        Ok(())
    }

    async fn ask(&self) -> Result<Time, reqwest::Error> {
        let answer = self.http.get(&self.url).send().await.and_then(reqwest::Response::error_for_status);
        let told = match answer {
            Ok(answer) => answer.json::<Told>().await,
            Err(error) => Err(error),
        };
        told.map(|told| told.now).map_err(reqwest::Error::without_url)
    }

    /// It said `there` before it is `here`: it is at least that far ahead. So this clock is never ahead of it, and the answer that
    /// was the shortest on its way counts.
    fn take(&self, there: Time, here: Time) {
        let told = (there - here).num_microseconds().unwrap_or_default();
        let first = self.answered.lock().replace(Instant::now()).is_none();
        let mut gained = told - *self.ahead.borrow();
        if gained >= JUMP && !first {
            // Before anybody can see it.
            let mut jumps = self.jumps.lock();
            jumps.retain(|(at, _)| at.elapsed() < self.longest_call);
            jumps.push((Instant::now(), gained));
        }
        self.ahead.send_if_modified(|ahead| {
            gained = told - *ahead;
            *ahead = if first { told } else { told.max(*ahead) };
            gained >= JUMP
        });
        metrics::gauge!(names::CLOCK_OFFSET).set(self.ahead().as_secs_f64());
        let behind = if first { 0 } else { gained.min(0).saturating_neg() };
        self.behind.store(behind, Ordering::Relaxed);
        if gained >= JUMP {
            let by = show_duration(round(Duration::from_micros(gained.unsigned_abs())));
            tracing::info!(by, "the sandbox's clock is ahead; this process follows it");
        }
    }

    /// # Errors
    /// Why this process is not ready, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let Some(answered) = *self.answered.lock() else { return Err(format!("{} was never read", self.url)) };
        if answered.elapsed() > STALE {
            return Err(format!("the sandbox's clock at {} has not answered for {:.0?}", self.url, answered.elapsed()));
        }
        let behind = Duration::from_micros(self.behind.load(Ordering::Relaxed).unsigned_abs());
        if behind > MOST_BEHIND {
            return Err(format!(
                "the sandbox's clock is {behind:.1?} behind this process's, which does not go back: move it ahead, or start this \
                 process again"
            ));
        }
        Ok(())
    }

    /// Asks again and again until `shutdown`, on real time.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut away = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_some() {
            match self.read().await {
                Ok(()) => away = false,
                Err(error) if away => tracing::debug!("{error}"),
                Err(error) => {
                    away = true;
                    tracing::warn!("{error}; time goes on at its real pace");
                }
            }
        }
    }
}

/// To tenths of a second: what is measured is short of what was meant by an answer's way.
pub(super) fn round(span: Duration) -> Duration {
    const TENTH: u64 = 100;
    Duration::from_millis((span.as_millis() as u64 + TENTH / 2) / TENTH * TENTH)
}

#[cfg(test)]
mod tests;
