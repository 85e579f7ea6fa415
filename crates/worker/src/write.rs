//! Writing decisions down: the store's answers, and what to do when there is none.
//!
//! A store that is away is waited for: a session in memory may be the only copy there is. A commit whose outcome is unknown is read
//! back before anything else happens. "Lost" is always safe to assume: whoever lost computes again from the row as it stands.

use std::{sync::Arc, time::Duration};

use clawback_domain::{
    OrderId,
    change::{Change, Fact, Insertion},
    order::{AnyOrder, Decision, HappenedName, Machine, Next},
    planted::{Bug, planted},
    poll::backoff,
    rehearsal::{Point, reach},
};
use clawback_store::{Applied, Draft, Inserted, StoreError};

use crate::{lifecycle::Worker, tell, tenant::Tenant};

/// What an insert came to.
pub(crate) enum Stored {
    Ours,
    /// The `request_id` is taken: a redelivery, a repeat, or a conflict.
    Taken(Box<AnyOrder>),
    /// Perhaps ours, but by the time that could be read the row had moved on: its attempt is past its deadline, and was never called.
    Overtaken(Box<AnyOrder>),
}

/// A written transition and what its holder does next.
pub(crate) struct Advanced<O> {
    pub order: O,
    pub next: Next,
}

impl Worker {
    /// Commit 1. Waits for a store that is away, unless the worker stops.
    ///
    /// # Errors
    /// `Unavailable` when the worker stops first: surely nothing is stored, the delivery goes back. `Refused` and `Corrupt` as the store
    /// says.
    pub(crate) async fn insert(&self, insertion: &Insertion) -> Result<Stored, StoreError> {
        let id = insertion.order.id();
        let (mut tries, mut in_doubt) = (0, false);
        loop {
            let error = match self.doors.store.insert(insertion.clone()).await {
                Ok(Inserted::New) => return Ok(Stored::Ours),
                Ok(Inserted::Exists(row)) => return Ok(whose(insertion, row, in_doubt)),
                Err(StoreError::Unknown(_)) if planted(Bug::UnknownIsStored) => return Ok(Stored::Ours),
                Err(StoreError::Unknown(why)) => {
                    tracing::warn!(order.id = %id, why, "the outcome of commit 1 is unknown; reading back");
                    in_doubt = true;
                    match self.read_order(id).await {
                        Some(row) => return Ok(whose(insertion, Box::new(row), in_doubt)),
                        None => continue,
                    }
                }
                Err(error @ StoreError::Unavailable(_)) => error,
                Err(error) => return Err(error),
            };
            if self.stopping.is_cancelled() {
                return Err(error);
            }
            self.store_is_away(&mut tries, &error).await;
        }
    }

    /// Writes one change, for as long as the process lives.
    ///
    /// # Errors
    /// `Refused` and `Corrupt` as the store says.
    pub(crate) async fn apply(&self, draft: &Arc<Draft>) -> Result<Applied, StoreError> {
        let mut tries = 0;
        loop {
            match self.doors.store.apply_draft(draft.clone()).await {
                Ok(applied) => return Ok(applied),
                Err(StoreError::Unknown(_)) if planted(Bug::UnknownIsCommitted) => return Ok(Applied::Committed),
                Err(StoreError::Unknown(why)) => {
                    let written = draft.take();
                    tracing::warn!(order.id = %written.after.id(), why, "the outcome of a commit is unknown; reading back");
                    let row = self.read_order(written.after.id()).await;
                    match row {
                        Some(row) if row.version() < written.after.version() => {}
                        Some(row) if row == written.after => return Ok(Applied::Committed),
                        Some(_) | None => {
                            // Whether the fact was written nobody knows; written again it is no error.
                            if let Some(fact) = &written.fact {
                                self.keep_fact(fact.clone()).await;
                            }
                            return Ok(Applied::Lost);
                        }
                    }
                }
                Err(error @ StoreError::Unavailable(_)) => self.store_is_away(&mut tries, &error).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Feeds what happened to the machine, writes what follows and publishes its event. Computes again from the row as it stands when
    /// somebody else was faster. `None` when there is nothing to write, or nothing more to do.
    pub(crate) async fn advance<O: Machine>(
        &self,
        tenant: &Tenant,
        mut order: O,
        happened: O::Happened,
        mut fact: Option<Fact>,
    ) -> Option<Advanced<O>> {
        let name = O::name_of(&happened);
        loop {
            let decision = order.decide(happened.clone(), self.doors.clock.now(), &tenant.rules());
            let Decision::Transition(transition) = decision else {
                self.nothing_to_write(tenant, &order, decision, fact).await;
                return None;
            };
            let next = transition.next;
            let mut change = Change::of(&order, *transition, name, fact.take());
            if planted(Bug::DueForgotten) {
                change.after = change.after.never_due(self.doors.clock.now());
            }
            if planted(Bug::EventBeforeCommit)
                && let Some(event) = &change.event
            {
                let _ = self.publish(event).await;
            }
            let draft = Draft::new(change);
            match self.apply(&draft).await {
                Ok(Applied::Committed) => {
                    let order = self.committed(&order, draft, name).await?;
                    return Some(Advanced { order, next });
                }
                Ok(Applied::Lost) if planted(Bug::ActsThoughLost) => {
                    return Some(Advanced { order: O::of(draft.into_change().after)?, next });
                }
                Ok(Applied::Lost) => order = self.read_back(order.id()).await?,
                Err(error) => {
                    self.not_stored(draft, name, &error).await;
                    return None;
                }
            }
        }
    }

    /// A change stands: it is counted, and its event goes out.
    pub(crate) async fn committed<O: Machine>(&self, before: &O, written: Arc<Draft>, what: HappenedName) -> Option<O> {
        let Change { after, event, .. } = written.into_change();
        tell::committed(before.state(), &after);
        tracing::debug!(order.id = %after.id(), %what, to = %after.state(), "committed");
        if let Some(event) = event {
            reach(Point::StoredNotPublished);
            self.announce(event).await;
        }
        O::of(after)
    }

    /// The store refuses a change for what it holds. A session among it is kept all the same.
    pub(crate) async fn not_stored(&self, refused: Arc<Draft>, what: HappenedName, error: &StoreError) {
        let Change { after, fact, .. } = refused.into_change();
        tracing::error!(order.id = %after.id(), %what, %error, "the store refuses what happened");
        if let Some(fact) = fact {
            self.keep_bare_session(fact).await;
        }
    }

    async fn nothing_to_write<O: Machine>(&self, tenant: &Tenant, order: &O, decision: Decision<O>, fact: Option<Fact>) {
        match decision {
            Decision::Orphan(session) => {
                tell::orphan(&tenant.id);
                tracing::error!(purchase.id = %order.id(), %session, "an orphan: a session that this purchase cannot take");
            }
            Decision::TooLate(why) => {
                tell::contradicted(&tenant.id);
                tracing::error!(sellback.id = %order.id(), why, "it ended otherwise than it turned out");
            }
            Decision::Illegal(why) => tracing::debug!(order.id = %order.id(), why, "not done"),
            Decision::Repeat | Decision::Transition(_) => {}
        }
        if let Some(fact) = fact {
            self.keep_fact(fact).await;
        }
    }

    /// Stores what an attempt brought although its order has moved on.
    async fn keep_fact(&self, fact: Fact) {
        let mut tries = 0;
        loop {
            match self.doors.store.record_fact(fact.clone()).await {
                Ok(()) => return,
                // Written once: writing it again is no error.
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    self.store_is_away(&mut tries, &error).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the store refuses a fact");
                    return self.keep_bare_session(fact).await;
                }
            }
        }
    }

    /// The upstream sent something that cannot be stored; the session alone can.
    async fn keep_bare_session(&self, fact: Fact) {
        let clawback_domain::answer::Answer::Done { session, .. } = fact.answer else { return };
        let mut tries = 0;
        while let Err(error) = self.doors.store.record_bare_session(fact.token, session.clone(), fact.at).await {
            if matches!(error, StoreError::Refused(_) | StoreError::Corrupt(_)) {
                return tracing::error!(%session, %error, "the store refuses even the bare session");
            }
            self.store_is_away(&mut tries, &error).await;
        }
    }

    /// The row as it stands; waits for a store that is away. `None` only when there is no such row, or none that can be read.
    pub(crate) async fn read_back<O: Machine>(&self, id: OrderId) -> Option<O> {
        self.read_order(id).await.and_then(O::of)
    }

    pub(crate) async fn read_order(&self, id: OrderId) -> Option<AnyOrder> {
        let mut tries = 0;
        loop {
            match self.doors.store.order(id).await {
                Ok(row) => return row,
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    self.store_is_away(&mut tries, &error).await;
                }
                Err(error) => {
                    tracing::error!(order.id = %id, %error, "the row cannot be read");
                    return None;
                }
            }
        }
    }

    pub(crate) async fn store_is_away(&self, tries: &mut u32, error: &StoreError) {
        const FIRST: Duration = Duration::from_millis(50);
        const MAX: Duration = Duration::from_secs(2);
        if *tries == 0 {
            tracing::warn!(%error, "waiting for the store");
        }
        let wait = backoff(FIRST, MAX, *tries);
        *tries += 1;
        self.doors.clock.sleep(self.doors.clock.jitter(wait)).await;
    }
}

/// Our own attempt's token in the row says that the insert was ours, however its commit was answered. `in_doubt`: one was not answered.
fn whose(insertion: &Insertion, row: Box<AnyOrder>, in_doubt: bool) -> Stored {
    if planted(Bug::MatchedByKey) {
        return Stored::Ours;
    }
    let ours = match &insertion.attempt {
        Some(attempt) => row.attempt().is_some_and(|stored| attempt.token == stored.token),
        None => *row == insertion.order,
    };
    match (ours, in_doubt) {
        (true, _) => Stored::Ours,
        (false, true) => Stored::Overtaken(row),
        (false, false) => Stored::Taken(row),
    }
}
