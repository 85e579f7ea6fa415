//! The model: the whole [`Store`] in a few sorted maps behind one lock.
//!
//! It is what the word *store* means here, in its plainest form, and both SQL implementations are held against it by the
//! conformance suite. The simulation runs on it, so it is deterministic: no runtime, no tasks, no chance, no order that depends on
//! a hash, and time only as callers hand it in. It keeps nothing across a restart; a simulated process dies, its store does not.
//!
//! Invariants that SQL keeps with constraints are kept here by [`rules`]; what breaks one is refused as a constraint would.
//! Checkers need not walk the tables after each step: [`Memory::on_commit`] tells them what a commit touched.

mod audit;
mod cases;
mod deliveries;
mod events;
mod facts;
mod letters;
mod listing;
mod orders;
mod retention;
mod rules;
mod text;
mod unexplained;
mod users;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_domain::{
    AttemptToken, Clock, DeadLetterId, EventId, OrderId, PartnerId, PurchaseId, SessionId, Time, UserId,
    change::{Fact, Insertion},
    command::Target,
    event::Event,
    evidence::{Case, Sightings, Unexplained},
    item::Pull,
    order::{AnyOrder, Attempt},
    pause::{Pause, PauseScope},
    purchase::Purchase,
    reason::WaitCode,
    sellback::{SaleCase, Sellback},
    timeline::Entry,
    user::User,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    Applied, AttemptRecord, Counts, DeadLetter, DeadLetterState, Draft, Due, Filter, Inserted, Sent, Store, StoreError,
    StoredEvent, Warning,
    audit::{Books, Scope},
};
use cases::Cases;
use deliveries::Hooks;
use events::Log;
use facts::Attempts;
use letters::Desk;
use listing::Shelf;
use unexplained::Leftovers;
use users::People;

pub use cases::Ruled;

/// A store in memory. Cheap to make; share it in an [`Arc`].
pub struct Memory {
    tables: Mutex<Tables>,
    observer: Mutex<Option<Arc<Observer>>>,
    clock: Arc<dyn Clock>,
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few live at a time, and only by reference; a box would cost each commit more")]
pub enum Committed {
    /// An order was inserted (`before` is `None`), changed, claimed or lifted, with what was written beside it.
    Order {
        before: Option<AnyOrder>,
        after: AnyOrder,
        attempt: Option<Attempt>,
        pulls: Vec<Pull>,
        event: Option<Event>,
    },
    /// An attempt's fact was written: the first one for its token. A bare session comes as a `done` without items.
    Fact {
        order: OrderId,
        fact: Fact,
    },
    /// An event was marked for the first time.
    Sent(Sent),
    Buried {
        letter: DeadLetter,
        event: Event,
    },
    /// A turn of a user ended.
    Settled {
        user: User,
        events: Vec<Event>,
    },
}

pub type Observer = dyn Fn(&Committed) + Send + Sync;

/// Everything there is, for checks at rest and for comparing two runs. Each list is in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub orders: Vec<AnyOrder>,
    pub attempts: Vec<AttemptRecord>,
    pub pulls: Vec<Pull>,
    pub entries: Vec<Entry>,
    pub events: Vec<StoredEvent>,
    pub dead_letters: Vec<DeadLetter>,
    pub pauses: Vec<Pause>,
    pub cases: Vec<(PartnerId, UserId, Ruled)>,
    pub unexplained: Vec<Unexplained>,
    pub users: Vec<User>,
    pub warnings: Vec<Warning>,
}

impl Snapshot {
    pub fn purchases(&self) -> impl Iterator<Item = &Purchase> {
        self.orders.iter().filter_map(AnyOrder::purchase)
    }

    pub fn sellbacks(&self) -> impl Iterator<Item = &Sellback> {
        self.orders.iter().filter_map(AnyOrder::sellback)
    }
}

#[derive(Default)]
struct Tables {
    shelf: Shelf,
    attempts: Attempts,
    log: Log,
    desk: Desk,
    cases: Cases,
    unexplained: Leftovers,
    people: People,
    hooks: Hooks,
    /// What the write under way has committed, for the observer.
    commits: Vec<Committed>,
}

impl Memory {
    /// `clock` answers [`Store::clock`] and nothing else.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { tables: Mutex::default(), observer: Mutex::default(), clock }
    }

    /// Calls `observer` after each commit, outside the lock: it may read the store. It replaces the observer before.
    pub fn on_commit(&self, observer: Box<Observer>) {
        *self.observer.lock() = Some(observer.into());
    }

    pub fn snapshot(&self) -> Snapshot {
        let tables = self.tables.lock();
        Snapshot {
            orders: tables.shelf.all().cloned().collect(),
            attempts: tables.attempts.all().cloned().collect(),
            pulls: tables.shelf.all_pulls().cloned().collect(),
            entries: tables.shelf.all_entries().cloned().collect(),
            events: tables.log.all().cloned().collect(),
            dead_letters: tables.desk.all_letters().cloned().collect(),
            pauses: tables.desk.pauses(),
            cases: tables.cases.all().map(|((partner, user), ruled)| (partner.clone(), user.clone(), *ruled)).collect(),
            unexplained: tables.unexplained.all().cloned().collect(),
            users: tables.people.all().cloned().collect(),
            warnings: tables.people.all_warnings().cloned().collect(),
        }
    }

    fn read<T>(&self, what: impl FnOnce(&Tables) -> T) -> T {
        what(&self.tables.lock())
    }

    /// One commit: all of `what` under one lock, then the observer.
    fn commit<T>(&self, what: impl FnOnce(&mut Tables) -> T) -> T {
        let (result, commits) = {
            let mut tables = self.tables.lock();
            let result = what(&mut tables);
            (result, std::mem::take(&mut tables.commits))
        };
        let observer = self.observer.lock().clone();
        if let Some(observer) = observer {
            commits.iter().for_each(|committed| observer(committed));
        }
        result
    }
}

#[async_trait]
impl Store for Memory {
    async fn insert(&self, insertion: Insertion) -> Result<Inserted, StoreError> {
        self.commit(|tables| tables.insert(insertion))
    }

    async fn apply_draft(&self, draft: Arc<Draft>) -> Result<Applied, StoreError> {
        let change = draft.take();
        drop(draft);
        self.commit(|tables| tables.apply(Arc::unwrap_or_clone(change)))
    }

    async fn mark_sent(&self, events: Vec<Sent>) -> Result<(), StoreError> {
        self.commit(|tables| tables.mark_sent(&events));
        Ok(())
    }

    async fn record_fact(&self, fact: Fact) -> Result<(), StoreError> {
        self.commit(|tables| tables.record_fact(fact))
    }

    async fn record_bare_session(&self, token: AttemptToken, session: SessionId, at: Time) -> Result<(), StoreError> {
        self.commit(|tables| tables.record_bare_session(token, session, at))
    }

    async fn order(&self, id: OrderId) -> Result<Option<AnyOrder>, StoreError> {
        Ok(self.read(|tables| tables.shelf.get(id).cloned()))
    }

    async fn orders(&self, filter: Filter) -> Result<Vec<AnyOrder>, StoreError> {
        Ok(self.read(|tables| tables.shelf.list(&filter)))
    }

    async fn attempts(&self, id: OrderId) -> Result<Vec<AttemptRecord>, StoreError> {
        Ok(self.read(|tables| tables.attempts.of(id).to_vec()))
    }

    async fn timeline(&self, id: OrderId) -> Result<Vec<Entry>, StoreError> {
        Ok(self.read(|tables| tables.shelf.entries(id)))
    }

    async fn pulls(&self, id: PurchaseId) -> Result<Vec<Pull>, StoreError> {
        Ok(self.read(|tables| tables.shelf.pulls(id)))
    }

    async fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Result<Vec<Pull>, StoreError> {
        Ok(self.read(|tables| tables.shelf.pulls_of_user(partner, user)))
    }

    async fn case(&self, partner: &PartnerId, user: &UserId) -> Result<Case, StoreError> {
        Ok(self.read(|tables| tables.case(partner, user)))
    }

    async fn sale_case(&self, partner: &PartnerId, user: &UserId, target: &Target) -> Result<SaleCase, StoreError> {
        Ok(self.read(|tables| tables.shelf.sale_case(partner, user, target)))
    }

    async fn unexplained(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Unexplained>, StoreError> {
        Ok(self.read(|tables| tables.unexplained.list(partner, user, limit)))
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(self.read(|tables| tables.shelf.counts()))
    }

    async fn audit(&self, scope: Scope) -> Result<Books, StoreError> {
        Ok(self.read(|tables| tables.audit(scope)))
    }

    async fn record_look(&self, look: Sightings) -> Result<(), StoreError> {
        self.commit(|tables| tables.record_look(&look));
        Ok(())
    }

    async fn record_unexplained(&self, found: Vec<Unexplained>) -> Result<u64, StoreError> {
        self.commit(|tables| tables.unexplained.record(found))
    }

    async fn forget_explained(&self, explained: Vec<Unexplained>) -> Result<(), StoreError> {
        self.commit(|tables| tables.unexplained.forget(&explained));
        Ok(())
    }

    async fn claim_due(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<Due>, StoreError> {
        Ok(self.commit(|tables| tables.claim_due(now, limit, except)))
    }

    async fn lift(&self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate: u32) -> Result<u64, StoreError> {
        Ok(self.commit(|tables| tables.lift(scope, codes, now, rate)))
    }

    async fn claim_unsent(&self, now: Time, limit: u32, again: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.commit(|tables| tables.log.claim_unsent(now, limit, again)))
    }

    async fn predecessors_sent(&self, subject: Uuid, sequence: u64) -> Result<bool, StoreError> {
        Ok(self.read(|tables| tables.log.predecessors_sent(subject, sequence)))
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.read(|tables| tables.log.get(id).cloned()))
    }

    async fn last_event(&self, subject: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.read(|tables| tables.log.last(subject).cloned()))
    }

    async fn events(&self, partner: Option<&PartnerId>, position: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.read(|tables| tables.log.after(partner, position, limit)))
    }

    async fn bury(&self, letter: DeadLetter, event: Event) -> Result<bool, StoreError> {
        self.commit(|tables| tables.bury(letter, event))
    }

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.read(|tables| tables.desk.letter(id).cloned()))
    }

    async fn dead_letters(&self, partner: Option<&PartnerId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.read(|tables| tables.desk.letters(partner, limit)))
    }

    async fn settle_dead_letter(
        &self,
        id: DeadLetterId,
        state: DeadLetterState,
        by: &str,
        at: Time,
    ) -> Result<bool, StoreError> {
        self.commit(|tables| tables.desk.settle(id, state, by, at))
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        Ok(self.read(|tables| tables.desk.pauses()))
    }

    async fn pause(&self, pause: Pause) -> Result<bool, StoreError> {
        self.commit(|tables| tables.desk.pause(pause))
    }

    async fn resume(&self, scope: &PauseScope, _by: &str, _reason: &str, _at: Time) -> Result<bool, StoreError> {
        Ok(self.commit(|tables| tables.desk.resume(scope)))
    }

    async fn clock(&self) -> Result<Time, StoreError> {
        Ok(self.clock.now())
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn pending_migrations(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn close(&self) {}
}
