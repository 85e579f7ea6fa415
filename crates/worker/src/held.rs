//! Holding a purchase: its worker's own timers, polls and looks, until it rests.
//!
//! Each turn begins with the write that moves `due_at` and takes the row's next version; a turn whose version is no longer the
//! row's ends there. So a timer that fires late, or twice, or after the row was given to another, does nothing.

use std::{sync::Arc, time::Duration};

use clawback_broker::steps::Step;
use clawback_domain::{
    AttemptToken, SessionId,
    answer::{Answer, StatusAnswer},
    change::Change,
    purchase::{Decision, Happened, Next, Purchase, State, decide},
    rehearsal::{Point, reach},
};
use clawback_store::{Applied, Draft};

use crate::{consume::InHand, lifecycle::Worker, tenant::Tenant, write::Advanced};

/// How many purchases a worker keeps timers for; beyond it a row is left to its `due_at`. About 4 KiB each.
const MOST_HELD: usize = 50_000;

impl Worker {
    /// Follows a purchase until it rests.
    pub(crate) async fn hold(self: &Arc<Self>, tenant: &Arc<Tenant>, mut held: Option<Advanced>) {
        while let Some(Advanced { purchase, next }) = held {
            held = match next {
                Next::Rest => {
                    if self.is_sampled(&purchase) {
                        Box::pin(self.sample(tenant, &purchase)).await;
                    }
                    None
                }
                Next::Call(_) => None,
                Next::TryAfter(wait) => match self.turn_after(tenant, purchase, wait).await {
                    Some(purchase) => Box::pin(self.try_initiate(tenant, purchase, None)).await,
                    None => None,
                },
                Next::PollAfter(wait) => match self.turn_after(tenant, purchase, wait).await {
                    Some(purchase) => Box::pin(self.poll_once(tenant, purchase)).await,
                    None => None,
                },
                Next::LookAfter(wait) => match self.turn_after(tenant, purchase, wait).await {
                    Some(purchase) => Box::pin(self.look(tenant, purchase)).await,
                    None => None,
                },
            };
        }
    }

    /// Waits, then takes the turn. A wait of nothing is part of the turn under way.
    async fn turn_after(&self, tenant: &Tenant, purchase: Purchase, wait: Duration) -> Option<Purchase> {
        if wait.is_zero() {
            return Some(purchase);
        }
        if self.handlers.len() > MOST_HELD {
            return None;
        }
        let wait = self.doors.clock.jitter(wait);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                Box::pin(self.hand_back(tenant, purchase)).await;
                None
            }
            () = self.doors.clock.sleep(wait) => Box::pin(self.take_turn(tenant, &purchase)).await,
        }
    }

    /// The write a turn begins with. `None` when the row has moved on: then this chain ends.
    async fn take_turn(&self, tenant: &Tenant, purchase: &Purchase) -> Option<Purchase> {
        let now = self.doors.clock.now();
        let Decision::Transition(turn) = decide(purchase, Happened::TurnTaken, now, &tenant.rules()) else { return None };
        let draft = Draft::new(Change::of(purchase, *turn, Happened::TurnTaken.name(), None));
        match self.apply(&draft).await {
            Ok(Applied::Committed) => {
                reach(Point::TurnTaken);
                Some(draft.into_change().after)
            }
            Ok(Applied::Lost) => None,
            Err(error) => {
                tracing::error!(purchase.id = %purchase.id, %error, "a turn could not be taken");
                None
            }
        }
    }

    async fn hand_back(&self, tenant: &Tenant, purchase: Purchase) {
        self.advance(tenant, purchase, Happened::HandedBack, None).await;
    }

    /// Handles one step: takes the turn if the row still has the step's version, and does what its state asks for.
    pub(crate) async fn take_step(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand) {
        let Some(step) = Step::decode(&hand.origin.body) else {
            tracing::warn!(partner = %tenant.id, "a message in the step queue is no step; dropped");
            return hand.ack().await;
        };
        let row = self.read_back(step.purchase).await.filter(|row| row.version == step.version);
        let turn = match &row {
            Some(row) if row.partner == tenant.id => self.take_turn(tenant, row).await,
            _ => None,
        };
        let Some(purchase) = turn else { return hand.ack().await };
        hand.stored(purchase.id);
        // An accepted row waits for its permit with the step in hand: prefetch bounds how many do.
        if matches!(purchase.state, State::Accepted { .. }) {
            let initiated = Box::pin(self.try_initiate(tenant, purchase, Some(hand))).await;
            return Box::pin(self.hold(tenant, initiated)).await;
        }
        hand.ack().await;
        let resumed = self.resume(tenant, purchase).await;
        Box::pin(self.hold(tenant, resumed)).await;
    }

    /// What a row that was found due asks for.
    async fn resume(&self, tenant: &Tenant, purchase: Purchase) -> Option<Advanced> {
        let next = match &purchase.state {
            State::Initiating(_) => return self.attempt_ended(tenant, purchase).await,
            State::Pending(pending) if pending.cancelled => Next::LookAfter(Duration::ZERO),
            State::Pending(_) => Next::PollAfter(Duration::ZERO),
            State::Reconciling(_) => Next::LookAfter(Duration::ZERO),
            State::Review(review) if review.session.is_some() && !review.cancelled => Next::PollAfter(Duration::ZERO),
            State::Review(_) => Next::LookAfter(Duration::ZERO),
            State::Accepted { .. } | State::Fulfilled(_) | State::Failed { .. } => return None,
        };
        Some(Advanced { purchase, next })
    }

    /// The deadline of an attempt is over: either its answer is stored, or its outcome is unknown.
    async fn attempt_ended(&self, tenant: &Tenant, purchase: Purchase) -> Option<Advanced> {
        let State::Initiating(attempt) = &purchase.state else { return None };
        let token = attempt.token;
        let happened = match self.stored_answer(&purchase, token).await? {
            Some(answer) => Happened::Answered { token, answer },
            None => Happened::DeadlinePassed,
        };
        self.advance(tenant, purchase, happened, None).await
    }

    /// What an attempt has brought, according to the store. The outer `None`: it cannot be read now, and `due_at` brings the row back.
    pub(crate) async fn stored_answer(&self, purchase: &Purchase, token: AttemptToken) -> Option<Option<Answer>> {
        match self.doors.store.attempts(purchase.id).await {
            Ok(attempts) => {
                let record = attempts.into_iter().rev().find(|record| record.attempt.token == token);
                Some(record.and_then(|record| record.fact).map(|fact| fact.answer))
            }
            Err(error) => {
                tracing::warn!(purchase.id = %purchase.id, %error, "the attempts could not be read");
                None
            }
        }
    }

    async fn poll_once(self: &Arc<Self>, tenant: &Arc<Tenant>, purchase: Purchase) -> Option<Advanced> {
        let session = purchase.state.session()?.clone();
        match self.poll(tenant, &session).await {
            Some(status) => self.polled(tenant, purchase, status).await,
            None => {
                self.hand_back(tenant, purchase).await;
                None
            }
        }
    }

    /// Asks for the status. `None` when the worker stops: a long poll is dropped, asking again is free.
    pub(crate) async fn poll(&self, tenant: &Tenant, session: &SessionId) -> Option<StatusAnswer> {
        let upstream = tenant.upstream();
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            status = async {
                let _permit = tenant.poll_permit().await;
                let key = upstream.key_fingerprint();
                let status = upstream.buy_status(session).await;
                if status == StatusAnswer::Unauthorized {
                    self.pauses.refused_key(&self.doors, tenant, key, "buy/status").await;
                }
                status
            } => Some(status),
        }
    }

    pub(crate) async fn polled(&self, tenant: &Tenant, purchase: Purchase, status: StatusAnswer) -> Option<Advanced> {
        reach(Point::PolledNotStored);
        self.advance(tenant, purchase, Happened::Polled(status), None).await
    }
}
