//! `clawback prune`: what is old goes, and what is left of an order still answers for it.

mod support;

use chrono::TimeDelta;
use clawback_domain::{
    DeadLetterId, EventId, PackId, PartnerId, RequestId, Time, UserId,
    change::{Change, Insertion},
    command::{PurchaseCommand, Rejected},
    event,
    purchase::{Decision, Happened, HappenedName, Purchase, Rules, decide},
    reason::RejectionCode,
    trace::TraceContext,
};
use clawback_store::{Applied, DeadLetter, DeadLetterState, Inserted, Sent, Store};
use serde_json::json;
use support::Place;

const ONE: &[&str] = &["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "order-1"];

fn partner() -> PartnerId {
    PartnerId::new("default").unwrap()
}

/// Accepted and cancelled then, as by [`ONE`]; its event is sent.
async fn cancel_one(store: &dyn Store, then: Time) {
    let command = PurchaseCommand {
        request_id: RequestId::new("order-1").unwrap(),
        user_id: UserId::new("kim").unwrap(),
        pack_id: PackId::new("rookie").unwrap(),
        amount: 1,
        not_after: None,
        metadata: None,
    };
    let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
    let purchase = Purchase::accept(partner(), command, then, trace);
    assert_eq!(store.insert(Insertion::of(purchase.clone())).await.unwrap(), Inserted::New);
    let happened = Happened::Cancelled { by: "jo".into(), why: "a test".into() };
    let Decision::Transition(cancelled) = decide(&purchase, happened, then, &Rules::default()) else {
        panic!("it was accepted")
    };
    let change = Change::of(&purchase, *cancelled, HappenedName::Cancelled, None);
    assert_eq!(store.apply(change).await.unwrap(), Applied::Committed);
    sent(store, EventId::of(purchase.id.0, 1), then).await;
}

/// Rejected then; its event is sent.
async fn reject_one(store: &dyn Store, then: Time) {
    let id = DeadLetterId::of("clawback.purchases.default", b"{");
    let rejected = Rejected::one(RejectionCode::InvalidJson, "it is none");
    let letter = DeadLetter {
        id,
        partner: partner(),
        queue: "clawback.purchases.default".into(),
        exchange: "clawback.commands.default".into(),
        routing_key: "purchase".into(),
        reason: "invalid_json".into(),
        problems: "[]".into(),
        body: b"{".to_vec(),
        content_type: None,
        message_id: None,
        headers: Default::default(),
        received_at: then,
        state: DeadLetterState::Kept,
        settled_by: None,
    };
    let told = event::rejected(&partner(), id, &rejected, then, None);
    let event = told.id;
    assert!(store.bury(letter, told).await.unwrap());
    sent(store, event, then).await;
    assert!(store.settle_dead_letter(id, DeadLetterState::Discarded, "jo", then).await.unwrap());
}

async fn sent(store: &dyn Store, event: EventId, at: Time) {
    store.mark_sent(vec![Sent { event, at, unrouted: false }]).await.unwrap();
}

#[tokio::test]
async fn what_is_old_goes_and_a_repeat_is_a_repeat_for_ever() {
    let place = Place::migrated();
    let store = clawback_store::sql::connect(&place.store_url(), clawback_store::sql::Options::default()).await.unwrap();
    let now = store.clock().await.unwrap();
    cancel_one(&store, now - TimeDelta::days(401)).await;
    reject_one(&store, now - TimeDelta::days(31)).await;
    store.close().await;
    place.run(&["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "young"]).ok();

    let old = json!({ "events": 1, "dead_letters": 0, "timelines": 1, "orders": 1, "pulls": 0 });
    assert_eq!(place.json(&["prune", "--dry-run"])["would_prune"], old);
    assert!(place.run(&["prune", "--dry-run"]).ok().out.contains("dead letters"));
    place.write("clawback.toml", "retention = { events = false, orders = false }");
    let kept = json!({ "events": null, "dead_letters": 0, "timelines": 1, "orders": null, "pulls": null });
    assert_eq!(place.json(&["prune", "--dry-run"])["would_prune"], kept);
    place.write("clawback.toml", "");
    let said = place.json(&["prune", "--as", "jo", "--reason", "the disk is full"]);
    assert_eq!((&said["pruned"], &said["by"], &said["reason"]), (&old, &"jo".into(), &"the disk is full".into()));
    assert_eq!(place.json(&["prune"])["pruned"]["orders"], 0);

    let shown = place.json(&["show", "order-1"]);
    assert_eq!((&shown["state"], &shown["reason"]["code"]), (&"failed".into(), &"cancelled".into()));
    assert_eq!((&shown["timeline"], &shown["attempts"]), (&json!([]), &json!([])));
    assert!(place.run(&["show", "order-1"]).ok().out.contains("Its timeline was pruned."));
    assert_eq!(place.json(ONE)["result"], "repeat");
    place.run(&[ONE, &["--amount", "2"]].concat()).failed(1, "request_id_conflict");
    assert_eq!(place.json(&["list", "purchases"])["purchases"].as_array().unwrap().len(), 1);
    let books = place.json(&["audit"]);
    assert_eq!((&books["sound"], &books["accepted"], &books["pruned"]), (&true.into(), &1.into(), &1.into()));
    assert!(place.run(&["audit"]).ok().out.contains("Not among them: 1 that were pruned."));
}
