//! What bears on a sale.

use clawback_domain::{
    ItemId, OrderId, PartnerId, Time, UserId,
    command::Target,
    item::Pull,
    sellback::{MOST_HOLDERS, MOST_SALES, SaleCase, SoldCopy},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, TransactionTrait,
};
use uuid::Uuid;

use super::{
    Sql,
    cases::SNAPSHOT,
    entity::{id, orders, pulls},
    failure::reading,
    orders::{all, pulls_of_user},
};
use crate::StoreError;

impl Sql {
    pub(super) async fn find_sale_case(
        &self,
        partner: &PartnerId,
        user: &UserId,
        target: &Target,
    ) -> Result<SaleCase, StoreError> {
        let tx = self.read.begin().await.map_err(reading)?;
        if self.is_postgres() {
            tx.execute_unprepared(SNAPSHOT).await.map_err(reading)?;
        }
        let pulls = all(pulls_of_user(partner, user).filter(wanted(target)).all(&tx).await)?;
        let case = match item(target, &pulls) {
            None => SaleCase { pulls, ..SaleCase::default() },
            Some(item) => SaleCase {
                holders: holders(&tx, partner, user, &item).await?,
                under_way: under_way(&tx, partner, &item).await?,
                selling: selling(&tx, partner, user).await?,
                sold: last_sales(&tx, partner, &item).await?,
                pulls,
            },
        };
        tx.rollback().await.map_err(reading)?;
        Ok(case)
    }
}

fn wanted(target: &Target) -> Condition {
    Condition::all().add(match target {
        Target::Item(item) => pulls::Column::ItemId.eq(item.as_str()),
        Target::Pull(pull) => pulls::Column::Id.eq(pull.0),
    })
}

fn item(target: &Target, pulls: &[Pull]) -> Option<ItemId> {
    match target {
        Target::Item(item) => Some(item.clone()),
        Target::Pull(_) => pulls.first().map(|pull| pull.item.item_id.clone()),
    }
}

async fn holders(
    db: &impl ConnectionTrait,
    partner: &PartnerId,
    user: &UserId,
    item: &ItemId,
) -> Result<Vec<UserId>, StoreError> {
    let users = holding(partner, user, item).into_tuple::<String>().all(db);
    users.await.map_err(reading)?.iter().map(|user| id("user_id", user)).collect()
}

async fn under_way(db: &impl ConnectionTrait, partner: &PartnerId, item: &ItemId) -> Result<Option<OrderId>, StoreError> {
    Ok(seller(partner, item).into_tuple::<Uuid>().one(db).await.map_err(reading)?.map(OrderId))
}

async fn selling(db: &impl ConnectionTrait, partner: &PartnerId, user: &UserId) -> Result<Vec<ItemId>, StoreError> {
    let items = unsettled(partner, user).into_tuple::<String>().all(db);
    items.await.map_err(reading)?.iter().map(|item| id("item_id", item)).collect()
}

async fn last_sales(db: &impl ConnectionTrait, partner: &PartnerId, item: &ItemId) -> Result<Vec<SoldCopy>, StoreError> {
    let sales = latest(partner, item).into_tuple::<(String, Option<Time>, Time)>().all(db);
    let copy =
        |(user, purchased_at, sold_at): (String, _, _)| Ok(SoldCopy { user_id: id("user_id", &user)?, purchased_at, sold_at });
    sales.await.map_err(reading)?.into_iter().map(copy).collect()
}

/// Other users who drew the item. Also those who sold it: of several copies the upstream may have taken another's.
pub fn holding(partner: &PartnerId, user: &UserId, item: &ItemId) -> Select<pulls::Entity> {
    use pulls::Column as C;
    pulls::Entity::find()
        .select_only()
        .column(C::UserId)
        .distinct()
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::ItemId.eq(item.as_str()))
        .filter(C::UserId.ne(user.as_str()))
        .order_by_asc(C::UserId)
        .limit(u64::from(MOST_HOLDERS) + 1)
}

/// The pulls of the item that were sold, newest first.
pub fn latest(partner: &PartnerId, item: &ItemId) -> Select<pulls::Entity> {
    use pulls::Column as C;
    pulls::Entity::find()
        .select_only()
        .columns([C::UserId, C::PurchasedAt, C::SoldAt])
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::ItemId.eq(item.as_str()))
        .filter(C::SoldAt.is_not_null())
        .order_by_desc(C::SoldAt)
        .order_by_desc(C::Purchase)
        .order_by_desc(C::Position)
        .limit(u64::from(MOST_SALES))
}

/// Items of the user whose sale is not settled, oldest sellback first.
pub fn unsettled(partner: &PartnerId, user: &UserId) -> Select<orders::Entity> {
    use orders::Column as C;
    orders::Entity::find()
        .select_only()
        .column(C::Selling)
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::UserId.eq(user.as_str()))
        .filter(C::LookAt.is_not_null())
        .filter(C::Selling.is_not_null())
        .order_by_asc(C::CreatedAt)
        .order_by_asc(C::Id)
}

/// Whose sale of the item is not settled.
pub fn seller(partner: &PartnerId, item: &ItemId) -> Select<orders::Entity> {
    use orders::Column as C;
    orders::Entity::find()
        .select_only()
        .column(C::Id)
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::Selling.eq(item.as_str()))
}
