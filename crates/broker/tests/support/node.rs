//! A RabbitMQ node of one's own: to be restarted, starved, killed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::HOW_TO;

/// Where Debian's package keeps its scripts. The wrappers on the path insist on the system's node.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

const STARTS_WITHIN: Duration = Duration::from_secs(90);

pub struct Node {
    home: tempfile::TempDir,
    name: String,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    server: Option<Child>,
}

impl Node {
    /// Starts a node and waits until it takes connections.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With lines of `rabbitmq.conf`.
    pub fn start_with(configuration: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder for the node");
        fs::write(home.path().join("plugins"), "[].").expect("a file in it");
        fs::write(home.path().join("rabbitmq.conf"), configuration).expect("a file in it");
        let name = format!("clawback-{}-{}@localhost", std::process::id(), free_port());
        let mut node = Self { home, name, port: free_port(), dist_port: free_port(), epmd_port: free_port(), server: None };
        node.boot();
        node
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// Stops it in good order and starts it again, on the same data.
    pub fn restart(&mut self) {
        self.shut_down();
        self.boot();
    }

    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.try_ctl(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn boot(&mut self) {
        let log = fs::File::create(self.path("out")).expect("a log file");
        let mut server = self.command("rabbitmq-server");
        server.stdout(log.try_clone().expect("the same file")).stderr(log).stdin(Stdio::null());
        self.server = Some(server.spawn().unwrap_or_else(|error| panic!("{SCRIPTS}/rabbitmq-server: {error}; {HOW_TO}")));
        let started = Instant::now();
        while !self.try_ctl(&["await_startup", "--timeout", "30"]).status.success() {
            let log = fs::read_to_string(self.path("out")).unwrap_or_default();
            assert!(started.elapsed() < STARTS_WITHIN, "the private node does not start: {log}");
        }
    }

    pub fn shut_down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid_file = self.path("pid");
            self.try_ctl(&["stop", pid_file.to_str().expect("a printable path")]);
            let _ = server.wait();
        }
    }

    fn try_ctl(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = self.command("rabbitmqctl");
        command.args(["-q", "-n", &self.name, "--erlang-cookie", "clawback"]).args(arguments);
        command.output().unwrap_or_else(|error| panic!("{SCRIPTS}/rabbitmqctl: {error}; {HOW_TO}"))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(Path::new(SCRIPTS).join(script));
        command
            .env("HOME", self.home.path())
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_PID_FILE", self.path("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("plugins"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} -setcookie clawback");
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The node's port mapper outlives it; it is the one whose environment names our folder.
    fn end_port_mapper(&self) {
        let home = format!("HOME={}", self.home.path().display()).into_bytes();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_ours = || -> Option<bool> {
                let name = fs::read_to_string(process.path().join("comm")).ok()?;
                let environment = fs::read(process.path().join("environ")).ok()?;
                Some(name.trim() == "epmd" && environment.split(|byte| *byte == 0).any(|each| each == home))
            };
            if is_ours() == Some(true) {
                let _ = Command::new("kill").arg(process.file_name()).status();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shut_down();
        self.end_port_mapper();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
