use clawback_domain::evidence::Orphan;
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "orphans")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub found_at: ChronoDateTimeUtc,
    pub purchased_at: Option<ChronoDateTimeUtc>,
    pub count: i64,
    pub partner: String,
    pub user_id: String,
    pub item_id: String,
    pub pack: Option<String>,
    pub candidates: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Orphan {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Orphan {
            partner: id("partner", &row.partner)?,
            user_id: id("user_id", &row.user_id)?,
            item_id: id("item_id", &row.item_id)?,
            purchased_at: row.purchased_at,
            pack: row.pack,
            count: count("count", row.count)?,
            found_at: row.found_at,
            candidates: json::read("candidates", &row.candidates)?,
        })
    }
}
