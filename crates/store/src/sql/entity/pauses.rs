use clawback_domain::pause::{CommandKind, Pause, PauseScope};
use sea_orm::{ActiveValue::Set, NotSet, entity::prelude::*};

use super::id;
use crate::{StoreError, sql::json};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "pauses")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub partner: String,
    pub pack: String,
    pub kind: String,
    pub by: String,
    pub reason: String,
    pub since: ChronoDateTimeUtc,
    pub refused_key: Option<String>,
    pub resumed_at: Option<ChronoDateTimeUtc>,
    pub resumed_by: Option<String>,
    pub resumed_reason: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The scope in its three columns; an empty text is *all of them*.
pub fn scope_columns(scope: &PauseScope) -> (&str, &str, &str) {
    let partner = scope.partner.as_ref().map_or("", |partner| partner.as_str());
    let pack = scope.pack.as_ref().map_or("", |pack| pack.as_str());
    (partner, pack, scope.kind.map_or("", CommandKind::as_str))
}

impl TryFrom<Model> for Pause {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let kind = |text: String| CommandKind::parse(&text).ok_or_else(|| json::corrupt("kind", &text));
        let scope = PauseScope {
            partner: given(&row.partner).map(|text| id("partner", &text)).transpose()?,
            pack: given(&row.pack).map(|text| id("pack", &text)).transpose()?,
            kind: given(&row.kind).map(kind).transpose()?,
        };
        Ok(Pause { scope, by: row.by, reason: row.reason, since: row.since, refused_key: row.refused_key })
    }
}

pub fn row(pause: Pause) -> ActiveModel {
    let (partner, pack, kind) = scope_columns(&pause.scope);
    ActiveModel {
        id: NotSet,
        partner: Set(partner.into()),
        pack: Set(pack.into()),
        kind: Set(kind.into()),
        by: Set(pause.by),
        reason: Set(pause.reason),
        since: Set(pause.since),
        refused_key: Set(pause.refused_key),
        resumed_at: Set(None),
        resumed_by: Set(None),
        resumed_reason: Set(None),
    }
}
