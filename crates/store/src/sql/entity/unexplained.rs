use clawback_domain::evidence::Unexplained;
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "unexplained")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub found_at: ChronoDateTimeUtc,
    pub purchased_at: Option<ChronoDateTimeUtc>,
    pub count: i64,
    pub partner: String,
    pub user_id: String,
    pub item_id: String,
    pub claw_id: Option<String>,
    pub claw_slug: Option<String>,
    pub claimed: bool,
    pub candidates: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Unexplained {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Unexplained {
            partner: id("partner", &row.partner)?,
            user_id: id("user_id", &row.user_id)?,
            item_id: id("item_id", &row.item_id)?,
            purchased_at: row.purchased_at,
            claw_id: row.claw_id,
            claw_slug: row.claw_slug,
            claimed: row.claimed,
            count: count("count", row.count)?,
            found_at: row.found_at,
            candidates: json::read("candidates", &row.candidates)?,
        })
    }
}
