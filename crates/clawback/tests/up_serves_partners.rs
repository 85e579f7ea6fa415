//! `up --sandbox` as a newcomer runs it: the HTTP door, the verbs beside it, the operators' door, signals.

#![cfg(unix)]

mod support;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    Place, until,
    up::{Up, answer},
};

fn order(id: &str) -> Value {
    json!({ "request_id": id, "user_id": "kim", "pack_id": "rookie", "amount": 1 })
}

#[tokio::test]
async fn a_purchase_over_http_is_fulfilled_and_a_repeat_buys_nothing() {
    let up = Up::start().await;
    let mode = std::fs::metadata(up.place.path("data/token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the token is its owner's");

    let response = up.call(Method::POST, "/v1/purchases", order("a").to_string()).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (status, accepted) = answer(response).await;
    assert_eq!((status, accepted["state"].as_str()), (StatusCode::ACCEPTED, Some("accepted")));
    assert_eq!(location, format!("/v1/purchases/{}", accepted["purchase_id"].as_str().unwrap()));

    let (status, done) = up.post("/v1/purchases?wait=30s", &order("a")).await;
    assert_eq!((status, done["state"].as_str()), (StatusCode::OK, Some("fulfilled")), "{done}");
    assert_eq!(done["items"].as_array().unwrap().len(), 1);
    assert_eq!(up.get(&location).await.1, done);
    let (status, conflict) =
        up.post("/v1/purchases", &json!({ "request_id": "a", "user_id": "kim", "pack_id": "rookie", "amount": 2 })).await;
    assert_eq!((status, conflict["errors"][0]["code"].as_str()), (StatusCode::CONFLICT, Some("request_id_conflict")));
    let (status, late) = up.post(&format!("{location}/cancel"), &json!({})).await;
    assert_eq!((status, late["errors"][0]["code"].as_str()), (StatusCode::CONFLICT, Some("point_of_no_return")));

    let (_, list) = up.get("/v1/purchases?request_id=a&state=fulfilled").await;
    assert_eq!(list["purchases"][0], done);
    let shown = up.place.json(&["show", "a"]);
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_array().unwrap().len()), (Some("fulfilled"), 1));
}

#[tokio::test]
async fn what_is_no_command_is_a_problem_and_the_next_request_is_handled() {
    let up = Up::start().await;
    let large = format!("\"{}\"", "x".repeat(70_000));
    let deep = "[".repeat(10_000);
    for (body, status, code) in [
        ("{", StatusCode::BAD_REQUEST, "invalid_json"),
        (deep.as_str(), StatusCode::BAD_REQUEST, "invalid_json"),
        (large.as_str(), StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ("{\"request_id\":\"x\"}", StatusCode::UNPROCESSABLE_ENTITY, "missing_field"),
        (
            "{\"request_id\":\"x\",\"user_id\":\"u\",\"pack_id\":\"p\",\"amuont\":1,\"amount\":1}",
            StatusCode::UNPROCESSABLE_ENTITY,
            "unknown_field",
        ),
        (
            "{\"request_id\":\"x\",\"user_id\":\"u\",\"pack_id\":\"p\",\"amount\":0}",
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_field",
        ),
    ] {
        let (got, problem) = answer(up.call(Method::POST, "/v1/purchases", body.to_owned()).await).await;
        assert_eq!(got, status, "{problem}");
        let codes: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["code"].as_str().unwrap()).collect();
        assert!(codes.contains(&code), "{codes:?}");
    }
    for (path, status) in [
        ("/v1/purchases/not-an-id", StatusCode::NOT_FOUND),
        ("/v1/purchases/00000000-0000-0000-0000-000000000000", StatusCode::NOT_FOUND),
        ("/v1/purchases?limit=0", StatusCode::BAD_REQUEST),
        ("/v1/purchases?after=x", StatusCode::BAD_REQUEST),
        ("/v1/purchases?state=lost", StatusCode::BAD_REQUEST),
        ("/v1/purchases?colour=red", StatusCode::BAD_REQUEST),
        ("/v1/nothing", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(up.get(path).await.0, status, "{path}");
    }
    let (status, _) = up.post("/v1/purchases?wait=2h", &order("w")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = answer(up.call(Method::DELETE, "/v1/purchases", "").await).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    for token in ["", "wrong", "ops-topsecret"] {
        let request = up.http.get(format!("{}/v1/purchases", up.api)).bearer_auth(token);
        assert_eq!(answer(request.send().await.unwrap()).await.0, StatusCode::UNAUTHORIZED, "{token}");
    }
    assert_eq!(up.post("/v1/purchases", &order("good")).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_paused_purchase_waits_can_be_cancelled_and_goes_on_at_resume() {
    let up = Up::start().await;
    let everything = json!({ "all": true, "by": "jo", "reason": "stocktaking" });
    assert_eq!(up.operate(Method::POST, "wrong", &everything).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(up.operate(Method::POST, "ops-topsecret", &json!({ "all": true })).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(up.operate(Method::POST, "ops-topsecret", &everything).await.0, StatusCode::CREATED);
    assert_eq!(up.operate(Method::GET, "ops-topsecret", &json!({})).await.1["pauses"][0]["by"], "jo");
    until_held(&up).await;

    let (_, kept) = up.post("/v1/purchases", &order("kept")).await;
    let (_, dropped) = up.post("/v1/purchases", &order("dropped")).await;
    let path = |purchase: &Value| format!("/v1/purchases/{}", purchase["purchase_id"].as_str().unwrap());
    up.until_state(&path(&kept), |purchase| purchase["waiting"]["code"] == "paused").await;
    let (status, cancelled) = up.post(&format!("{}/cancel", path(&dropped)), &json!({})).await;
    assert_eq!((status, cancelled["reason"]["code"].as_str()), (StatusCode::OK, Some("cancelled")));

    assert_eq!(up.operate(Method::DELETE, "ops-topsecret", &everything).await.0, StatusCode::OK);
    assert_eq!(up.operate(Method::DELETE, "ops-topsecret", &everything).await.0, StatusCode::NOT_FOUND);
    up.until_state(&path(&kept), |purchase| purchase["state"] == "fulfilled").await;
    assert_eq!(up.get(&path(&dropped)).await.1["state"], "failed");
}

/// Workers read the pauses now and then: asks until a purchase is held back.
async fn until_held(up: &Up) {
    for n in 0..100 {
        let (_, probe) = up.post("/v1/purchases?wait=1s", &order(&format!("probe-{n}"))).await;
        if probe["waiting"]["code"] == "paused" {
            return;
        }
    }
    panic!("the pause never held: {}", up.running.log());
}

#[tokio::test]
async fn a_command_from_another_process_is_found_and_its_events_are_told() {
    let up = Up::start().await;
    let id = up.place.json(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie"])["purchase_id"].clone();
    up.until_state(&format!("/v1/purchases/{}", id.as_str().unwrap()), |purchase| purchase["state"] == "fulfilled").await;
    let event = up.place.run(&["events", "tail", "--last", "1", "--count", "1", "--json"]).ok().json();
    assert_eq!((event["type"].as_str(), &event["subject"]), (Some("clawback.purchase.fulfilled"), &id));
}

#[tokio::test]
async fn it_is_live_and_ready_and_measured_and_ends_when_asked() {
    let mut up = Up::start().await;
    up.post("/v1/purchases?wait=30s", &order("a")).await;
    let text = |path: &str| {
        let request = up.http.get(format!("{}{path}", up.ops));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!((text("/livez").await, text("/readyz").await), ("ok\n".into(), "ready\n".into()));
    let metrics = text("/metrics").await;
    let counted = "clawback_upstream_calls{partner=\"default\",endpoint=\"init\",outcome=\"done\"} 1";
    assert!(metrics.contains(counted) && metrics.contains("clawback_ready"), "{metrics}");
    until("a limit is refused to be reloaded", || {
        up.running.signal(Signal::HUP);
        up.running.log().contains("there is no configuration file to read again").then_some(())
    });
    up.running.signal(Signal::TERM);
    assert_eq!(up.running.ended(), 0, "{}", up.running.log());
    let log = up.running.log();
    assert!(!log.contains(&up.token) && !log.contains("ops-topsecret") && !log.contains("sandbox-demo"), "{log}");
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}

#[tokio::test]
async fn a_call_in_flight_ends_before_the_process_does() {
    let mut up = Up::start_in(Place::empty(), &["--latency", "2s"]).await;
    until_called(&up).await;
    up.running.signal(Signal::TERM);
    assert_eq!(up.running.ended(), 0, "{}", up.running.log());
    let shown = up.place.json(&["show", "a"]);
    assert_eq!(shown["attempts"][0]["answer"], "done", "{shown}");
    assert!(shown["session_id"].is_string(), "{shown}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut up = Up::start_in(Place::empty(), &["--latency", "20s"]).await;
    until_called(&up).await;
    up.running.signal(Signal::TERM);
    until("the first signal is heard", || up.running.log().contains("a second signal stops at once").then_some(()));
    up.running.signal(Signal::TERM);
    assert_eq!(up.running.ended(), 143);
    assert_eq!(up.place.json(&["show", "a"])["state"], "initiating", "the row is left to its due time");
}

async fn until_called(up: &Up) {
    let (_, purchase) = up.post("/v1/purchases", &order("a")).await;
    let path = format!("/v1/purchases/{}", purchase["purchase_id"].as_str().unwrap());
    up.until_state(&path, |purchase| purchase["state"] == "initiating").await;
}

#[tokio::test]
async fn a_rotated_token_is_in_use_a_second_later_and_limits_are_reloaded() {
    let place = Place::empty();
    place.write("key", "live-topsecret");
    place.write("token", "one-topsecret");
    let config = "[[partner]]\nname = \"acme\"\napi_key_file = \"key\"\ntoken_file = \"token\"\n";
    place.write("clawback.toml", config);
    place.write("data/token", "unused");
    let mut up = Up::start_in(place, &[]).await;
    let status = |token: &'static str| {
        let request = up.http.get(format!("{}/v1/purchases", up.api)).bearer_auth(token);
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(status("one-topsecret").await, StatusCode::OK);
    up.place.write("token", "two-topsecret");
    for _ in 0..100 {
        if status("two-topsecret").await == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((status("two-topsecret").await, status("one-topsecret").await), (StatusCode::OK, StatusCode::UNAUTHORIZED));

    up.place.write("clawback.toml", &format!("drain = \"9s\"\n{config}concurrency = 3\nwarnings.leads = [\"2h\"]\n"));
    up.running.signal(Signal::HUP);
    let refused = up.running.logged("SIGHUP: these keys changed and are not taken over; they take a restart", "keys");
    let taken = up.running.logged("SIGHUP: limits, warnings and automatic sales were reloaded", "keys");
    assert_eq!(
        (refused.as_str(), taken.as_str()),
        ("drain", "partner[\"acme\"].concurrency, partner[\"acme\"].warnings.leads")
    );
    assert!(!up.running.log().contains("topsecret"), "{}", up.running.log());
}

#[tokio::test]
async fn a_partner_with_open_purchases_cannot_be_removed() {
    let place = Place::migrated();
    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie"]).ok();
    place.write("key", "sandbox-x");
    place.write("token", "t");
    place.write("clawback.toml", "[[partner]]\nname = \"acme\"\napi_key_file = \"key\"\ntoken_file = \"token\"\n");
    let said = place.run(&["up", "--sandbox", "--listen", "127.0.0.1:0", "--ops-listen", "off"]);
    said.failed(2, "partner default is not configured, but has 1 purchase(s) accepted");
}
