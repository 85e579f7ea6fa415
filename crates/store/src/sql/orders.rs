//! Orders read, claimed and lifted: everything about them that does not share a group commit.

use std::time::Duration;

use clawback_domain::{
    OrderId, PartnerId, PurchaseId, Time, UserId,
    clock::after,
    item::Pull,
    order::{AnyOrder, StateName},
    pause::{CommandKind, PauseScope},
    poll::next_nudge,
    reason::WaitCode,
    timeline::Entry,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, Order, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Select, Value,
};
use uuid::Uuid;

use super::{
    Sql,
    entity::{attempts, orders, pulls, timeline},
    failure::{self, reading},
    json,
    retention::TOMBSTONE,
    statement::{Bulk, Cell, Kind, Rows},
};
use crate::{AttemptRecord, Counts, Due, Filter, StoreError};

/// How many rows whose `due_at` moved on are put in their place by one claim, so that one claim stays short.
const MOST_MOVED: u32 = 1000;

/// How many held rows are lifted by one transaction.
const LIFTED_AT_ONCE: u64 = 5000;

impl Sql {
    pub(super) async fn find_order(&self, id: OrderId) -> Result<Option<AnyOrder>, StoreError> {
        let row = orders::Entity::find_by_id(id.0).one(&self.read).await.map_err(reading)?;
        row.map(AnyOrder::try_from).transpose()
    }

    pub(super) async fn list_orders(&self, filter: Filter) -> Result<Vec<AnyOrder>, StoreError> {
        let order = if filter.oldest_first { Order::Asc } else { Order::Desc };
        let rows = orders::Entity::find()
            .filter(condition(&filter))
            .order_by(orders::Column::CreatedAt, order.clone())
            .order_by(orders::Column::Id, order)
            .limit(u64::from(filter.limit))
            .all(&self.read);
        all(rows.await)
    }

    pub(super) async fn find_attempts(&self, id: OrderId) -> Result<Vec<AttemptRecord>, StoreError> {
        let rows = attempts::Entity::find()
            .filter(attempts::Column::OrderId.eq(id.0))
            .order_by(attempts::Column::Number, Order::Asc)
            .all(&self.read);
        all(rows.await)
    }

    pub(super) async fn find_timeline(&self, id: OrderId) -> Result<Vec<Entry>, StoreError> {
        let rows = timeline::Entity::find()
            .filter(timeline::Column::OrderId.eq(id.0))
            .order_by(timeline::Column::Version, Order::Asc)
            .all(&self.read);
        all(rows.await)
    }

    /// Through the index of their user, whom the purchase tells.
    pub(super) async fn find_pulls(&self, id: PurchaseId) -> Result<Vec<Pull>, StoreError> {
        let Some(purchase) = self.find_order(id).await? else { return Ok(Vec::new()) };
        let rows = pulls::Entity::find()
            .filter(pulls::Column::Partner.eq(purchase.partner().as_str()))
            .filter(pulls::Column::UserId.eq(purchase.user_id().as_str()))
            .filter(pulls::Column::Purchase.eq(id.0))
            .order_by(pulls::Column::Position, Order::Asc)
            .all(&self.read);
        all(rows.await)
    }

    pub(super) async fn find_pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Result<Vec<Pull>, StoreError> {
        all(pulls_of_user(partner, user).all(&self.read).await)
    }

    pub(super) async fn count_orders(&self) -> Result<Counts, StoreError> {
        let sql = "SELECT partner, kind, state, count(*) AS orders FROM orders GROUP BY partner, kind, state";
        let rows = self.read.query_all_raw(self.statement(sql, vec![])).await.map_err(reading)?;
        let count = |row: QueryResult| {
            let (partner, kind): (String, String) = (get(&row, "partner")?, get(&row, "kind")?);
            let kind = CommandKind::parse(&kind).ok_or_else(|| json::corrupt("kind", &kind))?;
            let state: String = get(&row, "state")?;
            let partner = PartnerId::new(partner).map_err(|error| json::corrupt("partner", &error))?;
            let state = StateName::parse(&state).ok_or_else(|| json::corrupt("state", &state))?;
            Ok(((partner, kind, state), get::<i64>(&row, "orders")?.unsigned_abs()))
        };
        rows.into_iter().map(count).collect()
    }

    /// Two statements. The first puts rows in their place whose `due_at` has moved on since `look_at` was set; the second claims.
    pub(super) async fn claim_orders(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<Due>, StoreError> {
        let skip = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let moved = format!(
            "WITH c AS MATERIALIZED (
                SELECT id FROM orders WHERE look_at <= $1 AND due_at > $1 ORDER BY look_at LIMIT {MOST_MOVED} {skip})
            UPDATE orders SET look_at = due_at FROM c WHERE orders.id = c.id"
        );
        self.write.execute_raw(self.statement(moved, vec![now.into()])).await.map_err(failure::writing)?;

        let mut values: Vec<Value> = vec![now.into(), i64::from(limit).into()];
        let others = not_of(except, &mut values);
        let nudged = nudged(now, &mut values);
        let claimed = format!(
            "WITH c AS MATERIALIZED (
                SELECT id FROM orders WHERE look_at <= $1 AND due_at <= $1 {others} ORDER BY look_at LIMIT $2 {skip})
            UPDATE orders SET version = version + 1, nudges = nudges + 1, due_at = {nudged}, look_at = {nudged}
            FROM c WHERE orders.id = c.id RETURNING orders.id, partner, version"
        );
        let rows = self.write.query_all_raw(self.statement(claimed, values)).await.map_err(failure::writing)?;
        rows.iter().map(due).collect()
    }

    /// Reads who is held, reckons everyone's slot, and writes each only if nobody touched it in between: whoever did has it in hand.
    pub(super) async fn lift_orders(
        &self,
        scope: &PauseScope,
        codes: &[WaitCode],
        now: Time,
        rate: u32,
    ) -> Result<u64, StoreError> {
        let (mut lifted, mut place, mut last) = (0, 0u64, None);
        loop {
            let page = self.held(scope, codes, last).await?;
            lifted += self.lift_page(&page, now, rate, place).await?;
            place += page.len() as u64;
            match page.last() {
                Some(row) if page.len() as u64 == LIFTED_AT_ONCE => last = Some((row.created_at, row.id)),
                _ => return Ok(lifted),
            }
        }
    }

    /// A page of held rows, oldest first.
    async fn held(&self, scope: &PauseScope, codes: &[WaitCode], last: Option<(Time, Uuid)>) -> Result<Vec<Held>, StoreError> {
        use orders::Column as C;
        let mut held = Condition::all()
            .add(C::LookAt.is_not_null())
            .add(C::State.eq(StateName::Accepted.as_str()))
            .add(C::WaitingCode.is_in(codes.iter().map(|code| code.as_str())));
        if let Some(kind) = scope.kind {
            held = held.add(C::Kind.eq(kind.as_str()));
        }
        if let Some(partner) = &scope.partner {
            held = held.add(C::Partner.eq(partner.as_str()));
        }
        if let Some(pack) = &scope.pack {
            held = held.add(C::PackId.eq(pack.as_str()));
        }
        if let Some((created, id)) = last {
            let younger = Condition::all().add(C::CreatedAt.eq(created)).add(C::Id.gt(id));
            held = held.add(Condition::any().add(C::CreatedAt.gt(created)).add(younger));
        }
        let rows = orders::Entity::find()
            .select_only()
            .columns([C::Id, C::Version, C::DueAt, C::CreatedAt])
            .filter(held)
            .order_by(C::CreatedAt, Order::Asc)
            .order_by(C::Id, Order::Asc)
            .limit(LIFTED_AT_ONCE)
            .into_model::<Held>()
            .all(&self.read);
        rows.await.map_err(reading)
    }

    async fn lift_page(&self, page: &[Held], now: Time, rate: u32, place: u64) -> Result<u64, StoreError> {
        let slot = |place: u64| after(now, std::time::Duration::from_secs(1).mul_f64(place as f64 / f64::from(rate.max(1))));
        let mut slots: Vec<_> = page.iter().zip(place..).map(|(row, place)| (row, row.due_at.min(slot(place)))).collect();
        slots.sort_unstable_by_key(|(row, _)| row.id);
        let mut rows = Rows::new(&LIFTS);
        slots.iter().for_each(|(row, due)| rows.push([Cell::id(row.id), Cell::number(row.version), Cell::at(*due)]));
        let [lifted] = self.write_alone(None, [(&LIFTS, rows)]).await?;
        Ok(lifted.len() as u64)
    }
}

/// Oldest first.
pub fn pulls_of_user(partner: &PartnerId, user: &UserId) -> Select<pulls::Entity> {
    pulls::Entity::find()
        .filter(pulls::Column::Partner.eq(partner.as_str()))
        .filter(pulls::Column::UserId.eq(user.as_str()))
        .order_by(pulls::Column::CreatedAt, Order::Asc)
        .order_by(pulls::Column::Purchase, Order::Asc)
        .order_by(pulls::Column::Position, Order::Asc)
}

pub static LIFTS: Bulk = Bulk {
    columns: &[("id", Kind::Uuid), ("version", Kind::BigInt), ("due_at", Kind::Time)],
    then: "UPDATE orders SET version = version + 1, due_at = n_due_at,
            look_at = CASE WHEN n_due_at < look_at THEN n_due_at ELSE look_at END
        FROM v WHERE id = n_id AND version = n_version AND due_at IS NOT NULL RETURNING id",
    returns: true,
};

/// What lifting must know of a row.
#[derive(FromQueryResult)]
struct Held {
    id: Uuid,
    version: i64,
    due_at: Time,
    created_at: Time,
}

/// Where a claim moves an order's `due_at`: not past `not_after`, at which an accepted order must change by itself.
fn nudged(now: Time, values: &mut Vec<Value>) -> String {
    let next = nudged_on(now, next_nudge, values);
    format!("CASE WHEN state = 'accepted' AND not_after > $1 AND not_after < {next} THEN not_after ELSE {next} END")
}

/// Where a claim moves a row's `due_at`, as SQL over the row: later with every nudge. The moments are reckoned here and bound, so that no
/// SQL adds times.
pub fn nudged_on(now: Time, next_nudge: fn(u32) -> Duration, values: &mut Vec<Value>) -> String {
    let mut bind = |span| {
        values.push(after(now, span).into());
        format!("${}", values.len())
    };
    let mut next = String::from("CASE");
    let mut nudges = 0;
    while next_nudge(nudges) != next_nudge(nudges + 1) {
        next += &format!(" WHEN nudges = {nudges} THEN {}", bind(next_nudge(nudges)));
        nudges += 1;
    }
    next + &format!(" ELSE {} END", bind(next_nudge(nudges)))
}

/// `AND partner NOT IN …`, or nothing.
pub fn not_of(except: &[PartnerId], values: &mut Vec<Value>) -> String {
    let list = placeholders(values.len() + 1, except.len());
    values.extend(except.iter().map(|partner| Value::from(partner.as_str())));
    if list.is_empty() { list } else { format!("AND partner NOT IN ({list})") }
}

/// `$first, $first+1, …`, or nothing.
pub fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
}

fn due(row: &QueryResult) -> Result<Due, StoreError> {
    let partner = PartnerId::new(get::<String>(row, "partner")?).map_err(|error| json::corrupt("partner", &error))?;
    Ok(Due { partner, order: OrderId(get(row, "id")?), version: get(row, "version")? })
}

pub fn get<T: sea_orm::TryGetable>(row: &QueryResult, column: &str) -> Result<T, StoreError> {
    row.try_get("", column).map_err(|error| json::corrupt(column, &error))
}

fn condition(filter: &Filter) -> Condition {
    use orders::Column as C;
    let mut all = Condition::all();
    if filter.request.is_none() {
        all = all.add(C::Pruned.lt(TOMBSTONE));
    }
    if let Some(kind) = filter.kind {
        all = all.add(C::Kind.eq(kind.as_str()));
    }
    if let Some(partner) = &filter.partner {
        all = all.add(C::Partner.eq(partner.as_str()));
    }
    if let Some(request) = &filter.request {
        all = all.add(C::RequestId.eq(request.as_str()));
    }
    if let (Some(partner), Some(request)) = (&filter.partner, &filter.request) {
        all = all.add(C::Id.eq(OrderId::of(partner, request).0));
    }
    if let Some(state) = filter.state {
        all = all.add(C::State.eq(state.as_str()));
    }
    if let Some(user) = &filter.user {
        all = all.add(C::UserId.eq(user.as_str()));
    }
    if let Some(before) = filter.created_before {
        all = all.add(C::CreatedAt.lt(before));
    }
    if let Some((created, id)) = filter.after {
        let (further, beside) = match filter.oldest_first {
            true => (C::CreatedAt.gt(created), C::Id.gt(id.0)),
            false => (C::CreatedAt.lt(created), C::Id.lt(id.0)),
        };
        all = all.add(Condition::any().add(further).add(Condition::all().add(C::CreatedAt.eq(created)).add(beside)));
    }
    all
}

/// Rows as what they are.
pub fn all<M, T: TryFrom<M, Error = StoreError>>(rows: Result<Vec<M>, sea_orm::DbErr>) -> Result<Vec<T>, StoreError> {
    rows.map_err(reading)?.into_iter().map(T::try_from).collect()
}
