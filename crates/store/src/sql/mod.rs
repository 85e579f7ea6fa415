//! The store on PostgreSQL and on SQLite: one code, two dialects.
//!
//! The way of a purchase goes through [`group_commit`]: [`batch`] says who shares a transaction, [`write`](mod@write) turns a batch
//! into statements, [`statement`] speaks both dialects, [`failure`] says what an error means. Everything rarer goes its own way:
//! [`orders`], [`events`], [`deliveries`], [`letters`] and [`pauses`] hold what is read and claimed, [`cases`], [`looks`] and [`unexplained`] what
//! unknown outcomes are settled with, [`audit`] what is proven, [`entity`] the rows, [`json`] what a state carries, [`migration`] the
//! schema, [`connect`](mod@connect) the connections and their measured options.

mod audit;
mod batch;
mod cases;
mod connect;
mod deliveries;
mod entity;
mod events;
mod failure;
mod group_commit;
mod json;
mod letters;
mod looks;
mod migration;
mod orders;
mod pauses;
#[cfg(test)]
mod plans;
mod retention;
mod sales;
mod schema;
mod statement;
mod unexplained;
mod users;
mod write;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::Utc;
use clawback_domain::{
    AttemptToken, DeadLetterId, EventId, OrderId, PartnerId, PurchaseId, SessionId, Time, UserId,
    answer::Answer,
    change::{Fact, Insertion},
    clock::micros,
    command::Target,
    event::Event,
    evidence::{Case, Sightings, Unexplained},
    item::Pull,
    order::AnyOrder,
    pause::{Pause, PauseScope},
    reason::WaitCode,
    sellback::SaleCase,
    timeline::Entry,
};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use uuid::Uuid;

pub use connect::Options;

use crate::{
    Applied, AttemptRecord, Counts, DeadLetter, DeadLetterState, Draft, Due, Filter, Inserted, Sent, Store, StoreError,
    StoredEvent,
    audit::{Books, Scope},
};
use batch::Write;
use connect::begin_bulk;
use failure::Failure;
use group_commit::{Job, QUEUE, Tally, Writer};
use statement::Step;
use write::Done;

/// A store behind SQL. Dropping it writes what was handed over; [`Store::close`] waits for that.
pub struct Sql {
    /// `None` once closed.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    tally: Arc<Tally>,
    write: DatabaseConnection,
    read: DatabaseConnection,
    options: Options,
}

/// Opens the store at `url`: `postgres://…`, or `sqlite://path?mode=rwc`, which makes the file and its folders. Call it inside a
/// tokio runtime: the group commit is a task.
///
/// # Errors
/// [`StoreError::Refused`] for a URL of another kind, [`StoreError::Unavailable`] for a file that cannot be opened. A PostgreSQL
/// server that is down is met at the first use.
pub async fn connect(url: &str, options: Options) -> Result<Sql, StoreError> {
    let databases = connect::open(url, &options).await?;
    let (sender, jobs) = mpsc::channel(QUEUE);
    let tally = Arc::new(Tally::default());
    let writer = tokio::spawn(Writer { link: databases.link, jobs, tally: tally.clone() }.run());
    Ok(Sql {
        queue: Mutex::new(Some(sender)),
        writer: Mutex::new(Some(writer)),
        tally,
        write: databases.write,
        read: databases.read,
        options,
    })
}

impl Sql {
    /// How many group commits there were, and how many writes they held.
    pub fn commits(&self) -> (u64, u64) {
        self.tally.read()
    }

    /// New connections are made with this URL from now on, so that they take a rotated password; those that there are stay.
    ///
    /// # Errors
    /// A sentence without the URL: it cannot be read, or names another database. Then nothing changes.
    pub fn redirect(&self, url: &str) -> Result<(), String> {
        connect::redirect(&self.read, url, &self.options)
    }

    async fn enqueue(&self, write: Write) -> Result<Done, StoreError> {
        let queue = self.queue.lock().clone().ok_or_else(|| StoreError::Unavailable("the store is closed".into()))?;
        let (reply, answer) = oneshot::channel();
        let gone = |_| StoreError::Unavailable("the writer has ended".into());
        queue.send(Job { write, reply }).await.map_err(gone)?;
        drop(queue);
        answer.await.unwrap_or_else(|_| Err(StoreError::Unknown("the writer ended in the middle of it".into())))
    }

    /// Statements that do not see what the others write, in a transaction of their own and one at a time of those that name the same
    /// lock; hands back the ids that each returned.
    async fn write_alone<const N: usize>(
        &self,
        lock: Option<i64>,
        steps: [Step<'_>; N],
    ) -> Result<[HashSet<Uuid>; N], StoreError> {
        let statement = |error| StoreError::from(Failure::of_statement(&error));
        let mut tx = begin_bulk(&self.write).await.map_err(statement)?;
        if let Some(key) = lock {
            tx.lock(key).await.map_err(statement)?;
        }
        let ids = tx.together(steps).await.map_err(statement)?;
        tx.commit().await.map_err(|error| Failure::of_commit(&error))?;
        Ok(ids)
    }

    fn statement(&self, sql: impl Into<String>, values: Vec<sea_orm::Value>) -> Statement {
        Statement::from_sql_and_values(self.read.get_database_backend(), sql, values)
    }

    fn is_postgres(&self) -> bool {
        self.read.get_database_backend() == DbBackend::Postgres
    }
}

#[async_trait]
impl Store for Sql {
    async fn insert(&self, insertion: Insertion) -> Result<Inserted, StoreError> {
        let id = insertion.order.id();
        if self.enqueue(Write::Insert(Box::new(insertion))).await? != Done::Taken {
            return Ok(Inserted::New);
        }
        let gone = || StoreError::Unavailable("the row that had the key is gone".into());
        Ok(Inserted::Exists(Box::new(self.find_order(id).await?.ok_or_else(gone)?)))
    }

    async fn apply_draft(&self, draft: Arc<Draft>) -> Result<Applied, StoreError> {
        match self.enqueue(Write::Draft(draft)).await? {
            Done::Lost => Ok(Applied::Lost),
            Done::Written | Done::Taken => Ok(Applied::Committed),
        }
    }

    async fn mark_sent(&self, events: Vec<Sent>) -> Result<(), StoreError> {
        self.enqueue(Write::Sent(events)).await.map(drop)
    }

    async fn record_fact(&self, fact: Fact) -> Result<(), StoreError> {
        self.enqueue(Write::Fact(Box::new(fact))).await.map(drop)
    }

    /// A session alone reads back as an answer without items.
    async fn record_bare_session(&self, token: AttemptToken, session: SessionId, at: Time) -> Result<(), StoreError> {
        self.record_fact(Fact { token, answer: Answer::Done { session, nfts: Vec::new() }, at }).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<AnyOrder>, StoreError> {
        self.find_order(id).await
    }

    async fn orders(&self, filter: Filter) -> Result<Vec<AnyOrder>, StoreError> {
        self.list_orders(filter).await
    }

    async fn attempts(&self, id: OrderId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.find_attempts(id).await
    }

    async fn timeline(&self, id: OrderId) -> Result<Vec<Entry>, StoreError> {
        self.find_timeline(id).await
    }

    async fn pulls(&self, id: PurchaseId) -> Result<Vec<Pull>, StoreError> {
        self.find_pulls(id).await
    }

    async fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Result<Vec<Pull>, StoreError> {
        self.find_pulls_of_user(partner, user).await
    }

    async fn case(&self, partner: &PartnerId, user: &UserId) -> Result<Case, StoreError> {
        self.find_case(partner, user).await
    }

    async fn sale_case(&self, partner: &PartnerId, user: &UserId, target: &Target) -> Result<SaleCase, StoreError> {
        self.find_sale_case(partner, user, target).await
    }

    async fn unexplained(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Unexplained>, StoreError> {
        self.list_unexplained(partner, user, limit).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.count_orders().await
    }

    async fn audit(&self, scope: Scope) -> Result<Books, StoreError> {
        self.audit_books(scope).await
    }

    async fn record_look(&self, look: Sightings) -> Result<(), StoreError> {
        self.write_look(&look).await
    }

    async fn record_unexplained(&self, found: Vec<Unexplained>) -> Result<u64, StoreError> {
        self.write_unexplained(found).await
    }

    async fn forget_explained(&self, explained: Vec<Unexplained>) -> Result<(), StoreError> {
        self.delete_explained(&explained).await
    }

    async fn claim_due(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<Due>, StoreError> {
        self.claim_orders(now, limit, except).await
    }

    async fn lift(&self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate: u32) -> Result<u64, StoreError> {
        self.lift_orders(scope, codes, now, rate).await
    }

    async fn claim_unsent(&self, now: Time, limit: u32, again: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        self.claim_events(now, limit, again).await
    }

    async fn predecessors_sent(&self, subject: Uuid, sequence: u64) -> Result<bool, StoreError> {
        self.are_predecessors_sent(subject, sequence).await
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.find_event(id).await
    }

    async fn last_event(&self, subject: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.find_last_event(subject).await
    }

    async fn events(&self, partner: Option<&PartnerId>, position: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        self.list_events(partner, position, limit).await
    }

    async fn bury(&self, letter: DeadLetter, event: Event) -> Result<bool, StoreError> {
        self.bury_letter(letter, event).await
    }

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.find_letter(id).await
    }

    async fn dead_letters(&self, partner: Option<&PartnerId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.list_letters(partner, limit).await
    }

    async fn settle_dead_letter(
        &self,
        id: DeadLetterId,
        state: DeadLetterState,
        by: &str,
        at: Time,
    ) -> Result<bool, StoreError> {
        self.settle_letter(id, state, by, at).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.list_pauses().await
    }

    async fn pause(&self, pause: Pause) -> Result<bool, StoreError> {
        self.insert_pause(pause).await
    }

    async fn resume(&self, scope: &PauseScope, by: &str, reason: &str, at: Time) -> Result<bool, StoreError> {
        self.lift_pause(scope, by, reason, at).await
    }

    async fn clock(&self) -> Result<Time, StoreError> {
        if !self.is_postgres() {
            return Ok(micros(Utc::now()));
        }
        let row = self.read.query_one_raw(self.statement("SELECT clock_timestamp() AS now", vec![])).await;
        let row = row.map_err(failure::reading)?.ok_or_else(|| StoreError::Unavailable("no answer".into()))?;
        row.try_get("", "now").map(micros).map_err(failure::reading)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(&self.write).await
    }

    async fn pending_migrations(&self) -> Result<Vec<String>, StoreError> {
        schema::pending(&self.read).await
    }

    async fn close(&self) {
        self.queue.lock().take();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            writer.await.ok();
        }
        self.write.close_by_ref().await.ok();
        self.read.close_by_ref().await.ok();
    }
}
