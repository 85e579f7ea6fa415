//! Dead letters: buried with their event, looked at, settled once.

use clawback_domain::{DeadLetterId, PartnerId, Time, event::Event};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr, sqlx};

use super::{
    Sql,
    connect::begin_bulk,
    entity::dead_letters::{Column, Entity, state_name},
    failure::{self, Failure, reading},
    json,
    statement::{Bulk, Cell, Kind, Rows, Tx},
    write::{EVENTS, event_rows},
};
use crate::{DeadLetter, DeadLetterState, StoreError};

impl Sql {
    /// The letter's key decides, in one transaction with the event: the second to record a letter writes neither.
    pub(super) async fn bury_letter(&self, letter: DeadLetter, event: Event) -> Result<bool, StoreError> {
        let statement = |error| StoreError::from(Failure::of_statement(&error));
        let mut tx = begin_bulk(&self.write).await.map_err(statement)?;
        let is_new = bury(&mut tx, &letter, &event).await.map_err(statement)?;
        tx.commit().await.map_err(|error| Failure::of_commit(&error))?;
        Ok(is_new)
    }

    pub(super) async fn find_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        let row = Entity::find_by_id(id.0).one(&self.read).await.map_err(reading)?;
        row.map(DeadLetter::try_from).transpose()
    }

    pub(super) async fn list_letters(&self, partner: Option<&PartnerId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let mut find = Entity::find();
        if let Some(partner) = partner {
            find = find.filter(Column::Partner.eq(partner.as_str()));
        }
        let rows = find
            .order_by(Column::ReceivedAt, Order::Desc)
            .order_by(Column::Id, Order::Desc)
            .limit(u64::from(limit))
            .all(&self.read);
        rows.await.map_err(reading)?.into_iter().map(DeadLetter::try_from).collect()
    }

    pub(super) async fn settle_letter(
        &self,
        id: DeadLetterId,
        state: DeadLetterState,
        by: &str,
        at: Time,
    ) -> Result<bool, StoreError> {
        json::check(by)?;
        let settled = Entity::update_many()
            .col_expr(Column::State, Expr::value(state_name(state)))
            .col_expr(Column::SettledBy, Expr::value(by))
            .col_expr(Column::SettledAt, Expr::value(at))
            .filter(Column::Id.eq(id.0))
            .filter(Column::State.eq(state_name(DeadLetterState::Kept)))
            .exec(&self.write);
        Ok(settled.await.map_err(failure::writing)?.rows_affected == 1)
    }
}

static LETTERS: Bulk = Bulk {
    columns: &[
        ("id", Kind::Uuid),
        ("partner", Kind::Text),
        ("queue", Kind::Text),
        ("exchange", Kind::Text),
        ("routing_key", Kind::Text),
        ("reason", Kind::Text),
        ("problems", Kind::Text),
        ("body", Kind::Bytes),
        ("content_type", Kind::Text),
        ("message_id", Kind::Text),
        ("headers", Kind::Text),
        ("received_at", Kind::Time),
        ("state", Kind::Text),
        ("settled_by", Kind::Text),
    ],
    then:
        "INSERT INTO dead_letters (id, partner, queue, exchange, routing_key, reason, problems, body, content_type, message_id,
            headers, received_at, state, settled_by)
        SELECT n_id, n_partner, n_queue, n_exchange, n_routing_key, n_reason, n_problems, n_body, n_content_type, n_message_id,
            n_headers, n_received_at, n_state, n_settled_by
        FROM v WHERE TRUE ON CONFLICT (id) DO NOTHING RETURNING id",
    returns: true,
};

async fn bury(tx: &mut Tx<'_>, letter: &DeadLetter, event: &Event) -> Result<bool, sqlx::Error> {
    let mut rows = Rows::new(&LETTERS);
    rows.push([
        Cell::id(letter.id.0),
        Cell::text(letter.partner.as_str()),
        Cell::text(&letter.queue),
        Cell::text(&letter.exchange),
        Cell::text(&letter.routing_key),
        Cell::text(&letter.reason),
        Cell::text(&letter.problems),
        Cell::Bytes(&letter.body),
        Cell::maybe(letter.content_type.as_deref()),
        Cell::maybe(letter.message_id.as_deref()),
        Cell::owned(Some(json::write(&letter.headers)?)),
        Cell::at(letter.received_at),
        Cell::text(state_name(letter.state)),
        Cell::maybe(letter.settled_by.as_deref()),
    ]);
    let is_new = !tx.ids(&LETTERS, rows).await?.is_empty();
    if is_new {
        tx.only_insert().await?;
        tx.ids(&EVENTS, event_rows(&[event])).await?;
    }
    Ok(is_new)
}
