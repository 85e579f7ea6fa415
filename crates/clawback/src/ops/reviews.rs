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
use clawback_domain::{ItemId, Money, OrderId, PartnerId, SessionId, order::AnyOrder, pause::CommandKind};
use serde::Deserialize;

use super::Ops;
use crate::{
    http::{body, problem::Problem},
    kind::name,
    reviewing::{self, Resolved, Said, Shown, Wanted, Word},
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
    let order = find(&ops, &id).await?;
    let rules = (ops.rules)(order.partner());
    Ok(Json(Shown::read(&*ops.store, order, &rules, ops.clock.now()).await?.object()).into_response())
}

/// `{"failed": true}`; of a purchase `{"fulfilled_with": ["…"]}`, `{"session": "…"}` or `{"retry": true,
/// "accept_double_purchase": true}`, of a sellback `{"sold": true, "amount": "8.50"}` (the amount where it is known) or `{"retry":
/// true, "accept_double_sale": true}`; each with `"by": "jo", "reason": "…"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settled {
    fulfilled_with: Option<Vec<ItemId>>,
    session: Option<SessionId>,
    #[serde(default)]
    sold: bool,
    amount: Option<Money>,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    retry: bool,
    #[serde(default)]
    accept_double_purchase: bool,
    #[serde(default)]
    accept_double_sale: bool,
    by: String,
    reason: String,
}

async fn resolve(State(ops): State<Ops>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    ops.authorize(&headers)?;
    let settled = read(body).await?;
    let seen = find(&ops, &id).await?;
    let word = settled.word(seen.kind())?;
    let rules = (ops.rules)(seen.partner());
    match reviewing::resolve(&*ops.store, &*ops.clock, &rules, &seen, &word).await? {
        Resolved::Done(order) => {
            let (kind, state) = (order.kind().as_str(), order.state().as_str());
            tracing::warn!(order.id = %order.id(), kind, state, by = word.by, reason = word.why, "a review was resolved");
            Ok(Json(reviewing::object(&order)).into_response())
        }
        Resolved::Conflict(order, why) => {
            let detail = format!("{} is {}: {why}", name(&order), order.state());
            Err(Problem::new(StatusCode::CONFLICT, "not_in_review", detail))
        }
        Resolved::Refused(why) => {
            let detail = format!("{} stays in review: {why}", name(&seen));
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "does_not_fit", detail))
        }
    }
}

fn refuse(message: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message)
}

async fn read(body: Body) -> Result<Settled, Problem> {
    let bytes = body::read(body).await?;
    let settled: Settled = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if settled.by.trim().is_empty() || settled.reason.trim().is_empty() {
        return Err(refuse("`by` and `reason` say who and why; neither may be empty".into()));
    }
    Ok(settled)
}

impl Settled {
    /// The word that is said about an order of this kind. A retry takes the kind's own confirmation, and nothing else takes any.
    fn word(self, kind: CommandKind) -> Result<Word, Problem> {
        let (confirmed, other, field) = match kind {
            CommandKind::Purchase => (self.accept_double_purchase, self.accept_double_sale, "accept_double_purchase"),
            CommandKind::Sellback => (self.accept_double_sale, self.accept_double_purchase, "accept_double_sale"),
        };
        let wanted = Wanted {
            fulfilled_with: self.fulfilled_with,
            session: self.session,
            sold: self.sold,
            amount: self.amount,
            failed: self.failed,
            retry: self.retry,
        };
        let said = wanted.said().map_err(refuse)?;
        match (said == Said::Retry, confirmed, other) {
            (true, false, _) => {
                let message = format!("a retry may do it twice: say `\"{field}\": true`");
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "confirmation_required", message))
            }
            (true, true, true) | (false, true, _) | (false, _, true) => {
                Err(refuse(format!("`{field}` goes with `retry` of a {} alone", kind.as_str())))
            }
            (true, true, false) | (false, false, false) => Ok(Word { said, by: self.by, why: self.reason }),
        }
    }
}

async fn find(ops: &Ops, id: &str) -> Result<AnyOrder, Problem> {
    let unknown = || Problem::not_found("there is no such purchase or sellback");
    let id = id.parse::<OrderId>().map_err(|_| unknown())?;
    ops.store.order(id).await?.ok_or_else(unknown)
}
