//! A virtual host of a test's own in the shared RabbitMQ.
//!
//! Made and removed with `rabbitmqctl` from the PATH: it needs no plugin, and for a RabbitMQ in a container a two-line script of that
//! name (`docker exec NAME rabbitmqctl "$@"`) is enough. `tests/run` puts one there for the private server it starts.

use std::{env, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use uuid::Uuid;

use crate::{amqp, servers, wait::until};

/// The new virtual host's processes are up when `rabbitmqctl` returns, give or take a moment.
const READY: Duration = Duration::from_secs(20);

/// Removed with everything in it when this drops.
#[derive(Debug)]
pub struct VirtualHost {
    name: String,
    url: String,
}

impl VirtualHost {
    /// In the server that tests share.
    pub async fn create() -> Result<Self> {
        let server = Url::parse(&servers::rabbitmq().await?).context("AMQP_URL")?;
        let user = if server.username().is_empty() { "guest" } else { server.username() };
        let host = Self::named(&server);
        rabbitmqctl(&["add_vhost", &host.name])?;
        rabbitmqctl(&["set_permissions", "-p", &host.name, user, ".*", ".*", ".*"])?;
        until("the new virtual host takes connections", READY, || amqp::connect(&host.url))
            .await
            .context("rabbitmqctl on the PATH may belong to another server than AMQP_URL")?;
        Ok(host)
    }

    fn named(server: &Url) -> Self {
        let name = format!("clawback-test-{}", Uuid::new_v4().simple());
        let mut url = server.clone();
        url.set_path(&name);
        Self { name, url: url.into() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        if let Err(error) = rabbitmqctl(&["delete_vhost", &self.name]) {
            eprintln!("the virtual host {} is left behind: {error:#}", self.name);
        }
    }
}

/// Runs the shared server's `rabbitmqctl`; its standard output.
pub fn rabbitmqctl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rabbitmqctl")
        .arg("-q")
        .args(arguments)
        .env("PATH", path_with_sbin())
        .output()
        .context("rabbitmqctl is not on the PATH; it makes the virtual hosts that keep tests apart")?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Of a page of diagnostics the first line tells the most.
    let why = complained.lines().chain(said.lines()).find(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "rabbitmqctl {}: {why}", arguments.join(" "));
    Ok(said.trim().to_owned())
}

/// Debian installs it where only root looks by default.
fn path_with_sbin() -> String {
    format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_host_replaces_the_servers_own() {
        for server in ["amqp://u:p@host:1", "amqp://u:p@host:1/%2f", "amqp://u:p@host:1/other"] {
            let host = VirtualHost::named(&Url::parse(server).unwrap());
            assert_eq!(host.url(), format!("amqp://u:p@host:1/{}", host.name()));
            std::mem::forget(host);
        }
    }
}
