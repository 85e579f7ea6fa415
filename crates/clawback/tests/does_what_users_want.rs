//! A user's settings over HTTP, and what they do to warnings and to automatic sales as verbs tell of them.

#![cfg(unix)]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{
    Place, until,
    up::{Up, answer},
};

const SETTINGS: &str = "/v1/users/kim/settings";

const PARTNERS: &str = "[[partner]]\nname = \"acme\"\napi_key_file = \"a\"\ntoken_file = \"a\"\n\
                        [[partner]]\nname = \"beta\"\napi_key_file = \"b\"\ntoken_file = \"b\"\n";

/// `up` for two partners.
async fn two_partners() -> Up {
    let place = Place::empty();
    place.write("a", "acme-key");
    place.write("b", "beta-key");
    place.write("data/token", "acme-key");
    place.write("clawback.toml", PARTNERS);
    Up::start_in(place, &[]).await
}

async fn put(up: &Up, path: &str, body: &str) -> (StatusCode, Value) {
    answer(up.call(Method::PUT, path, body.to_owned()).await).await
}

#[tokio::test]
async fn what_is_set_stays_what_is_absent_too_and_it_is_the_partners_own() {
    let up = two_partners().await;
    let settings = |auto_sell: bool, warnings: bool, zone: Option<&str>| {
        (StatusCode::OK, json!({ "auto_sell": auto_sell, "warnings": warnings, "zone": zone }))
    };
    assert_eq!(up.get(SETTINGS).await, settings(true, true, None), "what holds until something is set");
    let berlin = Some("Europe/Berlin");
    for (body, expected) in [
        (r#"{"warnings":false,"zone":"Europe/Berlin"}"#, settings(true, false, berlin)),
        ("{}", settings(true, false, berlin)),
        (r#"{"auto_sell":false,"warnings":true}"#, settings(false, true, berlin)),
        (r#"{"zone":null}"#, settings(false, true, None)),
        (r#"{"zone":"Asia/Kathmandu"}"#, settings(false, true, Some("Asia/Kathmandu"))),
    ] {
        assert_eq!(put(&up, SETTINGS, body).await, expected, "{body}");
        assert_eq!(up.get(SETTINGS).await, expected, "{body}");
    }
    let others = up.http.get(format!("{}{SETTINGS}", up.api)).bearer_auth("beta-key").send().await.unwrap();
    assert_eq!(answer(others).await, settings(true, true, None));
    assert_eq!(up.get("/v1/users/jo/settings").await, settings(true, true, None));
}

#[tokio::test]
async fn what_is_none_changes_nothing_and_is_told_with_all_its_problems() {
    let up = two_partners().await;
    let (status, problem) =
        put(&up, SETTINGS, r#"{"warnings":"no","zone":"Berlin","auto-sell":false,"auto_sell":false}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let told = |field: &str| {
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error[field].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(told("pointer"), ["/auto-sell", "/warnings", "/zone"]);
    assert_eq!(told("code"), ["unknown_field", "invalid_field", "invalid_field"]);
    assert_eq!(told("hint")[0], "did you mean auto_sell?");
    assert_eq!(told("message")[2], "must be an IANA time zone, not \"Berlin\"; did you mean Europe/Berlin?");
    let large = format!("{{\"zone\":{:?}}}", "x".repeat(70_000));
    for (path, body, expected) in [
        (SETTINGS, "{", StatusCode::BAD_REQUEST),
        (SETTINGS, "[]", StatusCode::UNPROCESSABLE_ENTITY),
        (SETTINGS, &*large, StatusCode::PAYLOAD_TOO_LARGE),
        ("/v1/users/a%2Fb/settings", "{}", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(put(&up, path, body).await.0, expected, "{path}");
    }
    assert_eq!(up.call(Method::POST, SETTINGS, "{}").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let stranger = up.http.put(format!("{}{SETTINGS}", up.api)).bearer_auth("wrong").body("{}").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(up.get(SETTINGS).await.1, json!({ "auto_sell": true, "warnings": true, "zone": null }));
}

#[tokio::test]
async fn planned_warnings_are_listed_and_automatic_sales_are_previewed() {
    let mut place = Place::empty();
    place.set("CLAWBACK_CLOCK", "upstream");
    place.write("clawback.toml", "[defaults]\nsell_before_expiry = { min_price = \"0.01\" }\n");
    let mut up = Up::start_in(place, &[]).await;
    let sandbox = up.running.logged("the built-in sandbox listens; its ledger is at /_control/ledger", "url");
    let order = json!({ "request_id": "r", "user_id": "kim", "pack_id": "rookie", "amount": 1 });
    let (_, bought) = up.post("/v1/purchases?wait=60s", &order).await;
    assert_eq!(bought["state"], "fulfilled", "{bought}");
    let advance = up.http.post(format!("{sandbox}/_control/clock")).body(json!({ "advance": "2m" }).to_string());
    assert_eq!(advance.send().await.unwrap().status(), StatusCode::OK);

    let verb = |arguments: &[&str]| up.place.json(&[arguments, &["--phygitals-url", &sandbox]].concat());
    let listed = |flags: &[&str]| verb(&[&["warnings", "list"], flags].concat())["warnings"].as_array().unwrap().clone();
    let all = until("the inventory is read and its warnings are planned", || Some(listed(&[])).filter(|all| !all.is_empty()));
    let leads: Vec<_> = all.iter().map(|warning| warning["lead"].as_str().unwrap()).collect();
    assert_eq!(leads, ["72h", "24h", "1h"]);
    assert_eq!(
        (&all[0]["state"], &all[0]["user_id"], &all[0]["partner"]),
        (&json!("planned"), &json!("kim"), &json!("default"))
    );
    assert_eq!(all[0]["pull_id"], bought["items"][0]["pull_id"]);
    assert_eq!(listed(&["--due-within", "24h"]).len(), 0);
    assert_eq!(listed(&["--due-within", "5d"]), all[..1]);
    assert_eq!(listed(&["--user", "kim", "--state", "planned", "--limit", "2"]), all[..2]);
    assert_eq!((listed(&["--user", "jo"]).len(), listed(&["--state", "sent"]).len()), (0, 0));

    let sales = |within: &str| verb(&["rules", "preview", "--within", within])["partners"][0]["sales"].clone();
    assert_eq!(sales("24h")["sales"], 0);
    let soon = sales("8d");
    assert_eq!((&soon["sales"], &soon["skipped"], &soon["too_late"]), (&json!(1), &json!({}), &json!(0)), "{soon}");
    assert_eq!(soon["total"], bought["items"][0]["buyback_price"], "{soon}");
    put(&up, SETTINGS, r#"{"auto_sell":false}"#).await;
    let none = sales("8d");
    assert_eq!((&none["sales"], &none["skipped"]), (&json!(0), &json!({ "opted_out": 1 })), "{none}");
    let text = up.place.run(&["rules", "preview", "--within", "8d", "--phygitals-url", &sandbox]).ok().out;
    assert!(text.contains("Within 8d nothing would be sold.") && text.contains("Not sold: 1 opted_out."), "{text}");
}
