//! One request: its effect on the engine, the wait, and the answer as it goes onto the wire.

use std::sync::Arc;

use bytes::Bytes;
use clawback_domain::Time;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER},
    http::response::Builder,
};
use tokio::time::sleep;

use super::{
    Server,
    body::{self, Answer, Broken},
    route::{Route, route},
};
use crate::{
    engine::{Held, Poll},
    ledger::iso,
    outcome::{self, Outcome, Refusal},
    wire,
};

type Result<T = Response<Answer>> = std::result::Result<T, Broken>;

pub(super) async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result {
    let (head, incoming) = request.into_parts();
    let Some(route) = route(&head.method, &head.uri) else { return Ok(json(404, r#"{"error":"Not found"}"#)) };
    let Some(body) = body::read(incoming).await else { return Ok(json(413, r#"{"error":"Payload too large"}"#)) };
    let call = Call { server: &server, key: text(&head.headers, "x-api-key"), body, headers: &head.headers };
    let outcome = match route {
        Route::Ledger => return Ok(json(200, call.ledger())),
        Route::Clock => return Ok(json(200, call.clock())),
        Route::MoveClock => return Ok(call.move_clock()),
        Route::Windows => return Ok(call.set_windows()),
        Route::Init => call.init(),
        Route::Status => call.status().await,
        Route::Buyback => call.buyback(),
        Route::Inventory(user) => call.inventory(&user),
        Route::Packs(ours) => call.packs(ours),
    };
    if !server.options.latency.is_zero() {
        sleep(server.options.latency).await;
    }
    respond(&server, outcome, head.uri.path()).await
}

/// A request that was read to its end.
struct Call<'a> {
    server: &'a Server,
    key: &'a str,
    body: Bytes,
    headers: &'a HeaderMap,
}

impl Call<'_> {
    fn init(&self) -> Outcome<String> {
        let body = match self.parse() {
            Ok(body) => body,
            Err(refusal) => return Outcome::Error(refusal),
        };
        let reference = self.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let now = self.server.now();
        let mut engine = self.server.engine.lock();
        let (mode, outcome) = (engine.mode(), engine.init(now, self.key, &body.init(), reference));
        drop(engine);
        outcome.map(|opened| wire::opened(&opened, mode))
    }

    async fn status(&self) -> Outcome<String> {
        let body = match self.parse() {
            Ok(body) => body,
            Err(refusal) => return Outcome::Error(refusal),
        };
        let now = self.server.now();
        let (mode, outcome) = {
            let mut engine = self.server.engine.lock();
            (engine.mode(), engine.status(now, self.key, body.text("session_id")))
        };
        let said = match outcome {
            Outcome::Success(Poll::Hold(held)) => self.hold(held).await.into(),
            Outcome::CutBody(Poll::Hold(held)) => self.hold(held).await.map_or_else(Outcome::Error, Outcome::CutBody),
            other => other,
        };
        said.map(|poll| wire::poll(&poll, mode))
    }

    /// The poll window: asks again when the purchase settles, the window closes, or the clock was moved.
    async fn hold(&self, mut held: Held) -> std::result::Result<Poll, Refusal> {
        let mut moved = self.server.moved.subscribe();
        loop {
            let now = self.server.now();
            match self.server.engine.lock().resume(now, &held)? {
                Poll::Hold(still) => held = still,
                said => return Ok(said),
            }
            let wait = clawback_domain::clock::until(self.server.engine.lock().time(now), held.until);
            tokio::select! {
                biased;
                _ = moved.changed() => (),
                () = sleep(wait) => (),
            }
        }
    }

    fn buyback(&self) -> Outcome<String> {
        match self.parse() {
            Ok(body) => self.server.engine.lock().buyback(self.server.now(), self.key, body.text("item_id")).map(wire::sold),
            Err(refusal) => Outcome::Error(refusal),
        }
    }

    fn inventory(&self, user: &str) -> Outcome<String> {
        let outcome = self.server.engine.lock().inventory(self.server.now(), self.key, user);
        outcome.map(|holdings| wire::holdings(&holdings))
    }

    fn packs(&self, ours: bool) -> Outcome<String> {
        let outcome = self.server.engine.lock().packs(self.server.now(), self.key);
        outcome.map(|packs| if ours { wire::packs(&packs) } else { "[]".to_owned() })
    }

    /// The key is looked at before the body.
    fn parse(&self) -> std::result::Result<wire::Body, Refusal> {
        wire::Body::parse(&self.body).ok_or_else(|| match self.server.engine.lock().knows(self.key) {
            true => outcome::INVALID_JSON,
            false => outcome::INVALID_KEY,
        })
    }

    fn ledger(&self) -> Bytes {
        let ledger = self.server.engine.lock().ledger();
        serde_json::to_vec(&ledger).expect("a ledger is JSON").into()
    }

    fn clock(&self) -> String {
        format!(r#"{{"now":"{}"}}"#, iso(self.server.engine.lock().time(self.server.now())))
    }

    fn move_clock(&self) -> Response<Answer> {
        let span = wire::Body::parse(&self.body).and_then(|body| humantime::parse_duration(body.text("advance")).ok());
        let Some(span) = span else { return json(400, r#"{"error":"advance must be a duration like 45m or 6d"}"#) };
        self.server.engine.lock().advance(span);
        self.server.moved.send_replace(());
        json(200, self.clock())
    }

    fn set_windows(&self) -> Response<Answer> {
        let body = wire::Body::parse(&self.body);
        let Some(windows) = body.as_ref().and_then(wire::Body::windows) else {
            return json(400, r#"{"error":"from and to must be durations like 90s or 3d, or both absent"}"#);
        };
        self.server.engine.lock().set_windows(windows);
        json(200, "{}")
    }
}

async fn respond(server: &Server, outcome: Outcome<String>, path: &str) -> Result {
    match outcome {
        Outcome::Success(body) => {
            let now = server.engine.lock().time(server.now());
            Ok(finish(json_head(200).header(DATE, http_date(now)), Answer::whole(body)))
        }
        Outcome::Error(refusal) => Ok(error(&refusal)),
        Outcome::CutBody(body) => Ok(finish(json_head(200), Answer::cut(body))),
        Outcome::Rubbish => Ok(finish(html_head(), Answer::whole(RUBBISH))),
        Outcome::Redirect => Ok(finish(json_head(307).header(LOCATION, path), Answer::whole(""))),
        Outcome::Reset => Err(Broken::Reset),
        Outcome::Hang => {
            sleep(server.options.hang).await;
            Err(Broken::Hung)
        }
    }
}

const RUBBISH: &str = "<!doctype html><html><body><h1>We will be back soon</h1></body></html>";

fn error(refusal: &Refusal) -> Response<Answer> {
    let mut head = json_head(refusal.status);
    if let Some(wish) = refusal.retry_after {
        head = head.header(RETRY_AFTER, wish.as_secs());
    }
    finish(head, Answer::whole(wire::error(refusal)))
}

fn json(status: u16, body: impl Into<Bytes>) -> Response<Answer> {
    finish(json_head(status), Answer::whole(body))
}

fn json_head(status: u16) -> Builder {
    Response::builder().status(status).header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

/// Ours, and not the machine's: the clock may have been moved.
fn http_date(now: Time) -> String {
    now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn html_head() -> Builder {
    Response::builder().status(StatusCode::OK).header(CONTENT_TYPE, HeaderValue::from_static("text/html"))
}

fn finish(head: Builder, body: Answer) -> Response<Answer> {
    head.body(body).expect("every header is well-formed: the path was one before")
}

/// A header's text; empty when it is missing or not ASCII, which no key is.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
