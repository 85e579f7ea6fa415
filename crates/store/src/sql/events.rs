//! Events read, and claimed by the relay's look.
//!
//! An event takes its position before its transaction commits, so that one may become visible after another with a higher position.
//! A reader that goes by positions would pass it by for ever. So whoever inserts events holds a shared lock to the end of its
//! transaction, and a reader that has found something takes that lock alone for a moment: what was under way then has ended.

use std::time::Duration;

use clawback_domain::{EventId, PartnerId, Time, clock::after};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Order, QueryFilter, QueryOrder, QuerySelect,
    TransactionTrait,
};
use uuid::Uuid;

use super::{
    Sql,
    entity::events::{Column, Entity, Model},
    failure::{self, reading},
};
use crate::{StoreError, StoredEvent};

/// Of that lock; any number that nobody else uses.
pub const EVENTS_IN_ORDER: i64 = 727_202;

impl Sql {
    /// The first unsent event of each subject whose look is due. Who is claiming one is not waited for.
    pub(super) async fn claim_events(&self, now: Time, limit: u32, again: Duration) -> Result<Vec<StoredEvent>, StoreError> {
        let skip = if self.is_postgres() { "FOR UPDATE OF e SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH c AS MATERIALIZED (
                SELECT e.position AS claimed FROM events e WHERE e.sent_at IS NULL AND e.look_at <= $1 AND NOT EXISTS (
                    SELECT 1 FROM events p WHERE p.subject = e.subject AND p.sequence < e.sequence AND p.sent_at IS NULL)
                ORDER BY e.look_at, e.position LIMIT $2 {skip})
            UPDATE events SET look_at = $3 FROM c WHERE position = c.claimed RETURNING *"
        );
        let values = vec![now.into(), i64::from(limit).into(), after(now, again).into()];
        let rows = self.write.query_all_raw(self.statement(sql, values)).await.map_err(failure::writing)?;
        let stored = |row| StoredEvent::try_from(Model::from_query_result(row, "").map_err(reading)?);
        // One row of another version must not hold the rest up; whoever can read it claims it again.
        let readable =
            |row| stored(row).inspect_err(|error| tracing::error!(%error, "an event is left to another version")).ok();
        let mut events: Vec<_> = rows.iter().filter_map(readable).collect();
        events.sort_unstable_by_key(|event: &StoredEvent| event.position);
        Ok(events)
    }

    pub(super) async fn are_predecessors_sent(&self, subject: Uuid, sequence: u64) -> Result<bool, StoreError> {
        // Sequences begin at 1, so the first event of a subject, and most have no other, asks nobody.
        if sequence <= 1 {
            return Ok(true);
        }
        let before = Entity::find()
            .filter(Column::Subject.eq(subject))
            .filter(Column::Sequence.lt(sequence.cast_signed()))
            .filter(Column::SentAt.is_null());
        Ok(before.one(&self.read).await.map_err(reading)?.is_none())
    }

    pub(super) async fn find_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        let row = Entity::find().filter(Column::Id.eq(id.0)).one(&self.read).await.map_err(reading)?;
        row.map(StoredEvent::try_from).transpose()
    }

    pub(super) async fn find_last_event(&self, subject: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let last = Entity::find().filter(Column::Subject.eq(subject)).order_by(Column::Sequence, Order::Desc);
        last.one(&self.read).await.map_err(reading)?.map(StoredEvent::try_from).transpose()
    }

    pub(super) async fn list_events(
        &self,
        partner: Option<&PartnerId>,
        position: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let found = self.page(partner, position, i64::MAX, limit).await?;
        // SQLite has one writer: positions and commits come in the same order.
        if found.is_empty() || !self.is_postgres() {
            return Ok(found);
        }
        let settled = self.settled().await.map_err(reading)?;
        self.page(partner, position, settled, limit).await
    }

    /// After `position`, up to `last`.
    async fn page(
        &self,
        partner: Option<&PartnerId>,
        position: i64,
        last: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut find = Entity::find().filter(Column::Position.gt(position)).filter(Column::Position.lte(last));
        if let Some(partner) = partner {
            find = find.filter(Column::Partner.eq(partner.as_str()));
        }
        let rows = find.order_by(Column::Position, Order::Asc).limit(u64::from(limit)).all(&self.read);
        rows.await.map_err(reading)?.into_iter().map(StoredEvent::try_from).collect()
    }

    /// The highest position given so far, once nobody holds one at or below it without having committed.
    pub(super) async fn settled(&self) -> Result<i64, DbErr> {
        let tx = self.read.begin().await?;
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({EVENTS_IN_ORDER})")).await?;
        let highest = tx.query_one_raw(self.statement("SELECT last_value FROM events_position_seq", vec![])).await?;
        tx.rollback().await?;
        highest.ok_or_else(|| DbErr::RecordNotFound("events_position_seq".into()))?.try_get_by_index(0)
    }
}
