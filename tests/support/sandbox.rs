//! The stand-in upstream as a process, its clock, and its ledger: what tests count against.

use std::time::Duration;

use anyhow::{Context, Result};
use clawback_domain::Time;
use serde::Deserialize;
use serde_json::json;

use crate::{Installation, Ledger, Role, http, ports};

/// A running `clawback sandbox`.
#[derive(Debug)]
pub struct Sandbox {
    role: Role,
    url: String,
}

#[derive(Deserialize)]
struct Told {
    now: Time,
}

impl Sandbox {
    /// Starts it with these arguments (`--mode`, `--settle`, `--fault` …) and waits until it answers.
    pub async fn start(installation: &mut Installation, arguments: &[&str]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", ports::free());
        let mut role = installation.start(&[&["sandbox", "--listen", &address], arguments].concat())?;
        let url = format!("http://{address}");
        role.answers(&format!("{url}/_control/clock")).await?;
        Ok(Self { role, url })
    }

    /// For `PHYGITALS_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    pub async fn ledger(&self) -> Result<Ledger> {
        let text = http::get(&format!("{}/_control/ledger", self.url)).await?;
        serde_json::from_str(&text).context("the sandbox's ledger is not what the contract says")
    }

    /// What time it is there.
    pub async fn now(&self) -> Result<Time> {
        told(&http::get(&self.clock()).await?)
    }

    /// Moves its clock on; what time it is then.
    pub async fn advance(&self, span: Duration) -> Result<Time> {
        told(&http::post(&self.clock(), json!({ "advance": format!("{}us", span.as_micros()) }).to_string()).await?)
    }

    fn clock(&self) -> String {
        format!("{}/_control/clock", self.url)
    }
}

fn told(text: &str) -> Result<Time> {
    let Told { now } = serde_json::from_str(text).context("the sandbox's clock is not what the contract says")?;
    Ok(now)
}
