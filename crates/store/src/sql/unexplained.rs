//! Items that no purchase surely explains: recorded, listed and forgotten.

use std::collections::BTreeMap;

use clawback_domain::{PartnerId, UserId, evidence::Unexplained};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select, sqlx};
use uuid::Uuid;

use super::{
    Sql,
    entity::unexplained::{Column, Entity},
    failure::Failure,
    json,
    orders::all,
    statement::{Bulk, Cell, Kind, Rows},
};
use crate::{StoreError, unexplained};

/// Of whoever changes them; any number that nobody else uses.
const LOCK: i64 = 727_203;

impl Sql {
    pub(super) async fn write_unexplained(&self, found: Vec<Unexplained>) -> Result<u64, StoreError> {
        let found = unexplained::by_id(found);
        let statement = |error| StoreError::from(Failure::of_statement(&error));
        let rows_of = |bulk| rows(bulk, &found).map_err(statement);
        let steps = [(&NEW, rows_of(&NEW)?), (&ORPHANED, rows_of(&ORPHANED)?), (&KNOWN, rows_of(&KNOWN)?)];
        let [new, orphaned, _] = self.write_alone(Some(LOCK), steps).await?;
        let unclaimed = new.iter().filter(|id| found.get(id).is_some_and(|one| !one.claimed));
        Ok((unclaimed.count() + orphaned.len()) as u64)
    }

    pub(super) async fn delete_explained(&self, explained: &[Unexplained]) -> Result<(), StoreError> {
        let mut rows = Rows::new(&EXPLAINED);
        explained.iter().for_each(|one| rows.push([Cell::id(unexplained::id(one))]));
        self.write_alone(Some(LOCK), [(&EXPLAINED, rows)]).await.map(drop)
    }

    pub(super) async fn list_unexplained(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Unexplained>, StoreError> {
        all(asked(partner, user, limit).all(&self.read).await)
    }
}

pub(super) fn asked(partner: Option<&PartnerId>, user: Option<&UserId>, limit: u32) -> Select<Entity> {
    oldest_first(limit)
        .apply_if(partner, |find, partner| find.filter(Column::Partner.eq(partner.as_str())))
        .apply_if(user, |find, user| find.filter(Column::UserId.eq(user.as_str())))
}

pub(super) fn oldest_first(limit: u32) -> Select<Entity> {
    Entity::find().order_by(Column::FoundAt, Order::Asc).order_by(Column::Id, Order::Asc).limit(u64::from(limit))
}

const COLUMNS: &[(&str, Kind)] = &[
    ("id", Kind::Uuid),
    ("found_at", Kind::Time),
    ("purchased_at", Kind::Time),
    ("count", Kind::BigInt),
    ("partner", Kind::Text),
    ("user_id", Kind::Text),
    ("item_id", Kind::Text),
    ("claw_id", Kind::Text),
    ("claw_slug", Kind::Text),
    ("claimed", Kind::Bool),
    ("candidates", Kind::Text),
];

static NEW: Bulk = Bulk {
    columns: COLUMNS,
    then: "INSERT INTO unexplained
            (id, found_at, purchased_at, count, partner, user_id, item_id, claw_id, claw_slug, claimed, candidates)
        SELECT n_id, n_found_at, n_purchased_at, n_count, n_partner, n_user_id, n_item_id, n_claw_id, n_claw_slug, n_claimed,
            n_candidates
        FROM v WHERE TRUE ON CONFLICT (id) DO NOTHING RETURNING id",
    returns: true,
};

/// Those that somebody claimed and nobody claims any more. These and [`KNOWN`] change no row twice: they may be one statement.
pub static ORPHANED: Bulk = Bulk {
    columns: COLUMNS,
    then: "UPDATE unexplained SET count = n_count, claw_id = n_claw_id, claw_slug = n_claw_slug, claimed = n_claimed,
            candidates = n_candidates
        FROM v WHERE id = n_id AND claimed AND NOT n_claimed RETURNING id",
    returns: true,
};

pub static KNOWN: Bulk = Bulk {
    columns: COLUMNS,
    then: "UPDATE unexplained SET count = n_count, claw_id = n_claw_id, claw_slug = n_claw_slug, claimed = n_claimed,
            candidates = n_candidates
        FROM v WHERE id = n_id AND (n_claimed OR NOT claimed) AND (count <> n_count OR claimed <> n_claimed
            OR candidates <> n_candidates OR coalesce(claw_id, '') <> coalesce(n_claw_id, '')
            OR coalesce(claw_slug, '') <> coalesce(n_claw_slug, ''))",
    returns: false,
};

pub static EXPLAINED: Bulk =
    Bulk { columns: &[("id", Kind::Uuid)], then: "DELETE FROM unexplained WHERE id IN (SELECT n_id FROM v)", returns: false };

fn rows<'a>(bulk: &Bulk, found: &'a BTreeMap<Uuid, Unexplained>) -> Result<Rows<'a>, sqlx::Error> {
    let mut rows = Rows::new(bulk);
    for (id, one) in found {
        rows.push([
            Cell::id(*id),
            Cell::at(one.found_at),
            Cell::Time(one.purchased_at),
            Cell::count(one.count),
            Cell::text(one.partner.as_str()),
            Cell::text(one.user_id.as_str()),
            Cell::text(one.item_id.as_str()),
            Cell::maybe(one.claw_id.as_deref()),
            Cell::maybe(one.claw_slug.as_deref()),
            Cell::Bool(one.claimed),
            Cell::owned(Some(json::write(&one.candidates)?)),
        ]);
    }
    Ok(rows)
}
