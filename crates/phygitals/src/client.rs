//! The client of one account.
//!
//! It sends what it is asked to send, once, and says what came back. It follows no redirect (a 307 would repeat the purchase), knows
//! no retry, reads no proxy from the environment, asks for no compression, and speaks HTTP/1.1 alone, because the proof of *never
//! sent* rests on how HTTP/1.1 asks for a body (see `gate`).
//!
//! Connections are kept for a short while. A call on a connection that the server closes at that very moment may end *unknown*, so
//! none is used that idled longer than [`IDLE`]; the proof does not depend on it, for the body itself tells.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use clawback_domain::{
    Clock, SessionId, Time, UserId,
    answer::{Answer, BuybackRequest, InitRequest, Inventory, InventoryAnswer, PacksAnswer, StatusAnswer},
    poll::Timeouts,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Body, Client, Method, Request, Response, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    ApiKey, Upstream,
    classify::{self, NoInventory, Sent},
    date,
    gate::{SendBy, gated},
    inventory::InventoryReader,
    reply::{Reply, reason},
    wire::{BuybackBody, InitBody, StatusBody},
};

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{url:?} is not the upstream's base URL: {why}")]
    InvalidUrl { url: String, why: &'static str },
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// The upstream over HTTP.
pub struct Phygitals {
    http: Client,
    routes: Routes,
    key: ApiKey,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

/// An idle connection older than this is not used. A server that closes one just as it is used again makes a call *unknown*, and that
/// costs a person's time; none in common use gives one up before five seconds (Node's default, and Apache's), unless it goes down.
/// Shorter is dear: a worker calls in the rhythm of its commits, and what was closed between two of them is opened again, at three
/// times the CPU of a call on either side.
const IDLE: Duration = Duration::from_secs(1);

/// Idle connections kept: about as many as one partner has calls in flight.
const MOST_IDLE: usize = 256;

/// The longest answer but an inventory's: ten thousand pulls, the most a purchase may ask for, at some 1.6 KB each.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The longest answer of a call that brings no items.
const LONGEST_SMALL_ANSWER: usize = 1024 * 1024;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Phygitals {
    /// A client of the account that `key` addresses, at `base` (`https://…`, with or without a path). `send_by` of a call is a moment
    /// of `clock`; how much of it is left when the call begins is then measured on real time.
    ///
    /// # Errors
    /// `base` is not an HTTP URL, or a client for `https` finds no root certificates.
    pub fn new(base: &str, key: ApiKey, timeouts: Timeouts, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let routes = Routes::under(base)?;
        let builder = Client::builder()
            .user_agent(concat!("clawback/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(timeouts.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE);
        // Without TLS no certificate is needed: a machine that has none must still run the demo.
        let builder = if routes.init.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        Ok(Self { http: builder.build().map_err(SetupError::Http)?, routes, key, timeouts, clock })
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        request.headers_mut().insert(API_KEY, self.key.header());
        request
    }

    fn post(&self, url: &Url) -> Request {
        let mut request = self.request(Method::POST, url.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// Sends a call that must not be repeated. The order at its end is what makes the verdict true: close the gate, then judge.
    async fn post_once(&self, call: Once<'_>, body: &impl Serialize) -> Sent {
        let Ok(reference) = HeaderValue::from_str(call.reference) else {
            return Sent::Never("the reference is not a header value".into());
        };
        let (body, gate) = gated(json(body), SendBy::new(call.send_by, self.clock.now()));
        let mut request = self.post(call.url);
        request.headers_mut().insert(REQUEST_ID, reference);
        *request.body_mut() = Some(Body::wrap(body));
        match self.exchange(request, call.within, call.most).await {
            Ok(reply) => Sent::Answered(reply),
            Err(why) if gate.close() => Sent::Never(why),
            Err(why) => Sent::Lost(why),
        }
    }

    /// A status and what could be read of the body, or why there is no status.
    async fn exchange(&self, request: Request, within: Duration, most: usize) -> Result<Reply, String> {
        let deadline = Instant::now() + within;
        let response = self.response(request, deadline).await?;
        Ok(Reply::read(response, most, deadline, self.clock.now()).await)
    }

    async fn response(&self, request: Request, deadline: Instant) -> Result<Response, String> {
        match timeout_at(deadline, self.http.execute(request)).await {
            Ok(answer) => answer.map_err(reason),
            Err(_) => Err("no answer in time".into()),
        }
    }

    async fn read_inventory(&self, user: &UserId) -> Result<InventoryAnswer, String> {
        let deadline = Instant::now() + self.timeouts.inventory;
        let request = self.request(Method::GET, self.routes.inventory_of(user)?);
        let mut response = self.response(request, deadline).await?;
        if response.status() != reqwest::StatusCode::OK {
            let reply = Reply::read(response, LONGEST_SMALL_ANSWER, deadline, self.clock.now()).await;
            return Ok(match classify::no_inventory(&reply) {
                NoInventory::UserNotFound => InventoryAnswer::UserNotFound,
                NoInventory::Unauthorized => InventoryAnswer::Unauthorized,
                NoInventory::Unreadable(why) => InventoryAnswer::Unreadable { why },
            });
        }
        let upstream_time = date::of(response.headers());
        let mut reader = InventoryReader::default();
        while let Some(chunk) =
            timeout_at(deadline, response.chunk()).await.map_err(|_| "the inventory did not end in time")?.map_err(reason)?
        {
            reader.push(&chunk)?;
        }
        reader.finish(user).map(|inventory| InventoryAnswer::Read(Inventory { upstream_time, ..inventory }))
    }
}

/// A call that is sent at most once.
struct Once<'a> {
    url: &'a Url,
    reference: &'a str,
    send_by: Time,
    within: Duration,
    most: usize,
}

#[async_trait]
impl Upstream for Phygitals {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        let call = Once {
            url: &self.routes.init,
            reference: &request.reference,
            send_by: request.send_by,
            within: self.timeouts.init,
            most: LONGEST_ANSWER,
        };
        let body = InitBody { id: &request.pack_id, amount: request.amount, user_id: &request.user_id };
        classify::init(self.post_once(call, &body).await)
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        let mut request = self.post(&self.routes.status);
        *request.body_mut() = Some(Body::from(json(&StatusBody { session_id: session })));
        classify::status(self.exchange(request, self.timeouts.status, LONGEST_ANSWER).await, session)
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        self.read_inventory(user).await.unwrap_or_else(|why| InventoryAnswer::Unreadable { why })
    }

    async fn packs(&self) -> PacksAnswer {
        let request = self.request(Method::GET, self.routes.packs.clone());
        classify::packs(self.exchange(request, self.timeouts.inventory, LONGEST_ANSWER).await)
    }

    async fn buyback(&self, request: BuybackRequest) -> Answer {
        let call = Once {
            url: &self.routes.buyback,
            reference: &request.reference,
            send_by: request.send_by,
            within: self.timeouts.buyback,
            most: LONGEST_SMALL_ANSWER,
        };
        classify::buyback(self.post_once(call, &BuybackBody { item_id: &request.item_id }).await)
    }

    fn key_fingerprint(&self) -> String {
        self.key.fingerprint().to_string()
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("ids and numbers are always JSON").into()
}

/// The URLs of the calls, parsed once.
struct Routes {
    init: Url,
    status: Url,
    buyback: Url,
    packs: Url,
    inventory: String,
}

/// What stays as it is in a path: RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Routes {
    fn under(base: &str) -> Result<Self, SetupError> {
        let invalid = |why| SetupError::InvalidUrl { url: base.into(), why };
        let url = Url::parse(base).map_err(|_| invalid("it cannot be read"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("it is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SetupError::InvalidUrl { url: "…@…".into(), why: "it carries credentials" });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has a query or a fragment"));
        }
        let root = format!("{}/api/v1/", url.as_str().trim_end_matches('/'));
        let route = |path: &str| Url::parse(&format!("{root}{path}")).map_err(|_| invalid("no route can be appended to it"));
        Ok(Self {
            init: route("vm/buy/init")?,
            status: route("vm/buy/status")?,
            buyback: route("vm/buyback")?,
            packs: route("vm/available?platform=mainnet")?,
            inventory: format!("{root}inventory/"),
        })
    }

    /// A path that a URL library rewrote would be another user's, and its 404 would "prove" absence.
    fn inventory_of(&self, user: &UserId) -> Result<Url, String> {
        let text = format!("{}{}", self.inventory, utf8_percent_encode(user.as_str(), SEGMENT));
        let url = Url::parse(&text).map_err(|error| error.to_string())?;
        if url.as_str() == text { Ok(url) } else { Err("the user's id does not survive in a URL".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_stand_under_any_base() {
        for (base, init) in [
            ("https://api.phygitals.com", "https://api.phygitals.com/api/v1/vm/buy/init"),
            ("https://api.phygitals.com/", "https://api.phygitals.com/api/v1/vm/buy/init"),
            ("https://api.phygitals.com/_", "https://api.phygitals.com/_/api/v1/vm/buy/init"),
            ("http://127.0.0.1:9/_/", "http://127.0.0.1:9/_/api/v1/vm/buy/init"),
        ] {
            assert_eq!(Routes::under(base).unwrap().init.as_str(), init);
        }
        for base in ["", "api.phygitals.com", "ftp://x", "https://u:p@x", "https://x?a=b", "https://x#a"] {
            assert!(Routes::under(base).is_err(), "{base}");
        }
    }

    #[test]
    fn a_base_with_credentials_is_refused_without_repeating_them() {
        let error = Routes::under("https://user:topsecret@x").err().expect("refused").to_string();
        assert!(!error.contains("topsecret"), "{error}");
    }

    #[test]
    fn a_user_survives_in_the_path_or_is_not_asked_for() {
        let routes = Routes::under("http://127.0.0.1:9").unwrap();
        for (user, path) in [
            ("user_abc123", "/api/v1/inventory/user_abc123"),
            ("ü@x.de", "/api/v1/inventory/%C3%BC%40x.de"),
            ("a:b;c=d&e+f", "/api/v1/inventory/a%3Ab%3Bc%3Dd%26e%2Bf"),
            ("...", "/api/v1/inventory/..."),
            ("\u{202e}x", "/api/v1/inventory/%E2%80%AEx"),
        ] {
            assert_eq!(routes.inventory_of(&UserId::new(user).unwrap()).unwrap().path(), path);
        }
    }
}
