//! The ceiling's store: nothing but group commit. The same three transitions as the plain worker's, of many purchases at once.

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, Connection, PgConnection, postgres::PgConnectOptions, types::Uuid};
use tokio::sync::{mpsc, oneshot};

use crate::job::Purchase;

/// Rows of one statement with narrow rows, and with rows that carry items or an event, of one or two KiB: what does not fit into one
/// segment of a loopback connection waits about 40 ms for a delayed acknowledgement.
const NARROW: usize = 128;
const WIDE: usize = 32;
/// Transitions of one transaction.
const MOST_JOBS: usize = 1024;

pub enum Write {
    Insert(Purchase),
    Opened { id: Uuid, session: String },
    Fulfilled { id: Uuid, items: String, event: Uuid, body: String },
}

type Job = (Write, oneshot::Sender<()>);

/// Hands writes to the one task that commits.
#[derive(Clone)]
pub struct Group(mpsc::Sender<Job>);

impl Group {
    pub async fn open(url: &str) -> Result<Self> {
        let options = url.parse::<PgConnectOptions>()?.options([("plan_cache_mode", "force_custom_plan")]);
        let connection = PgConnection::connect_with(&options).await?;
        let (sender, jobs) = mpsc::channel(4 * MOST_JOBS);
        tokio::spawn(commit_all(connection, jobs));
        Ok(Self(sender))
    }

    /// Returns when the write stands. An error when its batch failed: a benchmark ends there.
    pub async fn write(&self, write: Write) -> Result<()> {
        let (done, stands) = oneshot::channel();
        self.0.send((write, done)).await?;
        Ok(stands.await?)
    }
}

async fn commit_all(mut connection: PgConnection, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
    let mut batch = Vec::with_capacity(MOST_JOBS);
    while jobs.recv_many(&mut batch, MOST_JOBS).await > 0 {
        commit(&mut connection, &batch).await.inspect_err(|error| eprintln!("a batch failed: {error:#}"))?;
        batch.drain(..).for_each(|(_, done)| done.send(()).unwrap_or_default());
    }
    Ok(())
}

async fn commit(connection: &mut PgConnection, batch: &[Job]) -> Result<()> {
    let mut tx = connection.begin().await?;
    let mut inserts: Vec<_> = batch.iter().filter_map(|(write, _)| inserted(write)).collect();
    let mut opened: Vec<_> = batch.iter().filter_map(|(write, _)| opened(write)).collect();
    let mut fulfilled: Vec<_> = batch.iter().filter_map(|(write, _)| fulfilled(write)).collect();
    inserts.sort_unstable_by_key(|purchase| purchase.id);
    opened.sort_unstable();
    fulfilled.sort_unstable();
    for part in inserts.chunks(NARROW) {
        insert(&mut tx, part).await?;
    }
    for part in opened.chunks(NARROW) {
        open(&mut tx, part).await?;
    }
    for part in fulfilled.chunks(WIDE) {
        fulfil(&mut tx, part).await?;
    }
    Ok(tx.commit().await?)
}

fn inserted(write: &Write) -> Option<&Purchase> {
    if let Write::Insert(purchase) = write { Some(purchase) } else { None }
}

fn opened(write: &Write) -> Option<(Uuid, &str)> {
    if let Write::Opened { id, session } = write { Some((*id, session)) } else { None }
}

fn fulfilled(write: &Write) -> Option<(Uuid, &str, Uuid, &str)> {
    if let Write::Fulfilled { id, items, event, body } = write { Some((*id, items, *event, body)) } else { None }
}

async fn insert(connection: &mut PgConnection, rows: &[&Purchase]) -> Result<()> {
    let text = |of: fn(&Purchase) -> &str| rows.iter().map(|row| of(row)).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO purchase (id, partner, request_id, user_id, pack_id, amount, created_at, state, version)
         SELECT id, partner, request, user_id, pack, amount, $7, 'initiating', 1
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[])
            AS v(id, partner, request, user_id, pack, amount)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(text(|row| &row.partner))
    .bind(text(|row| &row.command.request_id))
    .bind(text(|row| &row.command.user_id))
    .bind(text(|row| &row.command.pack_id))
    .bind(rows.iter().map(|row| row.command.amount.cast_signed()).collect::<Vec<_>>())
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}

async fn open(connection: &mut PgConnection, rows: &[(Uuid, &str)]) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE purchase SET state = 'pending', version = 2, session_id = v.session
         FROM unnest($1::uuid[], $2::text[]) AS v(id, session) WHERE purchase.id = v.id AND version = 1",
    )
    .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    ensure!(updated.rows_affected() == rows.len() as u64, "a transition did not fit");
    Ok(())
}

async fn fulfil(connection: &mut PgConnection, rows: &[(Uuid, &str, Uuid, &str)]) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE purchase SET state = 'fulfilled', version = 3, items = v.items
         FROM unnest($1::uuid[], $2::text[]) AS v(id, items) WHERE purchase.id = v.id AND version = 2",
    )
    .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    ensure!(updated.rows_affected() == rows.len() as u64, "a transition did not fit");
    sqlx::query("INSERT INTO event (id, purchase, body) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])")
        .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.3).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn now() -> DateTime<Utc> {
    Utc::now()
}
