use clawback_domain::{OrderId, order::StateName, timeline::Entry};
use sea_orm::entity::prelude::*;

use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "timeline")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    pub at: ChronoDateTimeUtc,
    pub what: String,
    pub was: Option<String>,
    pub became: String,
    pub note: String,
    pub person: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Entry {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let state = |name: &str| StateName::parse(name).ok_or_else(|| json::corrupt("state", &name));
        Ok(Entry {
            order: OrderId(row.order_id),
            version: row.version,
            at: row.at,
            what: row.what,
            from: row.was.as_deref().map(state).transpose()?,
            to: state(&row.became)?,
            note: row.note,
            by: row.person,
        })
    }
}
