//! The operators' HTTP door: `/livez`, `/readyz`, `/metrics`, and with a token `/ops/v1/pauses`, `/ops/v1/reviews`
//! and `/ops/v1/audit`.

mod audit;
mod pauses;
mod readiness;
mod reviews;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    middleware,
    response::IntoResponse,
    routing::get,
};
use clawback_domain::{Clock, PartnerId, purchase::Rules};
use clawback_store::Store;
use clawback_telemetry::{Metrics, names};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use readiness::Readiness;

use crate::{
    config::Secret,
    failure::Failure,
    http::{
        bearer,
        problem::{self, Problem},
        server,
    },
};

/// Where the operators' door is, unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9464";

/// Between scrapes samples pile up in memory; this folds them into their buckets.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// `off`, or an address; port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
    /// The default address; a free port instead when another role of this machine has it.
    Default,
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "" => Ok(Self::Default),
            address => address.parse().map(Self::At).map_err(|_| "must be ADDRESS:PORT, or `off`".into()),
        }
    }
}

/// What the door shows and moves.
#[derive(Clone)]
pub struct Ops {
    pub readiness: Arc<Readiness>,
    pub metrics: Metrics,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Without it there is no `/ops/v1`.
    pub token: Option<Secret>,
    /// How fast waiting rows of a partner come due after a resume.
    pub rates: Arc<dyn Fn(&PartnerId) -> u32 + Send + Sync>,
    /// What the machines must know of a partner.
    pub rules: Arc<dyn Fn(&PartnerId) -> Rules + Send + Sync>,
}

impl Ops {
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let token = bearer::token(headers)?;
        let good = self.token.as_ref().is_some_and(|ours| ours.is(token));
        if good { Ok(()) } else { Err(bearer::unauthorized("this is not the operators' token")) }
    }
}

/// Serves until `shutdown`.
///
/// # Errors
/// The address cannot be bound.
pub async fn start(ops: Ops, listen: Listen, shutdown: CancellationToken) -> Result<(), Failure> {
    let Some(listener) = bind(listen).await? else { return Ok(()) };
    let address = listener.local_addr().map_err(Failure::failed)?;
    tracing::info!(%address, "serving /livez, /readyz and /metrics");
    tokio::spawn(fold(ops.clone(), shutdown.clone()));
    tokio::spawn(server::serve(listener, router(ops), shutdown));
    Ok(())
}

async fn bind(listen: Listen) -> Result<Option<TcpListener>, Failure> {
    let default: SocketAddr = DEFAULT_LISTEN.parse().expect("it is an address");
    let (address, or_any) = match listen {
        Listen::Off => return Ok(None),
        Listen::At(address) => (address, false),
        Listen::Default => (default, true),
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if or_any => {
            tracing::warn!(%address, %error, "the operators' address is taken; using a free port");
            let free = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(free).await.map(Some).map_err(|error| Failure::failed(format!("{free}: {error}")))
        }
        Err(error) => Err(Failure::failed(format!("CLAWBACK_OPS_LISTEN {address} cannot be bound: {error}"))),
    }
}

fn router(ops: Ops) -> Router {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(|State(ops): State<Ops>| async move { ops.metrics.render() }));
    let router = if ops.token.is_some() {
        router.merge(audit::routes()).merge(pauses::routes()).merge(reviews::routes())
    } else {
        router
    };
    router
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(middleware::from_fn(problem::catch_panics))
        .with_state(ops)
}

async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    match ops.readiness.check() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn fold(ops: Ops, shutdown: CancellationToken) {
    loop {
        ops.metrics.fold();
        let ready = ops.readiness.check().is_ok();
        metrics::gauge!(names::READY).set(f64::from(u8::from(ready)));
        if shutdown.run_until_cancelled(tokio::time::sleep(FOLD_EVERY)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("".parse(), Ok(Listen::Default));
        assert_eq!("127.0.0.1:0".parse(), Ok(Listen::At(([127, 0, 0, 1], 0).into())));
        assert!("9464".parse::<Listen>().is_err());
    }
}
