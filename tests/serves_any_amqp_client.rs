//! A partner needs no library of ours: an ordinary client of another language publishes a purchase and reads its event.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use clawback_tests::{Database, Installation, Sandbox, VirtualHost, python};
use serde_json::Value;

#[tokio::test]
async fn a_python_program_buys_with_pika_and_reads_its_event() -> Result<()> {
    let python = python::with_pika()?;
    let (host, database) = (VirtualHost::create().await?, Database::create().await?);
    let mut installation = Installation::new()?;
    let sandbox = Sandbox::start(&mut installation, &["--mode=production", "--settle=500ms", "--api-key=sandbox-acme"]).await?;
    installation.set("AMQP_URL", host.url()).set("DATABASE_URL", database.url());
    installation.set("PHYGITALS_URL", sandbox.url()).set("ACME_API_KEY", "sandbox-acme");
    installation.configure("[[partner]]\nname = \"acme\"\napi_key_env = \"ACME_API_KEY\"\n")?;
    installation.run(&["migrate"]).await?;
    installation.run(&["topology", "apply"]).await?;
    let _worker = installation.start_ready(&["worker"]).await?;
    let _scheduler = installation.start_ready(&["scheduler"]).await?;

    let url = host.url().to_owned();
    let output = tokio::task::spawn_blocking(move || buy(&python, &url)).await??;
    let events: Vec<Value> = output.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [fulfilled] = events.as_slice() else { anyhow::bail!("one event, not {events:?}") };
    assert_eq!(fulfilled["type"], "clawback.purchase.fulfilled");
    assert_eq!(fulfilled["data"]["request_id"], "from-python");
    assert_eq!(fulfilled["data"]["items"].as_array().map(Vec::len), Some(2));

    let ledger = sandbox.ledger().await?;
    let bought: Vec<_> = ledger.purchases.iter().map(|bought| (bought.user_id.as_str(), bought.amount)).collect();
    assert_eq!(bought, [("alice", 2)]);
    assert_eq!(ledger.purchases[0].purchase_id(), fulfilled["data"]["purchase_id"].as_str());
    Ok(())
}

/// Runs the example as its documentation says; its standard output.
fn buy(python: &Path, url: &str) -> Result<String> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/pika_partner.py");
    let output = Command::new(python)
        .arg(example)
        .args(["--url", url, "--partner", "acme", "--user", "alice", "--pack", "rookie", "--amount", "2"])
        .args(["--request-id", "from-python", "--timeout", "60"])
        .output()
        .context("the example")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}
