//! Events arrive at a partner's endpoint, signed, with the ids that they have everywhere, whatever stands in their way.

#![cfg(unix)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
use clawback_webhook::{Delivery, Endpoint, Receiver, Recorder, SigningSecrets};
use parking_lot::Mutex;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{Place, Running};
use tokio::{net::TcpListener, sync::Notify};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_dGhlIHNlY29uZCBzZWNyZXQgb2YgYWNtZSBpcyBsb25nZXI=";

/// A partner's server.
#[derive(Clone)]
struct Hooks {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    /// What it answers; 0: nothing, for ever.
    status: Arc<AtomicU16>,
    heard: Arc<Notify>,
}

impl Hooks {
    /// An address at which nobody answers yet.
    async fn closed() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { address, arrived: Arc::default(), status: Arc::new(AtomicU16::new(200)), heard: Arc::default() }
    }

    async fn open() -> Self {
        let hooks = Self::closed().await;
        hooks.serve().await;
        hooks
    }

    async fn serve(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let hooks = self.clone();
        let take = move |headers: HeaderMap, body: Bytes| {
            let hooks = hooks.clone();
            async move {
                hooks.arrived.lock().push((headers, String::from_utf8(body.to_vec()).unwrap()));
                hooks.heard.notify_waiters();
                match hooks.status.load(Ordering::SeqCst) {
                    0 => std::future::pending().await,
                    status => StatusCode::from_u16(status).unwrap(),
                }
            }
        };
        tokio::spawn(async { axum::serve(listener, Router::new().route("/hooks", post(take))).await });
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn ids(&self) -> Vec<String> {
        self.arrived.lock().iter().map(|(headers, _)| headers["webhook-id"].to_str().unwrap().to_owned()).collect()
    }
}

/// `up` with its own sandbox, whose clock it follows, for acme with a webhook and beta without.
struct Up {
    place: Place,
    running: Running,
    api: String,
    sandbox: String,
}

impl Up {
    async fn start(hooks: &Hooks) -> Self {
        let mut place = Place::empty();
        let config = format!(
            "[[partner]]\nname = \"acme\"\napi_key_file = \"key-acme\"\ntoken_file = \"token-acme\"\n\
             webhook = {{ url = \"http://{}/hooks\", secret_file = \"hook\", allow_insecure = true }}\n\
             [[partner]]\nname = \"beta\"\napi_key_file = \"key-beta\"\ntoken_file = \"token-beta\"\n",
            hooks.address
        );
        let config = place.write("clawback.toml", &config);
        place.write("hook", SECRET);
        for name in ["acme", "beta"] {
            place.write(&format!("key-{name}"), &format!("sandbox-{name}"));
            place.write(&format!("token-{name}"), &format!("token-of-{name}"));
        }
        place.set("CLAWBACK_CONFIG", &config.display().to_string());
        place.set("CLAWBACK_CLOCK", "upstream");
        place.set("CLAWBACK_OPS_LISTEN", "127.0.0.1:0");
        Self::on(place)
    }

    fn on(place: Place) -> Self {
        let _ = std::fs::remove_file(place.path("role.log"));
        let mut running = place.start(&["up", "--sandbox", "--listen", "127.0.0.1:0", "--settle", "0s"]);
        let sandbox = running.logged("the built-in sandbox listens; its ledger is at /_control/ledger", "url");
        let api = format!("http://{}", running.logged("serving the HTTP API", "address"));
        Self { place, running, api, sandbox }
    }

    fn killed(mut self) -> Place {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
        let Self { place, .. } = self;
        place
    }

    async fn call(&self, partner: &str, method: Method, path: &str, body: Value) -> reqwest::Response {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let request = http.request(method, format!("{}{path}", self.api)).bearer_auth(format!("token-of-{partner}"));
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn order(&self, id: &str) {
        let order = json!({ "request_id": id, "user_id": "kim", "pack_id": "rookie", "amount": 1 });
        let answer = self.call("acme", Method::POST, "/v1/purchases?wait=30s", order).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["state"], "fulfilled", "{answer} {}", self.running.log());
    }

    async fn advance(&self, span: &str) {
        let http = Client::builder().no_proxy().build().unwrap();
        let request = http.post(format!("{}/_control/clock", self.sandbox)).body(json!({ "advance": span }).to_string());
        assert!(request.send().await.unwrap().status().is_success());
    }

    fn verb(&self, arguments: &[&str]) -> Value {
        self.place.json(&[arguments, &["--phygitals-url", &self.sandbox]].concat())
    }

    fn webhook(&self) -> Value {
        self.verb(&["webhooks", "list"])["webhooks"][0].clone()
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..1200 {
            if let Some(value) = look() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never happened: {what}: {}\n{}", self.webhook(), self.running.log());
    }

    async fn until_arrived(&self, hooks: &Hooks, count: usize) {
        self.until("the deliveries arrive", || (hooks.ids().len() >= count).then_some(())).await;
    }

    /// With time passing: a minute of the sandbox's at every look.
    async fn until_arrived_later(&self, hooks: &Hooks, count: usize) {
        for _ in 0..300 {
            if hooks.ids().len() >= count {
                return;
            }
            self.advance("1m").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("they never arrived: {}\n{}", self.webhook(), self.running.log());
    }
}

/// What the endpoint verifies with the library it has; here with our own, which is tested against another language's.
async fn expected_signature(headers: &HeaderMap, body: &str, secrets: &str) -> String {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let seconds: i64 = text("webhook-timestamp").parse().unwrap();
    let recorder = Recorder::new();
    let endpoint = Endpoint::new("https://acme.example/", SigningSecrets::parse(secrets).unwrap(), false).unwrap();
    let timestamp = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    recorder.deliver(&endpoint, Delivery { id: text("webhook-id").parse().unwrap(), body: body.into(), timestamp }).await;
    recorder.take().remove(0).signed.signature
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_signed_and_again_when_they_are_replayed() {
    let hooks = Hooks::open().await;
    let up = Up::start(&hooks).await;
    for n in 0..5 {
        up.order(&format!("r-{n}")).await;
    }
    up.until_arrived(&hooks, 5).await;

    let arrived = hooks.arrived.lock().clone();
    let mut sequences = BTreeMap::new();
    for (headers, body) in &arrived {
        let event: Value = serde_json::from_str(body).unwrap();
        assert_eq!(event["id"], headers["webhook-id"].to_str().unwrap());
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert_eq!(headers["webhook-signature"], expected_signature(headers, body, SECRET).await);
        let before = sequences.insert(event["subject"].to_string(), event["sequence"].to_string());
        assert!(before < sequences.get(&event["subject"].to_string()).cloned());
    }

    // The same events, for who asks; and to nobody else.
    let page: Value = up.call("acme", Method::GET, "/v1/events?limit=3", json!({})).await.json().await.unwrap();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["more"]), (3, &json!(true)));
    let rest = format!("/v1/events?after={}", page["next"].as_str().unwrap());
    let rest: Value = up.call("acme", Method::GET, &rest, json!({})).await.json().await.unwrap();
    assert_eq!(rest["more"], false);
    let told = [&page, &rest].into_iter().flat_map(|page| page["events"].as_array().unwrap()).map(|event| &event["id"]);
    let told: Vec<_> = told.map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(told.iter().collect::<BTreeSet<_>>(), hooks.ids().iter().collect());
    let others: Value = up.call("beta", Method::GET, "/v1/events", json!({})).await.json().await.unwrap();
    assert_eq!(others["events"], json!([]));

    // Once more, with the same ids; and one of them.
    let would = up.verb(&["webhooks", "replay", "--partner", "acme", "--since", "1h", "--dry-run"]);
    assert_eq!(would["would_replay"], 5);
    assert_eq!(up.verb(&["webhooks", "replay", "--partner", "acme", "--since", "1h"])["replayed"], 5);
    up.until_arrived(&hooks, 10).await;
    assert_eq!(hooks.ids()[5..].iter().collect::<BTreeSet<_>>(), told.iter().collect());
    assert_eq!(up.verb(&["webhooks", "replay", "--partner", "acme", "--event", &told[0]])["replayed"], 1);
    up.until_arrived(&hooks, 11).await;
    assert_eq!(hooks.ids()[10], told[0]);
    up.until("all is delivered", || (up.webhook()["waiting"] == 0).then_some(())).await;
    assert_eq!(up.webhook()["state"], "delivering");

    // While rotating both sign.
    up.place.write("hook", &format!("{SECRET}\n{OTHER_SECRET}\n"));
    up.until("the secrets are read again", || up.running.log().contains("sign from now on").then_some(())).await;
    let tested = up.verb(&["webhooks", "test", "--partner", "acme"]);
    assert_eq!(tested["delivered"], true);
    up.order("r-6").await;
    up.until_arrived(&hooks, 13).await;
    let (headers, body) = hooks.arrived.lock().last().unwrap().clone();
    let both = expected_signature(&headers, &body, &format!("{SECRET}\n{OTHER_SECRET}")).await;
    assert_eq!((headers["webhook-signature"].to_str().unwrap(), both.split(' ').count()), (both.as_str(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_events_too_often_is_told_to_wait() {
    let up = Up::start(&Hooks::closed().await).await;
    let mut refused = None;
    for _ in 0..200 {
        let answer = up.call("acme", Method::GET, "/v1/events", json!({})).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("nobody may ask 200 times in a row");
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(up.call("beta", Method::GET, "/v1/events", json!({})).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_gets_everything_once_it_is_back() {
    let hooks = Hooks::closed().await;
    let up = Up::start(&hooks).await;
    up.order("r-1").await;
    up.order("r-2").await;
    up.until("a delivery fails", || up.webhook()["last_error"].as_str().map(str::to_owned)).await;
    hooks.serve().await;
    up.until_arrived_later(&hooks, 2).await;
    up.until("all is delivered", || (up.webhook()["waiting"] == 0).then_some(())).await;
    assert_eq!(hooks.ids().iter().collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_left_alone_until_a_person_says_otherwise() {
    let hooks = Hooks::open().await;
    hooks.answer(410);
    let up = Up::start(&hooks).await;
    up.order("r-1").await;
    up.until("it is disabled", || (up.webhook()["state"] == "disabled").then_some(())).await;
    let webhook = up.webhook();
    assert!(webhook["disabled_why"].as_str().unwrap().contains("410"), "{webhook}");
    up.order("r-2").await;
    up.advance("1h").await;
    let doctor = up.place.run(&["doctor", "--phygitals-url", &up.sandbox]);
    assert!(doctor.out.contains("disabled since") && doctor.out.contains("webhook-disabled.md"), "{}", doctor.out);
    assert_eq!(hooks.ids().len(), 1);

    hooks.answer(200);
    up.verb(&["webhooks", "enable", "--partner", "acme", "--as", "ann", "--reason", "it is back"]);
    up.until_arrived(&hooks, 3).await;
    assert_eq!(hooks.ids().iter().collect::<BTreeSet<_>>().len(), 2);
    let webhook = up.webhook();
    assert_eq!((&webhook["state"], &webhook["last_act"]["what"]), (&json!("delivering"), &json!("enabled by ann: it is back")));
}

/// The endpoint has taken the event; who sent it dies before that is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_answer_is_kept_delivers_again_with_the_same_id() {
    let hooks = Hooks::open().await;
    hooks.answer(0);
    let up = Up::start(&hooks).await;
    up.order("r-1").await;
    up.until_arrived(&hooks, 1).await;
    let place = up.killed();
    hooks.answer(200);

    let up = Up::on(place);
    up.until_arrived_later(&hooks, 2).await;
    let ids = hooks.ids();
    assert_eq!(ids[0], ids[1]);
    up.until("all is delivered", || (up.webhook()["waiting"] == 0).then_some(())).await;
    assert_eq!(hooks.ids().len(), 2);
}
