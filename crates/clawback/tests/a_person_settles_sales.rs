//! `clawback review` and `/ops/v1/reviews` for sellbacks: sold, not sold, or called again, as a person says.

#![cfg(unix)]

mod support;

use std::time::Duration;

use clawback_domain::{
    AttemptToken, ItemId, Money, PartnerId, Time, UserId,
    answer::Answer,
    change::{Change, Fact, Insertion},
    clock::{after, micros},
    command::parse_sellback,
    order::{Decision, Machine, Rules, StateName, Transition},
    reason::ReviewCode,
    sellback::{Copies, Happened, Holding, Sale, SaleEvidence, SaleLook, SaleVerdict, Sellback},
    trace::TraceContext,
};
use clawback_store::{
    Applied, Inserted, Store,
    sql::{self, Sql},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{
    Place, Said,
    up::{Up, answer},
};

/// Less than the audit allows an event to stay unsent: nobody sends any here.
const AGO: Duration = Duration::from_secs(10);

async fn open(place: &Place) -> Sql {
    sql::connect(&place.store_url(), sql::Options::default()).await.unwrap()
}

/// Puts a sellback of kim's last card into the store whose answer was lost just now, through the machine, as a worker does; its id.
async fn plant(place: &Place, request: &str) -> String {
    let store = open(place).await;
    let now = micros(store.clock().await.unwrap() - AGO);
    let body = json!({ "request_id": request, "user_id": "kim", "item_id": format!("card-{request}") });
    let command = parse_sellback(None, body.to_string().as_bytes()).unwrap();
    let trace = TraceContext::start(uuid::Uuid::from_u128(7), 7);
    let accepted = Sellback::accept(PartnerId::new("default").unwrap(), command, now, trace);
    assert_eq!(store.insert(Insertion::of(accepted.clone())).await.unwrap(), Inserted::New);

    let token = AttemptToken(accepted.id.0);
    let price = Some(Money::usd(7_500_000));
    let copies = vec![Copies { user_id: UserId::new("kim").unwrap(), purchased_at: Some(now), count: 1 }];
    let sale = Sale {
        attempt: accepted.attempt(token, now, &Rules::default()).costing(price),
        item_id: ItemId::new(format!("card-{request}")).unwrap(),
        pull: None,
        before: Holding { read_at: now, copies, partial: false },
        known_sales: vec![],
        retried: false,
    };
    let selling = apply(&store, &accepted, Happened::Initiated(Box::new(sale.clone())), now, None).await;
    let lost = Answer::Unknown { why: "the connection was reset".into(), status: None };
    let fact = Fact { token, answer: lost.clone(), at: now };
    let unknown = apply(&store, &selling, Happened::Answered { token, answer: lost }, now, Some(fact)).await;
    let verdict = SaleVerdict::Unclear(ReviewCode::Ambiguous, "it left the inventory long after the call".into());
    let looked = Happened::Looked { evidence: evidence(&sale, &verdict, now), verdict };
    let review = apply(&store, &unknown, looked, now, None).await;
    assert_eq!(review.state.name(), StateName::Review);
    store.close().await;
    review.id.to_string()
}

fn evidence(sale: &Sale, verdict: &SaleVerdict, at: Time) -> SaleEvidence {
    SaleEvidence {
        doubt: "the connection was reset".into(),
        begun_at: at,
        deadline: sale.attempt.deadline,
        window_ends_at: after(sale.attempt.deadline, AGO),
        before: sale.before.clone(),
        looked: 2,
        last: Some(SaleLook { at, good: true, count: 0, departed: 1 }),
        verdict: verdict.to_string(),
        ..SaleEvidence::default()
    }
}

fn transition(before: &Sellback, happened: Happened, now: Time) -> Transition<Sellback> {
    match before.decide(happened, now, &Rules::default()) {
        Decision::Transition(transition) => *transition,
        other => panic!("{other:?}"),
    }
}

async fn apply(store: &Sql, before: &Sellback, happened: Happened, now: Time, fact: Option<Fact>) -> Sellback {
    let what = happened.name();
    let change = Change::of(before, transition(before, happened, now), what, fact);
    let after = change.after.sellback().cloned().unwrap();
    assert_eq!(store.apply(change).await.unwrap(), Applied::Committed);
    after
}

/// `clawback review resolve` with who and why.
fn resolve(place: &Place, id: &str, how: &[&str]) -> Said {
    place.run(&[&["review", "resolve", id, "--as", "jo", "--reason", "support said so", "--json"], how].concat())
}

/// The last thing the partner was told of it.
async fn told(place: &Place, id: &str) -> Value {
    let store = open(place).await;
    let event = store.last_event(id.parse().unwrap()).await.unwrap().expect("something was told").event;
    store.close().await;
    serde_json::from_str(&event.body).unwrap()
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_with_purchases_and_shown_in_words() {
    let place = Place::migrated();
    let id = plant(&place, "s").await;
    let listed = place.json(&["review", "list"]);
    assert_eq!(listed["total"], 1);
    for (field, expected) in [
        ("sellback_id", json!(id)),
        ("request_id", json!("s")),
        ("user_id", json!("kim")),
        ("item_id", json!("card-s")),
        ("code", json!("ambiguous")),
        ("looks", json!(1)),
        ("purchase_id", Value::Null),
    ] {
        assert_eq!(listed["reviews"][0][field], expected, "{field}");
    }
    assert!(place.run(&["review", "list"]).ok().out.contains("item card-s"));

    let shown = place.json(&["review", "show", "s"]);
    assert_eq!(
        (&shown["evidence"]["before"]["copies"][0]["count"], &shown["review"]["code"]),
        (&json!(1), &json!("ambiguous"))
    );
    let choices: Vec<_> =
        shown["review"]["choices"].as_array().unwrap().iter().map(|choice| choice["choice"].clone()).collect();
    assert_eq!(choices, ["sold", "failed", "retry", "wait"]);
    let text = place.run(&["review", "show", &id]).ok().out;
    for said in [
        "a person must decide, or time (ambiguous)",
        "1 copy (read at",
        "0 copies; of those held before 1 not there any more (look 2",
        &format!("clawback review resolve {id} --sold AMOUNT --reason"),
        "the price just before, 7.50 USD, is told as an estimate",
        "this may sell another copy",
        "the inventory is read again by",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_person_says_that_it_was_sold_and_for_how_much() {
    let place = Place::migrated();
    let (known, unknown) = (plant(&place, "known").await, plant(&place, "unknown").await);
    assert_eq!(resolve(&place, "known", &["--sold", "8.25"]).ok().json(), json!({ "sellback_id": known, "state": "sold" }));
    assert_eq!(resolve(&place, &unknown, &["--sold"]).ok().json()["state"], "sold");
    for (id, amount) in [(&known, "8.25"), (&unknown, "7.50")] {
        let event = told(&place, id).await;
        let data = &event["data"];
        assert_eq!((&event["type"], &data["amount"]), (&json!("clawback.sellback.completed"), &json!(amount)));
        assert_eq!(data["estimated"], true, "the upstream did not tell it");
        assert_eq!(place.json(&["show", id])["amount"], amount);
    }
    let last = place.json(&["show", &known])["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["by"].as_str(), last["note"].as_str()), (Some("jo"), Some("resolved as sold: support said so")));
    let report = place.json(&["audit"]);
    assert_eq!((&report["sold"], &report["sellbacks"]["estimated"]), (&json!("15.75"), &json!(2)));
    resolve(&place, &known, &["--failed"]).failed(1, &format!("sellback {known} is sold: it is final"));
}

#[tokio::test]
async fn a_person_says_that_it_was_not_sold_or_has_it_called_again() {
    let place = Place::migrated();
    let (lost, again) = (plant(&place, "lost").await, plant(&place, "again").await);
    assert_eq!(resolve(&place, &lost, &["--failed"]).ok().json()["state"], "failed");
    let event = told(&place, &lost).await;
    assert_eq!((&event["type"], &event["data"]["reason"]["code"]), (&json!("clawback.sellback.failed"), &json!("refused")));

    resolve(&place, &again, &["--retry"]).failed(2, "--accept-double-sale of a sellback");
    let other = format!("sellback {again} is no purchase: say --accept-double-sale");
    resolve(&place, &again, &["--retry", "--accept-double-purchase"]).failed(2, &other);
    assert_eq!(resolve(&place, &again, &["--retry", "--accept-double-sale"]).ok().json()["state"], "accepted");
    let store = open(&place).await;
    let claimed = store.claim_due(store.clock().await.unwrap(), 10, &[]).await.unwrap();
    store.close().await;
    assert_eq!(claimed.iter().map(|due| due.order.to_string()).collect::<Vec<_>>(), [again], "it is due at once");
    assert_eq!(place.json(&["review", "list"])["total"], 0);
}

#[tokio::test]
async fn a_word_of_the_other_kind_changes_nothing() {
    let place = Place::migrated();
    let id = plant(&place, "s").await;
    let before = place.json(&["show", &id]);
    for (how, code, about) in [
        (&["--fulfilled-with", "item-4"][..], 1, "stays in review: a sellback buys nothing"),
        (&["--session", "s-9"], 1, "stays in review: a sellback buys nothing"),
        (&["--sold", "much"], 2, "--sold"),
        (&["--sold", "1.00", "--failed"], 2, "cannot be used with"),
    ] {
        resolve(&place, &id, how).failed(code, about);
    }
    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "p"]).ok();
    resolve(&place, "p", &["--sold"]).failed(1, "is accepted: ");
    assert_eq!(place.json(&["show", &id]), before);
}

#[tokio::test]
async fn the_operators_door_settles_sales() {
    let place = Place::migrated();
    let (sold, lost) = (plant(&place, "sold").await, plant(&place, "lost").await);
    let up = Up::start_in(place, &[]).await;
    let call = async |method: Method, path: &str, mut body: Value| {
        body["by"] = "jo".into();
        body["reason"] = "support said so".into();
        let request = up.http.request(method, format!("{}/ops/v1/reviews{path}", up.ops)).bearer_auth("ops-topsecret");
        answer(request.body(body.to_string()).send().await.unwrap()).await
    };
    let (_, listed) = call(Method::GET, "", json!({})).await;
    let ids: Vec<_> = listed["reviews"].as_array().unwrap().iter().map(|review| review["sellback_id"].clone()).collect();
    assert_eq!(ids, [sold.as_str(), lost.as_str()]);
    let one = format!("/{sold}");
    assert!(call(Method::GET, &one, json!({})).await.1["review"]["doubt"].as_str().unwrap().contains("answer was lost"));
    for (how, code) in [
        (json!({ "sold": true, "failed": true }), "invalid_field"),
        (json!({ "failed": true, "amount": "1.00" }), "invalid_field"),
        (json!({ "sold": true, "accept_double_sale": true }), "invalid_field"),
        (json!({ "retry": true }), "confirmation_required"),
        (json!({ "retry": true, "accept_double_purchase": true }), "confirmation_required"),
        (json!({ "session": "s-9" }), "does_not_fit"),
    ] {
        let (status, problem) = call(Method::POST, &one, how.clone()).await;
        let said = problem["errors"][0]["code"].as_str();
        assert_eq!((status, said), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)), "{how}: {problem}");
    }
    let (status, done) = call(Method::POST, &one, json!({ "sold": true, "amount": "8.25" })).await;
    assert_eq!((status, done), (StatusCode::OK, json!({ "sellback_id": sold, "state": "sold" })));
    assert_eq!(call(Method::POST, &format!("/{lost}"), json!({ "failed": true })).await.1["state"], "failed");
    assert_eq!(call(Method::POST, &one, json!({ "failed": true })).await.0, StatusCode::CONFLICT);
    assert_eq!(up.get(&format!("/v1/sellbacks/{sold}")).await.1["amount"], "8.25");
    assert_eq!(call(Method::GET, "", json!({})).await.1["total"], 0);
}
