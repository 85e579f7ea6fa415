//! Deliveries to webhooks: events become rows, rows are claimed, and what became of them is written.
//!
//! Whoever changes both a webhook's row and its deliveries begins with the former, so that two who meet wait for each other. [`shown`]
//! holds what people ask for and order.

mod shown;

use std::time::Duration;

use async_trait::async_trait;
use clawback_domain::{
    PartnerId, Time,
    clock::after,
    webhook::{Breaker, Gate},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryResult, Value,
};

use super::{
    Sql,
    connect::begin_writing,
    entity::{self, events},
    failure::{reading, writing},
    json,
};
use crate::{Claimed, Deliveries, Replay, Replayed, Settled, StoreError, StoredEvent, Webhook};

/// What is claimed of a delivery.
#[derive(FromQueryResult)]
struct ClaimedRow {
    position: i64,
    tries: i64,
}

#[async_trait]
impl Deliveries for Sql {
    async fn spool(&self, partner: &PartnerId, now: Time, limit: u32) -> Result<u32, StoreError> {
        match self.is_behind(partner, now).await.map_err(reading)? {
            None => self.begin_here(partner).await.map_err(writing).map(|()| 0),
            Some(false) => Ok(0),
            Some(true) => self.spool_page(partner, now, limit).await.map_err(writing),
        }
    }

    async fn claim_deliveries(
        &self,
        partner: &PartnerId,
        now: Time,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let until = after(now, lease);
        let Some(breaker) = self.breaker_of_due(partner, now).await? else { return Ok(Vec::new()) };
        let (limit, is_probe) = match breaker.gate(now) {
            Gate::Open => (limit, false),
            // A crash after it costs one hold more.
            Gate::Probe if self.takes_probe(partner, breaker, until).await? => (1, true),
            Gate::Probe | Gate::Held { .. } => return Ok(Vec::new()),
        };
        let rows = self.claim_rows(partner, now, limit, until).await.map_err(writing)?;
        let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
        let mut claimed = Vec::with_capacity(rows.len());
        for stored in self.events_at(positions).await? {
            let tries = rows.iter().find(|row| row.position == stored.position).map_or(0, |row| row.tries);
            let tries = u32::try_from(tries).unwrap_or(u32::MAX);
            claimed.push(Claimed { position: stored.position, event: stored.event, tries, until, is_probe });
        }
        Ok(claimed)
    }

    async fn settle_delivery(&self, claimed: &Claimed, settled: Settled, now: Time) -> Result<(), StoreError> {
        match settled {
            Settled::Delivered => self.delivered(claimed).await.map_err(writing),
            Settled::Failed { why, due_at, pause } => {
                json::check(&why)?;
                self.failed(claimed, &why, due_at, pause, now).await.map_err(writing)
            }
            Settled::Gone { why } => {
                json::check(&why)?;
                self.gone(claimed, &why, now).await.map_err(writing)
            }
        }
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.list_webhooks().await
    }

    async fn enable_webhook(&self, partner: &PartnerId, act: &str, now: Time) -> Result<bool, StoreError> {
        self.enable(partner, act, now).await
    }

    async fn replay_deliveries(
        &self,
        partner: &PartnerId,
        what: Replay,
        due_at: Time,
        act: &str,
    ) -> Result<Replayed, StoreError> {
        self.replay(partner, what, due_at, act).await
    }
}

/// Becoming rows.
impl Sql {
    /// Whether there are events after the place of a webhook that may take them; `None` when it is not known.
    async fn is_behind(&self, partner: &PartnerId, now: Time) -> Result<Option<bool>, DbErr> {
        let sql = "SELECT w.disabled_at IS NULL AND (w.held_until IS NULL OR w.held_until <= $2) AND EXISTS (
                SELECT 1 FROM events e WHERE e.partner = w.partner AND e.position > w.position) AS behind
            FROM webhooks w WHERE w.partner = $1";
        let row = self.read.query_one_raw(self.statement(sql, vec![partner.as_str().into(), now.into()])).await?;
        row.map(|row| row.try_get("", "behind")).transpose()
    }

    async fn begin_here(&self, partner: &PartnerId) -> Result<(), DbErr> {
        let sql = "INSERT INTO webhooks (partner, position)
            SELECT $1, coalesce(max(position), 0) FROM events WHERE position <= $2 ON CONFLICT (partner) DO NOTHING";
        let values = vec![partner.as_str().into(), self.last_settled().await?.into()];
        self.write.execute_raw(self.statement(sql, values)).await.map(drop)
    }

    /// Below it nothing will appear any more. SQLite has one writer: positions and commits come in the same order.
    async fn last_settled(&self) -> Result<i64, DbErr> {
        if self.is_postgres() { self.settled().await } else { Ok(i64::MAX) }
    }

    async fn spool_page(&self, partner: &PartnerId, now: Time, limit: u32) -> Result<u32, DbErr> {
        let settled = self.last_settled().await?;
        let tx = begin_writing(&self.write).await?;
        let skip = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let place = format!("SELECT position FROM webhooks WHERE partner = $1 AND disabled_at IS NULL {skip}");
        let Some(place) = tx.query_one_raw(self.statement(place, vec![partner.as_str().into()])).await? else { return Ok(0) };
        let place: i64 = place.try_get_by_index(0)?;
        let page = "SELECT max(position), count(*) FROM (SELECT position FROM events
            WHERE partner = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4) AS page";
        let values = vec![partner.as_str().into(), place.into(), settled.into(), i64::from(limit).into()];
        let Some(page) = tx.query_one_raw(self.statement(page, values)).await? else { return Ok(0) };
        let Some(last) = page.try_get_by_index::<Option<i64>>(0)? else { return Ok(0) };
        let rows = "INSERT INTO deliveries (position, event, partner, subject, sequence, time, due_at)
            SELECT position, id, partner, subject, sequence, time, $4 FROM events
            WHERE partner = $1 AND position > $2 AND position <= $3 ON CONFLICT (position) DO NOTHING";
        let values = vec![partner.as_str().into(), place.into(), last.into(), now.into()];
        tx.execute_raw(self.statement(rows, values)).await?;
        let moved = "UPDATE webhooks SET position = $2 WHERE partner = $1";
        tx.execute_raw(self.statement(moved, vec![partner.as_str().into(), last.into()])).await?;
        tx.commit().await?;
        Ok(u32::try_from(page.try_get_by_index::<i64>(1)?).unwrap_or(limit))
    }
}

/// Being claimed.
impl Sql {
    /// Of a webhook that is not disabled and for which something is due. Most looks end here, and lock nothing.
    async fn breaker_of_due(&self, partner: &PartnerId, now: Time) -> Result<Option<Breaker>, StoreError> {
        let sql = "SELECT failures, held_until FROM webhooks w WHERE partner = $1 AND disabled_at IS NULL AND EXISTS (
            SELECT 1 FROM deliveries d WHERE d.partner = $1 AND d.given_up_at IS NULL AND d.due_at <= $2)";
        let values = vec![partner.as_str().into(), now.into()];
        let row = self.read.query_one_raw(self.statement(sql, values)).await.map_err(reading)?;
        row.map(|row| breaker(&row).map_err(reading)).transpose()
    }

    /// One worker only finds the hold as it was read.
    async fn takes_probe(&self, partner: &PartnerId, breaker: Breaker, until: Time) -> Result<bool, StoreError> {
        let sql = "UPDATE webhooks SET held_until = $3 WHERE partner = $1 AND held_until = $2 AND disabled_at IS NULL";
        let values = vec![partner.as_str().into(), breaker.held_until.into(), until.into()];
        let updated = self.write.execute_raw(self.statement(sql, values)).await.map_err(writing)?;
        Ok(updated.rows_affected() == 1)
    }

    async fn claim_rows(&self, partner: &PartnerId, now: Time, limit: u32, until: Time) -> Result<Vec<ClaimedRow>, DbErr> {
        let skip = if self.is_postgres() { "FOR UPDATE OF d SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH c AS MATERIALIZED (
                SELECT d.position AS claimed FROM deliveries d
                WHERE d.partner = $1 AND d.given_up_at IS NULL AND d.due_at <= $2 AND NOT EXISTS (
                    SELECT 1 FROM deliveries p
                    WHERE p.subject = d.subject AND p.sequence < d.sequence AND p.given_up_at IS NULL)
                ORDER BY d.due_at, d.position LIMIT $3 {skip})
            UPDATE deliveries SET due_at = $4 FROM c WHERE position = c.claimed RETURNING position, tries"
        );
        let values = vec![partner.as_str().into(), now.into(), i64::from(limit).into(), until.into()];
        let rows = self.write.query_all_raw(self.statement(sql, values)).await?;
        rows.iter().map(|row| ClaimedRow::from_query_result(row, "")).collect()
    }

    /// In their order. One that this version cannot read must not hold the rest up; it comes due again for another version.
    async fn events_at(&self, positions: Vec<i64>) -> Result<Vec<StoredEvent>, StoreError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let rows = events::Entity::find().filter(events::Column::Position.is_in(positions)).all(&self.read);
        let readable = |row| {
            let read = StoredEvent::try_from(row);
            read.inspect_err(|error| tracing::error!(%error, "a delivery is left to another version")).ok()
        };
        let mut events: Vec<_> = rows.await.map_err(reading)?.into_iter().filter_map(readable).collect();
        events.sort_unstable_by_key(|stored: &StoredEvent| stored.position);
        Ok(events)
    }
}

/// Being settled.
impl Sql {
    /// Two statements that each commit by themselves: a crash between them leaves the endpoint's failures to its next success.
    async fn delivered(&self, claimed: &Claimed) -> Result<(), DbErr> {
        let gone = "DELETE FROM deliveries WHERE position = $1";
        self.write.execute_raw(self.statement(gone, vec![claimed.position.into()])).await?;
        let healthy = "UPDATE webhooks SET failures = 0, held_until = NULL
            WHERE partner = $1 AND (failures > 0 OR held_until IS NOT NULL)";
        let partner = claimed.event.partner.as_str().into();
        self.write.execute_raw(self.statement(healthy, vec![partner])).await.map(drop)
    }

    async fn failed(
        &self,
        claimed: &Claimed,
        why: &str,
        due_at: Option<Time>,
        pause: Option<Duration>,
        now: Time,
    ) -> Result<(), DbErr> {
        let tx = begin_writing(&self.write).await?;
        let Some(before) = self.locked_breaker(&tx, claimed).await? else { return Ok(()) };
        if !self.moves_on(&tx, claimed, why, due_at, now).await? {
            return tx.rollback().await;
        }
        let after = before.failed(claimed.is_probe, pause, now);
        if after != before {
            let sql = "UPDATE webhooks SET failures = $2, held_until = $3 WHERE partner = $1";
            let partner = claimed.event.partner.as_str().into();
            let values = vec![partner, i64::from(after.failures).into(), after.held_until.into()];
            tx.execute_raw(self.statement(sql, values)).await?;
        }
        tx.commit().await
    }

    async fn gone(&self, claimed: &Claimed, why: &str, now: Time) -> Result<(), DbErr> {
        let tx = begin_writing(&self.write).await?;
        let Some(_) = self.locked_breaker(&tx, claimed).await? else { return Ok(()) };
        if !self.moves_on(&tx, claimed, why, Some(now), now).await? {
            return tx.rollback().await;
        }
        let sql = "UPDATE webhooks SET disabled_at = $2, disabled_why = $3 WHERE partner = $1 AND disabled_at IS NULL";
        let values = vec![claimed.event.partner.as_str().into(), now.into(), why.into()];
        tx.execute_raw(self.statement(sql, values)).await?;
        tx.commit().await
    }

    async fn locked_breaker(&self, tx: &DatabaseTransaction, claimed: &Claimed) -> Result<Option<Breaker>, DbErr> {
        let lock = if self.is_postgres() { "FOR UPDATE" } else { "" };
        let sql = format!("SELECT failures, held_until FROM webhooks WHERE partner = $1 {lock}");
        let row = tx.query_one_raw(self.statement(sql, vec![claimed.event.partner.as_str().into()])).await?;
        row.map(|row| breaker(&row)).transpose()
    }

    /// `false` when somebody else has claimed it since.
    async fn moves_on(
        &self,
        tx: &DatabaseTransaction,
        claimed: &Claimed,
        why: &str,
        due_at: Option<Time>,
        now: Time,
    ) -> Result<bool, DbErr> {
        let sql = "UPDATE deliveries SET tries = tries + 1, last_error = $3, due_at = $4, given_up_at = $5
            WHERE position = $1 AND due_at = $2";
        let given_up_at: Value = due_at.is_none().then_some(now).into();
        let values = vec![claimed.position.into(), claimed.until.into(), why.into(), due_at.into(), given_up_at];
        Ok(tx.execute_raw(self.statement(sql, values)).await?.rows_affected() == 1)
    }
}

fn breaker(row: &QueryResult) -> Result<Breaker, DbErr> {
    let failures: i64 = row.try_get("", "failures")?;
    Ok(Breaker { failures: u32::try_from(failures).unwrap_or(u32::MAX), held_until: row.try_get("", "held_until")? })
}

/// A webhook's partner as it is stored.
fn partner(text: &str) -> Result<PartnerId, StoreError> {
    entity::id("partner", text)
}
