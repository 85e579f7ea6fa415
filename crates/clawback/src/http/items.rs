//! `/v1/users/{user_id}/items`.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use clawback_domain::item::Standing;
use serde::Deserialize;

use super::{
    api::Api,
    asked::{self, invalid},
    problem::Problem,
};
use crate::items;

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    state: Option<Standing>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/users/{user_id}/items?state=…&limit=…&after=…`, oldest first. A user of whom nothing is known, or who is another
/// partner's, has none.
pub async fn list(
    State(api): State<Api>,
    Path(user): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?;
    let user = asked::user(user)?;
    let Query(wanted) = wanted.map_err(|error| invalid("", error.body_text()))?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid("limit", format!("must be 1–{LARGEST_PAGE}, not {limit}")));
    }
    let not_ours = || invalid("after", "must be the `next` of a page before".into());
    let read = |text: &String| items::read_cursor(text).ok_or_else(not_ours);
    let after = wanted.after.as_ref().map(read).transpose()?;
    let pulls = api.store.pulls_of_user(&partner.id, &user).await?;
    let page = items::page(&pulls, &items::Wanted { state: wanted.state, limit, after }).ok_or_else(not_ours)?;
    Ok(Json(page).into_response())
}
