//! Cases: read as of one moment, and raised by the rulings of a batch.

use std::collections::BTreeMap;

use clawback_domain::{
    PartnerId, PurchaseId, Time, UserId,
    change::Change,
    evidence::{Case, MOST_OPEN, MOST_UNEXPLAINED, Open, Unexplained},
    order::{AnyOrder, Machine},
    pause::CommandKind,
    purchase::Purchase,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select, TransactionTrait,
};
use uuid::Uuid;

use super::{
    Sql,
    entity::{attempts, cases, orders, pulls},
    failure::reading,
    orders::{all, pulls_of_user},
    statement::{Bulk, Cell, Kind, Rows},
    unexplained,
};
use crate::{AttemptRecord, StoreError};

const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";

impl Sql {
    /// A transaction that reads everything as of one moment. SQLite's always do.
    pub(super) async fn snapshot(&self) -> Result<DatabaseTransaction, StoreError> {
        let tx = self.read.begin().await.map_err(reading)?;
        if self.is_postgres() {
            tx.execute_unprepared(SNAPSHOT).await.map_err(reading)?;
        }
        Ok(tx)
    }

    /// One snapshot: without it, a purchase that is fulfilled meanwhile could be missing both here and among the pulls.
    pub(super) async fn find_case(&self, partner: &PartnerId, user: &UserId) -> Result<Case, StoreError> {
        let tx = self.snapshot().await?;
        let key = (partner.as_str().to_owned(), user.as_str().to_owned());
        let ruled = cases::Entity::find_by_id(key).one(&tx).await.map_err(reading)?;
        let orders: Vec<AnyOrder> = all(open(partner, user, MOST_OPEN + 1).all(&tx).await)?;
        let mut purchases: Vec<Purchase> = orders.into_iter().filter_map(Machine::of).collect();
        let truncated = purchases.len() > MOST_OPEN as usize;
        purchases.truncate(MOST_OPEN as usize);
        let mut attempts = attempts_of_open(&tx, partner, user).await?;
        let pulls = all(pulls_of_user(partner, user).all(&tx).await)?;
        let called = first_calls(&tx, partner, user).await?;
        let mut unexplained: Vec<Unexplained> =
            all(unexplained::asked(Some(partner), Some(user), MOST_UNEXPLAINED + 1).all(&tx).await)?;
        let truncated = truncated || unexplained.len() > MOST_UNEXPLAINED as usize;
        unexplained.truncate(MOST_UNEXPLAINED as usize);
        tx.rollback().await.map_err(reading)?;

        let with_attempts = |purchase: Purchase| Open { attempts: attempts.remove(&purchase.id).unwrap_or_default(), purchase };
        Ok(Case {
            version: ruled.as_ref().map_or(0, |ruled| ruled.version),
            retried_at: ruled.and_then(|ruled| ruled.retried_at),
            open: purchases.into_iter().map(with_attempts).collect(),
            truncated,
            pulls,
            called,
            unexplained,
        })
    }
}

/// Open purchases, oldest first.
fn open(partner: &PartnerId, user: &UserId, limit: u32) -> Select<orders::Entity> {
    use orders::Column as C;
    orders::Entity::find()
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::UserId.eq(user.as_str()))
        .filter(C::LookAt.is_not_null())
        .filter(C::Kind.eq(CommandKind::Purchase.as_str()))
        .order_by(C::CreatedAt, Order::Asc)
        .order_by(C::Id, Order::Asc)
        .limit(u64::from(limit))
}

async fn attempts_of_open(
    db: &impl ConnectionTrait,
    partner: &PartnerId,
    user: &UserId,
) -> Result<BTreeMap<PurchaseId, Vec<AttemptRecord>>, StoreError> {
    let ids = open(partner, user, MOST_OPEN).select_only().column(orders::Column::Id).into_query();
    let rows = attempts::Entity::find()
        .filter(attempts::Column::OrderId.in_subquery(ids))
        .order_by(attempts::Column::OrderId, Order::Asc)
        .order_by(attempts::Column::Number, Order::Asc)
        .all(db);
    let mut attempts = BTreeMap::<_, Vec<AttemptRecord>>::new();
    for record in all::<_, AttemptRecord>(rows.await)? {
        attempts.entry(record.order).or_default().push(record);
    }
    Ok(attempts)
}

/// When the purchases that drew the user's pulls were first called.
async fn first_calls(
    db: &impl ConnectionTrait,
    partner: &PartnerId,
    user: &UserId,
) -> Result<BTreeMap<PurchaseId, Time>, StoreError> {
    use attempts::Column as C;
    let drawn = pulls_of_user(partner, user).select_only().column(pulls::Column::Purchase).into_query();
    let first = attempts::Entity::find().select_only().columns([C::OrderId, C::StartedAt]).filter(C::Number.eq(1));
    let calls = first.filter(C::OrderId.in_subquery(drawn)).into_tuple::<(Uuid, Time)>().all(db).await;
    Ok(calls.map_err(reading)?.into_iter().map(|(purchase, at)| (PurchaseId(purchase), at)).collect())
}

/// Raises each case that still has the version its ruling was concluded from, if it was concluded, and returns whose ruling that was.
/// Within a batch each user has one ruling. The first look at the version spares those that are lost anyway the lock; the second decides.
pub static RULINGS: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("version", Kind::BigInt),
        ("purchase", Kind::Uuid),
        ("retried_at", Kind::Time),
    ],
    then: "INSERT INTO cases (partner, user_id, version, purchase, retried_at)
        SELECT n_partner, n_user_id, coalesce(n_version, 0) + 1, n_purchase, n_retried_at FROM v
        WHERE n_version IS NULL
            OR n_version = coalesce((SELECT version FROM cases WHERE partner = n_partner AND user_id = n_user_id), 0)
        ON CONFLICT (partner, user_id) DO UPDATE SET version = cases.version + 1, purchase = excluded.purchase,
            retried_at = coalesce(excluded.retried_at, cases.retried_at)
        WHERE cases.version = excluded.version - 1
            OR EXISTS (SELECT 1 FROM v WHERE n_purchase = excluded.purchase AND n_version IS NULL)
        RETURNING purchase AS id",
    returns: true,
};

/// In order of user.
pub fn ruling_rows<'a>(changes: impl Iterator<Item = &'a Change>) -> Rows<'a> {
    let mut rulings: Vec<_> = changes.filter_map(|change| Some((&change.after, change.ruling?))).collect();
    rulings.sort_unstable_by_key(|(after, _)| (after.partner(), after.user_id()));
    let mut rows = Rows::new(&RULINGS);
    for (after, ruling) in rulings {
        rows.push([
            Cell::text(after.partner().as_str()),
            Cell::text(after.user_id().as_str()),
            Cell::BigInt(ruling.case),
            Cell::id(after.id().0),
            Cell::Time(ruling.retried.then_some(after.updated_at())),
        ]);
    }
    rows
}
