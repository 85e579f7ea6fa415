//! Orphans recorded, listed and forgotten.

use std::collections::BTreeMap;

use clawback_domain::{PartnerId, UserId, evidence::Orphan};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, sqlx};
use uuid::Uuid;

use super::{
    Sql,
    entity::orphans::{Column, Entity},
    failure::Failure,
    json,
    purchases::all,
    statement::{Bulk, Cell, Kind, Rows},
};
use crate::{StoreError, orphans};

/// Of whoever changes orphans; any number that nobody else uses.
const LOCK: i64 = 727_203;

impl Sql {
    pub(super) async fn write_orphans(&self, found: Vec<Orphan>) -> Result<u64, StoreError> {
        let found = orphans::by_id(found);
        let statement = |error| StoreError::from(Failure::of_statement(&error));
        let (new, known) = (rows(&NEW, &found).map_err(statement)?, rows(&KNOWN, &found).map_err(statement)?);
        let [new, _] = self.write_alone(Some(LOCK), [(&NEW, new), (&KNOWN, known)]).await?;
        Ok(new.len() as u64)
    }

    pub(super) async fn delete_orphans(&self, explained: &[Orphan]) -> Result<(), StoreError> {
        let mut rows = Rows::new(&EXPLAINED);
        explained.iter().for_each(|orphan| rows.push([Cell::id(orphans::id(orphan))]));
        self.write_alone(Some(LOCK), [(&EXPLAINED, rows)]).await.map(drop)
    }

    pub(super) async fn list_orphans(
        &self,
        partner: Option<&PartnerId>,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Orphan>, StoreError> {
        let mut find = Entity::find();
        if let Some(partner) = partner {
            find = find.filter(Column::Partner.eq(partner.as_str()));
        }
        if let Some(user) = user {
            find = find.filter(Column::UserId.eq(user.as_str()));
        }
        let oldest_first = find.order_by(Column::FoundAt, Order::Asc).order_by(Column::Id, Order::Asc);
        all(oldest_first.limit(u64::from(limit)).all(&self.read).await)
    }
}

const COLUMNS: &[(&str, Kind)] = &[
    ("id", Kind::Uuid),
    ("found_at", Kind::Time),
    ("purchased_at", Kind::Time),
    ("count", Kind::BigInt),
    ("partner", Kind::Text),
    ("user_id", Kind::Text),
    ("item_id", Kind::Text),
    ("pack", Kind::Text),
    ("candidates", Kind::Text),
];

static NEW: Bulk = Bulk {
    columns: COLUMNS,
    then: "INSERT INTO orphans (id, found_at, purchased_at, count, partner, user_id, item_id, pack, candidates)
        SELECT n_id, n_found_at, n_purchased_at, n_count, n_partner, n_user_id, n_item_id, n_pack, n_candidates
        FROM v WHERE TRUE ON CONFLICT (id) DO NOTHING RETURNING id",
    returns: true,
};

pub static KNOWN: Bulk = Bulk {
    columns: COLUMNS,
    then: "UPDATE orphans SET count = n_count, pack = n_pack, candidates = n_candidates FROM v WHERE id = n_id
        AND (count <> n_count OR candidates <> n_candidates OR coalesce(pack, '') <> coalesce(n_pack, ''))",
    returns: false,
};

pub static EXPLAINED: Bulk =
    Bulk { columns: &[("id", Kind::Uuid)], then: "DELETE FROM orphans WHERE id IN (SELECT n_id FROM v)", returns: false };

fn rows<'a>(bulk: &Bulk, found: &'a BTreeMap<Uuid, Orphan>) -> Result<Rows<'a>, sqlx::Error> {
    let mut rows = Rows::new(bulk);
    for (id, orphan) in found {
        rows.push([
            Cell::id(*id),
            Cell::at(orphan.found_at),
            Cell::Time(orphan.purchased_at),
            Cell::count(orphan.count),
            Cell::text(orphan.partner.as_str()),
            Cell::text(orphan.user_id.as_str()),
            Cell::text(orphan.item_id.as_str()),
            Cell::maybe(orphan.pack.as_deref()),
            Cell::owned(Some(json::write(&orphan.candidates)?)),
        ]);
    }
    Ok(rows)
}
