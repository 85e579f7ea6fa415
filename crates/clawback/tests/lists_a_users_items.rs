//! A user's items over HTTP and as a verb: the same list, page by page, and nobody else's.

#![cfg(unix)]

mod support;

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use support::{Place, Running};

const CONFIG: &str = "[[partner]]\nname = \"acme\"\napi_key_file = \"a\"\ntoken_file = \"a\"\n\
                      [[partner]]\nname = \"beta\"\napi_key_file = \"b\"\ntoken_file = \"b\"\n";

/// `up` for two partners, one of which has bought.
struct Up {
    place: Place,
    _running: Running,
    http: Client,
    api: String,
}

impl Up {
    async fn start() -> Self {
        let mut place = Place::empty();
        place.write("a", "acme-key");
        place.write("b", "beta-key");
        place.write("clawback.toml", CONFIG);
        place.set("CLAWBACK_OPS_LISTEN", "off");
        let mut running = place.start(&["up", "--sandbox", "--listen", "127.0.0.1:0"]);
        let api = format!("http://{}", running.logged("serving the HTTP API", "address"));
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(70)).build().unwrap();
        let up = Self { place, _running: running, http, api };
        up.buy("kim", "one", 3).await;
        up.buy("kim", "two", 2).await;
        up
    }

    async fn buy(&self, user: &str, id: &str, amount: u32) {
        let order = json!({ "request_id": id, "user_id": user, "pack_id": "rookie", "amount": amount });
        let request = self.http.post(format!("{}/v1/purchases?wait=60s", self.api)).bearer_auth("acme-key");
        let bought: Value = request.body(order.to_string()).send().await.unwrap().json().await.unwrap();
        assert_eq!(bought["state"], "fulfilled", "{bought}");
    }

    async fn get(&self, token: &str, path: &str) -> (StatusCode, Value) {
        let answer = self.http.get(format!("{}{path}", self.api)).bearer_auth(token).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

fn pull_ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["pull_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_users_items_are_listed_by_either_door_and_for_its_partner_only() {
    let up = Up::start().await;
    let (status, list) = up.get("acme-key", "/v1/users/kim/items").await;
    assert_eq!((status, &list["next"], &list["omitted"]), (StatusCode::OK, &json!(null), &json!(0)), "{list}");
    let all = pull_ids(&list);
    let (_, purchases) = up.get("acme-key", "/v1/purchases").await;
    let bought = |place: usize| purchases["purchases"][place]["items"].as_array().unwrap().clone();
    for (item, drawn) in list["items"].as_array().unwrap().iter().zip(bought(1).iter().chain(&bought(0))) {
        for (field, value) in drawn.as_object().unwrap() {
            // A look may have told it since.
            if !field.starts_with("expir") {
                assert_eq!(&item[field], value, "{field}");
            }
        }
        assert!(["held", "not_seen"].contains(&item["state"].as_str().unwrap()), "{item}");
        assert!(item.as_object().unwrap().contains_key("looked_at"), "{item}");
    }
    assert_eq!(all.len(), 5);
    for (token, path) in [("beta-key", "/v1/users/kim/items"), ("acme-key", "/v1/users/jo/items")] {
        let (status, nothing) = up.get(token, path).await;
        assert_eq!((status, nothing), (StatusCode::OK, json!({ "items": [], "next": null, "omitted": 0 })));
    }

    let verb = up.place.json(&["list", "items", "--user", "kim", "--partner", "acme"]);
    assert_eq!(pull_ids(&verb), all);
    assert_eq!(pull_ids(&up.place.json(&["list", "items", "--user", "kim", "--partner", "beta"])), [""; 0]);
    let text = up.place.run(&["list", "items", "--user", "kim", "--partner", "acme", "--limit", "1"]).ok().out;
    assert!(text.contains("window shuts") && text.contains("more with --after"), "{text}");
}

#[tokio::test]
async fn pages_follow_one_another_and_what_is_no_question_is_told() {
    let up = Up::start().await;
    let all = pull_ids(&up.get("acme-key", "/v1/users/kim/items").await.1);
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let (_, page) = up.get("acme-key", &format!("/v1/users/kim/items?limit=2{after}")).await;
        paged.extend(pull_ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, all);

    let ours = &all[0];
    for (token, query, pointer) in [
        ("acme-key", "?limit=0", "limit"),
        ("acme-key", "?limit=501", "limit"),
        ("acme-key", "?after=x", "after"),
        ("acme-key", "?after=00000000-0000-0000-0000-000000000000", "after"),
        ("beta-key", &format!("?after={ours}"), "after"),
        ("acme-key", "?state=lost", ""),
        ("acme-key", "?colour=red", ""),
    ] {
        let (status, problem) = up.get(token, &format!("/v1/users/kim/items{query}")).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (StatusCode::BAD_REQUEST, &json!(pointer)),
            "{query}: {problem}"
        );
    }
    let (status, problem) = up.get("acme-key", "/v1/users/a%2Fb/items").await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::BAD_REQUEST, &json!("user_id")));
    assert_eq!(up.get("wrong", "/v1/users/kim/items").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(pull_ids(&up.get("acme-key", "/v1/users/kim/items?state=gone").await.1), [""; 0]);

    let list = ["list", "items", "--user", "kim"];
    up.place.run(&list).failed(2, "say which partner with --partner: acme, beta");
    let list = [&list[..], &["--partner", "acme"]].concat();
    up.place.run(&[&list[..], &["--after", "x"]].concat()).failed(2, "--after takes the `next` of a page before");
    up.place.run(&[&list[..], &["--state", "lost"]].concat()).failed(2, "must be one of not_seen, held");
    assert!(up.place.run(&[&list[..], &["--state", "gone"]].concat()).ok().out.contains("no item is like that"));
    up.place.run(&["list", "items"]).failed(2, "--user");
}
