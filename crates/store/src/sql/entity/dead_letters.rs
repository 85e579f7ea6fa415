use clawback_domain::DeadLetterId;
use sea_orm::entity::prelude::*;

use super::id;
use crate::{DeadLetter, DeadLetterState, StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letters")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub partner: String,
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
    pub reason: String,
    pub problems: String,
    pub body: Vec<u8>,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    pub headers: String,
    pub received_at: ChronoDateTimeUtc,
    pub state: String,
    pub settled_by: Option<String>,
    pub settled_at: Option<ChronoDateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The states as they are stored.
pub const STATES: [(DeadLetterState, &str); 3] =
    [(DeadLetterState::Kept, "kept"), (DeadLetterState::Redriven, "redriven"), (DeadLetterState::Discarded, "discarded")];

pub fn state_name(state: DeadLetterState) -> &'static str {
    STATES.iter().find(|(each, _)| *each == state).map(|(_, name)| *name).expect("every state has a name")
}

impl TryFrom<Model> for DeadLetter {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let state = STATES.iter().find(|(_, name)| *name == row.state).map(|(state, _)| *state);
        Ok(DeadLetter {
            id: DeadLetterId(row.id),
            partner: id("partner", &row.partner)?,
            queue: row.queue,
            exchange: row.exchange,
            routing_key: row.routing_key,
            reason: row.reason,
            problems: row.problems,
            body: row.body,
            content_type: row.content_type,
            message_id: row.message_id,
            headers: json::read("headers", &row.headers)?,
            received_at: row.received_at,
            state: state.ok_or_else(|| json::corrupt("state", &row.state))?,
            settled_by: row.settled_by,
        })
    }
}
