//! `/v1/users/{user_id}/settings`: what a user wants of warnings and automatic sales.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
};
use clawback_domain::{command::SettingsChange, warning::UserSettings};
use serde::Serialize;

use super::{api::Api, asked, body, problem::Problem};

#[derive(Debug, Serialize)]
pub struct Settings {
    auto_sell: bool,
    warnings: bool,
    zone: Option<&'static str>,
}

impl From<UserSettings> for Settings {
    fn from(settings: UserSettings) -> Self {
        let UserSettings { warnings, auto_sell, zone } = settings;
        Self { auto_sell, warnings, zone: zone.map(|zone| zone.name()) }
    }
}

/// `GET /v1/users/{user_id}/settings`. Of a user who is not known: what holds until something is set.
pub async fn read(State(api): State<Api>, Path(user): Path<String>, headers: HeaderMap) -> Result<Json<Settings>, Problem> {
    let partner = api.partner(&headers)?;
    let settings = api.store.user_settings(&partner.id, &asked::user(user)?).await?;
    Ok(Json(settings.into()))
}

/// `PUT /v1/users/{user_id}/settings`: what is absent stays as it is. The user may be one who is not known yet.
pub async fn change(State(api): State<Api>, Path(user): Path<String>, request: Request) -> Result<Json<Settings>, Problem> {
    let partner = api.partner(request.headers())?.id.clone();
    let user = asked::user(user)?;
    let (parts, body) = request.into_parts();
    let content_type = asked::header_text(&parts.headers, header::CONTENT_TYPE.as_str())?;
    let change = SettingsChange::parse(content_type, &body::read(body).await?).map_err(asked::rejected)?;
    let settings = change.apply(api.store.user_settings(&partner, &user).await?);
    api.store.set_user_settings(&partner, &user, settings, api.clock.now()).await?;
    Ok(Json(settings.into()))
}
