//! The partner's server over HTTPS.
//!
//! It sends what it is asked to send, once, and says what came back. It follows no redirect (which would carry a signed event to where
//! nobody configured it), takes no proxy from the environment (which would resolve the name by itself), keeps no cookies, and speaks
//! HTTP/1.1, which every endpoint does.
//!
//! An endpoint is a stranger: it may answer never, for ever, or too much. So a delivery has one deadline for everything, and the
//! answer counts once its head is there. The body is not judged; a little of it is read, briefly, so that the connection can be used
//! again, and what is longer is hung up on.
//!
//! Endpoints that may lie on loopback have a client of their own, for a connection once made is shared by all who use a client.

use std::{error::Error, iter, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use clawback_domain::Time;
use reqwest::{
    Body, Client, Method, Request, Response,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Delivery, Endpoint, Outcome, Receiver, Resolver, Signed, System,
    address::Reach,
    resolve::{Checked, RefusedAddress},
    retry_after,
};

/// Why a receiver cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the HTTP client for webhooks cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// How long a delivery waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the addresses of the host.
    pub resolve: Duration,
    /// For a connection, with the addresses and the TLS handshake.
    pub connect: Duration,
    /// For everything, up to the head of the answer.
    pub total: Duration,
}

impl Default for Timeouts {
    /// *Standard Webhooks* recommends 15 to 30 seconds in all; the short end of it, since each that hangs takes a place from others.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { resolve: seconds(3), connect: seconds(5), total: seconds(15) }
    }
}

/// An idle connection older than this is not used: no server in common use gives one up before five seconds.
const IDLE: Duration = Duration::from_secs(4);

/// Idle connections kept to one host.
const MOST_IDLE: usize = 16;

/// The most that is read of an answer's body, and for how long, for the sake of the connection.
const MOST_BODY: usize = 4 * 1024;
const READ_BODY: Duration = Duration::from_secs(1);

/// Causes may quote a certificate, and so a stranger.
const LONGEST_WHY: usize = 400;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const CLOUD_EVENT: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// Delivers over the network.
pub struct Https {
    public: Client,
    development: Client,
    total: Duration,
}

impl Https {
    /// # Errors
    /// No root certificates are found.
    pub fn new(timeouts: Timeouts) -> Result<Self, SetupError> {
        Self::with_resolver(timeouts, Arc::new(System))
    }

    /// The same, with names resolved by `resolver`. What it says is checked as the system's is.
    ///
    /// # Errors
    /// As [`Https::new`].
    pub fn with_resolver(timeouts: Timeouts, resolver: Arc<dyn Resolver>) -> Result<Self, SetupError> {
        let client = |reach| client(timeouts, Checked { resolver: resolver.clone(), reach, within: timeouts.resolve });
        Ok(Self { public: client(Reach::Public)?, development: client(Reach::Development)?, total: timeouts.total })
    }

    async fn answer(&self, endpoint: &Endpoint, request: Request, deadline: Instant) -> Result<Response, Outcome> {
        let client = match endpoint.reach() {
            Reach::Public => &self.public,
            Reach::Development => &self.development,
        };
        match timeout_at(deadline, client.execute(request)).await {
            Ok(answer) => answer.map_err(no_answer),
            Err(_) => Err(Outcome::unanswered("the endpoint did not answer in time")),
        }
    }
}

#[async_trait]
impl Receiver for Https {
    async fn deliver(&self, endpoint: &Endpoint, delivery: Delivery) -> Outcome {
        let deadline = Instant::now() + self.total;
        let attempted = delivery.timestamp;
        let response = match self.answer(endpoint, request(endpoint, delivery), deadline).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let outcome = Outcome::answered(response.status().as_u16(), wish(response.headers(), attempted));
        finish(response, deadline.min(Instant::now() + READ_BODY)).await;
        outcome
    }
}

fn client(timeouts: Timeouts, names: Checked) -> Result<Client, SetupError> {
    Client::builder()
        .user_agent(concat!("clawback-webhooks/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(Arc::new(names))
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        .build()
        .map_err(SetupError::Http)
}

fn request(endpoint: &Endpoint, delivery: Delivery) -> Request {
    let signed = Signed::new(&delivery, endpoint.secrets());
    let mut request = Request::new(Method::POST, endpoint.url().clone());
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, CLOUD_EVENT);
    for (name, value) in [(WEBHOOK_ID, signed.id), (WEBHOOK_TIMESTAMP, signed.timestamp), (WEBHOOK_SIGNATURE, signed.signature)]
    {
        headers.insert(name, HeaderValue::from_str(&value).expect("ids, numbers and base64 are always header values"));
    }
    *request.body_mut() = Some(Body::from(Bytes::from_owner(Arc::<[u8]>::from(delivery.body))));
    request
}

/// `Retry-After`; a date is measured by the endpoint's own clock, if it tells.
fn wish(headers: &HeaderMap, attempted: Time) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let now = text(DATE).and_then(retry_after::date).unwrap_or(attempted);
    retry_after::parse(text(RETRY_AFTER)?, now)
}

/// Reads a short body to its end, so that its connection can be used again. Whether that works changes nothing.
async fn finish(mut response: Response, deadline: Instant) {
    let mut left = MOST_BODY;
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        match left.checked_sub(chunk.len()) {
            Some(still) => left = still,
            None => return,
        }
    }
}

/// Of the chain of causes the last says what happened, the others through which layers it came.
fn no_answer(error: reqwest::Error) -> Outcome {
    // A URL may hold a token.
    let error = error.without_url();
    let causes = || iter::successors(Some(&error as &dyn Error), |&error| error.source());
    if let Some(refused) = causes().find_map(|cause| cause.downcast_ref::<RefusedAddress>()) {
        return Outcome::Refused { why: refused.to_string() };
    }
    let why = causes().last().map(ToString::to_string).unwrap_or_default();
    let why: String = why.chars().take(LONGEST_WHY).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    Outcome::unanswered(format!("the endpoint did not answer: {why}"))
}
