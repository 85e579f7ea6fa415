//! Taking a command in: commit 1, then the ack.

use std::{future::poll_fn, task::Poll};

use clawback_domain::{
    AttemptToken, EventId, OrderId,
    answer::Answer,
    change::{Fact, Insertion},
    command::Rejected,
    order::{AnyOrder, Machine},
    planted::{Bug, planted},
    purchase::Purchase,
    reason::RejectionCode,
    rehearsal::{Point, reach},
};
use clawback_store::StoreError;

use crate::{
    consume::InHand,
    lifecycle::Worker,
    tell,
    tenant::Tenant,
    write::{Advanced, Stored},
};

/// Why the owner of an attempt did not call.
pub(crate) const TOO_LATE: &str = "its commit was answered too late to call";

/// What became of a delivery.
pub(crate) enum Taken<O> {
    /// Its row stands and it is acked: what follows is the caller's.
    Ours,
    /// Its row stands, but too late to call; this is what it came to.
    Freed(Box<Option<Advanced<O>>>),
    /// Acked, requeued or rejected: nothing follows.
    Settled,
}

impl Worker {
    /// Commit 1 and the ack. `instead`: what is inserted if the store refuses the first, because another sale of the item came between.
    pub(crate) async fn take_in<O: Machine>(
        &self,
        tenant: &Tenant,
        hand: &InHand,
        insertion: &Insertion,
        instead: Option<&Insertion>,
    ) -> Taken<O> {
        let order = &insertion.order;
        match self.insert(insertion).await {
            Ok(Stored::Ours) => {
                tell::entered(order);
                hand.stored(order.id());
            }
            Ok(Stored::Taken(row)) => {
                Box::pin(self.repeat_or_conflict(tenant, hand, order, *row)).await;
                return Taken::Settled;
            }
            Ok(Stored::Overtaken(row)) => {
                Box::pin(self.repeat_or_conflict(tenant, hand, order, (*row).clone())).await;
                let (Some(attempt), Some(row)) = (insertion.attempt, O::of(*row)) else { return Taken::Settled };
                // From here on a panic is the row's.
                hand.stored(row.id());
                return Taken::Freed(Box::new(Box::pin(self.never_called(tenant, row, attempt.token, TOO_LATE)).await));
            }
            Err(StoreError::Unavailable(_)) => {
                hand.requeue().await;
                return Taken::Settled;
            }
            Err(StoreError::Refused(_)) if instead.is_some() => {
                let Some(instead) = instead else { return Taken::Settled };
                // Nothing is called: the row waits, and its `due_at` brings it back.
                let taken = Box::pin(self.take_in::<O>(tenant, hand, instead, None)).await;
                return if matches!(taken, Taken::Ours) { Taken::Settled } else { taken };
            }
            Err(error) => {
                tracing::error!(order.id = %order.id(), %error, "the store refuses the command");
                Box::pin(self.reject(tenant, hand, unstorable(order, &error))).await;
                return Taken::Settled;
            }
        }
        // A crash here: the command comes again, finds its row, and is acked.
        reach(Point::StoredNotAcked);
        hand.ack().await;
        // All of a commit are acked before the first of them calls: their acks travel as one.
        yield_once().await;
        Taken::Ours
    }

    /// The owner of an attempt knows that it did not call and never will: nobody need look for what came of it.
    pub(crate) async fn never_called<O: Machine>(
        &self,
        tenant: &Tenant,
        row: O,
        token: AttemptToken,
        why: &str,
    ) -> Option<Advanced<O>> {
        if planted(Bug::OvertakenIsSilent) {
            return None;
        }
        let answer = Answer::NeverSent { why: why.into() };
        let fact = Fact { token, answer: answer.clone(), at: self.doors.clock.now() };
        self.advance(tenant, row, O::answered(token, answer), Some(fact)).await
    }

    /// The `request_id` is taken: the same command again, or another one.
    async fn repeat_or_conflict(&self, tenant: &Tenant, hand: &InHand, command: &AnyOrder, row: AnyOrder) {
        if row.digest() != command.digest() {
            return self.reject(tenant, hand, conflict(command)).await;
        }
        if planted(Bug::RepeatCallsAgain)
            && row.state().is_final()
            && let Some(row) = row.purchase()
        {
            self.call_again(tenant, row).await;
        }
        if row.state().is_final() {
            self.repeat_event(row.id()).await;
        }
        hand.ack().await;
    }

    /// A planted bug: buys what was bought.
    async fn call_again(&self, tenant: &Tenant, row: &Purchase) {
        let attempt = row.attempt(AttemptToken(self.doors.clock.uuid()), self.doors.clock.now(), &tenant.rules());
        tenant.upstream().buy_init(crate::purchase::request(row, &attempt)).await;
    }

    /// Publishes a subject's last event once more, with its id unchanged.
    async fn repeat_event(&self, id: OrderId) {
        match self.doors.store.last_event(id.0).await {
            Ok(Some(mut stored)) => {
                if planted(Bug::RepeatedUnderNewId) {
                    stored.event.id = EventId(self.doors.clock.uuid());
                }
                if let Err(error) = self.publish(&stored.event).await {
                    tracing::warn!(order.id = %id, %error, "the final event was not repeated");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(order.id = %id, %error, "the final event was not repeated"),
        }
    }
}

/// Lets every other task have its turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub(crate) fn closed() -> Rejected {
    Rejected::one(RejectionCode::PartnerClosed, "this partner takes no new commands")
}

fn conflict(order: &AnyOrder) -> Rejected {
    Rejected::one(RejectionCode::RequestIdConflict, "another command has this request_id; it stands, this one was not taken")
        .about(order.request_id(), order.user_id())
}

fn unstorable(order: &AnyOrder, error: &StoreError) -> Rejected {
    Rejected::one(RejectionCode::InvalidField, format!("the command cannot be stored: {error}"))
        .about(order.request_id(), order.user_id())
}
