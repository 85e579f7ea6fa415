//! The pages' rows, quoted, over HTTP, in both modes: what the stand-in says is what the upstream's documentation says.

#![allow(dead_code, reason = "each test target uses its part of the support module")]

mod support;

use clawback_sandbox::Mode;
use serde_json::{Value, json};
use support::{KEY, OTHER_KEY, Sandbox, faults, options};

const MODES: [Mode; 2] = [Mode::Sandbox, Mode::Production];

async fn buy(sandbox: &Sandbox, amount: u32, user: &str) -> Value {
    let reply = sandbox.init("rookie", amount, user).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What every item has, wherever it is shown.
fn check_item(item: &Value, further: &[&str], links: bool) {
    let mut expected = vec!["buyback_price", "collection_address", "content", "id", "mint_address", "token_standard", "type"];
    expected.extend(further);
    expected.sort_unstable();
    assert_eq!(keys(item), expected, "{item}");
    assert!(["enft", "ebay", "fanatics", "alt", "external"].contains(&item["type"].as_str().unwrap()), "{item}");
    let on_chain = if item["type"] == "ebay" { &Value::Null } else { &item["id"] };
    assert_eq!(&item["mint_address"], on_chain);
    assert_eq!(item["collection_address"].is_null(), on_chain.is_null());
    assert_eq!(item["token_standard"].is_null(), on_chain.is_null());
    let price = item["buyback_price"].as_number().unwrap().to_string();
    assert!(price.split_once('.').is_none_or(|(_, decimals)| decimals.len() <= 2), "{price}");
    let metadata = &item["content"]["metadata"];
    assert_eq!(keys(metadata), ["attributes", "back_image", "image", "name"]);
    assert_eq!(keys(&metadata["attributes"][0]), ["trait_type", "value"]);
    assert_eq!(item["content"].get("links").is_some(), links);
    if links {
        assert_eq!(item["content"]["links"]["image"], metadata["image"]);
        assert_eq!(item["content"]["links"]["back_image"], metadata["back_image"]);
    }
}

#[tokio::test]
async fn buy_init_answers_a_session_and_the_items() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        let opened = buy(&sandbox, 10, "user_abc123").await;
        assert_eq!(keys(&opened), ["nfts", "session_id"]);
        assert!(uuid::Uuid::parse_str(opened["session_id"].as_str().unwrap()).is_ok());
        assert_eq!(opened["nfts"].as_array().unwrap().len(), 10);
        opened["nfts"].as_array().unwrap().iter().for_each(|item| check_item(item, &[], mode == Mode::Production));
    }
}

#[tokio::test]
async fn buy_init_refuses_with_the_documented_texts() {
    let rows = [
        (r#"{"id":"vault","amount":1,"user_id":"u"}"#, "Claw machine is out of stock"), // in_stock: false
        (r#"{"id":"retired","amount":1,"user_id":"u"}"#, "Claw machine is out of stock"), // enable: false
        (r#"{"id":"empty","amount":1,"user_id":"u"}"#, "Claw machine is out of stock"), // no candidate in any tier
        (r#"{"id":"rookie","amount":0,"user_id":"u"}"#, "Amount must be greater than 0"),
        (r#"{"id":"rookie","amount":-1,"user_id":"u"}"#, "Amount must be greater than 0"),
        (r#"{"id":"rookie","user_id":"u"}"#, "Amount must be greater than 0"),
        (r#"{"id":"rookie","amount":11,"user_id":"u"}"#, "Amount must be less than or equal to 10"),
        (r#"{"id":"legend","amount":2,"user_id":"u"}"#, "Amount must be less than or equal to 1"),
        (r#"{"id":"nowhere","amount":1,"user_id":"u"}"#, "VM not found"),
        (r#"{"amount":1,"user_id":"u"}"#, "VM not found"),
        (r#"{"id":"rookie","amount":1}"#, "user_id is required"),
        (r#"{"id":"rookie","amount":1,"user_id":""}"#, "user_id is required"),
        ("{}", "user_id is required"),
    ];
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        for (body, text) in rows {
            let reply = sandbox.call("POST", "/api/v1/vm/buy/init", body).await.unwrap();
            assert_eq!(reply.error(), (400, text.to_owned()), "{mode:?} {body}");
        }
        sandbox.engine.lock().set_faults(faults(&["init:error-before=1"]));
        let reply = sandbox.init("rookie", 1, "u").await.unwrap();
        assert_eq!(reply.error(), (500, "Error during transaction".to_owned()));
        assert_eq!(sandbox.ledger().await.purchases, []);
    }
}

#[tokio::test]
async fn buy_status_in_the_sandbox_is_fulfilled_at_once() {
    let sandbox = Sandbox::start(clawback_sandbox::Options {
        settle: std::time::Duration::from_secs(3600),
        pending_polls: 3,
        ..options(Mode::Sandbox)
    })
    .await;
    let opened = buy(&sandbox, 2, "user_abc123").await;
    let reply = sandbox.status(opened["session_id"].as_str().unwrap()).await.unwrap().json();
    let result = &reply["result"];
    assert_eq!(keys(result), ["nfts", "public_id", "session_id", "tx_hash", "user_id"]);
    assert_eq!(result["session_id"], opened["session_id"]);
    assert_eq!(result["user_id"], "user_abc123");
    assert_eq!(result["nfts"], opened["nfts"]);
    // "not populated on buy/status responses (it only appears on inventory items)"
    result["nfts"].as_array().unwrap().iter().for_each(|item| check_item(item, &[], false));
    let public_id = result["public_id"].as_str().unwrap();
    assert!(public_id.starts_with('_') && public_id[1..].chars().all(|c| c.is_ascii_uppercase()), "{public_id}");
    // "a synthetic identifier of the form sandbox_<base64url>"
    let hash = result["tx_hash"].as_str().unwrap().strip_prefix("sandbox_").unwrap();
    assert!(!hash.is_empty() && hash.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{hash}");
}

#[tokio::test]
async fn buy_status_in_production_says_pending_and_then_the_result() {
    let sandbox =
        Sandbox::start(clawback_sandbox::Options { settle: std::time::Duration::from_secs(60), ..options(Mode::Production) })
            .await;
    let opened = buy(&sandbox, 2, "user_abc123").await;
    let session = opened["session_id"].as_str().unwrap();
    assert_eq!(sandbox.status(session).await.unwrap().json(), json!({ "status": "pending" }));
    assert_eq!(sandbox.inventory("user_abc123").await.unwrap().error(), (404, "User not found".to_owned()));
    sandbox.advance("60s").await;
    let reply = sandbox.status(session).await.unwrap().json();
    assert_eq!(reply["result"]["nfts"], opened["nfts"]);
    reply["result"]["nfts"].as_array().unwrap().iter().for_each(|item| check_item(item, &[], true));
    assert!(!reply["result"]["tx_hash"].as_str().unwrap().starts_with("sandbox_"));
    assert_eq!(sandbox.inventory("user_abc123").await.unwrap().json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn buy_status_of_an_unknown_or_anothers_session_is_transaction_failed() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        let opened = buy(&sandbox, 1, "u").await;
        for body in [r#"{"session_id":"550e8400-e29b-41d4-a716-446655440000"}"#, r#"{"session_id":"x"}"#, "{}"] {
            let reply = sandbox.call("POST", "/api/v1/vm/buy/status", body).await.unwrap();
            assert_eq!(reply.error(), (400, "Transaction failed".to_owned()), "{mode:?} {body}");
        }
        let theirs = format!(r#"{{"session_id":{}}}"#, opened["session_id"]);
        let reply = sandbox.call_as(Some(OTHER_KEY), "POST", "/api/v1/vm/buy/status", &theirs).await.unwrap();
        assert_eq!(reply.error(), (400, "Transaction failed".to_owned()));
    }
}

#[tokio::test]
async fn a_cancelled_purchase_stays_cancelled_and_was_never_bought() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        let opened = buy(&sandbox, 1, "u").await;
        let session = opened["session_id"].as_str().unwrap();
        sandbox.engine.lock().set_faults(faults(&["status:transaction-failed=1"]));
        assert_eq!(sandbox.status(session).await.unwrap().error(), (400, "Transaction failed".to_owned()));
        sandbox.engine.lock().set_faults(Vec::new());
        assert_eq!(sandbox.status(session).await.unwrap().error(), (400, "Transaction failed".to_owned()));
        assert_eq!(sandbox.inventory("u").await.unwrap().error(), (404, "User not found".to_owned()));
        assert_eq!(sandbox.ledger().await.purchases, []);
    }
}

#[tokio::test]
async fn buyback_pays_the_price_once() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        let opened = buy(&sandbox, 1, "u").await;
        let item = opened["nfts"][0]["id"].as_str().unwrap();
        let price = sandbox.inventory("u").await.unwrap().json()["items"][0]["buyback_price"].clone();
        let sold = sandbox.buyback(item).await.unwrap();
        assert_eq!((sold.status, sold.json()), (200, json!({ "success": true, "amount": price })));
        if mode == Mode::Sandbox {
            // "the amount returned equals the buyback_price that was assigned at buy/init time"
            assert_eq!(price, opened["nfts"][0]["buyback_price"]);
        }
        assert_eq!(sandbox.buyback(item).await.unwrap().error(), (400, "Item not found".to_owned()));
        assert_eq!(sandbox.inventory("u").await.unwrap().json(), json!({ "user_id": "u", "items": [] }));
        let ledger = sandbox.ledger().await;
        let [sale] = &ledger.sellbacks[..] else { panic!("{ledger:?}") };
        assert_eq!((sale.user_id.as_str(), sale.item_id.as_str()), ("u", item));
        assert_eq!(clawback_domain::Money::parse_usd(&price.to_string()), Ok(sale.amount));
    }
}

#[tokio::test]
async fn buyback_refuses_with_the_documented_texts() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        let item = buy(&sandbox, 1, "u").await["nfts"][0]["id"].as_str().unwrap().to_owned();
        for body in ["{}".to_owned(), r#"{"item_id":"never-heard-of"}"#.to_owned(), r#"{"item_id":null}"#.to_owned()] {
            let reply = sandbox.call("POST", "/api/v1/vm/buyback", &body).await.unwrap();
            assert_eq!(reply.error(), (400, "Item not found".to_owned()), "{mode:?} {body}");
        }
        let body = format!(r#"{{"item_id":"{item}"}}"#);
        let theirs = sandbox.call_as(Some(OTHER_KEY), "POST", "/api/v1/vm/buyback", &body).await.unwrap();
        assert_eq!(theirs.error(), (400, "Item not found".to_owned()));
        for (fault, status, text) in [
            ("buyback:transaction-failed=1", 400, "Transaction failed"),
            ("buyback:rate-limited=1", 429, "A buyback request for this item is already being processed"),
            ("buyback:error-before=1", 500, "An unexpected error occurred"),
        ] {
            sandbox.engine.lock().set_faults(faults(&[fault]));
            assert_eq!(sandbox.buyback(&item).await.unwrap().error(), (status, text.to_owned()), "{mode:?}");
        }
        assert_eq!(sandbox.ledger().await.sellbacks, []);
    }
}

#[tokio::test]
async fn in_production_a_sellback_that_broke_off_keeps_its_session_for_a_while() {
    let sandbox = Sandbox::start(options(Mode::Production)).await;
    let item = buy(&sandbox, 1, "u").await["nfts"][0]["id"].as_str().unwrap().to_owned();
    sandbox.engine.lock().set_faults(faults(&["buyback:reset-before=1"]));
    assert!(sandbox.buyback(&item).await.is_err());
    sandbox.engine.lock().set_faults(Vec::new());
    let busy = "A buyback request for this item is already being processed";
    assert_eq!(sandbox.buyback(&item).await.unwrap().error(), (429, busy.to_owned()));
    sandbox.advance("2s").await;
    let active = "Item already has an active buyback session";
    assert_eq!(sandbox.buyback(&item).await.unwrap().error(), (400, active.to_owned()));
    sandbox.advance("10s").await;
    assert_eq!(sandbox.buyback(&item).await.unwrap().status, 200);
}

#[tokio::test]
async fn in_the_sandbox_items_expire_seven_days_after_the_purchase() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    let item = buy(&sandbox, 1, "u").await["nfts"][0]["id"].as_str().unwrap().to_owned();
    let held = sandbox.inventory("u").await.unwrap().json()["items"][0].clone();
    let time = |field: &str| held[field].as_str().unwrap().parse::<clawback_domain::Time>().unwrap();
    assert_eq!(time("buyback_expires_at") - time("purchased_at"), chrono::TimeDelta::days(7));
    sandbox.advance("6d").await;
    sandbox.advance("23h 59m").await;
    assert_eq!(sandbox.inventory("u").await.unwrap().json()["items"][0], held);
    sandbox.advance("1m").await;
    assert_eq!(sandbox.buyback(&item).await.unwrap().error(), (400, "Item has expired".to_owned()));
    assert_eq!(sandbox.ledger().await.sellbacks, []);
}

#[tokio::test]
async fn the_inventory_shows_the_pack_and_the_dates_and_always_links() {
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        buy(&sandbox, 10, "user_abc123").await;
        let reply = sandbox.inventory("user_abc123").await.unwrap().json();
        assert_eq!(keys(&reply), ["items", "user_id"]);
        assert_eq!(reply["user_id"], "user_abc123");
        for item in reply["items"].as_array().unwrap() {
            check_item(item, &["buyback_expires_at", "claw_id", "claw_slug", "purchased_at"], true);
            assert_eq!((&item["claw_id"], &item["claw_slug"]), (&json!("rookie"), &json!("rookie-claw")));
            assert!(item["purchased_at"].as_str().unwrap().ends_with('Z'));
        }
        assert_eq!(sandbox.inventory("nobody").await.unwrap().error(), (404, "User not found".to_owned()));
        let theirs = sandbox.call_as(Some(OTHER_KEY), "GET", "/api/v1/inventory/user_abc123", "").await.unwrap();
        assert_eq!(theirs.error(), (404, "User not found".to_owned()));
        sandbox.engine.lock().set_faults(faults(&["inventory:error-after=1"]));
        let reply = sandbox.inventory("user_abc123").await.unwrap();
        assert_eq!(reply.error(), (500, "An unexpected error occurred".to_owned()));
    }
}

#[tokio::test]
async fn the_packs_are_listed_with_stock_limits_and_tiers() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    let packs = sandbox.packs().await.unwrap().json();
    let fields = [
        "buyback_percent",
        "categories",
        "claw_image_url",
        "description",
        "enable",
        "ev",
        "ev_updated_at",
        "id",
        "in_stock",
        "max_ev",
        "max_per_mint",
        "min_ev",
        "mint_price",
        "name",
        "platform",
        "rarity_distribution",
        "slug",
    ];
    for pack in packs.as_array().unwrap() {
        assert_eq!(keys(pack), fields);
        assert_eq!((&pack["platform"], &pack["buyback_percent"]), (&json!("mainnet"), &json!(0.85)));
        let tiers = pack["rarity_distribution"].as_array().unwrap();
        assert!(tiers.iter().all(|tier| keys(tier) == ["color", "id", "lower", "name", "upper", "weight"]));
        assert_eq!(tiers.iter().map(|tier| tier["weight"].as_u64().unwrap()).sum::<u64>(), 100);
    }
    let shelf = |id: &str| packs.as_array().unwrap().iter().find(|pack| pack["id"] == id).unwrap();
    for (id, enable, in_stock, price, most) in [
        ("rookie", true, true, 25, 10),
        ("allstar", true, true, 100, 5),
        ("legend", true, true, 500, 1),
        ("vault", true, false, 250, 2),
        ("retired", false, true, 50, 5),
        ("empty", true, true, 50, 5),
    ] {
        let pack = shelf(id);
        assert_eq!((&pack["enable"], &pack["in_stock"]), (&json!(enable), &json!(in_stock)), "{id}");
        assert_eq!((&pack["mint_price"], &pack["max_per_mint"]), (&json!(price), &json!(most)), "{id}");
    }
    assert!(sandbox.engine.lock().set_stock("vault", true));
    assert_eq!(sandbox.init("vault", 1, "u").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_missing_empty_or_unknown_key_is_401_on_every_endpoint() {
    let calls = [
        ("POST", "/api/v1/vm/buy/init", r#"{"id":"rookie","amount":1,"user_id":"u"}"#),
        ("POST", "/api/v1/vm/buy/status", r#"{"session_id":"x"}"#),
        ("POST", "/api/v1/vm/buyback", r#"{"item_id":"x"}"#),
        ("POST", "/api/v1/vm/buyback", "no JSON"),
        ("GET", "/api/v1/inventory/u", ""),
        ("GET", "/api/v1/vm/available?platform=mainnet", ""),
    ];
    for mode in MODES {
        let sandbox = Sandbox::start(options(mode)).await;
        for (method, path, body) in calls {
            for key in [None, Some(""), Some("sandbox-unknown"), Some("SANDBOX-DEMO")] {
                for prefix in ["", "/_"] {
                    let reply = sandbox.call_as(key, method, &format!("{prefix}{path}"), body).await.unwrap();
                    assert_eq!(reply.error(), (401, "Invalid API key".to_owned()), "{key:?} {path}");
                }
            }
        }
        assert_eq!(sandbox.ledger().await.purchases, []);
    }
}

#[tokio::test]
async fn what_is_no_call_has_no_effect() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    let init = r#"{"id":"rookie","amount":1,"user_id":"u"}"#;
    let large = format!(r#"{{"id":"rookie","amount":1,"user_id":"u","x":"{}"}}"#, "x".repeat(70_000));
    for (method, path, body, status) in [
        ("POST", "/api/v1/vm/buy/init", "no JSON", 400),
        ("POST", "/api/v1/vm/buy/init", large.as_str(), 413),
        ("GET", "/api/v1/vm/buy/init", init, 404),
        ("POST", "/api/v2/vm/buy/init", init, 404),
    ] {
        assert_eq!(sandbox.call_as(Some(KEY), method, path, body).await.unwrap().status, status, "{method} {path}");
    }
    assert_eq!(sandbox.ledger().await.purchases, []);
}
