//! The stand-in upstream as a process, its clock, its windows, and its ledger: what tests count against.

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

/// An item in an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Held {
    #[serde(rename = "id")]
    pub item_id: String,
    /// When its buyback window shuts; `None`: never.
    #[serde(rename = "buyback_expires_at")]
    pub expires_at: Option<Time>,
}

#[derive(Deserialize)]
struct Inventory {
    items: Vec<Held>,
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

    /// Between which spans after its purchase the window of what is bought from now on shuts; `None`: after the documented days.
    pub async fn set_windows(&self, windows: Option<(Duration, Duration)>) -> Result<()> {
        let body = match windows {
            Some((from, to)) => json!({"from": format!("{}ms", from.as_millis()), "to": format!("{}ms", to.as_millis())}),
            None => json!({}),
        };
        http::post(&format!("{}/_control/windows", self.url), body.to_string()).await.map(drop)
    }

    /// What the user of this key's partner holds, sold by nobody; also what has expired. Counts as a call: faults may spoil it.
    pub async fn inventory(&self, key: &str, user: &str) -> Result<Vec<Held>> {
        let text = http::get_as(key, &format!("{}/api/v1/inventory/{user}", self.url)).await?;
        let inventory: Inventory = serde_json::from_str(&text).context("the sandbox's inventory is not what its page says")?;
        Ok(inventory.items)
    }

    fn clock(&self) -> String {
        format!("{}/_control/clock", self.url)
    }
}

fn told(text: &str) -> Result<Time> {
    let Told { now } = serde_json::from_str(text).context("the sandbox's clock is not what the contract says")?;
    Ok(now)
}
