use std::sync::Arc;

use clawback_domain::{
    PurchaseId,
    command::{Digest, Metadata, PurchaseCommand},
    purchase::Purchase,
    trace::TraceContext,
};
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "purchases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub amount: i64,
    pub digest: Vec<u8>,
    pub created_at: ChronoDateTimeUtc,
    pub not_after: Option<ChronoDateTimeUtc>,
    pub partner: String,
    pub request_id: String,
    pub user_id: String,
    pub pack_id: String,
    pub metadata: Option<String>,
    pub traceparent: String,
    pub tracestate: Option<String>,
    pub version: i64,
    pub due_at: Option<ChronoDateTimeUtc>,
    pub look_at: Option<ChronoDateTimeUtc>,
    pub nudges: i64,
    pub attempts: i64,
    pub panics: i64,
    pub sequence: i64,
    pub updated_at: ChronoDateTimeUtc,
    pub state: String,
    pub waiting_code: Option<String>,
    pub session_id: Option<String>,
    pub detail: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Purchase {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let digest: [u8; 32] = row.digest.try_into().map_err(|_| json::corrupt("digest", &"is not 32 bytes"))?;
        let state = json::state(&row.state, row.waiting_code.as_deref(), row.session_id.as_deref(), row.detail.as_deref())?;
        let command = PurchaseCommand {
            request_id: id("request_id", &row.request_id)?,
            user_id: id("user_id", &row.user_id)?,
            pack_id: id("pack_id", &row.pack_id)?,
            amount: count("amount", row.amount)?,
            not_after: row.not_after,
            metadata: row.metadata.as_deref().map(metadata).transpose()?,
        };
        Ok(Purchase {
            id: PurchaseId(row.id),
            partner: id("partner", &row.partner)?,
            command: Arc::new(command),
            digest: Digest(digest),
            state,
            version: row.version,
            due_at: row.due_at,
            nudges: count("nudges", row.nudges)?,
            attempts: count("attempts", row.attempts)?,
            panics: count("panics", row.panics)?,
            sequence: count("sequence", row.sequence)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            trace: trace(&row.traceparent, row.tracestate.as_deref())?,
        })
    }
}

fn metadata(text: &str) -> Result<Metadata, StoreError> {
    Metadata::parse(text).map_err(|error| json::corrupt("metadata", &error))
}

pub(super) fn trace(parent: &str, state: Option<&str>) -> Result<TraceContext, StoreError> {
    TraceContext::parse(parent, state).ok_or_else(|| json::corrupt("traceparent", &parent))
}
