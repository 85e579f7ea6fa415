use std::sync::Arc;

use clawback_domain::{
    Money, OrderId, PullId,
    command::{Digest, Metadata, PurchaseCommand, SellbackCommand, Target},
    order::{AnyOrder, Order},
    pause::CommandKind,
    purchase::Purchase,
    sellback::Sellback,
    trace::TraceContext,
};
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: String,
    pub amount: Option<i64>,
    pub digest: Vec<u8>,
    pub created_at: ChronoDateTimeUtc,
    pub not_after: Option<ChronoDateTimeUtc>,
    pub partner: String,
    pub request_id: String,
    pub user_id: String,
    pub pack_id: Option<String>,
    pub item_id: Option<String>,
    pub pull_id: Option<Uuid>,
    pub min_price: Option<i64>,
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
    pub selling: Option<String>,
    pub detail: Option<String>,
    pub sold_item: Option<String>,
    pub sold_at: Option<ChronoDateTimeUtc>,
    /// How far it was: see `retention`.
    pub pruned: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for AnyOrder {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        match CommandKind::parse(&row.kind) {
            Some(CommandKind::Purchase) => purchase(row).map(AnyOrder::from),
            Some(CommandKind::Sellback) => sellback(row).map(AnyOrder::from),
            None => Err(json::corrupt("kind", &row.kind)),
        }
    }
}

fn purchase(row: Model) -> Result<Purchase, StoreError> {
    let state = json::state(&row.state, row.waiting_code.as_deref(), row.session_id.as_deref(), row.detail.as_deref())?;
    let command = PurchaseCommand {
        request_id: id("request_id", &row.request_id)?,
        user_id: id("user_id", &row.user_id)?,
        pack_id: id("pack_id", needed("pack_id", row.pack_id.as_deref())?)?,
        amount: count("amount", needed("amount", row.amount)?)?,
        not_after: row.not_after,
        metadata: row.metadata.as_deref().map(metadata).transpose()?,
    };
    order(row, command, state)
}

fn sellback(row: Model) -> Result<Sellback, StoreError> {
    let state = json::sale(&row.state, row.waiting_code.as_deref(), row.detail.as_deref())?;
    let target = match (&row.item_id, row.pull_id) {
        (Some(item), None) => Target::Item(id("item_id", item)?),
        (None, Some(pull)) => Target::Pull(PullId(pull)),
        _ => return Err(json::corrupt("item_id", &"either it or pull_id must be given")),
    };
    let command = SellbackCommand {
        request_id: id("request_id", &row.request_id)?,
        user_id: id("user_id", &row.user_id)?,
        target,
        min_price: row.min_price.map(Money::usd),
        not_after: row.not_after,
        metadata: row.metadata.as_deref().map(metadata).transpose()?,
    };
    order(row, command, state)
}

fn order<C, S>(row: Model, command: C, state: S) -> Result<Order<C, S>, StoreError> {
    let digest: [u8; 32] = row.digest.try_into().map_err(|_| json::corrupt("digest", &"is not 32 bytes"))?;
    Ok(Order {
        id: OrderId(row.id),
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

fn needed<T>(column: &str, value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| json::corrupt(column, &"is missing"))
}

fn metadata(text: &str) -> Result<Metadata, StoreError> {
    Metadata::parse(text).map_err(|error| json::corrupt("metadata", &error))
}

pub(super) fn trace(parent: &str, state: Option<&str>) -> Result<TraceContext, StoreError> {
    TraceContext::parse(parent, state).ok_or_else(|| json::corrupt("traceparent", &parent))
}
