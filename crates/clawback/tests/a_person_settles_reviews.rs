//! `clawback review` and `/ops/v1/reviews`: what is in doubt is listed, shown in words, and settled by a person, once.

#![cfg(unix)]

mod support;

use std::time::Duration;

use clawback_domain::{
    AttemptToken, ItemId, PartnerId, Time,
    answer::Answer,
    change::{Change, Fact, Insertion},
    clock::{after, micros},
    command::parse_purchase,
    evidence::{Evidence, Look, Verdict},
    purchase::{Decision, Happened, HappenedName, Purchase, Rules, StateName, Transition, decide},
    reason::ReviewCode,
    trace::TraceContext,
};
use clawback_sandbox::{Engine, Options, ServerOptions, options::DEMO_KEY, serve};
use clawback_store::{
    Applied, Inserted, Store,
    sql::{self, Sql},
};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use support::{Place, Running, Said};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A purchase whose answer was lost `ago`; one look has shown `items` that nothing explains.
struct Doubt<'a> {
    request: &'a str,
    amount: u32,
    items: &'a [&'a str],
    ago: Duration,
    /// After this long it must not be called.
    not_after: Option<Duration>,
}

impl<'a> Doubt<'a> {
    fn of(request: &'a str) -> Self {
        Self { request, amount: 1, items: &[], ago: MINUTE, not_after: None }
    }

    /// Puts it into the store through the machine, as a worker does; its id.
    async fn plant(self, place: &Place) -> String {
        let store = open(place).await;
        let now = micros(store.clock().await.unwrap() - self.ago);
        let accepted = self.accepted(now);
        let token = AttemptToken(accepted.id.0);
        let attempt = accepted.attempt(token, now, &Rules::default());
        let initiated = transition(&accepted, Happened::Initiated(attempt), now);
        let insertion = Insertion::of(accepted).then(initiated, HappenedName::Initiated);
        let called = insertion.order.purchase().cloned().unwrap();
        assert_eq!(store.insert(insertion).await.unwrap(), Inserted::New);

        let answer = Answer::Unknown { why: "the connection was reset".into(), status: None };
        let fact = Fact { token, answer: answer.clone(), at: now };
        let unknown = apply(&store, &called, Happened::Answered { token, answer }, now, Some(fact)).await;
        let looked = Happened::Looked {
            verdict: Verdict::Unclear(ReviewCode::UnknownOutcome, "the connection was reset".into()),
            evidence: self.evidence(now),
        };
        let review = apply(&store, &unknown, looked, now, None).await;
        assert_eq!(review.state.name(), StateName::Review);
        store.close().await;
        review.id.to_string()
    }

    fn accepted(&self, now: Time) -> Purchase {
        let mut command = json!({ "request_id": self.request, "user_id": "kim", "pack_id": "rookie", "amount": self.amount });
        if let Some(span) = self.not_after {
            command["not_after"] = json!(after(now, span));
        }
        let command = parse_purchase(None, command.to_string().as_bytes()).unwrap();
        let trace = TraceContext::start(uuid::Uuid::from_u128(7), 7);
        Purchase::accept(PartnerId::new("default").unwrap(), command, now, trace)
    }

    fn evidence(&self, at: Time) -> Evidence {
        let look = Look {
            at,
            good: true,
            proof: true,
            listed: self.items.len() as u32,
            missing: 0,
            unexplained: self.items.iter().map(|item| ItemId::new(item).unwrap()).collect(),
            note: format!("{} unexplained items", self.items.len()),
        };
        Evidence {
            doubt: "the connection was reset".into(),
            looks: vec![look],
            verdict: "a person must decide".into(),
            ..Evidence::default()
        }
    }
}

async fn open(place: &Place) -> Sql {
    sql::connect(&place.store_url(), sql::Options::default()).await.unwrap()
}

fn transition(before: &Purchase, happened: Happened, now: Time) -> Transition {
    match decide(before, happened, now, &Rules::default()) {
        Decision::Transition(transition) => *transition,
        other => panic!("{other:?}"),
    }
}

async fn apply(store: &Sql, before: &Purchase, happened: Happened, now: Time, fact: Option<Fact>) -> Purchase {
    let what = happened.name();
    let change = Change::of(before, transition(before, happened, now), what, fact);
    let purchase = change.after.purchase().cloned().unwrap();
    assert_eq!(store.apply(change).await.unwrap(), Applied::Committed);
    purchase
}

/// `clawback review resolve` with who and why.
fn resolve(place: &Place, id: &str, how: &[&str]) -> Said {
    place.run(&[&["review", "resolve", id, "--as", "jo", "--reason", "support said so", "--json"], how].concat())
}

/// Type and data of the last thing the partner was told of a purchase.
async fn told(place: &Place, id: &str) -> Value {
    let store = open(place).await;
    let event = store.last_event(id.parse().unwrap()).await.unwrap().expect("something was told").event;
    store.close().await;
    serde_json::from_str(&event.body).unwrap()
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_longest_first_and_shown_in_words() {
    let place = Place::migrated();
    assert_eq!(place.run(&["review", "list"]).ok().out, "nothing is in review\n");
    let young = Doubt::of("young").plant(&place).await;
    let old = Doubt { amount: 2, items: &["item-4", "$(item)"], ago: 2 * HOUR, ..Doubt::of("old") }.plant(&place).await;

    let listed = place.json(&["review", "list"]);
    let ids: Vec<_> = listed["reviews"].as_array().unwrap().iter().map(|review| review["purchase_id"].clone()).collect();
    assert_eq!(ids, [old.as_str(), young.as_str()]);
    let first = &listed["reviews"][0];
    for (field, expected) in [
        ("partner", json!("default")),
        ("request_id", json!("old")),
        ("user_id", json!("kim")),
        ("pack_id", json!("rookie")),
        ("amount", json!(2)),
        ("code", json!("unknown_outcome")),
        ("message", json!("the connection was reset")),
        ("looks", json!(1)),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert!(first["since"].is_string());
    let page = place.json(&["review", "list", "--limit", "1"]);
    assert_eq!((page["reviews"][0]["purchase_id"].as_str(), page["total"].as_u64()), (Some(old.as_str()), Some(2)));
    assert!(place.run(&["review", "list", "--limit", "1"]).ok().out.contains("1 of 2"));
    assert_eq!(place.json(&["review", "list", "--partner", "beta"])["total"], 0);
    let text = place.run(&["review", "list"]).ok().out;
    assert!(text.contains("2 × rookie") && text.contains(&young), "{text}");

    let shown = place.json(&["review", "show", "old"]);
    assert_eq!((shown["state"].as_str(), shown["review"]["code"].as_str()), (Some("review"), Some("unknown_outcome")));
    assert_eq!(shown["evidence"]["looks"][0]["unexplained"][0], "item-4");
    assert_eq!(shown["timeline"].as_array().unwrap().last().unwrap()["to"], "review");
    let text = place.run(&["review", "show", &old]).ok().out;
    for said in [
        "The upstream was asked to buy and its answer was lost",
        "2 listed; everything known before is there; 2 unexplained items: item-4, $(item)",
        "the outcome of attempt 1 is unknown",
        &format!("clawback review resolve {old} --fulfilled-with item-4 '$(item)' --reason"),
        "the inventory is read again by",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
    place.run(&["review", "show", "nobody"]).failed(1, "there is no purchase or sellback nobody");
    place.run(&["review"]).failed(2, "Usage");
    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "calm"]).ok();
    let calm = place.run(&["review", "show", "calm"]).ok().out;
    assert!(calm.contains("it is accepted, not in review: there is nothing to decide"), "{calm}");
    assert_eq!(place.json(&["review", "show", "calm"])["review"], Value::Null);
}

#[tokio::test]
async fn a_persons_word_ends_it_and_the_partner_is_told_once() {
    let place = Place::migrated();
    let found = Doubt { amount: 2, items: &["item-4"], ..Doubt::of("found") }.plant(&place).await;
    let said = resolve(&place, "found", &["--fulfilled-with", "item-4", "item-9"]).ok();
    assert_eq!(said.json(), json!({ "purchase_id": found, "state": "fulfilled" }));
    assert!(said.err.contains("no look has shown item-9") && !said.err.contains("item-4"), "{}", said.err);
    let event = told(&place, &found).await;
    assert_eq!(
        (event["type"].as_str(), event["data"]["recovered"].as_bool()),
        (Some("clawback.purchase.fulfilled"), Some(true))
    );
    let items: Vec<_> = event["data"]["items"].as_array().unwrap().iter().map(|item| item["item_id"].clone()).collect();
    assert_eq!(items, ["item-4", "item-9"]);
    let shown = place.json(&["show", "found"]);
    let last = shown["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((last["by"].as_str(), last["note"].as_str()), (Some("jo"), Some("resolved as fulfilled: support said so")));

    let lost = Doubt::of("lost").plant(&place).await;
    assert_eq!(resolve(&place, &lost, &["--failed"]).ok().json()["state"], "failed");
    let event = told(&place, &lost).await;
    assert_eq!(event["type"], "clawback.purchase.failed");
    assert_eq!(event["data"]["reason"]["message"], "resolved as failed: support said so");

    for how in [&["--failed"][..], &["--retry", "--accept-double-purchase"], &["--fulfilled-with", "item-4"]] {
        resolve(&place, &lost, how).failed(1, &format!("purchase {lost} is failed: it is final"));
    }
    assert_eq!(told(&place, &lost).await, event, "a final purchase is told of once");
    assert_eq!(place.json(&["review", "list"])["total"], 0);
}

#[tokio::test]
async fn what_goes_on_is_due_at_once_and_says_whose_word_it_was() {
    let place = Place::migrated();
    let named = Doubt::of("named").plant(&place).await;
    let retried = Doubt::of("retried").plant(&place).await;
    assert_eq!(resolve(&place, &named, &["--session", "s-9"]).ok().json()["state"], "pending");
    let again = resolve(&place, &retried, &["--retry", "--accept-double-purchase"]).ok();
    assert_eq!(again.json()["state"], "accepted");
    for (id, note) in
        [(&named, "a person named session s-9: support said so"), (&retried, "a person decided to call again: support said so")]
    {
        let shown = place.json(&["show", id]);
        let last = shown["timeline"].as_array().unwrap().last().unwrap();
        assert_eq!((last["by"].as_str(), last["note"].as_str()), (Some("jo"), Some(note)));
    }
    let store = open(&place).await;
    let claimed = store.claim_due(store.clock().await.unwrap(), 10, &[]).await.unwrap();
    store.close().await;
    let mut claimed: Vec<_> = claimed.iter().map(|due| due.order.to_string()).collect();
    let mut expected = vec![named.clone(), retried.clone()];
    claimed.sort();
    expected.sort();
    assert_eq!(claimed, expected);
    resolve(&place, &named, &["--failed"]).failed(1, "is pending: it is not in review");
}

#[tokio::test]
async fn a_word_that_does_not_fit_changes_nothing() {
    let place = Place::migrated();
    let id = Doubt { amount: 2, ..Doubt::of("two") }.plant(&place).await;
    let late = Doubt { ago: 2 * HOUR, not_after: Some(HOUR), ..Doubt::of("late") }.plant(&place).await;
    let before = [place.json(&["show", &id]), place.json(&["show", &late])];

    for (how, code, about) in [
        (&["--fulfilled-with", "item-4"][..], 1, "it must be resolved with as many items as were bought: 2 bought, 1 named"),
        (&["--fulfilled-with"], 2, "--fulfilled-with"),
        (&["--session", ""], 2, "--session"),
        (&["--retry"], 2, "anywhere else say --accept-double-purchase"),
        (&["--accept-double-purchase", "--failed"], 2, "--accept-double-purchase"),
        (&["--failed", "--retry"], 2, "cannot be used with"),
        (&["--failed", "--fulfilled-with", "a", "b"], 2, "cannot be used with"),
        (&[], 2, "--failed"),
    ] {
        resolve(&place, &id, how).failed(code, about);
    }
    resolve(&place, "nobody", &["--failed"]).failed(1, "there is no purchase or sellback nobody");
    resolve(&place, &late, &["--retry", "--accept-double-purchase"]).failed(1, "stays in review: it must not be called after");
    let choices = place.json(&["review", "show", &late])["review"]["choices"].clone();
    let retry = choices.as_array().unwrap().iter().find(|choice| choice["choice"] == "retry").unwrap().clone();
    assert_eq!(retry["command"], Value::Null, "{retry}");
    assert_eq!([place.json(&["show", &id]), place.json(&["show", &late])], before);

    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "calm"]).ok();
    resolve(&place, "calm", &["--retry", "--accept-double-purchase"]).failed(1, "is accepted: it is not in review");
}

#[test]
fn every_verb_of_it_shows_an_example() {
    let place = Place::empty();
    for verb in ["list", "show", "resolve"] {
        assert!(place.run(&["review", verb, "--help"]).ok().out.contains("Example"), "{verb}");
        place.run(&["review", verb, "--no-such-flag"]).failed(2, "--no-such-flag");
    }
}

/// `up` beside an upstream that this test can ask, too.
struct Up {
    place: Place,
    running: Running,
    http: Client,
    ops: String,
    upstream: String,
}

impl Up {
    async fn start(mut place: Place) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let options = ServerOptions { latency: Duration::ZERO, ..ServerOptions::default() };
        tokio::spawn(serve(listener, Engine::shared(Options::default()), options, std::future::pending()));
        place.set("PHYGITALS_URL", &upstream);
        place.set("PHYGITALS_API_KEY", DEMO_KEY);
        place.set("CLAWBACK_OPS_LISTEN", "127.0.0.1:0");
        place.set("CLAWBACK_OPS_TOKEN", "ops-topsecret");
        let mut running = place.start(&["up", "--listen", "127.0.0.1:0"]);
        let waiting = tokio::task::spawn_blocking(move || {
            let ops = running.logged("serving /livez, /readyz and /metrics", "address");
            (running, format!("http://{ops}"))
        });
        let (running, ops) = waiting.await.unwrap();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { place, running, http, ops, upstream }
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/ops/v1/reviews{path}", self.ops)).bearer_auth(token);
        answer(request.body(body.to_string()).send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, "ops-topsecret", &Value::Null).await
    }

    /// Resolves as jo, who has a reason.
    async fn resolve(&self, id: &str, mut how: Value) -> (StatusCode, Value) {
        how["by"] = "jo".into();
        how["reason"] = "support said so".into();
        self.call(Method::POST, &format!("/{id}"), "ops-topsecret", &how).await
    }

    async fn until_fulfilled(&self, id: &str) -> Value {
        let mut shown = Value::Null;
        for _ in 0..300 {
            shown = self.get(&format!("/{id}")).await.1;
            if shown["state"] == "fulfilled" {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it was never fulfilled: {shown}\n{}", self.running.log());
    }

    /// Buys past Clawback, as the call whose answer was lost did; the session.
    async fn bought(&self) -> String {
        let request = self.http.post(format!("{}/api/v1/vm/buy/init", self.upstream)).header("X-API-Key", DEMO_KEY);
        let order = json!({ "id": "rookie", "amount": 1, "user_id": "kim" });
        let bought: Value = request.body(order.to_string()).send().await.unwrap().json().await.unwrap();
        bought["session_id"].as_str().unwrap().to_owned()
    }

    async fn ledger(&self) -> Vec<Value> {
        let response = self.http.get(format!("{}/_control/ledger", self.upstream)).send().await.unwrap();
        response.json::<Value>().await.unwrap()["purchases"].as_array().unwrap().clone()
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{status}");
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn the_operators_door_settles_reviews_and_workers_go_on_with_them() {
    let place = Place::migrated();
    let found = Doubt { amount: 2, ago: 4 * MINUTE, ..Doubt::of("found") }.plant(&place).await;
    let lost = Doubt { ago: 3 * MINUTE, ..Doubt::of("lost") }.plant(&place).await;
    let named = Doubt { ago: 2 * MINUTE, ..Doubt::of("named") }.plant(&place).await;
    let retried = Doubt { ago: MINUTE, ..Doubt::of("retried") }.plant(&place).await;
    let up = Up::start(place).await;
    let one = format!("/{found}");

    for (method, path) in [(Method::GET, ""), (Method::GET, one.as_str()), (Method::POST, one.as_str())] {
        for token in ["", "wrong"] {
            let failed = json!({ "failed": true, "by": "jo", "reason": "x" });
            assert_eq!(up.call(method.clone(), path, token, &failed).await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
    let (_, listed) = up.get("").await;
    let requests: Vec<_> = listed["reviews"].as_array().unwrap().iter().map(|review| review["request_id"].clone()).collect();
    assert_eq!(requests, ["found", "lost", "named", "retried"]);
    assert_eq!(up.get("?limit=1&partner=default").await.1["reviews"].as_array().unwrap().len(), 1);
    for (path, status) in [
        ("?limit=0", StatusCode::BAD_REQUEST),
        ("?colour=red", StatusCode::BAD_REQUEST),
        ("/nothing", StatusCode::NOT_FOUND),
        ("/00000000-0000-0000-0000-000000000000", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(up.get(path).await.0, status, "{path}");
    }
    let (_, shown) = up.get(&one).await;
    assert!(shown["review"]["doubt"].as_str().unwrap().contains("its answer was lost"), "{shown}");
    assert_eq!(
        (shown["evidence"]["looks"].as_array().unwrap().len(), shown["timeline"][0]["what"].as_str()),
        (1, Some("accepted"))
    );

    for (how, code) in [
        (json!({}), "invalid_field"),
        (json!({ "failed": true, "session": "s" }), "invalid_field"),
        (json!({ "failed": true, "accept_double_purchase": true }), "invalid_field"),
        (json!({ "faild": true }), "invalid_field"),
        (json!({ "retry": true }), "confirmation_required"),
        (json!({ "fulfilled_with": ["item-4"] }), "does_not_fit"),
    ] {
        let (status, problem) = up.resolve(&found, how.clone()).await;
        let said = problem["errors"][0]["code"].as_str();
        assert_eq!((status, said), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)), "{how}: {problem}");
    }
    let nobody = json!({ "failed": true, "by": " ", "reason": "x" });
    assert_eq!(up.call(Method::POST, &one, "ops-topsecret", &nobody).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(up.get(&one).await.1["state"], "review");

    let (status, done) = up.resolve(&found, json!({ "fulfilled_with": ["item-4", "item-4"] })).await;
    assert_eq!((status, done["state"].as_str()), (StatusCode::OK, Some("fulfilled")), "item ids repeat: {done}");
    assert_eq!(up.resolve(&lost, json!({ "failed": true })).await.1["state"], "failed");
    let (status, conflict) = up.resolve(&lost, json!({ "retry": true, "accept_double_purchase": true })).await;
    assert_eq!((status, conflict["errors"][0]["code"].as_str()), (StatusCode::CONFLICT, Some("not_in_review")));

    let session = up.bought().await;
    assert_eq!(up.resolve(&named, json!({ "session": session })).await.1["state"], "pending");
    let shown = up.until_fulfilled(&named).await;
    assert_eq!((shown["session_id"].as_str(), shown["attempts"].as_array().unwrap().len()), (Some(session.as_str()), 1));

    assert_eq!(up.resolve(&retried, json!({ "retry": true, "accept_double_purchase": true })).await.1["state"], "accepted");
    let shown = up.until_fulfilled(&retried).await;
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
    let references: Vec<_> = up.ledger().await.into_iter().map(|purchase| purchase["client_ref"].clone()).collect();
    assert_eq!(references, [Value::Null, json!(format!("{retried}.2"))], "a retry calls once, a session never");
    assert_eq!(up.get("").await.1["total"], 0);
    for id in [&found, &lost, &named, &retried] {
        until_told(&up.place, id).await;
    }
    let log = up.running.log();
    assert!(log.contains("a review was resolved") && !log.contains("topsecret") && !log.contains("\"ERROR\""), "{log}");
}

/// The final event of a purchase goes out.
async fn until_told(place: &Place, id: &str) {
    let store = open(place).await;
    for _ in 0..300 {
        let last = store.last_event(id.parse().unwrap()).await.unwrap().expect("something was told");
        if last.event.sequence == 2 && last.sent_at.is_some() {
            return store.close().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody was told how {id} ended");
}
