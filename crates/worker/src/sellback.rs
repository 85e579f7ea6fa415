//! The way of a sellback: from its delivery through the one-way door.
//!
//! ```text
//! delivery ─▶ decode ─▶ guards, permit, a look ─▶ commit 1 ─▶ ack ─▶ buyback ─▶ commit 2
//! ```
//! The look just before the call shows that the item is there, at what price, and how often: what an unknown outcome is held against.

use std::sync::Arc;

use clawback_domain::{
    AttemptToken, Time,
    answer::{Answer, BuybackRequest},
    change::{Fact, Insertion},
    clock::after,
    command,
    item::Expiry,
    order::{Attempt, Decision, Machine, Next},
    planted::{Bug, planted},
    reason::{WaitCode, Waiting},
    rehearsal::{Point, reach},
    sellback::{self, Happened, Listing, MOST_HOLDERS, Readiness, Sale, SaleCase, Sellback, State},
    trace::TraceContext,
};

use crate::{
    consume::InHand,
    guards::{Guard, guard_sale},
    lifecycle::Worker,
    permits::Urgent,
    take::{TOO_LATE, Taken, closed},
    tenant::Tenant,
    write::Advanced,
};

/// What the guards, the limits and the look allow an accepted sellback.
enum Way {
    Open(Box<Sale>, Urgent),
    Happens(Happened),
    Stopping,
}

impl Worker {
    /// Handles one delivery of a partner's sellback queue.
    pub(crate) async fn take_sellback(self: &Arc<Self>, tenant: &Arc<Tenant>, hand: &InHand) {
        let message = &hand.origin;
        let parsed = command::parse_sellback(message.properties.content_type.as_deref(), &message.body);
        let command = match parsed {
            Ok(_) if tenant.closed() => return Box::pin(self.reject(tenant, hand, closed())).await,
            Ok(command) => command,
            Err(rejected) => return Box::pin(self.reject(tenant, hand, rejected)).await,
        };
        let trace = message.trace().unwrap_or_else(|| TraceContext::start(self.doors.clock.uuid(), self.doors.clock.draw()));
        let accepted = Sellback::accept(tenant.id.clone(), command, self.doors.clock.now(), trace);
        let (happened, permit) = match self.way_of_sale(tenant, &accepted).await {
            Way::Open(sale, permit) => (Happened::Initiated(sale), Some(permit)),
            Way::Happens(happened) => (happened, None),
            Way::Stopping => return hand.requeue().await,
        };
        let rules = tenant.rules();
        let decision = accepted.decide(happened.clone(), self.doors.clock.now(), &rules);
        let plain = Insertion::of(accepted.clone());
        let (insertion, next) = match decision {
            // An end needs its event, which belongs to a change: the row first, then the end.
            Decision::Transition(transition) if !transition.after.state.name().is_final() => {
                let next = transition.next;
                (plain.clone().then(*transition, happened.name()), next)
            }
            _ => (plain.clone(), Next::Rest),
        };
        let instead = insertion.attempt.is_some().then(|| self.waiting_for_another(tenant, accepted, plain));
        match self.take_in::<Sellback>(tenant, hand, &insertion, instead.as_ref()).await {
            Taken::Ours => {}
            Taken::Freed(freed) => return Box::pin(self.hold_sale(tenant, *freed)).await,
            Taken::Settled => return,
        }
        let Some(sellback) = Sellback::of(insertion.order) else { return };
        // A crash here: the attempt's deadline passes without an answer, and that means unknown.
        reach(Point::AckedNotCalled);
        let held = match (next, happened) {
            (Next::Call(attempt), _) => Box::pin(self.sell(tenant, sellback, attempt, permit)).await,
            (_, happened @ (Happened::Expired | Happened::Unsellable(..))) => {
                Box::pin(self.advance(tenant, sellback, happened, None)).await
            }
            _ => None,
        };
        Box::pin(self.hold_sale(tenant, held)).await;
    }

    /// The row of a sellback that met another of the same item at the door.
    fn waiting_for_another(&self, tenant: &Tenant, accepted: Sellback, plain: Insertion) -> Insertion {
        let held = Happened::Held(self.met_another());
        match accepted.decide(held.clone(), self.doors.clock.now(), &tenant.rules()) {
            Decision::Transition(transition) => plain.then(*transition, held.name()),
            Decision::Repeat | Decision::Orphan(_) | Decision::TooLate(_) | Decision::Illegal(_) => plain,
        }
    }

    fn met_another(&self) -> Waiting {
        let until = after(self.doors.clock.now(), self.doors.clock.jitter(sellback::TRY_AGAIN));
        let message = "another sellback of this item is not settled".into();
        Waiting { code: WaitCode::ItemBusy, message, until: Some(until) }
    }

    /// An accepted row whose turn is taken. A step in hand is acked once nothing waits any more.
    pub(crate) async fn try_sell(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        sellback: Sellback,
        hand: Option<&InHand>,
    ) -> Option<Advanced<Sellback>> {
        let way = match tenant.sales_are_crowded() {
            true => Way::Happens(Happened::Held(self.no_permit_to_sell())),
            false => self.way_of_sale(tenant, &sellback).await,
        };
        let (happened, permit) = match way {
            Way::Open(sale, permit) => (Happened::Initiated(sale), Some(permit)),
            Way::Happens(happened) => (happened, None),
            Way::Stopping => (Happened::HandedBack, None),
        };
        let id = sellback.id;
        let advanced = self.advance_or_wait(tenant, sellback, happened.clone()).await;
        if let Some(hand) = hand {
            hand.ack().await;
        }
        let Some(Advanced { order, next }) = advanced else {
            // Its commit may have stood all the same, unanswered for so long that the row moved on.
            let Happened::Initiated(sale) = happened else { return None };
            let row: Sellback = self.read_back(id).await?;
            return Box::pin(self.never_called(tenant, row, sale.attempt.token, TOO_LATE)).await;
        };
        match (next, happened) {
            // Only the attempt drawn here may be called here: a row read back may hold another's.
            (Next::Call(attempt), Happened::Initiated(ours)) if attempt.token == ours.attempt.token => {
                reach(Point::AckedNotCalled);
                Box::pin(self.sell(tenant, order, attempt, permit)).await
            }
            (Next::Call(_), _) => None,
            (next, _) => Some(Advanced { order, next }),
        }
    }

    /// As [`Worker::advance`]; a sellback that meets another of the same item at the door waits.
    async fn advance_or_wait(&self, tenant: &Tenant, row: Sellback, happened: Happened) -> Option<Advanced<Sellback>> {
        let (id, version, opens) = (row.id, row.version, matches!(happened, Happened::Initiated(_)));
        let advanced = self.advance(tenant, row, happened, None).await;
        if advanced.is_some() || !opens {
            return advanced;
        }
        let row: Sellback = self.read_back(id).await.filter(|row: &Sellback| row.version == version)?;
        self.advance(tenant, row, Happened::Held(self.met_another()), None).await
    }

    /// Guards, the item's case, a permit, a look, and the guards again.
    async fn way_of_sale(&self, tenant: &Tenant, sellback: &Sellback) -> Way {
        let rules = tenant.rules();
        if let Some(stop) = self.stopped(tenant, sellback) {
            return Way::Happens(stop);
        }
        let Some(case) = self.sale_case(tenant, sellback).await else { return Way::Stopping };
        if let Err(not_now) = sellback::list(sellback, &case, self.doors.clock.now()) {
            return Way::Happens(happens(not_now));
        }
        let mut pauses = self.pauses.subscribe();
        let permit = tenant.sale_permit(&*self.doors.clock, time_left(&case));
        tokio::pin!(permit);
        let permit = loop {
            tokio::select! {
                biased;
                permit = &mut permit => break permit,
                () = self.stopping.cancelled() => return Way::Stopping,
                // A pause lets go of what waits for a permit.
                _ = pauses.changed() => if let Some(stop) = self.stopped(tenant, sellback) {
                    return Way::Happens(stop);
                },
            }
        };
        let Some(permit) = permit else { return Way::Happens(Happened::Held(self.no_permit_to_sell())) };
        let others = rules.item_ids_repeat && !planted(Bug::HoldersForgotten);
        let holders = if others { &case.holders[..] } else { &[] };
        let users = std::iter::once(&sellback.command.user_id).chain(holders).take(MOST_HOLDERS as usize + 1);
        let Some(readings) = self.read_inventories(tenant, users).await else { return Way::Stopping };
        // First: what a look does not show is missing from now on, and gone when another, minutes later, does not show it either.
        self.keep_sights(tenant, &readings).await;
        // After the looks: what was sold meanwhile must not be counted as held.
        let Some(mut case) = self.sale_case(tenant, sellback).await else { return Way::Stopping };
        if !others {
            case.holders.clear();
        }
        if let Some(stop) = self.stopped(tenant, sellback) {
            return Way::Happens(stop);
        }
        match sellback::readiness(sellback, &case, &readings, self.doors.clock.now()) {
            Readiness::Ready(listing) => Way::Open(Box::new(self.sale(tenant, sellback, *listing)), permit),
            not_now => Way::Happens(happens(not_now)),
        }
    }

    fn stopped(&self, tenant: &Tenant, sellback: &Sellback) -> Option<Happened> {
        match guard_sale(&self.doors, &self.pauses, tenant, sellback) {
            Guard::Pass | Guard::SoldOut => None,
            Guard::Expired => Some(Happened::Expired),
            Guard::Hold(waiting) => Some(Happened::Held(waiting)),
        }
    }

    /// Begins now, with a token of its own.
    fn sale(&self, tenant: &Tenant, sellback: &Sellback, listing: Listing) -> Sale {
        let Listing { item_id, pull, price, before, known_sales } = listing;
        let attempt = sellback.attempt(AttemptToken(self.doors.clock.uuid()), self.doors.clock.now(), &tenant.rules());
        let retried = matches!(&sellback.state, State::Accepted { unsettled: Some(_), .. });
        Sale { attempt: attempt.costing(price), item_id, pull, before, known_sales, retried }
    }

    /// What the store knows of the item. Waits for a store that is away; `None` when the worker stops first.
    async fn sale_case(&self, tenant: &Tenant, sellback: &Sellback) -> Option<SaleCase> {
        let command = &sellback.command;
        let mut tries = 0;
        loop {
            match self.doors.store.sale_case(&tenant.id, &command.user_id, &command.target).await {
                Ok(case) => return Some(case),
                Err(_) if self.stopping.is_cancelled() => return None,
                Err(error) => self.store_is_away(&mut tries, &error).await,
            }
        }
    }

    fn no_permit_to_sell(&self) -> Waiting {
        let until = after(self.doors.clock.now(), self.doors.clock.jitter(sellback::TRY_AGAIN));
        let message = "the partner's limits on sellbacks leave no permit for now".into();
        Waiting { code: WaitCode::Permit, message, until: Some(until) }
    }

    /// Sells. Whatever comes back is written, as a fact and, if it fits, as a transition.
    async fn sell(
        &self,
        tenant: &Tenant,
        sellback: Sellback,
        attempt: Attempt,
        permit: Option<Urgent>,
    ) -> Option<Advanced<Sellback>> {
        let sale = sellback.state.sale()?;
        let item_id = sale.item_id.clone();
        if self.is_outrun(tenant, &sellback, sale).await {
            const OUTRUN: &str = "another sale of the item came between the look and the call";
            return Box::pin(self.never_called(tenant, sellback, attempt.token, OUTRUN)).await;
        }
        let upstream = tenant.upstream();
        let key = upstream.key_fingerprint();
        let request = BuybackRequest { item_id, reference: sellback.reference(&attempt), send_by: attempt.send_by };
        let mut answer = upstream.buyback(request).await;
        if planted(Bug::SaleUnknownIsNeverSent) && matches!(answer, Answer::Unknown { .. }) {
            answer = Answer::NeverSent { why: "no answer".into() };
        }
        drop(permit);
        note(&sellback, &answer);
        // A crash here loses the answer: the deadline passes, and the outcome is unknown.
        reach(Point::CalledNotStored);
        let refused = match &answer {
            Answer::Unauthorized { message } => Some(message.clone()),
            _ => None,
        };
        let happened = Happened::Answered { token: attempt.token, answer: answer.clone() };
        let fact = Fact { token: attempt.token, answer, at: self.doors.clock.now() };
        let advanced = self.advance(tenant, sellback, happened, Some(fact)).await;
        // The row first: a pause may be lifted the moment it is there, and what it lifts must be found waiting.
        if let Some(message) = refused {
            self.pauses.refused_key(&self.doors, tenant, key, &message).await;
        }
        advanced
    }

    /// The row stands: from here on no other sale of the item begins, and one that ended since the look is stored. What cannot be asked counts
    /// as outrun; asked for too long, the call is not sent any more.
    async fn is_outrun(&self, tenant: &Tenant, row: &Sellback, sale: &Sale) -> bool {
        let command = &row.command;
        match self.doors.store.sale_case(&tenant.id, &command.user_id, &command.target).await {
            Ok(case) => sellback::is_outrun(sale, &case),
            Err(_) => true,
        }
    }
}

fn happens(readiness: Readiness) -> Happened {
    match readiness {
        Readiness::Wait(waiting) => Happened::Held(waiting),
        Readiness::Never(code, message) => Happened::Unsellable(code, message),
        Readiness::Ready(_) => unreachable!("what is ready is called"),
    }
}

/// When its window shuts, as far as is known: what is first to shut goes first.
fn time_left(case: &SaleCase) -> Time {
    let expiry = case.pulls.iter().filter_map(|pull| match pull.sight.expiry {
        Expiry::At(at) => Some(at),
        Expiry::Never | Expiry::NotRead => None,
    });
    expiry.min().unwrap_or(Time::MAX_UTC)
}

fn note(sellback: &Sellback, answer: &Answer) {
    let id = sellback.id;
    match answer {
        // The only copy until the commit: it must be found even if the store is gone for good.
        Answer::Sold { amount } => {
            let amount = amount.map(|amount| amount.to_string());
            tracing::info!(sellback.id = %id, amount, "sold");
        }
        Answer::Done { .. } => tracing::error!(sellback.id = %id, "a sellback was answered with a purchase"),
        Answer::Refused { code, .. } => tracing::debug!(sellback.id = %id, %code, "refused"),
        Answer::Unauthorized { .. } => tracing::debug!(sellback.id = %id, "the key was refused"),
        Answer::Busy { .. } => tracing::info!(sellback.id = %id, "the upstream says that a sale of it is under way"),
        Answer::NeverSent { why } => tracing::info!(sellback.id = %id, why, "the call was never sent"),
        Answer::Unknown { why, .. } => tracing::warn!(sellback.id = %id, why, "the outcome of the sale is unknown"),
    }
}
