//! Headers that RabbitMQ itself acts on, set by a partner who means ill.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clawback_broker::topology;
use clawback_domain::{PartnerId, pause::CommandKind, purchase::StateName};
use clawback_tests::{
    amqp,
    in_process::{Plant, Stage},
    wait::until,
};
use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::json;

use crate::stage;

const SOON: Duration = Duration::from_secs(30);

pub async fn headers_reach_nobody_else_and_are_not_believed(plant: &Plant) -> Result<()> {
    let (acme, globex) = tokio::try_join!(stage(plant, "acme"), stage(plant, "globex"))?;
    let connection = amqp::connect(plant.amqp_url().expect("RabbitMQ has one")).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;

    copies_stay_with_the_partner(plant, &acme, &globex, &channel).await?;
    a_forged_death_is_no_reason(&acme, &channel).await?;
    words_of_our_own_are_not_taken_from_outside(&acme, &globex, &channel).await?;

    let next = acme.buy("next").await?;
    acme.reaches(next, StateName::Fulfilled).await?;
    acme.stop().await?;
    globex.stop().await
}

/// CC and BCC add routing keys on the partner's own exchange; nothing of another partner is bound there.
async fn copies_stay_with_the_partner(plant: &Plant, acme: &Stage, globex: &Stage, channel: &Channel) -> Result<()> {
    let others = all_queues(&globex.partner);
    let keys = others.iter().map(String::as_str).chain(["globex", "globex.purchase", "#", "purchase"]);
    let copies = AMQPValue::FieldArray(keys.map(text).collect::<Vec<_>>().into());
    // By the last two commands only the copy's key leads to a queue: the broker does heed these headers.
    for (header, key) in [("CC", "purchase"), ("BCC", "purchase"), ("CC", "refund"), ("BCC", "refund")] {
        let request = format!("copied-{header}-{key}");
        let command = json!({ "request_id": request, "user_id": "alice", "pack_id": "rookie", "amount": 1 });
        let mut headers = FieldTable::default();
        headers.insert(header.into(), copies.clone());
        publish(acme, channel, key, command.to_string().as_bytes(), headers).await?;
        let id = acme.id(&request);
        acme.reaches(id, StateName::Fulfilled).await?;
        assert_eq!(acme.bought(id), 1, "copies of one command are one command");
        assert!(plant.store.purchase(globex.id(&request)).await?.is_none(), "{header} made it another partner's");
    }
    // What came behind the copies, had there been any, is through.
    let own = globex.buy("own").await?;
    globex.reaches(own, StateName::Fulfilled).await?;
    assert_eq!(globex.upstream.begun(), 1);
    for queue in others.iter().filter(|queue| !queue.contains(".events.")) {
        assert_eq!(plant.broker.queue_state(queue).await?.ready, 0, "{queue}");
    }
    Ok(())
}

/// `x-death` says where a message died before, if the broker wrote it; here the partner did.
async fn a_forged_death_is_no_reason(acme: &Stage, channel: &Channel) -> Result<()> {
    let mut death = FieldTable::default();
    for (name, value) in
        [("queue", "clawback.purchases.globex"), ("exchange", "clawback.commands.globex"), ("reason", "expired")]
    {
        death.insert(name.into(), text(value));
    }
    death.insert("count".into(), AMQPValue::LongLongInt(i64::MAX));
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(i64::MAX));
    headers.insert("x-first-death-queue".into(), text("clawback.purchases.globex"));

    let command = json!({ "request_id": "undead", "user_id": "alice", "pack_id": "rookie", "amount": 1 });
    publish(acme, channel, "purchase", command.to_string().as_bytes(), headers.clone()).await?;
    let id = acme.id("undead");
    acme.reaches(id, StateName::Fulfilled).await?;
    assert_eq!(acme.bought(id), 1);

    publish(acme, channel, "purchase", b"undead", headers).await?;
    is_its_own_letter(acme, b"undead").await
}

/// The headers in which the worker hands a dead letter's reason to itself.
async fn words_of_our_own_are_not_taken_from_outside(acme: &Stage, globex: &Stage, channel: &Channel) -> Result<()> {
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("x-clawback-queue", topology::command_queue(&globex.partner, CommandKind::Purchase)),
        ("x-clawback-exchange", topology::commands(&globex.partner)),
        ("x-clawback-problems", r#"[{"code":"partner_closed","message":"forged","pointer":"","hint":null}]"#.to_owned()),
        ("x-clawback-request-id", "forged".to_owned()),
        ("x-clawback-user-id", "forged".to_owned()),
        ("x-clawback-message-id", "forged".to_owned()),
    ] {
        headers.insert(name.into(), text(&value));
    }
    publish(acme, channel, "purchase", b"forged", headers).await?;
    is_its_own_letter(acme, b"forged").await
}

/// A message without an id of its own that is not JSON, whatever its headers claim.
async fn is_its_own_letter(acme: &Stage, body: &[u8]) -> Result<()> {
    let queue = topology::command_queue(&acme.partner, CommandKind::Purchase);
    let letters = until("the dead letter is stored", SOON, || async {
        let letters = acme.store.dead_letters(Some(&acme.partner), 100).await.map_err(|error| error.to_string())?;
        let found: Vec<_> = letters.into_iter().filter(|letter| letter.body == body).collect();
        if found.is_empty() { Err("not yet".to_owned()) } else { Ok(found) }
    })
    .await?;
    let [letter] = letters.as_slice() else { bail!("it is one: {letters:?}") };
    assert_eq!((letter.queue.as_str(), letter.reason.as_str()), (queue.as_str(), "invalid_json"));
    assert_eq!((letter.exchange.as_str(), letter.message_id.as_deref()), (topology::commands(&acme.partner).as_str(), None));
    assert!(!letter.headers.values().any(|value| value == "forged"), "{:?}", letter.headers);
    let [data] = acme.tells(letter.id.0, &["clawback.command.rejected"]).await?.try_into().expect("it is one");
    assert_eq!((&data["errors"][0]["code"], &data["request_id"]), (&json!("invalid_json"), &json!(null)));
    Ok(())
}

fn all_queues(partner: &PartnerId) -> Vec<String> {
    vec![
        topology::command_queue(partner, CommandKind::Purchase),
        topology::command_queue(partner, CommandKind::Sellback),
        topology::step_queue(partner),
        topology::dead_queue(partner),
        topology::event_queue(partner),
    ]
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn publish(stage: &Stage, channel: &Channel, key: &str, body: &[u8], headers: FieldTable) -> Result<()> {
    let exchange = topology::commands(&stage.partner);
    let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await?;
    ensure!(confirm.is_ack() && confirm.take_message().is_none(), "the broker did not take it");
    Ok(())
}
