//! What a partner has lost it is told again, on RabbitMQ and PostgreSQL: the same events, with the ids they had.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use clawback_tests::{Database, Installation, Partner, Sandbox, VirtualHost};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(60);
const COUNT: usize = 5;

#[tokio::test]
async fn a_replay_publishes_the_same_events_with_the_same_ids() -> Result<()> {
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    let mut installation = Installation::new()?;
    let keys = ["--api-key=sandbox-acme", "--api-key=sandbox-beta"];
    let sandbox = Sandbox::start(&mut installation, &[&["--settle=100ms"][..], &keys].concat()).await?;
    installation.set("AMQP_URL", host.url()).set("DATABASE_URL", database.url()).set("PHYGITALS_URL", sandbox.url());
    installation.set("ACME_API_KEY", "sandbox-acme").set("BETA_API_KEY", "sandbox-beta");
    installation.configure(
        "[[partner]]\nname = \"acme\"\napi_key_env = \"ACME_API_KEY\"\n[[partner]]\nname = \"beta\"\napi_key_env = \"BETA_API_KEY\"\n",
    )?;
    installation.run(&["migrate"]).await?;
    installation.run(&["topology", "apply"]).await?;
    let _worker = installation.start_ready(&["worker"]).await?;

    let (acme, beta) = (Partner::connect(host.url(), "acme").await?, Partner::connect(host.url(), "beta").await?);
    let order = |n| json!({ "request_id": format!("r-{n}"), "user_id": "kim", "pack_id": "rookie", "amount": 1 });
    beta.purchase(&order(0)).await?;
    acme.purchase_all((0..COUNT).map(order)).await?;
    let (mut to_acme, mut to_beta) = (acme.events().await?, beta.events().await?);
    to_beta.next(WITHIN).await?;
    let mut told = Vec::new();
    for _ in 0..COUNT {
        told.push(to_acme.next(WITHIN).await?);
    }

    let replay = ["events", "replay", "--since", "1h", "--partner", "acme", "--json"];
    let would: Value = serde_json::from_str(&installation.run(&[&replay[..], &["--dry-run"]].concat()).await?)?;
    assert_eq!(would, json!({ "would_replay": COUNT }));
    let done: Value = serde_json::from_str(&installation.run(&replay).await?)?;
    assert_eq!(done, json!({ "replayed": COUNT, "unrouted": 0 }));
    let mut again = Vec::new();
    for _ in 0..COUNT {
        again.push(to_acme.next(WITHIN).await?);
    }
    let words = |events: &[Value]| events.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    assert_eq!(words(&again), words(&told), "not a byte of them has changed");
    assert!(beta.take_events().await?.is_empty(), "nobody else is told anything");
    Ok(())
}
