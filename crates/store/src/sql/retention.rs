//! What is removed by age: a page is found, then whatever of it is done with is removed by one guarded statement, then what hung on that.

use async_trait::async_trait;
use clawback_domain::Time;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, TransactionTrait, Value};
use uuid::Uuid;

use super::{Sql, connect::begin_writing, failure, orders::placeholders};
use crate::{Page, Prunable, Prune, Pruned, StoreError};

/// `orders.pruned` of a row on which nothing hangs any more; 1 is without its timeline, 0 whole.
pub const TOMBSTONE: i64 = 2;

/// Counting goes through everything that is old, so it may take longer than what serves somebody.
const PATIENCE: &str = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '10min'";

/// Whoever makes deliveries begins with its webhook's row. With these locks nobody puts an event back of which the delivery is just removed.
const HOLD_WEBHOOKS: &str = "SELECT partner FROM webhooks ORDER BY partner FOR SHARE";

/// Where a kind is found: the condition is that of an index on (`at`, id).
struct Found {
    table: &'static str,
    at: &'static str,
    are: &'static str,
}

const fn found(what: Prunable) -> Found {
    match what {
        Prunable::Events => Found {
            table: "events",
            at: "time",
            are: "kind IN ('clawback.command.rejected', 'clawback.buyback.expiring', 'clawback.buyback.expired')",
        },
        Prunable::DeadLetters => Found { table: "dead_letters", at: "received_at", are: "TRUE" },
        Prunable::Timelines => Found { table: "orders", at: "created_at", are: "look_at IS NULL AND pruned = 0" },
        Prunable::Orders => Found { table: "orders", at: "created_at", are: "pruned = 1" },
        Prunable::Pulls => Found { table: "pulls", at: "sold_at", are: "sold_at IS NOT NULL" },
    }
}

/// An event that went out, to the queue and to the webhook if there is one.
fn is_past(event: &str) -> String {
    format!(
        "{event}.sent_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.partner = {event}.partner AND w.position < {event}.position)
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.position = {event}.position AND d.given_up_at IS NULL)"
    )
}

/// The last event of a subject that goes on stays: the next takes its number from there.
fn is_event_done_with() -> String {
    let past = is_past("events");
    format!(
        "{past} AND (kind = 'clawback.command.rejected'
            OR EXISTS (SELECT 1 FROM events n WHERE n.subject = events.subject AND n.sequence > events.sequence))"
    )
}

fn is_order_done_with() -> String {
    let past = is_past("e");
    format!("updated_at < $1 AND NOT EXISTS (SELECT 1 FROM events e WHERE e.subject = orders.id AND NOT ({past}))")
}

/// A row of a page.
struct Row {
    at: Time,
    id: Uuid,
}

#[async_trait]
impl Prune for Sql {
    async fn prune(&self, what: Prunable, before: Time, page: Page) -> Result<Pruned, StoreError> {
        let prune = async {
            let tx = begin_writing(&self.write).await?;
            let rows = self.old(&tx, what, before, page).await?;
            let removed = self.remove(&tx, what, before, &rows).await?;
            tx.commit().await?;
            let last = rows.last().filter(|_| rows.len() == page.limit as usize);
            Ok(Pruned { removed, next: last.map(|row| (row.at, row.id)) })
        };
        prune.await.map_err(failure::writing)
    }

    async fn prunable(&self, what: Prunable, before: Time) -> Result<u64, StoreError> {
        let count = async {
            let tx = self.read.begin().await?;
            if self.is_postgres() {
                tx.execute_unprepared(PATIENCE).await?;
            }
            let row = tx.query_one_raw(self.statement(counting(what), vec![before.into()])).await?;
            let count: i64 = row.ok_or_else(|| DbErr::RecordNotFound("a count".into()))?.try_get_by_index(0)?;
            tx.rollback().await.map(|()| count.unsigned_abs())
        };
        count.await.map_err(failure::reading)
    }
}

/// `$1` is before when, `$2` how many, `$3` and `$4` the place to go on from.
pub fn paging(what: Prunable, goes_on: bool) -> String {
    let Found { table, at, are } = found(what);
    let after = if goes_on { format!("AND ({at}, id) > ($3, $4)") } else { String::new() };
    format!("SELECT {at} AS at, id FROM {table} WHERE {are} AND {at} < $1 {after} ORDER BY {at}, id LIMIT $2")
}

/// As if all kinds before it had been pruned.
fn counting(what: Prunable) -> String {
    let Found { table, at, are } = found(what);
    let done_with = match what {
        Prunable::Events => is_event_done_with(),
        Prunable::DeadLetters => "state <> 'kept' AND settled_at < $1".into(),
        Prunable::Timelines => "updated_at < $1".into(),
        Prunable::Orders => is_order_done_with(),
        Prunable::Pulls => "TRUE".into(),
    };
    let are = match what {
        Prunable::Orders => format!("(({}) OR {are})", found(Prunable::Timelines).are),
        Prunable::Events | Prunable::DeadLetters | Prunable::Timelines | Prunable::Pulls => are.into(),
    };
    format!("SELECT count(*) FROM {table} WHERE {are} AND {at} < $1 AND {done_with}")
}

impl Sql {
    async fn old(&self, tx: &DatabaseTransaction, what: Prunable, before: Time, page: Page) -> Result<Vec<Row>, DbErr> {
        let mut values: Vec<Value> = vec![before.into(), i64::from(page.limit).into()];
        values.extend(page.after.into_iter().flat_map(|(last, id)| [Value::from(last), id.into()]));
        let rows = tx.query_all_raw(self.statement(paging(what, page.after.is_some()), values)).await?;
        rows.iter().map(|row| Ok(Row { at: row.try_get("", "at")?, id: row.try_get("", "id")? })).collect()
    }

    async fn remove(&self, tx: &DatabaseTransaction, what: Prunable, before: Time, rows: &[Row]) -> Result<u64, DbErr> {
        let ids = || rows.iter().map(|row| Value::from(row.id)).collect();
        match what {
            _ if rows.is_empty() => Ok(0),
            Prunable::Events => self.remove_events(tx, "id", ids(), &is_event_done_with()).await,
            Prunable::DeadLetters => self.remove_letters(tx, before, ids()).await,
            Prunable::Timelines => self.remove_timelines(tx, before, ids()).await,
            Prunable::Orders => self.bury_orders(tx, before, ids()).await,
            Prunable::Pulls => self.remove_pulls(tx, rows).await,
        }
    }

    async fn remove_events(
        &self,
        tx: &DatabaseTransaction,
        column: &str,
        of: Vec<Value>,
        done_with: &str,
    ) -> Result<u64, DbErr> {
        if self.is_postgres() {
            tx.execute_unprepared(HOLD_WEBHOOKS).await?;
        }
        let ids = placeholders(1, of.len());
        let sql = format!("DELETE FROM events WHERE {column} IN ({ids}) AND {done_with} RETURNING position");
        let gone = tx.query_all_raw(self.statement(sql, of)).await?;
        let positions = gone.iter().map(|row| row.try_get_by_index::<i64>(0).map(Value::from));
        let positions = positions.collect::<Result<Vec<_>, _>>()?;
        self.delete(tx, "deliveries", "position", positions).await?;
        Ok(gone.len() as u64)
    }

    /// Under the id of a letter whose event is kept none could be buried again.
    async fn remove_letters(&self, tx: &DatabaseTransaction, before: Time, ids: Vec<Value>) -> Result<u64, DbErr> {
        let sql = format!(
            "DELETE FROM dead_letters WHERE id IN ({}) AND state <> 'kept' AND settled_at < $1
                AND NOT EXISTS (SELECT 1 FROM events e WHERE e.subject = dead_letters.id)",
            placeholders(2, ids.len())
        );
        let values = [vec![before.into()], ids].concat();
        Ok(tx.execute_raw(self.statement(sql, values)).await?.rows_affected())
    }

    async fn remove_timelines(&self, tx: &DatabaseTransaction, before: Time, ids: Vec<Value>) -> Result<u64, DbErr> {
        let set = "pruned = 1";
        let are = "look_at IS NULL AND pruned = 0 AND updated_at < $1";
        let ended = self.mark(tx, set, are, before, ids).await?;
        let count = ended.len() as u64;
        self.delete(tx, "timeline", "order_id", ended).await.map(|()| count)
    }

    async fn bury_orders(&self, tx: &DatabaseTransaction, before: Time, ids: Vec<Value>) -> Result<u64, DbErr> {
        if self.is_postgres() {
            tx.execute_unprepared(HOLD_WEBHOOKS).await?;
        }
        let detail = match self.is_postgres() {
            true => "CAST(CAST(detail AS jsonb) - 'evidence' AS text)",
            false => "json_remove(detail, '$.evidence')",
        };
        let set = format!("pruned = {TOMBSTONE}, metadata = NULL, tracestate = NULL, detail = {detail}");
        let are = format!("pruned = 1 AND {}", is_order_done_with());
        let ended = self.mark(tx, &set, &are, before, ids).await?;
        let count = ended.len() as u64;
        self.delete(tx, "attempts", "order_id", ended.clone()).await?;
        if !ended.is_empty() {
            self.remove_events(tx, "subject", ended, "TRUE").await?;
        }
        Ok(count)
    }

    /// By the index that found them: pulls have none by their id. A turn, too, writes pulls before warnings.
    async fn remove_pulls(&self, tx: &DatabaseTransaction, rows: &[Row]) -> Result<u64, DbErr> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(0) };
        let sql = format!(
            "DELETE FROM pulls WHERE sold_at IS NOT NULL AND (sold_at, id) >= ($1, $2) AND (sold_at, id) <= ($3, $4)
                AND EXISTS (SELECT 1 FROM orders p WHERE p.id = pulls.purchase AND p.pruned = {TOMBSTONE})
            RETURNING id"
        );
        let values = vec![first.at.into(), first.id.into(), last.at.into(), last.id.into()];
        let gone = self.ids(tx, sql, values).await?;
        let count = gone.len() as u64;
        self.delete(tx, "warnings", "pull_id", gone).await.map(|()| count)
    }

    /// Which of these orders were so, and are marked now.
    async fn mark(
        &self,
        tx: &DatabaseTransaction,
        set: &str,
        are: &str,
        before: Time,
        ids: Vec<Value>,
    ) -> Result<Vec<Value>, DbErr> {
        let sql = format!("UPDATE orders SET {set} WHERE id IN ({}) AND {are} RETURNING id", placeholders(2, ids.len()));
        let values = [vec![before.into()], ids].concat();
        self.ids(tx, sql, values).await
    }

    /// Of the rows that a statement returns.
    async fn ids(&self, tx: &DatabaseTransaction, sql: String, values: Vec<Value>) -> Result<Vec<Value>, DbErr> {
        let rows = tx.query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(|row| row.try_get_by_index::<Uuid>(0).map(Value::from)).collect()
    }

    async fn delete(&self, tx: &DatabaseTransaction, table: &str, column: &str, of: Vec<Value>) -> Result<(), DbErr> {
        if of.is_empty() {
            return Ok(());
        }
        let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", placeholders(1, of.len()));
        tx.execute_raw(self.statement(sql, of)).await.map(drop)
    }
}
