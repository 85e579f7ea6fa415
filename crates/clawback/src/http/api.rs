//! The partners' HTTP API: which token is whose, and what is where.

use std::sync::Arc;

use axum::{Router, http::HeaderMap, middleware, routing::get};
use clawback_broker::Broker;
use clawback_domain::{Clock, PartnerId, pause::CommandKind};
use clawback_store::Store;
use tokio_util::sync::CancellationToken;

use super::{
    bearer, events, items, orders,
    problem::{self, Problem},
    settings,
};
use crate::config::{Partner, Secret};

/// A partner with an HTTP door.
#[derive(Clone)]
pub struct ApiPartner {
    pub id: PartnerId,
    pub token: Secret,
    pub closed: bool,
}

impl ApiPartner {
    /// `None` for a partner without a token.
    pub fn of(partner: &Partner) -> Option<Self> {
        let token = partner.token.clone()?;
        Some(Self { id: partner.id.clone(), token, closed: partner.settings.closed })
    }
}

/// What the handlers reach.
#[derive(Clone)]
pub struct Api {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    pub partners: Arc<Vec<ApiPartner>>,
    /// Ends what waits (`?wait=`) when the process stops.
    pub shutdown: CancellationToken,
    /// For events.
    pub asked: events::Asked,
}

impl Api {
    /// The partner whose token the request carries. Every token is compared, in constant time each: how long it takes tells
    /// nothing.
    ///
    /// # Errors
    /// 401 without a token, or with one that is nobody's.
    pub fn partner(&self, headers: &HeaderMap) -> Result<&ApiPartner, Problem> {
        let token = bearer::token(headers)?;
        let found =
            self.partners.iter().fold(None, |found, partner| if partner.token.is(token) { Some(partner) } else { found });
        found.ok_or_else(|| bearer::unauthorized("this token is not known"))
    }
}

pub fn router(api: Api) -> Router {
    Router::new()
        .merge(orders::routes(CommandKind::Purchase))
        .merge(orders::routes(CommandKind::Sellback))
        .route("/v1/users/{user_id}/items", get(items::list))
        .route("/v1/users/{user_id}/settings", get(settings::read).put(settings::change))
        .route("/v1/events", get(events::list))
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(middleware::from_fn(problem::catch_panics))
        .with_state(api)
}
