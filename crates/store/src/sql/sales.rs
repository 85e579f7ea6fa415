//! What bears on a sale.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    ItemId, OrderId, PartnerId, Time, UserId,
    command::Target,
    item::{Pull, Sight},
    sellback::{KnownCopy, MOST_HOLDERS, MOST_KNOWN, MOST_SALES, SaleCase, SoldCopy},
};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::{
    Sql,
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
        let tx = self.snapshot().await?;
        let pulls = all(pulls_of_user(partner, user).filter(wanted(target)).all(&tx).await)?;
        let case = match item(target, &pulls) {
            None => SaleCase { pulls, ..SaleCase::default() },
            Some(item) => {
                let holders = holders(&tx, partner, user, &item).await?;
                SaleCase {
                    under_way: under_way(&tx, partner, &item).await?,
                    selling: selling(&tx, partner, user).await?,
                    sold: last_sales(&tx, partner, &item).await?,
                    copies: copies(&tx, partner, holders.iter().take(MOST_HOLDERS as usize).chain([user]), &item).await?,
                    holders,
                    pulls,
                }
            }
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

/// The sales first, then when the pulls that they gave away were bought.
async fn last_sales(db: &impl ConnectionTrait, partner: &PartnerId, item: &ItemId) -> Result<Vec<SoldCopy>, StoreError> {
    let sales = latest(partner, item).into_tuple::<(Uuid, String, Time)>().all(db).await.map_err(reading)?;
    if sales.is_empty() {
        return Ok(Vec::new());
    }
    let given = given_away(partner, item, &sales).into_tuple::<(Uuid, Option<Time>)>().all(db).await.map_err(reading)?;
    let given: BTreeMap<_, _> = given.into_iter().collect();
    let copy = |(by, user, sold_at): (Uuid, String, Time)| {
        let purchased_at = given.get(&by).copied().flatten();
        Ok(SoldCopy { by: OrderId(by), user_id: id("user_id", &user)?, purchased_at, sold_at })
    };
    sales.into_iter().map(copy).collect()
}

async fn copies<'a>(
    db: &impl ConnectionTrait,
    partner: &PartnerId,
    users: impl Iterator<Item = &'a UserId>,
    item: &ItemId,
) -> Result<Vec<KnownCopy>, StoreError> {
    type Row = (String, Time, Option<Time>, Option<Time>, Option<Time>, Option<Time>, bool);
    let rows = unsold(partner, users, item).into_tuple::<Row>().all(db).await.map_err(reading)?;
    let copy = |(user, created_at, looked_at, seen_at, missing_since, purchased_at, exchanged): Row| {
        let sight = Sight { looked_at, seen_at, missing_since, purchased_at, exchanged, ..Sight::default() };
        Ok(KnownCopy { user_id: id("user_id", &user)?, created_at, sight })
    };
    rows.into_iter().map(copy).collect()
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

/// The sellbacks that sold the item, newest first.
pub fn latest(partner: &PartnerId, item: &ItemId) -> Select<orders::Entity> {
    use orders::Column as C;
    orders::Entity::find()
        .select_only()
        .columns([C::Id, C::UserId, C::SoldAt])
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::SoldItem.eq(item.as_str()))
        .order_by_desc(C::SoldAt)
        .order_by_desc(C::Id)
        .limit(u64::from(MOST_SALES))
}

/// What these sales gave away: a pull is its seller's.
pub fn given_away(partner: &PartnerId, item: &ItemId, sales: &[(Uuid, String, Time)]) -> Select<pulls::Entity> {
    use pulls::Column as C;
    let users: BTreeSet<_> = sales.iter().map(|(_, user, _)| user.as_str()).collect();
    pulls::Entity::find()
        .select_only()
        .columns([C::SoldBy, C::PurchasedAt])
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::ItemId.eq(item.as_str()))
        .filter(C::UserId.is_in(users))
        .filter(C::SoldBy.is_in(sales.iter().map(|(by, ..)| *by)))
}

/// Pulls of the item that nobody has given away, oldest first.
pub fn unsold<'a>(partner: &PartnerId, users: impl Iterator<Item = &'a UserId>, item: &ItemId) -> Select<pulls::Entity> {
    use pulls::Column as C;
    pulls::Entity::find()
        .select_only()
        .columns([C::UserId, C::CreatedAt, C::LookedAt, C::SeenAt, C::MissingSince, C::PurchasedAt, C::Exchanged])
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::ItemId.eq(item.as_str()))
        .filter(C::UserId.is_in(users.map(UserId::as_str)))
        .filter(C::SoldBy.is_null())
        .order_by_asc(C::CreatedAt)
        .order_by_asc(C::Purchase)
        .order_by_asc(C::Position)
        .limit(MOST_KNOWN as u64)
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
