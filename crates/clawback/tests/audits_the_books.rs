//! `clawback audit` and `/ops/v1/audit` on books that a running `up` has written: sound as it leaves them, and each damage is named.

#![cfg(unix)]

mod support;

use reqwest::{Client, StatusCode};
use sea_orm::{ConnectionTrait, Database};
use serde_json::Value;
use support::{Place, Running, until};

const OPS_TOKEN: &str = "ops-topsecret";

/// Two purchases fulfilled and one cancelled. Everything ended, and every event is out.
fn books() -> (Place, Running) {
    let mut place = Place::migrated();
    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "none"]).ok();
    place.run(&["cancel", "none"]).ok();
    for request in ["one", "two"] {
        place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--amount", "2", "--request-id", request]).ok();
    }
    place.set("CLAWBACK_LISTEN", "127.0.0.1:0");
    place.set("CLAWBACK_OPS_LISTEN", "127.0.0.1:0");
    place.set("CLAWBACK_OPS_TOKEN", OPS_TOKEN);
    let mut up = place.start(&["up", "--sandbox"]);
    up.logged("serving /livez, /readyz and /metrics", "address");
    until("both are fulfilled", || {
        let list = place.json(&["list", "purchases", "--state", "fulfilled"]);
        (list["purchases"].as_array().unwrap().len() == 2).then_some(())
    });
    (place, up)
}

fn stopped(mut up: Running) {
    up.signal(rustix::process::Signal::TERM);
    assert_eq!(up.ended(), 0, "{}", up.log());
}

async fn damage(place: &Place, statement: &str) {
    let database = Database::connect(place.store_url()).await.expect("the file is there");
    database.execute_unprepared(statement).await.expect(statement);
    database.close().await.expect("it can be closed");
}

/// What an audit of unsound books says: the one finding.
fn difference(place: &Place, kind: &str) -> Value {
    let said = place.run(&["audit", "--json"]).failed(1, "the books do not agree; differences: 1");
    let report = said.json();
    assert_eq!((report["sound"].as_bool(), report["differences"].as_array().unwrap().len()), (Some(false), 1), "{report}");
    assert_eq!(report["differences"][0]["kind"], kind);
    report
}

#[test]
fn sound_books_are_proven_and_the_sums_are_those_of_the_contract() {
    let (place, up) = books();
    stopped(up);
    let report = place.json(&["audit"]);
    for (field, expected) in [("accepted", 3), ("fulfilled", 2), ("failed", 1), ("review", 0), ("open", 0)] {
        assert_eq!((&report[field], &report["partners"][0][field]), (&expected.into(), &expected.into()), "{field}");
    }
    for (field, expected) in [("difference", 0), ("orphans", 0), ("attempts", 2), ("sessions", 2), ("pulls", 4), ("priced", 4)]
    {
        assert_eq!(report[field], expected, "{field}");
    }
    assert_eq!((&report["sound"], &report["partners"][0]["partner"]), (&true.into(), &"default".into()));
    assert!(report["worth"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
    assert!(report["spent"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{report}");
    assert_eq!((&report["paid"], &report["paid_known"], &report["sold"]), (&2.into(), &2.into(), &"0.00".into()));

    let text = place.run(&["audit"]).ok().out;
    assert!(text.contains("no differences") && text.contains("default"), "{text}");
    assert_eq!(place.json(&["audit", "--since", "1h"])["accepted"], 3);
    assert_eq!(place.json(&["audit", "--since", "2999-01-01T00:00:00Z"])["accepted"], 0);
    place.run(&["audit", "--since", "yesterday"]).failed(2, "must be a duration such as 24h");
    assert!(place.run(&["audit", "--help"]).ok().out.contains("Example"));
}

#[tokio::test]
async fn what_was_damaged_behind_our_back_is_named() {
    let (place, up) = books();
    stopped(up);
    let shown = place.json(&["show", "one"]);
    let id = shown["purchase_id"].as_str().unwrap();
    let one = format!("x'{}'", id.replace('-', ""));

    damage(
        &place,
        &format!("CREATE TABLE kept AS SELECT * FROM pulls; DELETE FROM pulls WHERE purchase = {one} AND position = 0"),
    )
    .await;
    let report = difference(&place, "pulls");
    let message = format!("purchase {id} of default is fulfilled; items ordered: 2, pulls: 1");
    assert_eq!((&report["differences"][0]["message"], &report["pulls"]), (&message.as_str().into(), &3.into()));
    assert_eq!(report["differences"][0]["purchase_id"], id);
    let said = place.run(&["audit"]).failed(1, "the books do not agree");
    assert!(said.out.contains(&message), "{}", said.out);
    assert_eq!(place.run(&["audit", "--since", "2999-01-01T00:00:00Z"]).code, 0, "it was accepted before");
    damage(&place, "DELETE FROM pulls; INSERT INTO pulls SELECT * FROM kept").await;
    place.run(&["audit"]).ok();

    damage(&place, &format!("CREATE TABLE told AS SELECT * FROM events; DELETE FROM events WHERE subject = {one}")).await;
    difference(&place, "events");
    damage(&place, "DELETE FROM events; INSERT INTO events SELECT * FROM told").await;
    place.run(&["audit"]).ok();

    damage(&place, &format!("UPDATE orders SET session_id = 'another' WHERE id = {one}")).await;
    assert_eq!(difference(&place, "orphan")["orphans"], 1);
    damage(&place, &format!("DELETE FROM attempts WHERE order_id = {one}")).await;
    difference(&place, "attempts");
    damage(&place, &format!("DELETE FROM orders WHERE id = {one}")).await;
    let report = difference(&place, "vanished");
    assert_eq!((&report["accepted"], &report["differences"][0]["purchase_id"]), (&2.into(), &id.into()));
}

#[tokio::test]
async fn operators_audit_over_http_with_their_token() {
    let (place, mut up) = books();
    let ops = format!("http://{}/ops/v1/audit", up.logged("serving /livez, /readyz and /metrics", "address"));
    let get = |url: String, token: &'static str| async move {
        let response = Client::new().get(url).bearer_auth(token).send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(get(ops.clone(), "another").await.0, StatusCode::UNAUTHORIZED);
    let (status, report) = get(format!("{ops}?since=1h"), OPS_TOKEN).await;
    assert_eq!((status, &report["sound"], &report["accepted"]), (StatusCode::OK, &true.into(), &3.into()), "{report}");
    assert_eq!(get(format!("{ops}?since=soon"), OPS_TOKEN).await.0, StatusCode::BAD_REQUEST);

    damage(&place, "DELETE FROM pulls").await;
    let (status, report) = get(ops, OPS_TOKEN).await;
    assert_eq!((status, &report["sound"], &report["found"]), (StatusCode::OK, &false.into(), &2.into()), "{report}");
    stopped(up);
}
