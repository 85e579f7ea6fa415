//! The stand-in upstream as a process, and its ledger: what tests count against.

use anyhow::{Context, Result};

use crate::{Installation, Ledger, Role, http, ports};

/// A running `clawback sandbox`.
#[derive(Debug)]
pub struct Sandbox {
    role: Role,
    url: String,
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
}
