//! The stand-in as the worker's `Upstream`, without sockets: for unit tests and the simulation.
//!
//! It is engine and client in one. The effect is a plain call on the engine and complete before the first wait; everything that
//! takes time is a sleep on the caller's clock, so virtual time is enough, and no runtime is needed. What a client would make of a
//! fault, this says: a reset before and a reset after the effect are the same *unknown*. *Never sent* comes from two places only:
//! a request past its `send_by`, and the share of calls that were asked to find no connection.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_domain::{
    Clock, SessionId, Time, UserId,
    answer::{Answer, BuybackRequest, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
    clock,
    poll::Timeouts,
};
use clawback_phygitals::Upstream;
use uuid::Uuid;

use crate::{
    engine::{Held, Poll, Shared},
    outcome::Outcome,
    typed,
};

/// One account of a shared engine.
#[derive(Clone)]
pub struct InProcess {
    engine: Shared,
    clock: Arc<dyn Clock>,
    key: String,
    latency: Duration,
    timeouts: Timeouts,
}

impl InProcess {
    /// Answers at once and waits as long as the contract's defaults say.
    pub fn new(engine: Shared, clock: Arc<dyn Clock>, key: impl Into<String>) -> Self {
        Self { engine, clock, key: key.into(), latency: Duration::ZERO, timeouts: Timeouts::default() }
    }

    /// How long every answer is on its way.
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    fn find_connection(&self) -> Result<(), String> {
        match self.engine.lock().is_unreachable() {
            true => Err("connection refused".to_owned()),
            false => Ok(()),
        }
    }

    fn send(&self, send_by: Time) -> Result<(), String> {
        self.find_connection()?;
        match self.clock.now() > send_by {
            true => Err("send_by passed".to_owned()),
            false => Ok(()),
        }
    }

    /// The way back: the answer as it reaches the caller, or does not, within its time-out.
    async fn arrive<R>(&self, outcome: Outcome<R>, timeout: Duration) -> Outcome<R> {
        let late = matches!(outcome, Outcome::Hang) || self.latency > timeout;
        let wait = if late { timeout } else { self.latency };
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
        if late { Outcome::Hang } else { outcome }
    }

    /// The server-side window: asks again when there may be something to say. `None` when the caller's patience ended first.
    async fn hold(&self, mut held: Held, gives_up: Time) -> Option<Outcome<Poll>> {
        loop {
            let now = self.clock.now();
            let wait = clock::until(self.engine.lock().time(now), held.until);
            self.clock.sleep(wait.min(clock::until(now, gives_up))).await;
            let now = self.clock.now();
            match self.engine.lock().resume(now, &held) {
                Ok(Poll::Hold(still)) if now < gives_up => held = still,
                Ok(Poll::Hold(_)) => return None,
                said => return Some(said.into()),
            }
        }
    }
}

#[async_trait]
impl Upstream for InProcess {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        if let Err(why) = self.send(request.send_by) {
            return Answer::NeverSent { why };
        }
        let now = self.clock.now();
        let outcome = self.engine.lock().init_request(now, &self.key, &request);
        typed::init_answer(self.arrive(outcome, self.timeouts.init).await)
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        if let Err(why) = self.find_connection() {
            return StatusAnswer::Unreadable { why };
        }
        let now = self.clock.now();
        let gives_up = clock::after(now, self.timeouts.status);
        let mut outcome = self.engine.lock().status(now, &self.key, session.as_str());
        if let Outcome::Success(Poll::Hold(held)) = outcome {
            outcome = match self.hold(held, gives_up).await {
                Some(said) => said,
                None => return typed::status_answer(Outcome::Hang),
            };
        }
        let left = clock::until(self.clock.now(), gives_up);
        typed::status_answer(self.arrive(outcome, left).await)
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        if let Err(why) = self.find_connection() {
            return InventoryAnswer::Unreadable { why };
        }
        let now = self.clock.now();
        let outcome = self.engine.lock().inventory(now, &self.key, user.as_str());
        typed::inventory_answer(self.arrive(outcome, self.timeouts.inventory).await)
    }

    async fn packs(&self) -> PacksAnswer {
        if let Err(why) = self.find_connection() {
            return PacksAnswer::Unreadable { why };
        }
        let now = self.clock.now();
        let outcome = self.engine.lock().packs(now, &self.key);
        typed::packs_answer(self.arrive(outcome, self.timeouts.inventory).await)
    }

    async fn buyback(&self, request: BuybackRequest) -> Answer {
        if let Err(why) = self.send(request.send_by) {
            return Answer::NeverSent { why };
        }
        let now = self.clock.now();
        let outcome = self.engine.lock().buyback(now, &self.key, request.item_id.as_str());
        typed::buyback_answer(self.arrive(outcome, self.timeouts.buyback).await)
    }

    fn key_fingerprint(&self) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.key.as_bytes()).to_string()
    }
}
