//! A RabbitMQ of a test's own, from the installed package: it may be stopped, killed and started again.
//!
//! It runs the package's scripts directly, because the wrappers on the PATH know only the one node of the system. Data, log, cookie
//! and epmd are its own, so that nothing it does reaches another node.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    amqp,
    files::tail,
    ports, processes,
    wait::{until, until_true},
};

/// A node is up in 5 s on an idle machine; cores that compile and run other tests make it many times slower.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(60);

/// One node without plugins. Everything ends and goes when this drops.
#[derive(Debug)]
pub struct PrivateRabbitmq {
    /// As Erlang names it.
    name: String,
    scripts: PathBuf,
    home: TempDir,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
    cookie: String,
    /// The virtual machine itself, while it runs.
    node: Option<Child>,
}

impl PrivateRabbitmq {
    /// A new, empty node, ready for connections.
    pub async fn start() -> Result<Self> {
        let cookie = Uuid::new_v4().simple().to_string();
        let mut node = Self::new("clawback@localhost", ports::free(), &cookie)?;
        node.start_again().await?;
        Ok(node)
    }

    /// A cluster of so many new nodes: what is declared in one is in all.
    pub async fn cluster(size: usize) -> Result<Vec<Self>> {
        let (epmd_port, cookie) = (ports::free(), Uuid::new_v4().simple().to_string());
        let mut nodes = Vec::<Self>::new();
        for number in 0..size {
            let mut node = Self::new(&format!("clawback-{number}@localhost"), epmd_port, &cookie)?;
            node.start_again().await?;
            if let Some(first) = nodes.first() {
                node.ctl(&["stop_app"])?;
                node.ctl(&["join_cluster", &first.name])?;
                node.ctl(&["start_app"])?;
                let url = node.url();
                until("RabbitMQ takes connections in its cluster", START, || amqp::connect(&url)).await?;
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// Made, but not started. Nodes that share epmd and cookie can see each other.
    fn new(name: &str, epmd_port: u16, cookie: &str) -> Result<Self> {
        let node = Self {
            name: name.to_owned(),
            scripts: scripts()?,
            home: tempfile::Builder::new().prefix("clawback-rabbitmq-").tempdir()?,
            port: ports::free(),
            distribution_port: ports::free(),
            epmd_port,
            cookie: cookie.to_owned(),
            node: None,
        };
        fs::write(node.home.path().join("plugins"), "[].")?;
        Ok(node)
    }

    /// As the nodes of its cluster call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the default virtual host.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The `HOME` of everything that belongs to this node.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The same port, the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.node.is_none(), "the node runs already");
        self.node = Some(self.spawn()?);
        let url = self.url();
        let up = until("RabbitMQ takes connections", START, || amqp::connect(&url)).await;
        up.map(drop).with_context(|| tail(&self.home.path().join("said")))
    }

    /// SIGTERM: the node closes connections in order, writes everything out and ends.
    pub async fn stop(&mut self) -> Result<()> {
        let mut node = self.node.take().context("the node does not run")?;
        kill_process(Pid::from_child(&node), Signal::TERM)?;
        let ended = until_true("RabbitMQ stops", STOP, || matches!(node.try_wait(), Ok(Some(_)))).await;
        if ended.is_err() {
            self.node = Some(node);
        }
        ended
    }

    /// `kill -9` of the whole node.
    pub fn kill(&mut self) -> Result<()> {
        let mut node = self.node.take().context("the node does not run")?;
        node.kill()?;
        node.wait()?;
        Ok(())
    }

    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// Runs `rabbitmqctl` against this node; its standard output. It starts a virtual machine of its own and takes a second.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl_command().args(arguments).output().context("rabbitmqctl")?;
        ensure!(
            output.status.success(),
            "rabbitmqctl {}: {}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn ctl_command(&self) -> Command {
        let mut command = Command::new(self.scripts.join("rabbitmqctl"));
        command.envs(self.ctl_environment()).args(["-q", "-n", &self.name, "--erlang-cookie", &self.cookie]);
        command
    }

    fn ctl_environment(&self) -> [(&'static str, String); 3] {
        [
            ("HOME", self.home.path().display().to_string()),
            ("ERL_EPMD_PORT", self.epmd_port.to_string()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        ]
    }

    /// A program that does what `rabbitmqctl` does, for this node, whoever calls it.
    pub fn ctl_script(&self) -> String {
        let environment: String = self.ctl_environment().iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
        let program = self.scripts.join("rabbitmqctl");
        format!(
            "#!/bin/sh\nexec env {environment}'{}' -n {} --erlang-cookie {} \"$@\"\n",
            program.display(),
            self.name,
            self.cookie
        )
    }

    fn spawn(&self) -> Result<Child> {
        let home = self.home.path();
        let said = File::options().create(true).append(true).open(home.join("said"))?;
        let erlang = format!("-kernel inet_dist_use_interface {{127,0,0,1}} -setcookie {}", self.cookie);
        let program = self.scripts.join("rabbitmq-server");
        Command::new(&program)
            .envs(self.ctl_environment())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", home.join("log"))
            .env("RABBITMQ_PID_FILE", home.join("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", home.join("none"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
            // The script then becomes the virtual machine instead of waiting for it: our child is what must be killed.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            // Out of reach of the terminal's Ctrl-C: a test decides when its node ends.
            .process_group(0)
            .spawn()
            .with_context(|| program.display().to_string())
    }
}

impl Drop for PrivateRabbitmq {
    fn drop(&mut self) {
        // The node, what it started, and the epmd that outlives it. There is nothing to save.
        processes::kill_all_with(&format!("HOME={}", self.home.path().display()));
        if let Some(mut node) = self.node.take() {
            let _ = node.wait();
        }
    }
}

/// Whether the package is there, without starting anything.
pub fn is_installed() -> bool {
    scripts().is_ok()
}

/// Debian's and Red Hat's packages, then the official image.
const PLACES: [&str; 2] = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];

fn scripts() -> Result<PathBuf> {
    match PLACES.iter().map(Path::new).find(|folder| folder.join("rabbitmq-server").exists()) {
        Some(folder) => Ok(folder.to_owned()),
        None => bail!("RabbitMQ is not installed: `apt-get install rabbitmq-server`, or run ./tests/run, which does"),
    }
}
