//! Claiming what is due and publishing a step for each row.
//!
//! A step that is lost costs time, never a purchase: the claim has moved `due_at` on, and the row comes due again (the span doubles,
//! so that rows nobody can handle do not flood the queues).

use std::{sync::Arc, time::Duration};

use clawback_broker::steps::{Row, Step, hand_over};
use clawback_broker::{Broker, topology};
use clawback_domain::{
    Clock, PartnerId, Time,
    planted::{Bug, planted},
    poll::backoff,
    rehearsal::{Point, reach},
};
use clawback_store::{Due, DueUser, Store, StoreError};
use clawback_telemetry::names;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

/// Rows claimed in one statement.
const BATCH: u32 = 256;
/// Between two looks when less than a batch of orders was due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many steps may wait in a partner's queue before its rows are left alone: its workers are behind, more steps would only age.
const MOST_STEPS: u64 = 2_000;
/// How often the depth of the step queues is read.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// What was claimed in one go.
struct Claimed {
    steps: Vec<(PartnerId, Step)>,
    /// There may be more orders that are due.
    is_more: bool,
}

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
            match self.claim(now, &full).await {
                Ok(due) => {
                    failures = 0;
                    let more = due.is_more;
                    self.step(due.steps).await;
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

    /// Orders first: users can wait for minutes, and what is claimed of either goes out before more of the other is. Of users no more than a
    /// batch is claimed between two looks: whoever finds no place at a worker was claimed for nothing.
    async fn claim(&self, now: Time, full: &[PartnerId]) -> Result<Claimed, StoreError> {
        let orders = self.store.claim_due(now, BATCH, full).await?;
        let users = match self.store.claim_due_users(now, BATCH, full).await {
            Ok(_) if planted(Bug::UsersNeverStepped) => Vec::new(),
            Ok(users) => users,
            // Those orders are claimed already.
            Err(error) if !orders.is_empty() => {
                tracing::debug!(%error, "due users cannot be claimed; trying again");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let is_more = orders.len() == BATCH as usize;
        let order = |due: Due| (due.partner, Step { row: Row::Order(due.order), version: due.version });
        let user = |due: DueUser| (due.partner, Step { row: Row::User(due.user), version: due.version });
        Ok(Claimed { steps: orders.into_iter().map(order).chain(users.into_iter().map(user)).collect(), is_more })
    }

    async fn step(&self, due: Vec<(PartnerId, Step)>) {
        if due.is_empty() {
            return;
        }
        // A crash here: the rows come due again.
        reach(Point::ClaimedNotStepped);
        if planted(Bug::NeverStepped) {
            return;
        }
        join_all(due.into_iter().map(|(partner, step)| async move {
            metrics::counter!(names::STEPS, "partner" => partner.to_string()).increment(1);
            let row = step.row.to_string();
            if let Err(error) = hand_over(&*self.broker, &partner, step).await {
                tracing::debug!(row, %error, "a step was not confirmed; the row comes due again");
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
