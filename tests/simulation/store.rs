//! The store's door: the model, with the world's faults before and after each commit.

mod deliveries;
mod retention;
mod users;

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_domain::{
    AttemptToken, DeadLetterId, EventId, OrderId, PartnerId, PurchaseId, SessionId, Time, UserId,
    change::{Change, Fact, Insertion},
    command::Target,
    event::Event,
    evidence::{Case, Sightings, Unexplained},
    item::Pull,
    order::AnyOrder,
    pause::{Pause, PauseScope},
    reason::WaitCode,
    resource::evidence_of,
    sellback::SaleCase,
    timeline::Entry,
};
use clawback_store::{
    Applied, AttemptRecord, Counts, DeadLetter, DeadLetterState, Draft, Due, Filter, Inserted, Sent, Store, StoreError,
    StoredEvent,
    audit::{Books, Scope},
    memory::Memory,
};
use uuid::Uuid;

use crate::{workload::partners, world::World};

pub struct SimStore(pub World);

impl SimStore {
    async fn read<T: Send + 'static, F>(&self, operation: impl FnOnce(Arc<Memory>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.0.read(operation(self.0.store())).await
    }

    async fn write<T: Send + 'static, F>(&self, operation: impl FnOnce(Arc<Memory>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.0.write(operation(self.0.store())).await
    }
}

fn has_evidence(order: &AnyOrder) -> bool {
    match order {
        AnyOrder::Purchase(purchase) => evidence_of(&purchase.state).is_some(),
        AnyOrder::Sellback(sellback) => sellback.state.evidence().is_some(),
    }
}

#[async_trait]
impl Store for SimStore {
    async fn insert(&self, insertion: Insertion) -> Result<Inserted, StoreError> {
        self.write(|store| async move { store.insert(insertion).await }).await
    }

    async fn apply_draft(&self, draft: Arc<Draft>) -> Result<Applied, StoreError> {
        let is_verdict = |change: &Change| change.after.state().is_final() && has_evidence(&change.after);
        if draft.look(is_verdict) && self.0.fires("verdict slow", self.0.rates().verdict_slow) {
            self.0.sleep(self.0.chance().span("verdict slow for", Duration::ZERO, Duration::from_secs(20))).await;
        }
        self.write(|store| async move { store.apply_draft(draft).await }).await
    }

    async fn mark_sent(&self, events: Vec<Sent>) -> Result<(), StoreError> {
        self.write(|store| async move { store.mark_sent(events).await }).await
    }

    async fn record_fact(&self, fact: Fact) -> Result<(), StoreError> {
        self.write(|store| async move { store.record_fact(fact).await }).await
    }

    async fn record_bare_session(&self, token: AttemptToken, session: SessionId, at: Time) -> Result<(), StoreError> {
        self.write(|store| async move { store.record_bare_session(token, session, at).await }).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<AnyOrder>, StoreError> {
        self.read(|store| async move { store.order(id).await }).await
    }

    async fn orders(&self, filter: Filter) -> Result<Vec<AnyOrder>, StoreError> {
        self.read(|store| async move { store.orders(filter).await }).await
    }

    async fn attempts(&self, id: OrderId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.read(|store| async move { store.attempts(id).await }).await
    }

    async fn timeline(&self, id: OrderId) -> Result<Vec<Entry>, StoreError> {
        self.read(|store| async move { store.timeline(id).await }).await
    }

    async fn pulls(&self, id: PurchaseId) -> Result<Vec<Pull>, StoreError> {
        self.read(|store| async move { store.pulls(id).await }).await
    }

    async fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Result<Vec<Pull>, StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.read(|store| async move { store.pulls_of_user(&partner, &user).await }).await
    }

    async fn case(&self, partner: &PartnerId, user: &UserId) -> Result<Case, StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.read(|store| async move { store.case(&partner, &user).await }).await
    }

    async fn sale_case(&self, partner: &PartnerId, user: &UserId, target: &Target) -> Result<SaleCase, StoreError> {
        let (partner, user, target) = (partner.clone(), user.clone(), target.clone());
        self.read(|store| async move { store.sale_case(&partner, &user, &target).await }).await
    }

    async fn unexplained(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Unexplained>, StoreError> {
        let (partner, user) = (partner.cloned(), user.cloned());
        self.read(|store| async move { store.unexplained(partner.as_ref(), user.as_ref(), limit).await }).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|store| async move { store.counts().await }).await
    }

    async fn audit(&self, scope: Scope) -> Result<Books, StoreError> {
        self.read(|store| async move { store.audit(scope).await }).await
    }

    async fn record_look(&self, look: Sightings) -> Result<(), StoreError> {
        self.write(|store| async move { store.record_look(look).await }).await
    }

    async fn record_unexplained(&self, found: Vec<Unexplained>) -> Result<u64, StoreError> {
        self.write(|store| async move { store.record_unexplained(found).await }).await
    }

    async fn forget_explained(&self, explained: Vec<Unexplained>) -> Result<(), StoreError> {
        self.write(|store| async move { store.forget_explained(explained).await }).await
    }

    async fn claim_due(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<Due>, StoreError> {
        let except = except.to_vec();
        self.write(|store| async move { store.claim_due(now, limit, &except).await }).await
    }

    async fn lift(&self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate_per_second: u32) -> Result<u64, StoreError> {
        let (scope, codes) = (scope.clone(), codes.to_vec());
        self.write(|store| async move { store.lift(&scope, &codes, now, rate_per_second).await }).await
    }

    async fn claim_unsent(&self, now: Time, limit: u32, again: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        self.write(|store| async move { store.claim_unsent(now, limit, again).await }).await
    }

    async fn predecessors_sent(&self, subject: Uuid, sequence: u64) -> Result<bool, StoreError> {
        self.read(|store| async move { store.predecessors_sent(subject, sequence).await }).await
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.read(|store| async move { store.event(id).await }).await
    }

    async fn last_event(&self, subject: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.read(|store| async move { store.last_event(subject).await }).await
    }

    async fn events(&self, partner: Option<&PartnerId>, position: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let partner = partner.cloned();
        self.read(|store| async move { store.events(partner.as_ref(), position, limit).await }).await
    }

    async fn bury(&self, letter: DeadLetter, event: Event) -> Result<bool, StoreError> {
        self.write(|store| async move { store.bury(letter, event).await }).await
    }

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.read(|store| async move { store.dead_letter(id).await }).await
    }

    async fn dead_letters(&self, partner: Option<&PartnerId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let partner = partner.cloned();
        self.read(|store| async move { store.dead_letters(partner.as_ref(), limit).await }).await
    }

    async fn settle_dead_letter(
        &self,
        id: DeadLetterId,
        state: DeadLetterState,
        by: &str,
        at: Time,
    ) -> Result<bool, StoreError> {
        let by = by.to_owned();
        self.write(|store| async move { store.settle_dead_letter(id, state, &by, at).await }).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let pauses = self.read(|store| async move { store.pauses().await }).await?;
        self.0.watch().knows_pauses(self.0.process(), &pauses, &partners(), self.0.now());
        Ok(pauses)
    }

    async fn pause(&self, pause: Pause) -> Result<bool, StoreError> {
        self.write(|store| async move { store.pause(pause).await }).await
    }

    async fn resume(&self, scope: &PauseScope, by: &str, reason: &str, at: Time) -> Result<bool, StoreError> {
        let (scope, by, reason) = (scope.clone(), by.to_owned(), reason.to_owned());
        self.write(|store| async move { store.resume(&scope, &by, &reason, at).await }).await
    }

    async fn clock(&self) -> Result<Time, StoreError> {
        Ok(self.0.now())
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn pending_migrations(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn close(&self) {}
}
