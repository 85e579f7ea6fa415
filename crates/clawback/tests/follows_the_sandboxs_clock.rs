//! `CLAWBACK_CLOCK=upstream`: the sandbox's clock is moved by days, and what waits for them happens now.

#![cfg(unix)]

mod support;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clawback_sandbox::{Engine, Options, ServerOptions, options::DEMO_KEY, serve};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use support::{Place, Running, Said, read, until};
use tokio::{net::TcpListener, sync::oneshot};

/// `up` with its own sandbox, whose clock it follows.
struct Up {
    place: Place,
    running: Running,
    http: Client,
    api: String,
    ops: String,
    sandbox: String,
    token: String,
}

impl Up {
    async fn start(mut place: Place, behaviour: &[&str]) -> Self {
        place.set("CLAWBACK_CLOCK", "upstream");
        place.set("CLAWBACK_OPS_LISTEN", "127.0.0.1:0");
        let mut running = place.start(&[&["up", "--sandbox", "--listen", "127.0.0.1:0"], behaviour].concat());
        let sandbox = running.logged("the built-in sandbox listens; its ledger is at /_control/ledger", "url");
        let api = format!("http://{}", running.logged("serving the HTTP API", "address"));
        let ops = format!("http://{}", running.logged("serving /livez, /readyz and /metrics", "address"));
        let token = read(&place.path("data/token")).trim().to_owned();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let up = Self { place, running, http, api, ops, sandbox, token };
        up.until_ready().await;
        up
    }

    async fn until_ready(&self) {
        let mut said = String::new();
        for _ in 0..600 {
            let answer = self.http.get(format!("{}/readyz", self.ops)).send().await.unwrap();
            if answer.status() == StatusCode::OK {
                return;
            }
            said = answer.text().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never got ready: {said} {}", self.running.log());
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.api)).bearer_auth(&self.token);
        request.body(body.to_string()).send().await.unwrap().json().await.unwrap()
    }

    async fn order(&self, id: &str) -> Value {
        let order = json!({ "request_id": id, "user_id": "kim", "pack_id": "rookie", "amount": 1 });
        self.call(Method::POST, "/v1/purchases", order).await
    }

    async fn until_fulfilled(&self, purchase: &Value) {
        let path = format!("/v1/purchases/{}", purchase["purchase_id"].as_str().unwrap());
        let mut last = Value::Null;
        for _ in 0..600 {
            last = self.call(Method::GET, &path, json!({})).await;
            if last["state"] == "fulfilled" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it was never fulfilled: {last}\n{}", self.running.log());
    }

    async fn advance(&self, span: &str) {
        let request = self.http.post(format!("{}/_control/clock", self.sandbox)).body(json!({ "advance": span }).to_string());
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }

    /// A verb beside it, which must know the sandbox to go by its clock.
    fn verb(&self, arguments: &[&str]) -> Said {
        self.place.run(&[arguments, &["--phygitals-url", &self.sandbox]].concat())
    }

    async fn until_bought(&self, count: usize) {
        for _ in 0..3_000 {
            if self.bought().await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} were never bought: {}", self.running.log());
    }

    async fn bought(&self) -> usize {
        let request = self.http.get(format!("{}/_control/ledger", self.sandbox));
        let ledger: Value = request.send().await.unwrap().json().await.unwrap();
        ledger["purchases"].as_array().unwrap().len()
    }
}

/// How far a purchase's own time is ahead of this machine's.
fn ahead(purchase: &Value) -> TimeDelta {
    let at: DateTime<Utc> = purchase["created_at"].as_str().unwrap().parse().unwrap();
    at - Utc::now()
}

/// Nothing is fulfilled within hours, and nobody asks for most of one.
const SLOW: &[&str] = &["--mode", "production", "--settle", "2h"];

fn asked_rarely() -> Place {
    let place = Place::empty();
    place.write("clawback.toml", "[defaults]\npoll = { first = \"50m\", max = \"50m\", deadline = \"5h\" }\n");
    place
}

#[tokio::test]
async fn a_jump_wakes_what_waits_and_purchases_are_fulfilled_before_and_after_it() {
    let up = Up::start(asked_rarely(), SLOW).await;
    let first = up.order("before").await;
    assert!(ahead(&first) < TimeDelta::minutes(1), "{first}");
    until("the first poll says pending", || up.verb(&["show", "before"]).out.contains("asked 1 times").then_some(()));

    up.advance("6d").await;
    up.until_fulfilled(&first).await;
    up.until_ready().await;
    let log = up.running.log();
    assert!(log.contains("the sandbox's clock is ahead; this process follows it"), "{log}");

    let second = up.order("after").await;
    assert!(ahead(&second) > TimeDelta::days(6) - TimeDelta::minutes(5), "{second}");
    until("the first poll says pending", || up.verb(&["show", "after"]).out.contains("asked 1 times").then_some(()));
    up.advance("3h").await;
    up.until_fulfilled(&second).await;
    assert_eq!(up.bought().await, 2);
}

#[tokio::test]
async fn a_call_in_flight_is_not_late_for_a_jump_and_is_not_made_again() {
    let up = Up::start(Place::empty(), &["--latency", "2s"]).await;
    let purchase = up.order("a").await;
    up.until_bought(1).await;
    // The effect comes before the latency: the answer is on its way now.
    up.advance("6d").await;
    up.until_fulfilled(&purchase).await;
    assert_eq!(up.bought().await, 1);
    let shown: Value = up.verb(&["show", "a", "--json"]).ok().json();
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1, "{shown}");
    let states: Vec<_> = shown["timeline"].as_array().unwrap().iter().map(|entry| entry["to"].as_str().unwrap()).collect();
    assert!(!states.contains(&"reconciling"), "its answer was on its way: {shown}");
}

#[tokio::test]
async fn verbs_date_and_compare_by_it() {
    let up = Up::start(Place::empty(), &[]).await;
    up.until_fulfilled(&up.order("before").await).await;
    let older = |than: &str| {
        let listed = up.verb(&["list", "purchases", "--older-than", than, "--json"]).ok().json();
        listed["purchases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["request_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(older("5d").is_empty());
    up.advance("6d").await;
    up.verb(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "after"]).ok();
    assert_eq!(older("5d"), ["before"]);
    let purchase = up.verb(&["show", "after", "--json"]).ok().json();
    assert!(ahead(&purchase) > TimeDelta::days(6) - TimeDelta::minutes(5), "{purchase}");
    up.verb(&["pause", "--all", "--reason", "stocktaking"]).ok();
    let paused = up.verb(&["paused", "--json"]).ok().json();
    let since: DateTime<Utc> = paused["pauses"][0]["since"].as_str().unwrap().parse().unwrap();
    assert!(since - Utc::now() > TimeDelta::days(5), "{paused}");
}

#[tokio::test]
async fn doctor_and_the_printed_configuration_tell_whose_clock_it_is() {
    let up = Up::start(Place::empty(), &[]).await;
    up.advance("6d").await;
    let doctor = up.verb(&["doctor", "--json"]).ok().json();
    let clock = doctor["findings"].as_array().unwrap().iter().find(|finding| finding["part"] == "clock").unwrap();
    assert_eq!(
        (clock["verdict"].as_str(), clock["what"].as_str()),
        (Some("ok"), Some("the sandbox's, 6d ahead of this machine's"))
    );
    let printed = up.verb(&["config", "print", "--json"]).ok().json();
    assert_eq!(printed["environment"]["CLAWBACK_CLOCK"], "upstream");
    up.place.run(&["config", "print"]).failed(2, "CLAWBACK_CLOCK: `upstream` follows the clock of a sandbox on this machine");
}

/// The sandbox is in this process: it must answer while the test waits for the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_goes_away_makes_it_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = format!("http://{}", listener.local_addr().unwrap());
    let (ends, ended) = oneshot::channel();
    let engine = Engine::shared(Options::default());
    let serving = tokio::spawn(serve(listener, engine, ServerOptions::default(), async { ended.await.unwrap_or_default() }));
    let mut place = Place::empty();
    for (name, value) in [
        ("CLAWBACK_CLOCK", "upstream"),
        ("PHYGITALS_URL", &*sandbox),
        ("PHYGITALS_API_KEY", DEMO_KEY),
        ("CLAWBACK_OPS_LISTEN", "127.0.0.1:0"),
    ] {
        place.set(name, value);
    }
    let mut running = place.start(&["up", "--listen", "127.0.0.1:0"]);
    let ready = format!("http://{}/readyz", running.logged("serving /livez, /readyz and /metrics", "address"));
    let http = Client::builder().no_proxy().build().unwrap();
    until_says(&http, &ready, "ready").await;
    ends.send(()).unwrap();
    serving.await.unwrap();
    until_says(&http, &ready, &format!("the sandbox's clock at {sandbox}/_control/clock has not answered for")).await;
    assert!(running.log().contains("time goes on at its real pace"), "{}", running.log());
}

async fn until_says(http: &Client, url: &str, wanted: &str) {
    let mut said = String::new();
    for _ in 0..600 {
        said = http.get(url).send().await.unwrap().text().await.unwrap();
        if said.starts_with(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never said {wanted:?}, but {said:?}");
}

#[test]
fn a_sandbox_that_is_not_there_is_told_by_doctor_and_by_verbs_that_need_its_time() {
    let mut place = Place::migrated();
    for (name, value) in [("CLAWBACK_CLOCK", "upstream"), ("PHYGITALS_URL", "http://127.0.0.1:1"), ("PHYGITALS_API_KEY", "k")] {
        place.set(name, value);
    }
    place.run(&["doctor"]).failed(1, "need attention");
    let unread = "the sandbox's clock at http://127.0.0.1:1/_control/clock cannot be read";
    assert!(place.run(&["doctor"]).out.contains(unread));
    for verb in
        [&["enqueue", "purchase", "--user", "kim", "--pack", "rookie"][..], &["list", "purchases", "--older-than", "1h"]]
    {
        place.run(verb).failed(1, unread);
        place.run(verb).failed(1, "start the sandbox, or leave CLAWBACK_CLOCK out");
    }
    place.run(&["list", "purchases"]).ok();
}
