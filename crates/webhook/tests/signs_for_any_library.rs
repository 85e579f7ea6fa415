//! What arrives is verified by the library that *Standard Webhooks* publishes for Python, which knows nothing of us.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::time::{Duration, SystemTime};

use clawback_domain::{Time, clock};
use clawback_webhook::{Delivery, Endpoint, Outcome, Receiver, SigningSecrets};
use serde_json::{Value, json};
use support::{OTHER_SECRET, Request, SECRET, Server, delivery, delivery_at, https, python};

const EVENT: &str = r#"{"specversion":"1.0","type":"clawback.purchase.fulfilled","data":{"user_id":"ü@x.de","amount":2}}"#;
const STRANGER: &str = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgbm90IG91cnM=";
const NO_MATCH: &str = "No matching signature found";

/// What reached an endpoint with `secrets`.
async fn arrived(secrets: &str, delivery: Delivery) -> Request {
    let server = Server::answering("204 No Content", "", "").await;
    let endpoint = Endpoint::new(&server.url(), SigningSecrets::parse(secrets).unwrap(), true).unwrap();
    assert_eq!(https().deliver(&endpoint, delivery).await, Outcome::Delivered { status: 204 });
    server.requests().remove(0)
}

fn case(secret: &str, request: &Request) -> Value {
    let headers: serde_json::Map<_, _> = request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({"secret": secret, "headers": headers, "body": request.body})
}

#[track_caller]
fn check(cases: Vec<(Value, &str)>) {
    let (cases, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let said = python::ask(include_str!("support/verify.py"), &json!(cases).to_string());
    assert_eq!(serde_json::from_str::<Vec<String>>(&said).unwrap(), expected);
}

#[tokio::test]
async fn a_delivery_verifies_with_its_secret_and_no_other() {
    let request = arrived(SECRET, delivery(EVENT)).await;
    assert_eq!(request.body, EVENT);
    check(vec![
        (case(SECRET, &request), "verified"),
        (case(&SECRET["whsec_".len()..], &request), "verified"),
        (case(STRANGER, &request), NO_MATCH),
    ]);
    let plain = arrived(&OTHER_SECRET["whsec_".len()..], delivery(EVENT)).await;
    check(vec![(case(OTHER_SECRET, &plain), "verified")]);
}

#[tokio::test]
async fn while_rotating_the_old_and_the_new_secret_verify() {
    let request = arrived(&format!("{SECRET}\n{OTHER_SECRET}\n"), delivery(EVENT)).await;
    check(vec![
        (case(SECRET, &request), "verified"),
        (case(OTHER_SECRET, &request), "verified"),
        (case(STRANGER, &request), NO_MATCH),
    ]);
}

#[tokio::test]
async fn what_was_tampered_with_does_not_verify() {
    let request = arrived(SECRET, delivery(EVENT)).await;
    let set = |name: &str, value: &str| {
        let mut case = case(SECRET, &request);
        case["headers"][name] = json!(value);
        case
    };
    let later: u64 = request.header("webhook-timestamp").unwrap().parse::<u64>().unwrap() + 1;
    let mut body = case(SECRET, &request);
    body["body"] = json!(EVENT.replace("\"amount\":2", "\"amount\":3"));
    check(vec![
        (body, NO_MATCH),
        (set("webhook-id", &support::id(2).to_string()), NO_MATCH),
        (set("webhook-timestamp", &later.to_string()), NO_MATCH),
        (set("webhook-signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), NO_MATCH),
        (set("webhook-signature", ""), "Missing required headers"),
    ]);
}

/// Why an attempt must carry its own time and not the event's.
#[tokio::test]
async fn an_attempt_with_an_old_time_is_refused_by_the_library() {
    let now: Time = SystemTime::now().into();
    let old = arrived(SECRET, delivery_at(EVENT, now - Duration::from_secs(600))).await;
    let early = arrived(SECRET, delivery_at(EVENT, clock::after(now, Duration::from_secs(600)))).await;
    check(vec![(case(SECRET, &old), "Message timestamp too old"), (case(SECRET, &early), "Message timestamp too new")]);
}
