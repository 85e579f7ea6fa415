//! Pauses in force, and who lifted those that are not.

use clawback_domain::{
    Time,
    pause::{Pause, PauseScope},
};
use sea_orm::{
    ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict},
};

use super::{
    Sql,
    entity::pauses::{Column, Entity, row, scope_columns},
    failure::{self, reading},
    json,
};
use crate::StoreError;

impl Sql {
    pub(super) async fn list_pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let rows = Entity::find()
            .filter(Column::ResumedAt.is_null())
            .order_by(Column::Partner, Order::Asc)
            .order_by(Column::Pack, Order::Asc)
            .order_by(Column::Kind, Order::Asc)
            .all(&self.read);
        rows.await.map_err(reading)?.into_iter().map(Pause::try_from).collect()
    }

    /// The index of pauses in force lets one of a scope stand: the first.
    pub(super) async fn insert_pause(&self, pause: Pause) -> Result<bool, StoreError> {
        [&pause.by, &pause.reason].into_iter().chain(&pause.refused_key).try_for_each(|text| json::check(text))?;
        let insert = Entity::insert(row(pause)).on_conflict(OnConflict::new().do_nothing().to_owned());
        Ok(insert.exec_without_returning(&self.write).await.map_err(failure::writing)? == 1)
    }

    pub(super) async fn lift_pause(&self, scope: &PauseScope, by: &str, reason: &str, at: Time) -> Result<bool, StoreError> {
        json::check(by)?;
        json::check(reason)?;
        let (partner, pack, kind) = scope_columns(scope);
        let lifted = Entity::update_many()
            .col_expr(Column::ResumedAt, Expr::value(at))
            .col_expr(Column::ResumedBy, Expr::value(by))
            .col_expr(Column::ResumedReason, Expr::value(reason))
            .filter(Column::Partner.eq(partner))
            .filter(Column::Pack.eq(pack))
            .filter(Column::Kind.eq(kind))
            .filter(Column::ResumedAt.is_null())
            .exec(&self.write);
        Ok(lifted.await.map_err(failure::writing)?.rows_affected == 1)
    }
}
