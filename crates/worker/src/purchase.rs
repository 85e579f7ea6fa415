//! The way of a purchase: from its delivery through the one-way door.
//!
//! ```text
//! delivery ─▶ decode ─▶ guards, permit ─▶ commit 1 ─▶ ack ─▶ buy/init ─▶ commit 2 ─▶ held until it rests
//! ```
//! The permit is held and the guards are passed *before* commit 1: between it and the last byte of the request nothing waits.

use std::{
    any::Any,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::Duration,
};

use clawback_domain::{
    AttemptToken, SessionId,
    answer::{Answer, InitRequest, StatusAnswer},
    change::{Change, Fact, Insertion},
    clock::after,
    command,
    order::Machine,
    planted::{Bug, planted},
    purchase::{Attempt, Decision, Happened, Next, Purchase, decide},
    reason::{FailureCode, WaitCode, Waiting},
    rehearsal::{Killed, Point, reach},
    trace::TraceContext,
};
use clawback_store::{Applied, Draft};
use futures_util::{FutureExt, future::join};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    consume::InHand,
    guards::{Guard, guard},
    lifecycle::Worker,
    take::{TOO_LATE, Taken, closed},
    tenant::Tenant,
    write::Advanced,
};

/// How long a purchase that found no permit waits in its row before the scheduler brings it back: until those before it have begun,
/// but within these bounds, for each time it comes back costs two commits.
const CROWDED_WAIT: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(15);

/// What the guards and the limits allow an accepted purchase.
enum Way {
    /// Call now, with this permit.
    Open(OwnedSemaphorePermit),
    /// Something else happens to it.
    Happens(Happened),
    /// The worker stops.
    Stopping,
}

/// What became of the status that was asked for beside the commit of its session.
enum Asked {
    Joined(Next),
    TooLate(StatusAnswer),
}

/// How a session came into the store.
enum SessionStored {
    /// By the change that was drawn for it, perhaps with its status.
    AsDrawn(Purchase),
    /// The row had moved on, or the store refused what had joined.
    Otherwise(Advanced<Purchase>),
}

impl Worker {
    /// Handles one delivery of a partner's purchase queue.
    pub(crate) async fn take_purchase(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand) {
        let message = &hand.origin;
        let parsed = command::parse_purchase(message.properties.content_type.as_deref(), &message.body);
        let command = match parsed {
            Ok(_) if tenant.closed() => return Box::pin(self.reject(tenant, hand, closed())).await,
            Ok(command) => command,
            Err(rejected) => return Box::pin(self.reject(tenant, hand, rejected)).await,
        };
        let trace = message.trace().unwrap_or_else(|| TraceContext::start(self.doors.clock.uuid(), self.doors.clock.draw()));
        let accepted = Purchase::accept(tenant.id.clone(), command, self.doors.clock.now(), trace);
        let way = self.way(tenant, &accepted).await;
        let (happened, permit) = match way {
            Way::Open(permit) => (Happened::Initiated(self.attempt(tenant, &accepted)), Some(permit)),
            Way::Happens(happened) => (happened, None),
            Way::Stopping => return hand.requeue().await,
        };
        self.store_and_go(tenant, hand, accepted, happened, permit).await;
    }

    /// Commit 1, ack, and the call if there is one.
    async fn store_and_go(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        hand: &InHand,
        accepted: Purchase,
        happened: Happened,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let name = happened.name();
        let decision = decide(&accepted, happened.clone(), self.doors.clock.now(), &tenant.rules());
        let (insertion, mut next) = match decision {
            // An end needs its event, which belongs to a change: the row first, then the end.
            Decision::Transition(transition) if !transition.after.state.name().is_final() => {
                let next = transition.next;
                (Insertion::of(accepted.clone()).then(*transition, name), next)
            }
            _ => (Insertion::of(accepted.clone()), Next::Rest),
        };
        if planted(Bug::AckBeforeCommit) {
            hand.ack().await;
        }
        if planted(Bug::CallBeforeCommit)
            && let Next::Call(attempt) = std::mem::replace(&mut next, Next::Rest)
        {
            Box::pin(self.call(tenant, accepted, attempt, None)).await;
        }
        match self.take_in::<Purchase>(tenant, hand, &insertion, None).await {
            Taken::Ours => {}
            Taken::Freed(freed) => return Box::pin(self.hold(tenant, *freed)).await,
            Taken::Settled => return,
        }
        // A crash here: the attempt's deadline passes without an answer, and that means unknown.
        reach(Point::AckedNotCalled);
        let Some(purchase) = Purchase::of(insertion.order) else { return };
        match (next, happened) {
            (Next::Call(attempt), _) => {
                let called = Box::pin(self.call(tenant, purchase, attempt, permit)).await;
                Box::pin(self.hold(tenant, called)).await;
            }
            (_, happened @ (Happened::Expired | Happened::SoldOut)) => {
                Box::pin(self.advance(tenant, purchase, happened, None)).await;
            }
            _ => {}
        }
    }

    /// Finds the way for an accepted purchase: guards, a permit, and the guards again, for the permit may have been long in coming.
    async fn way(&self, tenant: &Tenant, purchase: &Purchase) -> Way {
        let rules = tenant.rules();
        match guard(&self.doors, &self.pauses, tenant, purchase, &rules).await {
            Guard::Pass => {}
            other => return refused(other),
        }
        let mut pauses = self.pauses.subscribe();
        let permit = tenant.init_permit(&*self.doors.clock);
        tokio::pin!(permit);
        let permit = loop {
            tokio::select! {
                biased;
                permit = &mut permit => break permit,
                () = self.stopping.cancelled() => return Way::Stopping,
                // A pause lets go of what waits for a permit.
                _ = pauses.changed() => match guard(&self.doors, &self.pauses, tenant, purchase, &rules).await {
                    Guard::Pass => {}
                    other => return refused(other),
                },
            }
        };
        let Some(permit) = permit else { return Way::Happens(Happened::Held(self.no_permit(tenant))) };
        match guard(&self.doors, &self.pauses, tenant, purchase, &rules).await {
            Guard::Pass => Way::Open(permit),
            other => refused(other),
        }
    }

    /// Begins now, with a token of its own.
    fn attempt(&self, tenant: &Tenant, purchase: &Purchase) -> Attempt {
        let attempt = purchase.attempt(AttemptToken(self.doors.clock.uuid()), self.doors.clock.now(), &tenant.rules());
        let price = tenant.packs.price(&purchase.command.pack_id);
        attempt.costing(price.and_then(|price| price.checked_mul(purchase.command.amount)))
    }

    fn no_permit(&self, tenant: &Tenant) -> Waiting {
        let wait = tenant.crowd_begins_within().clamp(*CROWDED_WAIT.start(), *CROWDED_WAIT.end());
        let until = after(self.doors.clock.now(), self.doors.clock.jitter(wait));
        Waiting { code: WaitCode::Permit, message: "the partner's limits leave no permit for now".into(), until: Some(until) }
    }

    /// An accepted row whose turn is taken: guards, permit, and the door. A step in hand is acked once nothing waits any more.
    pub(crate) async fn try_initiate(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        purchase: Purchase,
        hand: Option<&InHand>,
    ) -> Option<Advanced<Purchase>> {
        // Deliveries are bounded by their prefetch; rows are not, and too many waiters would starve the steps behind them.
        let way = match tenant.is_crowded() {
            true => Way::Happens(Happened::Held(self.no_permit(tenant))),
            false => self.way(tenant, &purchase).await,
        };
        let (happened, permit) = match way {
            Way::Open(permit) => (Happened::Initiated(self.attempt(tenant, &purchase)), Some(permit)),
            Way::Happens(happened) => (happened, None),
            Way::Stopping => (Happened::HandedBack, None),
        };
        let id = purchase.id;
        let advanced = self.advance(tenant, purchase, happened.clone(), None).await;
        if let Some(hand) = hand {
            hand.ack().await;
        }
        let Some(Advanced { order: purchase, next }) = advanced else {
            // Its commit may have stood all the same, unanswered for so long that the row moved on.
            let Happened::Initiated(attempt) = happened else { return None };
            let row = self.read_back(id).await?;
            return Box::pin(self.never_called(tenant, row, attempt.token, TOO_LATE)).await;
        };
        match (next, happened) {
            // Only the attempt drawn here may be called here: a row read back may hold another's.
            (Next::Call(attempt), Happened::Initiated(ours)) if attempt.token == ours.token => {
                reach(Point::AckedNotCalled);
                Box::pin(self.call(tenant, purchase, attempt, permit)).await
            }
            (Next::Call(_), _) => None,
            (next, _) => Some(Advanced { order: purchase, next }),
        }
    }

    /// Spends money. Whatever comes back is written, as a fact and, if it fits, as a transition.
    async fn call(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        purchase: Purchase,
        attempt: Attempt,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Advanced<Purchase>> {
        let upstream = tenant.upstream();
        let key = upstream.key_fingerprint();
        let mut answer = upstream.buy_init(request(&purchase, &attempt)).await;
        if planted(Bug::UnknownIsNeverSent) && matches!(answer, Answer::Unknown { .. }) {
            answer = Answer::NeverSent { why: "no answer".into() };
        }
        drop(permit);
        self.note_answer(tenant, &purchase, &answer).await;
        // A crash here loses the answer: the deadline passes, and the outcome is unknown.
        reach(Point::CalledNotStored);
        let happened = Happened::Answered { token: attempt.token, answer: answer.without_items() };
        let session = match &answer {
            Answer::Done { session, .. } => Some(session.clone()),
            _ => None,
        };
        let refused = match &answer {
            Answer::Unauthorized { message } => Some(message.clone()),
            _ => None,
        };
        let fact = Fact { token: attempt.token, answer, at: self.doors.clock.now() };
        let Some(session) = session else {
            let advanced = self.advance(tenant, purchase, happened, Some(fact)).await;
            // The row first: a pause may be lifted the moment it is there, and what it lifts must be found waiting.
            if let Some(message) = refused {
                self.pauses.refused_key(&self.doors, tenant, key, &message).await;
            }
            return advanced;
        };
        self.session_opened(tenant, purchase, happened, fact, &session).await
    }

    /// Stores a session and asks for its status: neither waits for the other. A status that comes before a batch has taken the
    /// session's change joins it, and both cost one commit.
    async fn session_opened(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        purchase: Purchase,
        happened: Happened,
        fact: Fact,
        session: &SessionId,
    ) -> Option<Advanced<Purchase>> {
        let decision = decide(&purchase, happened.clone(), self.doors.clock.now(), &tenant.rules());
        let transition = match decision {
            Decision::Transition(transition) if matches!(transition.next, Next::PollAfter(_)) => *transition,
            _ => return self.advance(tenant, purchase, happened, Some(fact)).await,
        };
        let (name, next) = (happened.name(), transition.next);
        let fact = (!planted(Bug::SessionDropped)).then_some(fact);
        let draft = Draft::new(Change::of(&purchase, transition, name, fact));
        let asked = async { Some(self.join_in(tenant, &draft, self.poll(tenant, session).await?)) };
        // A panic must not drop the commit beside it, which may stand or not: it goes on once the session is settled.
        let asked = AssertUnwindSafe(asked).catch_unwind().map(but_not_killed);
        let (applied, asked) = join(self.apply(&draft), asked).await;
        let (asked, panic) = match asked {
            Ok(asked) => (asked, None),
            Err(panic) => (None, Some(panic)),
        };
        let joined = matches!(asked, Some(Asked::Joined(_)));
        let stored = match applied {
            Ok(Applied::Committed) => self.committed(&purchase, draft, name).await.map(SessionStored::AsDrawn),
            Ok(Applied::Lost) if planted(Bug::SessionDropped) => None,
            Ok(Applied::Lost) => match self.read_back(purchase.id).await {
                Some(row) => self.advance(tenant, row, happened, None).await.map(SessionStored::Otherwise),
                None => None,
            },
            // The status may be at fault; the session must not suffer for it.
            Err(_) if joined => {
                let fact = draft.into_change().fact;
                self.advance(tenant, purchase, happened, fact).await.map(SessionStored::Otherwise)
            }
            Err(error) => {
                self.not_stored(draft, name, &error).await;
                None
            }
        };
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        let after = match stored? {
            SessionStored::AsDrawn(after) => after,
            SessionStored::Otherwise(advanced) => return Some(advanced),
        };
        reach(Point::SessionStored);
        match asked {
            Some(Asked::Joined(next)) => Some(Advanced { order: after, next }),
            Some(Asked::TooLate(status)) => self.polled(tenant, after, status).await,
            None => Some(Advanced { order: after, next }),
        }
    }

    fn join_in(&self, tenant: &Tenant, draft: &Draft, status: StatusAnswer) -> Asked {
        let Some(open) = draft.open() else { return Asked::TooLate(status) };
        reach(Point::PolledNotStored);
        let polled = Happened::Polled(status);
        let name = polled.name();
        let Some(pending) = open.change().after.purchase() else { return Asked::Joined(Next::PollAfter(Duration::ZERO)) };
        match decide(pending, polled, self.doors.clock.now(), &tenant.rules()) {
            Decision::Transition(transition) => {
                let next = transition.next;
                let change = Change::of(pending, *transition, name, None);
                open.join(change);
                Asked::Joined(next)
            }
            // Nothing follows from it: it is asked for again.
            Decision::Repeat | Decision::Illegal(_) | Decision::Orphan(_) | Decision::TooLate(_) => {
                Asked::Joined(Next::PollAfter(Duration::ZERO))
            }
        }
    }

    /// What an answer means beyond its purchase.
    async fn note_answer(&self, tenant: &Tenant, purchase: &Purchase, answer: &Answer) {
        let id = purchase.id;
        match answer {
            // The only copy until the commit: it must be found even if the store is gone for good.
            Answer::Done { session, .. } => tracing::info!(purchase.id = %id, %session, "a session was opened"),
            Answer::Refused { code: FailureCode::OutOfStock, .. } => tenant.packs.refused(&purchase.command.pack_id).await,
            Answer::Sold { .. } => tracing::error!(purchase.id = %id, "a purchase was answered with a sale"),
            Answer::Refused { code, .. } => tracing::debug!(purchase.id = %id, %code, "refused"),
            Answer::Unauthorized { .. } => tracing::debug!(purchase.id = %id, "the key was refused"),
            Answer::Busy { .. } => tracing::debug!(purchase.id = %id, "the upstream is busy"),
            Answer::NeverSent { why } => tracing::info!(purchase.id = %id, why, "the call was never sent"),
            Answer::Unknown { why, .. } => tracing::warn!(purchase.id = %id, why, "the outcome of the call is unknown"),
        }
    }
}

/// Whoever is killed in a rehearsal does nothing any more.
fn but_not_killed<T>(outcome: Result<T, Box<dyn Any + Send>>) -> Result<T, Box<dyn Any + Send>> {
    match outcome {
        Err(panic) if panic.is::<Killed>() => resume_unwind(panic),
        other => other,
    }
}

pub(crate) fn request(purchase: &Purchase, attempt: &Attempt) -> InitRequest {
    InitRequest {
        pack_id: purchase.command.pack_id.clone(),
        amount: purchase.command.amount,
        user_id: purchase.command.user_id.clone(),
        reference: purchase.reference(attempt),
        send_by: attempt.send_by,
    }
}

fn refused(guard: Guard) -> Way {
    Way::Happens(match guard {
        Guard::Expired => Happened::Expired,
        Guard::SoldOut => Happened::SoldOut,
        Guard::Hold(waiting) => Happened::Held(waiting),
        Guard::Pass => unreachable!("a guard that passes refuses nothing"),
    })
}
