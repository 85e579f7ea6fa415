//! Users read, claimed and turned, and their warnings listed; [`settle`] ends a turn.

mod settle;

use async_trait::async_trait;
use clawback_domain::{
    ItemId, PartnerId, PullId, Time, UserId,
    command::Target,
    event::Event,
    item::Pull,
    pause::CommandKind,
    poll::next_nudge_of_user,
    user::{Settling, User, Watching},
    warning::UserSettings,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult, QuerySelect, Select,
    Value,
};
use uuid::Uuid;

#[cfg(test)]
pub(super) use settle::{CLOSES, ENDS, OFFERS, REPLANS, SENDS, TURNS};

use super::{
    Sql,
    entity::{id, orders, pulls, users, warnings},
    failure::{self, reading},
    json,
    orders::{all, get, not_of, nudged_on, pulls_of_user},
};
use crate::{DueUser, StoreError, Users, Warning, WarningFilter, WarningState};

#[async_trait]
impl Users for Sql {
    async fn user_settings(&self, partner: &PartnerId, user: &UserId) -> Result<UserSettings, StoreError> {
        let row = by_id(partner, user).one(&self.read).await.map_err(reading)?;
        Ok(row.map(User::try_from).transpose()?.map(|user| user.settings).unwrap_or_default())
    }

    async fn set_user_settings(
        &self,
        partner: &PartnerId,
        user: &UserId,
        settings: UserSettings,
        now: Time,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO users (partner, user_id, warnings, auto_sell, zone, sync_wanted, version, due_at)
            VALUES ($1, $2, $3, $4, $5, 0, 1, $6)
            ON CONFLICT (partner, user_id) DO UPDATE SET warnings = excluded.warnings, auto_sell = excluded.auto_sell,
                zone = excluded.zone, version = users.version + 1, due_at = excluded.due_at";
        let UserSettings { warnings, auto_sell, zone } = settings;
        let mut values = key(partner, user);
        values.extend([warnings.into(), auto_sell.into(), zone.map(|zone| zone.name()).into(), now.into()]);
        self.write.execute_raw(self.statement(sql, values)).await.map(drop).map_err(failure::writing)
    }

    async fn claim_due_users(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<DueUser>, StoreError> {
        let mut values: Vec<Value> = vec![now.into(), i64::from(limit).into()];
        let others = not_of(except, &mut values);
        let skip = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let nudged = nudged_on(now, next_nudge_of_user, &mut values);
        let claimed = format!(
            "WITH c AS MATERIALIZED (
                SELECT partner AS of_partner, user_id AS of_user FROM users WHERE due_at <= $1 {others}
                ORDER BY due_at LIMIT $2 {skip})
            UPDATE users SET version = version + 1, nudges = nudges + 1, due_at = {nudged}
            FROM c WHERE partner = of_partner AND user_id = of_user RETURNING partner, user_id, version"
        );
        let rows = self.write.query_all_raw(self.statement(claimed, values)).await.map_err(failure::writing)?;
        rows.iter().map(due).collect()
    }

    async fn take_turn_of_user(
        &self,
        partner: &PartnerId,
        user: &UserId,
        version: i64,
        due_at: Time,
    ) -> Result<Option<User>, StoreError> {
        let sql = "UPDATE users SET version = version + 1, nudges = 0, due_at = $4
            WHERE partner = $1 AND user_id = $2 AND version = $3 RETURNING *";
        let mut values = key(partner, user);
        values.extend([version.into(), due_at.into()]);
        let row = self.write.query_one_raw(self.statement(sql, values)).await.map_err(failure::writing)?;
        row.map(|row| User::try_from(users::Model::from_query_result(&row, "").map_err(reading)?)).transpose()
    }

    async fn watching(&self, partner: &PartnerId, user: &UserId) -> Result<Option<Watching>, StoreError> {
        let tx = self.snapshot().await?;
        let known = by_id(partner, user).one(&tx).await.map_err(reading)?.map(User::try_from).transpose()?;
        let watching = match known {
            None => None,
            Some(known) => Some(Watching {
                user: known,
                pulls: all(pulls_of_user(partner, user).all(&tx).await)?,
                rows: all(warnings_of_user(partner, user).all(&tx).await)?,
                selling: selling(&tx, partner, user).await?,
            }),
        };
        tx.rollback().await.map_err(reading)?;
        Ok(watching)
    }

    async fn settle_user(&self, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError> {
        settle::settle(self, settling).await
    }

    async fn crowd(&self, partner: &PartnerId, from: Time, until: Time) -> Result<u64, StoreError> {
        let values = vec![partner.as_str().into(), from.into(), until.into()];
        let row = self.read.query_one_raw(self.statement(CROWD, values)).await.map_err(reading)?;
        let row = row.ok_or_else(|| StoreError::Unavailable("no answer".into()))?;
        Ok(get::<i64>(&row, "users")?.unsigned_abs())
    }

    async fn warnings(&self, filter: WarningFilter) -> Result<Vec<Warning>, StoreError> {
        all(listed(&filter).all(&self.read).await)
    }

    async fn expiring(&self, partner: &PartnerId, from: Time, until: Time, limit: u32) -> Result<Vec<Pull>, StoreError> {
        all(unsold(partner, from, until, limit).all(&self.read).await)
    }
}

fn key(partner: &PartnerId, user: &UserId) -> Vec<Value> {
    vec![partner.as_str().into(), user.as_str().into()]
}

fn by_id(partner: &PartnerId, user: &UserId) -> Select<users::Entity> {
    users::Entity::find_by_id((partner.as_str().to_owned(), user.as_str().to_owned()))
}

fn due(row: &QueryResult) -> Result<DueUser, StoreError> {
    Ok(DueUser {
        partner: id("partner", &get::<String>(row, "partner")?)?,
        user: id("user_id", &get::<String>(row, "user_id")?)?,
        version: get(row, "version")?,
    })
}

/// In order of pull and lead time.
pub fn warnings_of_user(partner: &PartnerId, user: &UserId) -> Select<warnings::Entity> {
    use warnings::Column as C;
    warnings::Entity::find()
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::UserId.eq(user.as_str()))
        .order_by_asc(C::PullId)
        .order_by_asc(C::Lead)
}

/// What a user's sellbacks are to sell, oldest first.
async fn selling(db: &impl ConnectionTrait, partner: &PartnerId, user: &UserId) -> Result<Vec<Target>, StoreError> {
    let targets = unsettled_targets(partner, user).into_tuple::<(Option<String>, Option<Uuid>)>().all(db);
    let target = |(item, pull): (Option<String>, Option<Uuid>)| match (item, pull) {
        (Some(item), _) => Ok(Target::Item(id::<ItemId, _>("item_id", &item)?)),
        (None, Some(pull)) => Ok(Target::Pull(PullId(pull))),
        (None, None) => Err(json::corrupt("item_id", &"a sellback sells nothing")),
    };
    targets.await.map_err(reading)?.into_iter().map(target).collect()
}

pub fn unsettled_targets(partner: &PartnerId, user: &UserId) -> Select<orders::Entity> {
    use orders::Column as C;
    orders::Entity::find()
        .select_only()
        .columns([C::ItemId, C::PullId])
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::UserId.eq(user.as_str()))
        .filter(C::LookAt.is_not_null())
        .filter(C::Kind.eq(CommandKind::Sellback.as_str()))
        .order_by_asc(C::CreatedAt)
        .order_by_asc(C::Id)
}

pub const CROWD: &str = "SELECT count(DISTINCT user_id) AS users FROM warnings
    WHERE partner = $1 AND moment >= $2 AND moment < $3 AND state IN ('planned', 'sent')";

pub fn listed(filter: &WarningFilter) -> Select<warnings::Entity> {
    use warnings::Column as C;
    let mut find = warnings::Entity::find();
    if let Some(partner) = &filter.partner {
        find = find.filter(C::Partner.eq(partner.as_str()));
    }
    if let Some(user) = &filter.user {
        find = find.filter(C::UserId.eq(user.as_str()));
    }
    if let Some(from) = filter.from {
        find = find.filter(C::Moment.gte(from));
    }
    if let Some(until) = filter.until {
        find = find.filter(C::Moment.lt(until));
    }
    find = match filter.state {
        None => find,
        Some(WarningState::Planned) => find.filter(C::State.eq(warnings::PLANNED)),
        Some(WarningState::Sent) => find.filter(C::State.eq(warnings::SENT)),
        Some(WarningState::Skipped) => find.filter(C::State.is_not_in([warnings::PLANNED, warnings::SENT])),
    };
    find.order_by_asc(C::Moment).order_by_asc(C::PullId).order_by_asc(C::Lead).limit(u64::from(filter.limit))
}

pub fn unsold(partner: &PartnerId, from: Time, until: Time, limit: u32) -> Select<pulls::Entity> {
    use pulls::Column as C;
    pulls::Entity::find()
        .filter(C::Partner.eq(partner.as_str()))
        .filter(C::ExpiresAt.gte(from))
        .filter(C::ExpiresAt.lt(until))
        .filter(C::SoldBy.is_null())
        .order_by_asc(C::ExpiresAt)
        .order_by_asc(C::Purchase)
        .order_by_asc(C::Position)
        .limit(u64::from(limit))
}
