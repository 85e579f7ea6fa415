use clawback_domain::{AttemptToken, Money, OrderId, change::Fact, purchase::Attempt};
use sea_orm::entity::prelude::*;

use super::count;
use crate::{AttemptRecord, StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: Uuid,
    pub order_id: Uuid,
    pub number: i64,
    pub started_at: ChronoDateTimeUtc,
    pub send_by: ChronoDateTimeUtc,
    pub deadline: ChronoDateTimeUtc,
    pub price: Option<i64>,
    pub answered_at: Option<ChronoDateTimeUtc>,
    pub outcome: Option<String>,
    pub answer: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for AttemptRecord {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let token = AttemptToken(row.token);
        let fact = match (row.answered_at, row.answer) {
            (Some(at), Some(answer)) => Some(Fact { token, answer: json::answer(&answer)?, at }),
            _ => None,
        };
        let attempt = Attempt {
            number: count("number", row.number)?,
            token,
            started_at: row.started_at,
            send_by: row.send_by,
            deadline: row.deadline,
            price: row.price.map(Money::usd),
        };
        Ok(AttemptRecord { order: OrderId(row.order_id), attempt, fact })
    }
}
