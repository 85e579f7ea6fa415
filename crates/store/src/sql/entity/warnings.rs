use clawback_domain::{
    EventId, PullId,
    warning::{Lead, Row, RowState, Skipped},
};
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, Warning, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "warnings")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub pull_id: Uuid,
    /// In seconds.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lead: i64,
    pub partner: String,
    pub user_id: String,
    pub expires_at: ChronoDateTimeUtc,
    pub moment: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
    pub event: Option<Uuid>,
    pub late: bool,
    pub verified: bool,
    pub state: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub const PLANNED: &str = "planned";
pub const SENT: &str = "sent";

/// The reason stands for *skipped*.
pub fn state_name(state: RowState) -> &'static str {
    match state {
        RowState::Planned => PLANNED,
        RowState::Sent => SENT,
        RowState::Skipped(why) => why.as_str(),
    }
}

fn state(name: &str) -> Option<RowState> {
    match name {
        PLANNED => Some(RowState::Planned),
        SENT => Some(RowState::Sent),
        why => Skipped::parse(why).map(RowState::Skipped),
    }
}

impl TryFrom<Model> for Row {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Row {
            pull: PullId(row.pull_id),
            lead: Lead::seconds(count("lead", row.lead)?),
            expiry: row.expires_at,
            state: state(&row.state).ok_or_else(|| json::corrupt("state", &row.state))?,
        })
    }
}

impl TryFrom<Model> for Warning {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Warning {
            partner: id("partner", &row.partner)?,
            user: id("user_id", &row.user_id)?,
            event: row.event.map(EventId),
            late: row.late,
            verified: row.verified,
            updated_at: row.updated_at,
            row: row.try_into()?,
        })
    }
}
