//! `/ops/v1/reviews`: GET lists, GET of one shows it with evidence and timeline, POST to one settles it. The body says how, who
//! and why.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use clawback_domain::{
    ItemId, PartnerId, PurchaseId, SessionId,
    purchase::{Purchase, Resolution},
};
use serde::Deserialize;

use super::Ops;
use crate::{
    http::{body, problem::Problem},
    reviewing::{self, Resolved, Shown, Wanted, Word},
};

pub fn routes() -> Router<Ops> {
    Router::new().route("/ops/v1/reviews", get(list)).route("/ops/v1/reviews/{id}", get(show).post(resolve))
}

/// Reviews of a list, unless `limit` says otherwise.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    partner: Option<PartnerId>,
    limit: Option<u32>,
}

/// `?partner=acme&limit=50`, longest in doubt first.
async fn list(
    State(ops): State<Ops>,
    filter: Result<Query<Filter>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    ops.authorize(&headers)?;
    let refuse = |message: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_field", message);
    let Query(filter) = filter.map_err(|error| refuse(error.body_text()))?;
    let limit = filter.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(refuse(format!("limit must be 1–{LARGEST_PAGE}, not {limit}")));
    }
    Ok(Json(reviewing::list(&*ops.store, filter.partner.as_ref(), limit).await?).into_response())
}

async fn show(State(ops): State<Ops>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    ops.authorize(&headers)?;
    let purchase = find(&ops, &id).await?;
    let rules = (ops.rules)(&purchase.partner);
    Ok(Json(Shown::read(&*ops.store, purchase, &rules, ops.clock.now()).await?.object()).into_response())
}

/// `{"fulfilled_with": ["…"]}`, `{"session": "…"}`, `{"failed": true}` or `{"retry": true, "accept_double_purchase": true}`,
/// each with `"by": "jo", "reason": "…"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    fulfilled_with: Option<Vec<ItemId>>,
    session: Option<SessionId>,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    retry: bool,
    #[serde(default)]
    accept_double_purchase: bool,
    by: String,
    reason: String,
}

async fn resolve(State(ops): State<Ops>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    ops.authorize(&headers)?;
    let word = read(body).await?;
    let seen = find(&ops, &id).await?;
    let rules = (ops.rules)(&seen.partner);
    match reviewing::resolve(&*ops.store, &*ops.clock, &rules, &seen, &word).await? {
        Resolved::Done(purchase) => {
            let state = purchase.state.name().as_str();
            tracing::warn!(purchase.id = %purchase.id, state, by = word.by, reason = word.why, "a review was resolved");
            Ok(Json(reviewing::object(&purchase)).into_response())
        }
        Resolved::Conflict(purchase, why) => {
            let detail = format!("the purchase is {}: {why}", purchase.state.name());
            Err(Problem::new(StatusCode::CONFLICT, "not_in_review", detail))
        }
        Resolved::Refused(why) => {
            let detail = format!("the purchase stays in review: {why}");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "does_not_fit", detail))
        }
    }
}

async fn read(body: Body) -> Result<Word, Problem> {
    let refuse = |message: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message);
    let bytes = body::read(body).await?;
    let order: Order = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if order.by.trim().is_empty() || order.reason.trim().is_empty() {
        return Err(refuse("`by` and `reason` say who and why; neither may be empty".into()));
    }
    let wanted =
        Wanted { fulfilled_with: order.fulfilled_with, session: order.session, failed: order.failed, retry: order.retry };
    let resolution = wanted.resolution().map_err(refuse)?;
    match (&resolution, order.accept_double_purchase) {
        (Resolution::Retry, false) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "confirmation_required",
            "a retry may buy twice: say `\"accept_double_purchase\": true`",
        )),
        (Resolution::FulfilledWith(_) | Resolution::Session(_) | Resolution::Failed, true) => {
            Err(refuse("`accept_double_purchase` goes with `retry` alone".into()))
        }
        (_, _) => Ok(Word { resolution, by: order.by, why: order.reason }),
    }
}

async fn find(ops: &Ops, id: &str) -> Result<Purchase, Problem> {
    let unknown = || Problem::not_found("there is no such purchase");
    let id = id.parse::<PurchaseId>().map_err(|_| unknown())?;
    ops.store.purchase(id).await?.ok_or_else(unknown)
}
