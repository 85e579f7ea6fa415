//! `/v1/purchases`.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use clawback_domain::{
    PurchaseId, RequestId, UserId,
    command::{PurchaseCommand, Rejected, parse_purchase},
    purchase::{Purchase, StateName},
    reason::RejectionCode,
    resource::Resource,
    trace::TraceContext,
};
use clawback_store::Filter;
use serde::Deserialize;
use serde_json::json;

use super::{
    api::{Api, ApiPartner},
    body, cursor,
    problem::{Problem, ProblemError},
};
use crate::{
    accepting::{self, Accepted},
    cancelling::{self, Cancelled},
    config::{parse_duration, show_duration},
};

/// The longest `?wait=`: proxies between us and the partner give up around a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a waiting request looks. A purchase takes seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    wait: Option<String>,
}

/// `POST /v1/purchases`: 202 when the command is durable, 200 for a repeat and once it is final, 409 for a conflict.
pub async fn create(
    State(api): State<Api>,
    wait: Result<Query<Wait>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let partner = api.partner(request.headers())?.clone();
    let wait = read_wait(wait)?;
    let (parts, body) = request.into_parts();
    let content_type = header_text(&parts.headers, header::CONTENT_TYPE.as_str())?;
    let command = parse_purchase(content_type, &body::read(body).await?).map_err(rejected)?;
    let (accepted, is_new) = accept(&api, &partner, command, trace(&parts.headers)).await?;
    let purchase = match wait {
        Some(wait) => until_final(&api, accepted, wait).await?,
        None => accepted,
    };
    let pending = is_new && !purchase.state.name().is_final();
    let status = if pending { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = (status, resource(&api, &purchase).await?).into_response();
    let location = HeaderValue::try_from(format!("/v1/purchases/{}", purchase.id)).expect("a UUID is a header value");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

async fn accept(
    api: &Api,
    partner: &ApiPartner,
    command: PurchaseCommand,
    trace: Option<TraceContext>,
) -> Result<(Purchase, bool), Problem> {
    // A closed partner's repeats are answered: a command is rejected only while no row exists for it.
    let id = PurchaseId::of(&partner.id, &command.request_id);
    if partner.closed && api.store.purchase(id).await?.is_none() {
        let problem =
            clawback_domain::command::Problem::new(RejectionCode::PartnerClosed, "this partner takes no new commands");
        return Err(Problem::of(StatusCode::FORBIDDEN, problem.message.clone(), vec![problem.into()]));
    }
    match accepting::accept(&*api.store, &*api.clock, &partner.id, command, trace, None).await? {
        Accepted::New(purchase) => {
            accepting::hand_over(&*api.broker, &purchase).await;
            Ok((*purchase, true))
        }
        Accepted::Repeat(purchase) => {
            if purchase.state.name().is_final() {
                repeat_event(api, purchase.id).await;
            }
            Ok((*purchase, false))
        }
        Accepted::Conflict(there) => Err(conflict(&there)),
    }
}

/// The final event once more, with its id unchanged, as for a repeat from the queue. The answer does not depend on it.
async fn repeat_event(api: &Api, id: PurchaseId) {
    match api.store.last_event(id.0).await {
        Ok(Some(stored)) => {
            if let Err(error) = api.broker.publish(clawback_worker::event_message(&stored.event)).await {
                tracing::warn!(purchase.id = %id, %error, "the final event was not repeated");
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(purchase.id = %id, %error, "the final event was not repeated"),
    }
}

fn conflict(there: &Purchase) -> Problem {
    let message = format!("the request_id was used for another command, purchase {}", there.id);
    let problem = clawback_domain::command::Problem::new(RejectionCode::RequestIdConflict, message)
        .at("/request_id")
        .hint("a new command needs a new request_id");
    Problem::of(StatusCode::CONFLICT, problem.message.clone(), vec![problem.into()])
}

/// Looks until the purchase is final, `wait` is over, or the process stops.
async fn until_final(api: &Api, mut purchase: Purchase, wait: Duration) -> Result<Purchase, Problem> {
    let end = tokio::time::Instant::now() + wait;
    while !purchase.state.name().is_final() && tokio::time::Instant::now() < end && !api.shutdown.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
        // What is stored once is not removed while anybody waits for it.
        purchase = api.store.purchase(purchase.id).await?.unwrap_or(purchase);
    }
    Ok(purchase)
}

/// `GET /v1/purchases/{id}`
pub async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?;
    let purchase = find(&api, partner, &id).await?;
    Ok(resource(&api, &purchase).await?.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    request_id: Option<RequestId>,
    user_id: Option<UserId>,
    state: Option<StateName>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/purchases?request_id=…&user_id=…&state=…&limit=…&after=…`, newest first.
pub async fn list(
    State(api): State<Api>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?;
    let Query(wanted) = wanted.map_err(|error| invalid("", error.body_text()))?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid("limit", format!("must be 1–{LARGEST_PAGE}, not {limit}")));
    }
    let read = |text: &String| cursor::read(text).ok_or_else(|| invalid("after", "must be the `next` of a page before".into()));
    let filter = Filter {
        partner: Some(partner.id.clone()),
        state: wanted.state,
        user: wanted.user_id,
        request: wanted.request_id,
        created_before: None,
        after: wanted.after.as_ref().map(read).transpose()?,
        oldest_first: false,
        limit,
    };
    let purchases = api.store.purchases(filter).await?;
    let mut list = Vec::with_capacity(purchases.len());
    for purchase in &purchases {
        list.push(value(&api, purchase).await?);
    }
    let next = purchases.last().filter(|_| purchases.len() as u32 == limit).map(cursor::behind);
    Ok(Json(json!({ "purchases": list, "next": next })).into_response())
}

/// `POST /v1/purchases/{id}/cancel`: 409 `point_of_no_return` once it was called.
pub async fn cancel(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?.clone();
    let found = find(&api, &partner, &id).await?;
    let by = format!("partner {}", partner.id);
    match cancelling::cancel(&*api.store, &*api.clock, found.id, &by, "").await? {
        Cancelled::Done(purchase) => Ok(resource(&api, &purchase).await?.into_response()),
        Cancelled::Unknown => Err(unknown()),
        Cancelled::TooLate(purchase) => {
            let detail = format!("the purchase is {} and can no longer be cancelled", purchase.state.name());
            Err(Problem::new(StatusCode::CONFLICT, "point_of_no_return", detail))
        }
    }
}

/// Another partner's purchase does not exist.
async fn find(api: &Api, partner: &ApiPartner, id: &str) -> Result<Purchase, Problem> {
    let id = id.parse::<PurchaseId>().map_err(|_| unknown())?;
    api.store.purchase(id).await?.filter(|purchase| purchase.partner == partner.id).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("there is no such purchase")
}

async fn resource(api: &Api, purchase: &Purchase) -> Result<Json<serde_json::Value>, Problem> {
    value(api, purchase).await.map(Json)
}

async fn value(api: &Api, purchase: &Purchase) -> Result<serde_json::Value, Problem> {
    let pulls = match purchase.state.name() {
        StateName::Fulfilled => api.store.pulls(purchase.id).await?,
        StateName::Accepted
        | StateName::Initiating
        | StateName::Pending
        | StateName::Reconciling
        | StateName::Review
        | StateName::Failed => Vec::new(),
    };
    Ok(serde_json::to_value(Resource::of(purchase, &pulls)).expect("a resource has string keys"))
}

fn read_wait(wait: Result<Query<Wait>, QueryRejection>) -> Result<Option<Duration>, Problem> {
    let Query(Wait { wait }) = wait.map_err(|error| invalid("", error.body_text()))?;
    let Some(text) = wait else { return Ok(None) };
    match parse_duration(&text) {
        Ok(wait) if wait <= LONGEST_WAIT => Ok(Some(wait)),
        Ok(_) => Err(invalid("wait", format!("must be at most {}, not {text}", show_duration(LONGEST_WAIT)))),
        Err(message) => Err(invalid("wait", message)),
    }
}

/// A query parameter that is not understood. Its pointer is the parameter's name, for there is no JSON to point into.
fn invalid(parameter: &str, message: String) -> Problem {
    let error = ProblemError {
        code: RejectionCode::InvalidField.to_string(),
        message: message.clone(),
        pointer: parameter.into(),
        hint: None,
    };
    Problem::of(StatusCode::BAD_REQUEST, message, vec![error])
}

fn rejected(rejected: Rejected) -> Problem {
    let status = match rejected.problems.first().map(|problem| problem.code) {
        Some(RejectionCode::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(RejectionCode::InvalidJson) => StatusCode::BAD_REQUEST,
        Some(RejectionCode::InvalidEncoding) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(
            RejectionCode::InvalidField
            | RejectionCode::UnknownField
            | RejectionCode::MissingField
            | RejectionCode::RequestIdConflict
            | RejectionCode::UnknownCommand
            | RejectionCode::PartnerClosed,
        )
        | None => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = rejected.to_string();
    Problem::of(status, detail, rejected.problems.into_iter().map(Into::into).collect())
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    text.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_encoding", format!("the header {name} is not text")))
}

/// A broken `traceparent` starts a new trace; it never rejects a command.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::parse(text("traceparent")?, text("tracestate"))
}
