//! The files of `deploy/` are right: RabbitMQ takes the definitions and holds partners to them; Clawback takes the configuration.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clawback_broker::{
    Amqp, Broker,
    amqp::Options,
    topology::{PartnerTopology, Topology},
};
use clawback_domain::PartnerId;
use clawback_tests::{Installation, Partner, PrivateRabbitmq, amqp};
use lapin::{Channel, options::*, types::FieldTable};
use serde_json::{Value, json};

const CLOSING: Duration = Duration::from_secs(5);

fn deploy(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// Of the two partners that `deploy/clawback.toml` names.
fn topology() -> Topology {
    let partner = |name| PartnerTopology { partner: PartnerId::new(name).expect("a valid name"), event_queue: true };
    Topology { partners: vec![partner("acme"), partner("globex")] }
}

/// What `clawback topology print --json` says, and what it leaves to the installation: the users.
fn definitions() -> Value {
    let mut definitions = topology().definitions("/");
    let user = |name: &str| json!({"name": name, "password": "change-me", "tags": []});
    definitions["vhosts"] = json!([{"name": "/"}]);
    definitions["users"] = json!([user("clawback"), user("acme"), user("globex")]);
    let ours = "^clawback\\.";
    let permissions = definitions["permissions"].as_array_mut().expect("the partners' are there");
    permissions.insert(0, json!({"user": "clawback", "vhost": "/", "configure": ours, "write": ours, "read": ours}));
    definitions
}

#[test]
fn the_definitions_are_those_of_the_topology() {
    let file = deploy("rabbitmq/definitions.json");
    let expected = serde_json::to_string_pretty(&definitions()).expect("it is JSON") + "\n";
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{} is not up to date: run this test with UPDATE_EXPECTED=1", file.display());
}

#[tokio::test]
async fn rabbitmq_takes_the_definitions_and_holds_partners_to_them() -> Result<()> {
    let node = PrivateRabbitmq::start().await?;
    let file = deploy("rabbitmq/definitions.json");
    node.ctl(&["import_definitions", file.to_str().context("a path that is text")?])?;
    let url = |user: &str| node.url().replace("guest:guest", &format!("{user}:change-me"));

    clawback_finds_what_it_needs(&url("clawback")).await?;
    partners_reach_their_own_and_nothing_else(&url("acme")).await?;
    let policies = node.ctl(&["list_policies", "--silent"])?;
    ensure!(policies.contains("reject-publish") && policies.contains("drop-head"), "{policies}");
    Ok(())
}

async fn clawback_finds_what_it_needs(url: &str) -> Result<()> {
    let broker = Amqp::connect(url, Options::default()).await?;
    assert_eq!(broker.check(&topology()).await?, []);
    broker.declare(&topology()).await.context("its own permissions let it declare all of it again")?;
    broker.close(CLOSING).await;
    Ok(())
}

async fn partners_reach_their_own_and_nothing_else(url: &str) -> Result<()> {
    let acme = Partner::connect(url, "acme").await?;
    acme.publish("purchase", b"{}").await?;
    acme.publish("sellback", b"{}").await?;
    acme.events().await.context("its own events")?;

    for exchange in ["clawback.commands.globex", "clawback.events", "clawback.steps", "clawback.dead", "clawback.unrouted", ""]
    {
        refused(url, exchange, async |channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = BasicPublishOptions::default();
            channel.basic_publish(exchange.into(), "purchase".into(), options, b"{}", Default::default()).await?.await.map(drop)
        })
        .await?;
    }
    for queue in ["clawback.events.globex", "clawback.purchases.acme", "clawback.dead.acme", "clawback.unrouted"] {
        refused(url, queue, async |channel| channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop))
            .await?;
    }
    refused(url, "declaring a queue", async |channel| {
        channel.queue_declare("mine".into(), QueueDeclareOptions::default(), FieldTable::default()).await.map(drop)
    })
    .await
}

/// Each attempt on a connection of its own: the broker closes the channel of one that is refused.
async fn refused(url: &str, what: &str, attempt: impl AsyncFnOnce(&Channel) -> lapin::Result<()>) -> Result<()> {
    let connection = amqp::connect(url).await?;
    let outcome = attempt(&connection.create_channel().await?).await;
    let error = outcome.err().with_context(|| format!("{what}: a partner may not do this, and did"))?;
    ensure!(error.to_string().contains("ACCESS_REFUSED"), "{what}: {error}");
    Ok(())
}

#[tokio::test]
async fn clawback_takes_the_configuration() -> Result<()> {
    let mut installation = Installation::new()?;
    let toml = fs::read_to_string(deploy("clawback.toml"))?;
    installation.configure(&toml)?.set("PHYGITALS_URL", "http://sandbox:8090");
    for (variable, value) in compose_environment()? {
        installation.set(&variable, value);
    }
    installation.run(&["config", "check"]).await.map(drop)
}

/// The variables of `compose.yaml` that hold keys and tokens.
fn compose_environment() -> Result<Vec<(String, String)>> {
    let compose = fs::read_to_string(deploy("compose.yaml"))?;
    let lines = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let secrets = lines.filter(|(name, _)| name.ends_with("_API_KEY") || name.ends_with("_TOKEN"));
    let found: Vec<_> = secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    ensure!(found.len() == 4, "{found:?}");
    Ok(found)
}
