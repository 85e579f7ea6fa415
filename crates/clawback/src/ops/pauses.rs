//! `/ops/v1/pauses`: GET lists, POST pauses, DELETE resumes. The body says what, who and why.

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use clawback_domain::pause::PauseScope;
use serde::Deserialize;
use serde_json::json;

use super::Ops;
use crate::{
    http::{body, problem::Problem},
    pausing::{self, ShownPause, Wanted},
};

pub fn routes() -> Router<Ops> {
    Router::new().route("/ops/v1/pauses", get(list).post(pause).delete(resume))
}

/// `{"partner": "acme", "pack": "…", "kind": "purchase", "by": "jo", "reason": "…"}`, or `"all": true` for the partner.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    all: bool,
    partner: Option<clawback_domain::PartnerId>,
    pack: Option<clawback_domain::PackId>,
    kind: Option<String>,
    by: String,
    reason: String,
}

async fn list(State(ops): State<Ops>, request: Request) -> Result<Response, Problem> {
    ops.authorize(request.headers())?;
    let pauses: Vec<ShownPause> = ops.store.pauses().await?.into_iter().map(Into::into).collect();
    Ok(Json(json!({ "pauses": pauses })).into_response())
}

async fn pause(State(ops): State<Ops>, request: Request) -> Result<Response, Problem> {
    ops.authorize(request.headers())?;
    let (scope, by, reason) = read(request.into_body()).await?;
    tracing::warn!(scope = pausing::describe(&scope), by, reason, "paused");
    let paused = pausing::pause(&*ops.store, &*ops.clock, scope, &by, &reason).await?;
    let status = if paused { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "paused": paused }))).into_response())
}

async fn resume(State(ops): State<Ops>, request: Request) -> Result<Response, Problem> {
    ops.authorize(request.headers())?;
    let (scope, by, reason) = read(request.into_body()).await?;
    tracing::warn!(scope = pausing::describe(&scope), by, reason, "resumed");
    let rate = scope.partner.as_ref().map_or(u32::MAX, |partner| (ops.rates)(partner));
    let resumed = pausing::resume(&*ops.store, &*ops.clock, &scope, &by, &reason, rate).await?;
    if resumed.resumed { Ok(Json(resumed).into_response()) } else { Err(Problem::not_found("there is no such pause")) }
}

async fn read(body: Body) -> Result<(PauseScope, String, String), Problem> {
    let refuse = |message: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message);
    let bytes = body::read(body).await?;
    let order: Order = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if order.by.trim().is_empty() || order.reason.trim().is_empty() {
        return Err(refuse("`by` and `reason` say who and why; neither may be empty".into()));
    }
    let wanted = Wanted { all: order.all, partner: order.partner, pack: order.pack, kind: order.kind };
    Ok((wanted.scope().map_err(refuse)?, order.by, order.reason))
}
