use clawback_domain::{
    Money, PullId, PurchaseId, SellbackId,
    item::{Expiry, Pull, PullSale, Sight, Told},
};
use sea_orm::entity::prelude::*;

use super::{count, id};
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "pulls")]
pub struct Model {
    pub id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub partner: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub purchase: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub created_at: ChronoDateTimeUtc,
    pub expires_at: Option<ChronoDateTimeUtc>,
    pub expiry_known: bool,
    pub pack_id: String,
    pub item_id: String,
    pub item: String,
    pub looked_at: Option<ChronoDateTimeUtc>,
    pub seen_at: Option<ChronoDateTimeUtc>,
    pub missing_since: Option<ChronoDateTimeUtc>,
    pub purchased_at: Option<ChronoDateTimeUtc>,
    pub price: Option<i64>,
    pub sold_by: Option<Uuid>,
    pub sold_at: Option<ChronoDateTimeUtc>,
    pub expiry_read_at: Option<ChronoDateTimeUtc>,
    pub offered_at: Option<ChronoDateTimeUtc>,
    pub closed_at: Option<ChronoDateTimeUtc>,
    pub exchanged: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Pull {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Pull {
            id: PullId(row.id),
            purchase: PurchaseId(row.purchase),
            position: count("position", row.position)?,
            partner: id("partner", &row.partner)?,
            user_id: id("user_id", &row.user_id)?,
            pack_id: id("pack_id", &row.pack_id)?,
            item: json::read("item", &row.item)?,
            created_at: row.created_at,
            sight: Sight {
                looked_at: row.looked_at,
                seen_at: row.seen_at,
                missing_since: row.missing_since,
                purchased_at: row.purchased_at,
                expiry: match (row.expiry_known, row.expires_at) {
                    (false, _) => Expiry::NotRead,
                    (true, None) => Expiry::Never,
                    (true, Some(at)) => Expiry::At(at),
                },
                expiry_read_at: row.expiry_read_at,
                price: row.price.map(Money::usd),
                exchanged: row.exchanged,
            },
            sale: row.sold_by.zip(row.sold_at).map(|(by, at)| PullSale { by: SellbackId(by), at }),
            told: Told { offered_at: row.offered_at, closed_at: row.closed_at },
        })
    }
}
