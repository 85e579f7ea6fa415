use clawback_domain::{
    user::User,
    warning::{UserSettings, zone},
};
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub partner: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    pub warnings: bool,
    pub auto_sell: bool,
    pub zone: Option<String>,
    pub sync_wanted: i64,
    pub synced: i64,
    pub wanted_at: Option<ChronoDateTimeUtc>,
    pub version: i64,
    pub nudges: i64,
    pub sequence: i64,
    pub due_at: Option<ChronoDateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for User {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let known = |name: &str| zone(name).map_err(|error| json::corrupt("zone", &error));
        Ok(User {
            partner: id("partner", &row.partner)?,
            id: id("user_id", &row.user_id)?,
            settings: UserSettings {
                warnings: row.warnings,
                auto_sell: row.auto_sell,
                zone: row.zone.as_deref().map(known).transpose()?,
            },
            sync_wanted: row.sync_wanted,
            synced: row.synced,
            wanted_at: row.wanted_at,
            version: row.version,
            sequence: count("sequence", row.sequence)?,
            due_at: row.due_at,
        })
    }
}
