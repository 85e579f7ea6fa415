//! `/v1/purchases` and `/v1/sellbacks`: the same for both kinds of orders. What is of the one kind does not exist under the other's path.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clawback_domain::{
    OrderId, RequestId, UserId,
    order::{AnyOrder, StateName},
    pause::CommandKind,
    reason::RejectionCode,
    resource::AnyResource,
    trace::TraceContext,
};
use clawback_store::Filter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{Api, ApiPartner},
    asked::{self, Wait, invalid},
    body, cursor,
    problem::Problem,
};
use crate::{
    accepting::{self, Accepted, Command},
    cancelling::{self, Cancelled},
    kind::{name, plural},
};

pub fn routes(kind: CommandKind) -> Router<Api> {
    let path = format!("/v1/{}", plural(kind));
    Router::new()
        .route(&path, post(create).get(list))
        .route(&format!("{path}/{{id}}"), get(read))
        .route(&format!("{path}/{{id}}/cancel"), post(cancel))
        .layer(Extension(kind))
}

/// How often a waiting request looks. An order takes seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// `POST /v1/purchases`: 202 when the command is durable, 200 for a repeat and once it is final, 409 for a conflict.
async fn create(
    State(api): State<Api>,
    Extension(kind): Extension<CommandKind>,
    wait: Result<Query<Wait>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let partner = api.partner(request.headers())?.clone();
    let wait = asked::wait(wait)?;
    let (parts, body) = request.into_parts();
    let content_type = asked::header_text(&parts.headers, header::CONTENT_TYPE.as_str())?;
    let command = Command::parse(kind, content_type, &body::read(body).await?).map_err(asked::rejected)?;
    let (accepted, is_new) = accept(&api, &partner, command, asked::trace(&parts.headers)).await?;
    let order = match wait {
        Some(wait) => until_final(&api, accepted, wait).await?,
        None => accepted,
    };
    let pending = is_new && !order.state().is_final();
    let status = if pending { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = format!("/v1/{}/{}", plural(kind), order.id());
    let mut response = (status, resource(&api, &order).await?).into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).expect("a UUID is a header value"));
    Ok(response)
}

async fn accept(
    api: &Api,
    partner: &ApiPartner,
    command: Command,
    trace: Option<TraceContext>,
) -> Result<(AnyOrder, bool), Problem> {
    // A closed partner's repeats are answered: a command is rejected only while no row exists for it.
    let id = OrderId::of(&partner.id, command.request_id());
    if partner.closed && api.store.order(id).await?.is_none() {
        let problem =
            clawback_domain::command::Problem::new(RejectionCode::PartnerClosed, "this partner takes no new commands");
        return Err(Problem::of(StatusCode::FORBIDDEN, problem.message.clone(), vec![problem.into()]));
    }
    match accepting::accept(&*api.store, &*api.clock, &partner.id, command, trace, None).await? {
        Accepted::New(order) => {
            accepting::hand_over(&*api.broker, &order).await;
            Ok((*order, true))
        }
        Accepted::Repeat(order) => {
            if order.state().is_final() {
                repeat_event(api, order.id()).await;
            }
            Ok((*order, false))
        }
        Accepted::Conflict(there) => Err(conflict(&there)),
    }
}

/// The final event once more, with its id unchanged, as for a repeat from the queue. The answer does not depend on it.
async fn repeat_event(api: &Api, id: OrderId) {
    match api.store.last_event(id.0).await {
        Ok(Some(stored)) => {
            if let Err(error) = api.broker.publish(clawback_worker::event_message(&stored.event)).await {
                tracing::warn!(order.id = %id, %error, "the final event was not repeated");
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(order.id = %id, %error, "the final event was not repeated"),
    }
}

fn conflict(there: &AnyOrder) -> Problem {
    let message = format!("the request_id was used for another command, {}", name(there));
    let problem = clawback_domain::command::Problem::new(RejectionCode::RequestIdConflict, message)
        .at("/request_id")
        .hint("a new command needs a new request_id");
    Problem::of(StatusCode::CONFLICT, problem.message.clone(), vec![problem.into()])
}

/// Looks until the order is final, `wait` is over, or the process stops.
async fn until_final(api: &Api, mut order: AnyOrder, wait: Duration) -> Result<AnyOrder, Problem> {
    let end = tokio::time::Instant::now() + wait;
    while !order.state().is_final() && tokio::time::Instant::now() < end && !api.shutdown.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
        // What is stored once is not removed while anybody waits for it.
        order = api.store.order(order.id()).await?.unwrap_or(order);
    }
    Ok(order)
}

/// `GET /v1/purchases/{id}`
async fn read(
    State(api): State<Api>,
    Extension(kind): Extension<CommandKind>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?;
    let order = find(&api, kind, partner, &id).await?;
    Ok(resource(&api, &order).await?.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    request_id: Option<RequestId>,
    user_id: Option<UserId>,
    state: Option<StateName>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/purchases?request_id=…&user_id=…&state=…&limit=…&after=…`, newest first.
async fn list(
    State(api): State<Api>,
    Extension(kind): Extension<CommandKind>,
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
        kind: Some(kind),
        partner: Some(partner.id.clone()),
        state: wanted.state,
        user: wanted.user_id,
        request: wanted.request_id,
        created_before: None,
        after: wanted.after.as_ref().map(read).transpose()?,
        oldest_first: false,
        limit,
    };
    let orders = api.store.orders(filter).await?;
    let mut list = Vec::with_capacity(orders.len());
    for order in &orders {
        list.push(value(&api, order).await?);
    }
    let next = orders.last().filter(|_| orders.len() as u32 == limit).map(cursor::behind);
    Ok(Json(json!({ plural(kind): list, "next": next })).into_response())
}

/// `POST /v1/purchases/{id}/cancel`: 409 `point_of_no_return` once it was called.
async fn cancel(
    State(api): State<Api>,
    Extension(kind): Extension<CommandKind>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?.clone();
    let found = find(&api, kind, &partner, &id).await?;
    let by = format!("partner {}", partner.id);
    match cancelling::cancel(&*api.store, &*api.clock, found.id(), &by, "").await? {
        Cancelled::Done(order) => Ok(resource(&api, &order).await?.into_response()),
        Cancelled::Unknown => Err(unknown(kind)),
        Cancelled::TooLate(order) => {
            let detail = format!("the {} is {} and can no longer be cancelled", kind.as_str(), order.state());
            Err(Problem::new(StatusCode::CONFLICT, "point_of_no_return", detail))
        }
    }
}

/// Another partner's order does not exist, nor does one of the other kind.
async fn find(api: &Api, kind: CommandKind, partner: &ApiPartner, id: &str) -> Result<AnyOrder, Problem> {
    let id = id.parse::<OrderId>().map_err(|_| unknown(kind))?;
    let found = api.store.order(id).await?;
    found.filter(|order| *order.partner() == partner.id && order.kind() == kind).ok_or_else(|| unknown(kind))
}

fn unknown(kind: CommandKind) -> Problem {
    Problem::not_found(format!("there is no such {}", kind.as_str()))
}

async fn resource(api: &Api, order: &AnyOrder) -> Result<Json<Value>, Problem> {
    value(api, order).await.map(Json)
}

async fn value(api: &Api, order: &AnyOrder) -> Result<Value, Problem> {
    let pulls = match order.state() {
        StateName::Fulfilled => api.store.pulls(order.id()).await?,
        StateName::Accepted
        | StateName::Initiating
        | StateName::Pending
        | StateName::Reconciling
        | StateName::Review
        | StateName::Failed
        | StateName::Selling
        | StateName::Sold => Vec::new(),
    };
    Ok(serde_json::to_value(AnyResource::of(order, &pulls)).expect("a resource has string keys"))
}
