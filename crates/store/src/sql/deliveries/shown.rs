//! Webhooks as people see them, and what people do: enabling one again, and having events delivered once more.

use clawback_domain::{EventId, PartnerId, Time};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult};

use super::{Sql, breaker, partner};
use crate::{
    Replay, Replayed, StoreError, Webhook,
    sql::{
        connect::begin_writing,
        failure::{reading, writing},
        json,
    },
};

/// Counted within the partner's own deliveries: what waits, what was given up.
const LIST: &str = "SELECT w.*,
        (SELECT count(*) FROM deliveries d WHERE d.partner = w.partner AND d.given_up_at IS NULL) AS waiting,
        (SELECT count(*) FROM deliveries d WHERE d.partner = w.partner AND d.given_up_at IS NOT NULL) AS given_up,
        (SELECT min(d.time) FROM deliveries d WHERE d.partner = w.partner AND d.given_up_at IS NULL) AS oldest,
        (SELECT d.last_error FROM deliveries d WHERE d.partner = w.partner AND d.given_up_at IS NULL
            AND d.last_error IS NOT NULL ORDER BY d.position LIMIT 1) AS last_error
    FROM webhooks w ORDER BY w.partner";

/// Of events of a partner, due at `$4`; those that wait are left as they are.
const PUT_BACK: &str = "INSERT INTO deliveries (position, event, partner, subject, sequence, time, due_at)
    SELECT position, id, partner, subject, sequence, time, $4 FROM events
    WHERE partner = $1 AND position > $2 AND position <= $3 AND time >= $5
    ON CONFLICT (position) DO UPDATE SET due_at = excluded.due_at, tries = 0, given_up_at = NULL
    WHERE deliveries.given_up_at IS NOT NULL";

impl Sql {
    pub(super) async fn list_webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let rows = self.read.query_all_raw(self.statement(LIST, vec![])).await.map_err(reading)?;
        rows.iter().map(shown).collect()
    }

    pub(super) async fn enable(&self, partner: &PartnerId, act: &str, now: Time) -> Result<bool, StoreError> {
        json::check(act)?;
        let sql = "UPDATE webhooks SET disabled_at = NULL, disabled_why = NULL, failures = 0, held_until = NULL,
            acted_at = $2, act = $3 WHERE partner = $1";
        let values = vec![partner.as_str().into(), now.into(), act.into()];
        let updated = self.write.execute_raw(self.statement(sql, values)).await.map_err(writing)?;
        Ok(updated.rows_affected() == 1)
    }

    pub(super) async fn replay(
        &self,
        partner: &PartnerId,
        what: Replay,
        due_at: Time,
        act: &str,
    ) -> Result<Replayed, StoreError> {
        json::check(act)?;
        let replay = async {
            let tx = begin_writing(&self.write).await?;
            let Some(place) = self.acted(&tx, partner, due_at, act).await? else { return Ok(Replayed::default()) };
            let replayed = match what {
                Replay::Event(id) => self.put_one_back(&tx, partner, id, place, due_at).await?,
                Replay::Since { since, position, limit } => {
                    let last = self.last_of_page(&tx, partner, (position, place), limit).await?;
                    let range = (position, last.unwrap_or(place));
                    Replayed { count: self.put_back(&tx, partner, range, since, due_at).await?, next: last }
                }
                Replay::GivenUp { limit } => self.put_given_up_back(&tx, partner, limit, due_at).await?,
            };
            tx.commit().await.map(|()| replayed)
        };
        replay.await.map_err(writing)
    }

    /// The webhook's place; `None` when it is not known.
    async fn acted(&self, tx: &DatabaseTransaction, partner: &PartnerId, at: Time, act: &str) -> Result<Option<i64>, DbErr> {
        let sql = "UPDATE webhooks SET acted_at = $2, act = $3 WHERE partner = $1 RETURNING position";
        let values = vec![partner.as_str().into(), at.into(), act.into()];
        let row = tx.query_one_raw(self.statement(sql, values)).await?;
        row.map(|row| row.try_get_by_index(0)).transpose()
    }

    /// `None` when fewer than `limit` are left in the range.
    async fn last_of_page(
        &self,
        tx: &DatabaseTransaction,
        partner: &PartnerId,
        (first, last): (i64, i64),
        limit: u32,
    ) -> Result<Option<i64>, DbErr> {
        let sql = "SELECT position FROM events WHERE partner = $1 AND position > $2 AND position <= $3
            ORDER BY position LIMIT 1 OFFSET $4";
        let offset = i64::from(limit.max(1)) - 1;
        let values = vec![partner.as_str().into(), first.into(), last.into(), offset.into()];
        let row = tx.query_one_raw(self.statement(sql, values)).await?;
        row.map(|row| row.try_get_by_index(0)).transpose()
    }

    async fn put_back(
        &self,
        tx: &DatabaseTransaction,
        partner: &PartnerId,
        (first, last): (i64, i64),
        since: Time,
        due_at: Time,
    ) -> Result<u64, DbErr> {
        let values = vec![partner.as_str().into(), first.into(), last.into(), due_at.into(), since.into()];
        Ok(tx.execute_raw(self.statement(PUT_BACK, values)).await?.rows_affected())
    }

    async fn put_one_back(
        &self,
        tx: &DatabaseTransaction,
        partner: &PartnerId,
        id: EventId,
        place: i64,
        due_at: Time,
    ) -> Result<Replayed, DbErr> {
        let sql = "SELECT position, time FROM events WHERE id = $1 AND partner = $2 AND position <= $3";
        let values = vec![id.0.into(), partner.as_str().into(), place.into()];
        let Some(row) = tx.query_one_raw(self.statement(sql, values)).await? else { return Ok(Replayed::default()) };
        let position: i64 = row.try_get_by_index(0)?;
        let count = self.put_back(tx, partner, (position - 1, position), row.try_get_by_index(1)?, due_at).await?;
        Ok(Replayed { count, next: None })
    }

    async fn put_given_up_back(
        &self,
        tx: &DatabaseTransaction,
        partner: &PartnerId,
        limit: u32,
        due_at: Time,
    ) -> Result<Replayed, DbErr> {
        let sql = "UPDATE deliveries SET due_at = $3, tries = 0, given_up_at = NULL WHERE position IN (
                SELECT position FROM deliveries WHERE partner = $1 AND given_up_at IS NOT NULL ORDER BY position LIMIT $2)
            RETURNING position";
        let values = vec![partner.as_str().into(), i64::from(limit).into(), due_at.into()];
        let rows = tx.query_all_raw(self.statement(sql, values)).await?;
        let positions: Vec<i64> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        let next = positions.iter().max().copied().filter(|_| positions.len() as u32 == limit);
        Ok(Replayed { count: positions.len() as u64, next })
    }
}

fn shown(row: &QueryResult) -> Result<Webhook, StoreError> {
    let name: String = row.try_get("", "partner").map_err(reading)?;
    let noted = |at: &str, what: &str| -> Result<Option<(Time, String)>, DbErr> {
        let at: Option<Time> = row.try_get("", at)?;
        let what: Option<String> = row.try_get("", what)?;
        Ok(at.zip(what))
    };
    let count = |column: &str| row.try_get::<i64>("", column).map(i64::cast_unsigned);
    let partner = partner(&name)?;
    let read = || {
        Ok(Webhook {
            partner,
            position: row.try_get("", "position")?,
            disabled: noted("disabled_at", "disabled_why")?,
            breaker: breaker(row)?,
            acted: noted("acted_at", "act")?,
            waiting: count("waiting")?,
            given_up: count("given_up")?,
            oldest: row.try_get("", "oldest")?,
            last_error: row.try_get("", "last_error")?,
        })
    };
    read().map_err(reading)
}
