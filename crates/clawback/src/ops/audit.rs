//! `/ops/v1/audit`: GET audits the books, with `?since=24h` those of the last day. Differences are no error of the request.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;

use super::Ops;
use crate::{
    auditing::{self, Since},
    http::problem::Problem,
};

pub fn routes() -> Router<Ops> {
    Router::new().route("/ops/v1/audit", get(audit))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    since: Option<String>,
}

async fn audit(
    State(ops): State<Ops>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    ops.authorize(&headers)?;
    let refuse = |message: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_field", message);
    let Query(wanted) = wanted.map_err(|error| refuse(error.body_text()))?;
    let since = wanted.since.map(|text| text.parse::<Since>()).transpose();
    let since = since.map_err(|error| refuse(format!("`since` {error}")))?;
    let report = auditing::audit(&*ops.store, ops.clock.now(), since).await?;
    Ok(Json(report).into_response())
}
