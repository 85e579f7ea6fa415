//! Claiming what is due and publishing a step for each row.
//!
//! A step that is lost costs time, never a purchase: the claim has moved `due_at` on, and the row comes due again (the span doubles,
//! so that rows nobody can handle do not flood the queues).

use std::{sync::Arc, time::Duration};

use clawback_broker::steps::{Step, hand_over};
use clawback_broker::{Broker, topology};
use clawback_domain::{
    Clock, PartnerId,
    planted::{Bug, planted},
    poll::backoff,
    rehearsal::{Point, reach},
};
use clawback_store::{Due, Store};
use clawback_telemetry::names;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

/// Rows claimed in one statement.
const BATCH: u32 = 256;
/// Between two looks when less than a batch was due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many steps may wait in a partner's queue before its rows are left alone: its workers are behind, more steps would only age.
const MOST_STEPS: u64 = 2_000;
/// How often the depth of the step queues is read.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

pub struct Scheduler {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    partners: Vec<PartnerId>,
}

impl Scheduler {
    pub fn new(store: Arc<dyn Store>, broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, partners: Vec<PartnerId>) -> Self {
        Self { store, broker, clock, partners }
    }

    /// Works until `shutdown` is cancelled. A claim whose steps are not out by then is repeated by `due_at`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        let mut failures = 0;
        let mut full = Vec::new();
        let mut measured = None;
        loop {
            let now = self.clock.now();
            if measured.is_none_or(|at| clawback_domain::clock::until(at, now) >= MEASURE_EVERY) {
                full = self.full_queues().await;
                measured = Some(now);
            }
            match self.store.claim_due(now, BATCH, &full).await {
                Ok(due) => {
                    failures = 0;
                    let more = due.len() as u32 == BATCH;
                    self.step(due).await;
                    if !more {
                        self.clock.sleep(self.clock.jitter(LOOK_EVERY)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "due rows cannot be claimed; trying again");
                    self.clock.sleep(backoff(LOOK_EVERY, Duration::from_secs(10), failures)).await;
                    failures += 1;
                }
            }
        }
    }

    async fn step(&self, due: Vec<Due>) {
        if due.is_empty() {
            return;
        }
        // A crash here: the rows come due again.
        reach(Point::ClaimedNotStepped);
        if planted(Bug::NeverStepped) {
            return;
        }
        join_all(due.into_iter().map(|row| async move {
            metrics::counter!(names::STEPS, "partner" => row.partner.to_string()).increment(1);
            let step = Step { order: row.order, version: row.version };
            if let Err(error) = hand_over(&*self.broker, &row.partner, step).await {
                tracing::debug!(order.id = %row.order, %error, "a step was not confirmed; the row comes due again");
            }
        }))
        .await;
    }

    /// Partners whose workers are behind.
    async fn full_queues(&self) -> Vec<PartnerId> {
        let mut full = Vec::new();
        for partner in &self.partners {
            match self.broker.queue_state(&topology::step_queue(partner)).await {
                Ok(queue) if queue.ready >= MOST_STEPS => full.push(partner.clone()),
                Ok(_) => {}
                Err(error) => tracing::debug!(%partner, %error, "the step queue could not be measured"),
            }
        }
        full
    }
}
