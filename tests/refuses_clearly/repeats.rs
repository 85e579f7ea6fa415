//! A `request_id` that was used before, and a partner that may not send at all.

use std::time::Duration;

use anyhow::Result;
use clawback_broker::{Properties, topology};
use clawback_domain::{DeadLetterId, pause::CommandKind, purchase::StateName};
use clawback_sandbox::Options;
use clawback_tests::{
    in_process::{Plant, Setup, Stage},
    wait::until,
};
use serde_json::{Value, json};

use crate::stage;

const SOON: Duration = Duration::from_secs(30);

pub async fn of_the_same_command_call_nothing_and_tell_the_same_event(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "repeats").await?;
    let id = stage.buy_with("again", json!({ "metadata": { "order": 7 } })).await?;
    stage.tells(id.0, &["clawback.purchase.fulfilled"]).await?;
    let first = stage.told(id.0);

    // The same command in other words.
    let other_words = r#" {"metadata":{"order":7},"amount":1,"pack_id":"rook\u0069e", "user_id":"alice","request_id":"again"}"#;
    stage.publish("purchase", other_words, Properties::default()).await?;
    let told = until("the event is told again", SOON, || async {
        let told = stage.told(id.0);
        if told.len() > first.len() { Ok(told) } else { Err("only once") }
    })
    .await?;
    assert!(told.iter().all(|each| each.message_id == first[0].message_id), "{told:?}");
    assert!(told.iter().all(|each| each.body == first[0].body), "the very same event");
    assert_eq!((stage.upstream.begun(), stage.bought(id)), (1, 1), "nothing is called");

    let failed = stage.buy_with("never", json!({ "not_after": "2020-01-01T00:00:00Z" })).await?;
    stage.tells(failed.0, &["clawback.purchase.failed"]).await?;
    let before = stage.told(failed.0).len();
    stage.buy_with("never", json!({ "not_after": "2020-01-01T00:00:00Z" })).await?;
    until("the failure is told again", SOON, || async {
        if stage.told(failed.0).len() > before { Ok(()) } else { Err("only once") }
    })
    .await?;
    assert_eq!(stage.upstream.begun(), 1);
    stage.stop().await
}

pub async fn with_another_body_are_conflicts(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "conflicts").await?;
    let id = stage.buy("taken").await?;
    stage.reaches(id, StateName::Fulfilled).await?;
    for (number, fields) in [
        json!({ "amount": 2 }),
        json!({ "user_id": "mallory" }),
        json!({ "pack_id": "allstar" }),
        json!({ "not_after": "2099-01-01T00:00:00Z" }),
        json!({ "metadata": {} }),
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = json!({ "request_id": "taken", "user_id": "alice", "pack_id": "rookie", "amount": 1 });
        let user = fields.get("user_id").cloned().unwrap_or_else(|| json!("alice"));
        command.as_object_mut().expect("it is one").extend(fields.as_object().cloned().unwrap_or_default());
        let message_id = format!("conflict-{number}");
        let properties = Properties { message_id: Some(message_id.clone()), ..Properties::default() };
        stage.publish("purchase", command.to_string(), properties).await?;
        let data = rejected(&stage, &message_id, "request_id_conflict").await?;
        assert_eq!((&data["request_id"], &data["user_id"]), (&json!("taken"), &user));
    }
    let next = stage.buy("free").await?;
    stage.reaches(next, StateName::Fulfilled).await?;
    assert_eq!(stage.upstream.begun(), 2, "the row stands, and no conflict was called");
    assert_eq!(stage.tells(id.0, &["clawback.purchase.fulfilled"]).await?[0]["amount"], 1);
    stage.stop().await
}

pub async fn a_closed_partner_is_told_so_and_what_is_open_goes_on(plant: &Plant) -> Result<()> {
    let options = Options { settle: Duration::from_secs(1800), ..Options::production() };
    let upstream = Options { api_keys: Setup::default().upstream.api_keys, ..options };
    let mut stage = Stage::set(plant, "closing", Setup { upstream, ..Setup::default() }).await?;
    let open = stage.buy("open").await?;
    stage.reaches(open, StateName::Pending).await?;

    stage.close();
    let properties = Properties { message_id: Some("too-late".into()), ..Properties::default() };
    let command = json!({ "request_id": "too-late", "user_id": "alice", "pack_id": "rookie", "amount": 1 });
    stage.publish("purchase", command.to_string(), properties).await?;
    rejected(&stage, "too-late", "partner_closed").await?;
    stage.engine.lock().advance(Duration::from_secs(7200));
    stage.tells(open.0, &["clawback.purchase.fulfilled"]).await?;

    // A rejected command does not use up its request_id.
    stage.open();
    let next = stage.buy("too-late").await?;
    stage.reaches(next, StateName::Pending).await?;
    stage.engine.lock().advance(Duration::from_secs(7200));
    stage.tells(next.0, &["clawback.purchase.fulfilled"]).await?;
    assert_eq!(stage.upstream.begun(), 2);
    stage.stop().await
}

/// The `data` of the one event of a message that was rejected with one problem.
async fn rejected(stage: &Stage, message_id: &str, code: &str) -> Result<Value> {
    let queue = topology::command_queue(&stage.partner, CommandKind::Purchase);
    let id = DeadLetterId::of(&queue, message_id.as_bytes());
    assert_eq!(stage.buried(id).await?.reason, code);
    let [data] = stage.tells(id.0, &["clawback.command.rejected"]).await?.try_into().expect("it is one");
    assert_eq!((&data["errors"][0]["code"], data["errors"].as_array().map(Vec::len)), (&json!(code), Some(1)), "{data}");
    Ok(data)
}
