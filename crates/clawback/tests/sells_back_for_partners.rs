//! Sellbacks at the partner's and the operator's doors of a running `up --sandbox`.

#![cfg(unix)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use clawback_domain::{
    Money, PartnerId, UserId,
    clock::after,
    evidence::Sightings,
    item::{Expiry, Shown},
};
use clawback_store::{Store, sql};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::up::{Up, answer};

fn order(id: &str, amount: u32) -> Value {
    json!({ "request_id": id, "user_id": "kim", "pack_id": "rookie", "amount": amount })
}

fn sale(id: &str, field: &str, value: &Value) -> Value {
    json!({ "request_id": id, "user_id": "kim", field: value })
}

/// What kim bought.
async fn bought(up: &Up, amount: u32) -> Value {
    let (_, purchase) = up.post("/v1/purchases?wait=30s", &order("bought", amount)).await;
    assert_eq!(purchase["state"], "fulfilled", "{purchase}");
    purchase
}

#[tokio::test]
async fn what_was_bought_is_sold_back_once_and_the_resource_says_for_how_much() {
    let up = Up::start().await;
    let purchase = bought(&up, 2).await;
    let first = &purchase["items"][0];
    let wanted = sale("sale-1", "item_id", &first["item_id"]);

    let response = up.call(Method::POST, "/v1/sellbacks", wanted.to_string()).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (status, accepted) = answer(response).await;
    assert_eq!((status, accepted["state"].as_str()), (StatusCode::ACCEPTED, Some("accepted")));
    assert_eq!(location, format!("/v1/sellbacks/{}", accepted["sellback_id"].as_str().unwrap()));

    let (status, sold) = up.post("/v1/sellbacks?wait=30s", &wanted).await;
    assert_eq!((status, sold["state"].as_str()), (StatusCode::OK, Some("sold")), "{sold}\n{}", up.running.log());
    assert_eq!((&sold["amount"], &sold["currency"]), (&first["buyback_price"], &json!("USD")));
    assert_eq!((&sold["item_id"], &sold["estimated"]), (&first["item_id"], &json!(false)));
    assert!(sold["pull_id"].is_string() && sold["evidence"].is_null(), "{sold}");
    assert_eq!(up.get(&location).await.1, sold);
    assert_eq!(up.post("/v1/sellbacks", &wanted).await, (StatusCode::OK, sold.clone()), "a repeat sells nothing");

    for other in [sale("sale-1", "item_id", &json!("another")), sale("bought", "item_id", &json!("another"))] {
        let (status, conflict) = up.post("/v1/sellbacks", &other).await;
        assert_eq!((status, conflict["errors"][0]["code"].as_str()), (StatusCode::CONFLICT, Some("request_id_conflict")));
    }
    let (status, late) = up.post(&format!("{location}/cancel"), &json!({})).await;
    assert_eq!((status, late["errors"][0]["code"].as_str()), (StatusCode::CONFLICT, Some("point_of_no_return")));

    let (_, list) = up.get("/v1/sellbacks?request_id=sale-1&user_id=kim&state=sold").await;
    assert_eq!((&list["sellbacks"], &list["next"]), (&json!([sold]), &Value::Null));
    let (_, purchases) = up.get("/v1/purchases?user_id=kim").await;
    assert_eq!(purchases["purchases"].as_array().unwrap().len(), 1, "each list has its own kind");

    let event = up.place.run(&["events", "tail", "--last", "1", "--count", "1", "--json"]).ok().json();
    assert_eq!((event["type"].as_str(), &event["data"]["amount"]), (Some("clawback.sellback.completed"), &sold["amount"]));
    let shown = up.place.json(&["show", "sale-1"]);
    assert_eq!((&shown["attempts"][0]["answer"], &shown["why"]), (&json!("sold"), &Value::Null));
    let text = up.place.run(&["show", "sale-1"]).ok().out;
    let price = sold["amount"].as_str().unwrap();
    for said in [format!("sold for {price} USD"), "selling → sold".into(), "from kim of default".into()] {
        assert!(text.contains(&said), "{said:?} is not in {text}");
    }
    let report = up.place.json(&["audit"]);
    let expected = json!({
        "accepted": 1, "sold": 1, "estimated": 0, "failed": 0, "review": 0, "open": 0, "difference": 0,
    });
    assert_eq!((&report["sellbacks"], &report["sold"], &report["sound"]), (&expected, &sold["amount"], &json!(true)));
    assert!(up.place.run(&["audit"]).ok().out.contains("sellbacks of"));
}

#[tokio::test]
async fn each_kind_has_its_own_paths() {
    let up = Up::start().await;
    let purchase = bought(&up, 1).await;
    let (_, sellback) = up.post("/v1/sellbacks", &sale("sale", "item_id", &json!("nothing"))).await;
    let (purchase, sellback) = (purchase["purchase_id"].as_str().unwrap(), sellback["sellback_id"].as_str().unwrap());
    for path in [format!("/v1/sellbacks/{purchase}"), format!("/v1/purchases/{sellback}"), "/v1/sellbacks/x".into()] {
        assert_eq!(up.get(&path).await.0, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(up.post(&format!("{path}/cancel"), &json!({})).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for (body, code) in [
        (json!({ "request_id": "x", "user_id": "kim" }), "missing_field"),
        (json!({ "request_id": "x", "user_id": "kim", "pack_id": "rookie", "amount": 1 }), "unknown_field"),
        (json!({ "request_id": "auto:x", "user_id": "kim", "item_id": "i" }), "invalid_field"),
    ] {
        let (status, problem) = up.post("/v1/sellbacks", &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["errors"].to_string().contains(code), "{problem}");
    }
    for path in ["/v1/sellbacks?limit=0", "/v1/sellbacks?state=lost", "/v1/sellbacks?colour=red"] {
        assert_eq!(up.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let request = up.http.get(format!("{}/v1/sellbacks", up.api)).bearer_auth("wrong");
    assert_eq!(answer(request.send().await.unwrap()).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_pull_is_sold_for_at_least_its_price_or_not_at_all() {
    let up = Up::start().await;
    let purchase = bought(&up, 1).await;
    let (pull, item) = (&purchase["items"][0]["pull_id"], &purchase["items"][0]["item_id"]);
    let mut dear = sale("dear", "pull_id", pull);
    dear["min_price"] = "1000000.00".into();
    let (_, failed) = up.post("/v1/sellbacks?wait=30s", &dear).await;
    assert_eq!((&failed["state"], &failed["reason"]["code"]), (&json!("failed"), &json!("price_below_minimum")), "{failed}");
    assert_eq!((&failed["pull_id"], &failed["min_price"], &failed["amount"]), (pull, &dear["min_price"], &Value::Null));

    let mut fair = sale("fair", "pull_id", pull);
    fair["min_price"] = "0.01".into();
    let (_, sold) = up.post("/v1/sellbacks?wait=30s", &fair).await;
    assert_eq!((&sold["state"], &sold["pull_id"], &sold["item_id"]), (&json!("sold"), pull, item), "{sold}");
    let (_, again) = up.post("/v1/sellbacks?wait=30s", &sale("again", "pull_id", pull)).await;
    assert_eq!(again["reason"]["code"], "item_not_found", "{again}");
}

#[tokio::test]
async fn paused_sellbacks_wait_while_purchases_go_on_and_can_be_cancelled() {
    let up = Up::start().await;
    let pause = ["pause", "--all", "--kind", "sellback", "--reason", "prices", "--as", "jo"];
    assert_eq!(up.place.json(&pause)["what"], "sellbacks");
    // Workers read the pauses now and then: asks until one is held back.
    let mut held = Value::Null;
    for n in 0..100 {
        let probe = sale(&format!("probe-{n}"), "item_id", &json!("nothing"));
        held = up.post("/v1/sellbacks?wait=1s", &probe).await.1;
        if held["waiting"]["code"] == "paused" {
            break;
        }
    }
    assert_eq!(held["waiting"]["code"], "paused", "{held}\n{}", up.running.log());
    let purchase = bought(&up, 1).await;
    let (_, kept) = up.post("/v1/sellbacks", &sale("kept", "pull_id", &purchase["items"][0]["pull_id"])).await;
    let path = format!("/v1/sellbacks/{}", kept["sellback_id"].as_str().unwrap());
    up.until_state(&path, |sellback| sellback["waiting"]["code"] == "paused").await;
    assert!(up.place.run(&["show", "kept"]).ok().out.contains("it waits (paused)"));

    let dropped = format!("/v1/sellbacks/{}/cancel", held["sellback_id"].as_str().unwrap());
    let (status, cancelled) = up.post(&dropped, &json!({})).await;
    assert_eq!((status, &cancelled["reason"]["code"]), (StatusCode::OK, &json!("cancelled")));
    let resume = ["resume", "--all", "--kind", "sellback", "--reason", "prices are right"];
    assert_eq!(up.place.json(&resume)["resumed"], true);
    up.until_state(&path, |sellback| sellback["state"] == "sold").await;
}

#[tokio::test]
async fn all_of_a_user_that_expires_soon_is_previewed_and_sold_once() {
    let up = Up::start().await;
    let purchase = bought(&up, 3).await;
    let soon = ["enqueue", "sellback", "--user", "kim", "--expiring-within", "8d"];
    let nothing = up.place.json(&[&soon[..], &["--dry-run"]].concat());
    assert_eq!(nothing["preview"]["pulls"], 0, "no look has told when they expire");
    see(&up, &purchase).await;

    up.place.run(&soon).failed(2, "anywhere else say --yes, or --dry-run");
    let preview = up.place.json(&[&soon[..], &["--dry-run"]].concat())["preview"].clone();
    assert_eq!((&preview["pulls"], &preview["total"], &preview["without_price"]), (&json!(2), &json!("7.50"), &json!(1)));
    let said = up.place.run(&[&soon[..], &["--dry-run"]].concat()).ok().out;
    assert!(said.contains("in all 7.50 USD, the oldest price read") && said.contains("1 without a price"), "{said}");
    assert_eq!(up.place.json(&["list", "sellbacks"])["sellbacks"], json!([]));

    let said = up.place.run(&[&soon[..], &["--yes", "--json"]].concat()).ok();
    assert!(said.err.contains("items of kim: 2"), "the preview comes first: {}", said.err);
    assert_eq!((&said.json()["accepted"], &said.json()["preview"]), (&json!(2), &preview));
    let pulls: Vec<_> = (0..2).map(|place| purchase["items"][place]["pull_id"].as_str().unwrap()).collect();
    for pull in &pulls {
        let shown = up.place.json(&["show", &format!("expiring:{pull}")]);
        let path = format!("/v1/sellbacks/{}", shown["sellback_id"].as_str().unwrap());
        up.until_state(&path, |sellback| sellback["state"] == "sold").await;
    }
    let sold = up.place.json(&["list", "sellbacks", "--state", "sold"])["sellbacks"].clone();
    let sold: BTreeSet<_> = sold.as_array().unwrap().iter().map(|sellback| sellback["pull_id"].as_str().unwrap()).collect();
    assert_eq!(sold, BTreeSet::from_iter(pulls));
    // The look before each sale has told the true date of the third.
    let again = up.place.json(&[&soon[..], &["--yes"]].concat());
    assert_eq!((&again["preview"]["pulls"], &again["accepted"]), (&json!(1), &json!(1)), "what is sold is not held: {again}");
    assert_eq!(up.place.json(&["list", "sellbacks"])["sellbacks"].as_array().unwrap().len(), 3);
}

/// A look shows three pulls: two expire in a week, one of them without a price, and one never.
async fn see(up: &Up, purchase: &Value) {
    let store = sql::connect(&up.place.store_url(), sql::Options::default()).await.unwrap();
    let at = store.clock().await.unwrap();
    let week = Expiry::At(after(at, Duration::from_secs(7 * 24 * 3600)));
    let shown = |expiry, price| Some(Shown { expiry, price, ..Shown::default() });
    let id = purchase["purchase_id"].as_str().unwrap().parse().unwrap();
    let pulls = vec![
        (id, 0, shown(week, Some(Money::usd(7_500_000)))),
        (id, 1, shown(week, None)),
        (id, 2, shown(Expiry::Never, Some(Money::usd(1_000_000)))),
    ];
    let (partner, user_id) = (PartnerId::new("default").unwrap(), UserId::new("kim").unwrap());
    store.record_look(Sightings { partner, user_id, at, pulls }).await.unwrap();
    store.close().await;
}
