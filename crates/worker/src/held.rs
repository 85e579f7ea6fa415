//! Holding an order: its worker's own timers, polls and looks, until it rests.
//!
//! Each turn begins with the write that moves `due_at` and takes the row's next version; a turn whose version is no longer the
//! row's ends there. So a timer that fires late, or twice, or after the row was given to another, does nothing.

use std::{sync::Arc, time::Duration};

use clawback_broker::steps::{self, Step};
use clawback_domain::{
    AttemptToken, OrderId, SessionId,
    answer::{Answer, StatusAnswer},
    change::Change,
    order::{AnyOrder, Attempt, Decision, Machine, Next},
    purchase::{Happened, Purchase, State},
    rehearsal::{Point, reach},
    sellback::{self, Sellback},
};
use clawback_store::{Applied, Draft};

use crate::{consume::InHand, lifecycle::Worker, tenant::Tenant, write::Advanced};

/// How many orders a worker keeps timers for; beyond it a row is left to its `due_at`. About 4 KiB each.
const MOST_HELD: usize = 50_000;

impl Worker {
    /// Follows a purchase until it rests.
    pub(crate) async fn hold(self: &Arc<Self>, tenant: &Arc<Tenant>, mut held: Option<Advanced<Purchase>>) {
        while let Some(Advanced { order: purchase, next }) = held {
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

    /// Follows a sellback until it rests.
    pub(crate) async fn hold_sale(self: &Arc<Self>, tenant: &Arc<Tenant>, mut held: Option<Advanced<Sellback>>) {
        while let Some(Advanced { order: sellback, next }) = held {
            held = match next {
                Next::Rest | Next::Call(_) => None,
                Next::TryAfter(wait) => match self.turn_after(tenant, sellback, wait).await {
                    Some(sellback) => Box::pin(self.try_sell(tenant, sellback, None)).await,
                    None => None,
                },
                Next::PollAfter(wait) | Next::LookAfter(wait) => match self.turn_after(tenant, sellback, wait).await {
                    Some(sellback) => Box::pin(self.look_for_sale(tenant, sellback)).await,
                    None => None,
                },
            };
        }
    }

    /// Waits, then takes the turn. A wait of nothing is part of the turn under way.
    async fn turn_after<O: Machine>(&self, tenant: &Tenant, order: O, wait: Duration) -> Option<O> {
        if wait.is_zero() {
            return Some(order);
        }
        if self.handlers.len() > MOST_HELD {
            return None;
        }
        let wait = self.doors.clock.jitter(wait);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                Box::pin(self.hand_back(tenant, order)).await;
                None
            }
            () = self.doors.clock.sleep(wait) => Box::pin(self.take_turn(tenant, &order)).await,
        }
    }

    /// The write a turn begins with. `None` when the row has moved on: then this chain ends.
    async fn take_turn<O: Machine>(&self, tenant: &Tenant, order: &O) -> Option<O> {
        let (now, taken) = (self.doors.clock.now(), O::turn_taken());
        let name = O::name_of(&taken);
        let Decision::Transition(turn) = order.decide(taken, now, &tenant.rules()) else { return None };
        let draft = Draft::new(Change::of(order, *turn, name, None));
        match self.apply(&draft).await {
            Ok(Applied::Committed) => {
                reach(Point::TurnTaken);
                O::of(draft.into_change().after)
            }
            Ok(Applied::Lost) => None,
            Err(error) => {
                tracing::error!(order.id = %order.id(), %error, "a turn could not be taken");
                None
            }
        }
    }

    async fn hand_back<O: Machine>(&self, tenant: &Tenant, order: O) {
        self.advance(tenant, order, O::handed_back(), None).await;
    }

    /// Handles one step: takes the turn if the row still has the step's version, and does what its state asks for.
    pub(crate) async fn take_step(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand) {
        let Some(step) = Step::decode(&hand.origin.body) else {
            tracing::warn!(partner = %tenant.id, "a message in the step queue is no step; dropped");
            return hand.ack().await;
        };
        let id = match step.row {
            steps::Row::User(user) => return Box::pin(self.step_user(tenant, hand, &user, step.version)).await,
            steps::Row::Order(id) => id,
        };
        let row = self.read_order(id).await.filter(|row| row.version() == step.version && *row.partner() == tenant.id);
        match row {
            Some(AnyOrder::Purchase(row)) => self.step_purchase(tenant, hand, row).await,
            Some(AnyOrder::Sellback(row)) => self.step_sellback(tenant, hand, row).await,
            None => hand.ack().await,
        }
    }

    async fn step_purchase(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand, row: Purchase) {
        let Some(purchase) = self.take_turn(tenant, &row).await else { return hand.ack().await };
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

    async fn step_sellback(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand, row: Sellback) {
        let Some(sellback) = self.take_turn(tenant, &row).await else { return hand.ack().await };
        hand.stored(sellback.id);
        if matches!(sellback.state, sellback::State::Accepted { .. }) {
            let sold = Box::pin(self.try_sell(tenant, sellback, Some(hand))).await;
            return Box::pin(self.hold_sale(tenant, sold)).await;
        }
        hand.ack().await;
        let resumed = match &sellback.state {
            sellback::State::Selling(sale) => {
                let attempt = sale.attempt;
                self.attempt_ended(tenant, sellback, attempt, sellback::Happened::DeadlinePassed).await
            }
            sellback::State::Reconciling(_) | sellback::State::Review(_) => {
                Some(Advanced { order: sellback, next: Next::LookAfter(Duration::ZERO) })
            }
            sellback::State::Accepted { .. } | sellback::State::Sold(_) | sellback::State::Failed { .. } => None,
        };
        Box::pin(self.hold_sale(tenant, resumed)).await;
    }

    /// What a row that was found due asks for.
    async fn resume(&self, tenant: &Tenant, purchase: Purchase) -> Option<Advanced<Purchase>> {
        let next = match &purchase.state {
            State::Initiating(attempt) => {
                let attempt = *attempt;
                return self.attempt_ended(tenant, purchase, attempt, Happened::DeadlinePassed).await;
            }
            State::Pending(pending) if pending.cancelled => Next::LookAfter(Duration::ZERO),
            State::Pending(_) => Next::PollAfter(Duration::ZERO),
            State::Reconciling(_) => Next::LookAfter(Duration::ZERO),
            State::Review(review) if review.session.is_some() && !review.cancelled => Next::PollAfter(Duration::ZERO),
            State::Review(_) => Next::LookAfter(Duration::ZERO),
            State::Accepted { .. } | State::Fulfilled(_) | State::Failed { .. } => return None,
        };
        Some(Advanced { order: purchase, next })
    }

    /// The deadline of an attempt is over: either its answer is stored, or its outcome is unknown.
    async fn attempt_ended<O: Machine>(
        &self,
        tenant: &Tenant,
        order: O,
        attempt: Attempt,
        unanswered: O::Happened,
    ) -> Option<Advanced<O>> {
        let token = attempt.token;
        let happened = match self.stored_answer(order.id(), token).await? {
            Some(answer) => O::answered(token, answer),
            // A clock that was moved made it due; its call may still be under way. The turn has moved `due_at`: it comes back.
            None if self.doors.clock.settled() < attempt.deadline => return None,
            None => unanswered,
        };
        self.advance(tenant, order, happened, None).await
    }

    /// What an attempt has brought, according to the store. The outer `None`: it cannot be read now, and `due_at` brings the row back.
    pub(crate) async fn stored_answer(&self, id: OrderId, token: AttemptToken) -> Option<Option<Answer>> {
        match self.doors.store.attempts(id).await {
            Ok(attempts) => {
                let record = attempts.into_iter().rev().find(|record| record.attempt.token == token);
                Some(record.and_then(|record| record.fact).map(|fact| fact.answer))
            }
            Err(error) => {
                tracing::warn!(order.id = %id, %error, "the attempts could not be read");
                None
            }
        }
    }

    async fn poll_once(self: &Arc<Self>, tenant: &Arc<Tenant>, purchase: Purchase) -> Option<Advanced<Purchase>> {
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

    pub(crate) async fn polled(&self, tenant: &Tenant, purchase: Purchase, status: StatusAnswer) -> Option<Advanced<Purchase>> {
        reach(Point::PolledNotStored);
        self.advance(tenant, purchase, Happened::Polled(status), None).await
    }
}
