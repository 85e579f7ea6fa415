use clawback_domain::{
    EventId,
    event::{Event, EventType},
};
use sea_orm::entity::prelude::*;

use super::{count, id, orders::trace};
use crate::{StoreError, StoredEvent, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub position: i64,
    pub id: Uuid,
    pub subject: Uuid,
    pub sequence: i64,
    pub time: ChronoDateTimeUtc,
    pub look_at: ChronoDateTimeUtc,
    pub sent_at: Option<ChronoDateTimeUtc>,
    pub unrouted: bool,
    pub kind: String,
    pub partner: String,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    pub body: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for StoredEvent {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let traced = |parent: &String| trace(parent, row.tracestate.as_deref());
        let event = Event {
            id: EventId(row.id),
            kind: EventType::parse(&row.kind).ok_or_else(|| json::corrupt("kind", &row.kind))?,
            partner: id("partner", &row.partner)?,
            subject: row.subject,
            sequence: count("sequence", row.sequence)?,
            request_id: row.request_id.as_deref().map(|text| id("request_id", text)).transpose()?,
            time: row.time,
            trace: row.traceparent.as_ref().map(traced).transpose()?,
            body: row.body.into(),
        };
        Ok(StoredEvent { position: row.position, event, sent_at: row.sent_at, unrouted: row.unrouted })
    }
}
