//! Virtual hosts on the RabbitMQ at hand, and private nodes that a test may kill.

#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod node;
pub mod proxy;

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use clawback_broker::{
    Amqp,
    amqp::Options,
    topology::{PartnerTopology, Topology},
};
use clawback_domain::PartnerId;
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};

pub const HOW_TO: &str = "these tests need RabbitMQ on this machine (Debian, Ubuntu: apt-get install rabbitmq-server), running at \
     AMQP_URL or amqp://guest:guest@127.0.0.1:5672, and rabbitmqctl, which must be run as root or as the user rabbitmq";

/// A virtual host of its own, gone when dropped.
pub struct Vhost {
    pub name: String,
    pub url: String,
}

impl Vhost {
    pub fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("clawback-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672".to_owned());
        let mut uri: AMQPUri = server.parse().expect("AMQP_URL is a URL");
        let user = uri.authority.userinfo.username.clone();
        uri.vhost = name.clone();
        rabbitmqctl(&["add_vhost", &name]);
        rabbitmqctl(&["set_permissions", "-p", &name, &user, ".*", ".*", ".*"]);
        Self { name, url: uri.to_string() }
    }

    pub async fn connect(&self) -> Amqp {
        Amqp::connect(&self.url, Options::default()).await.unwrap_or_else(|error| panic!("{error}; {HOW_TO}"))
    }

    /// The same virtual host through another port.
    pub fn url_by(&self, port: u16) -> String {
        let mut uri: AMQPUri = self.url.parse().expect("our own URL");
        uri.authority.host = "127.0.0.1".to_owned();
        uri.authority.port = port;
        uri.to_string()
    }

    pub fn port(&self) -> u16 {
        self.url.parse::<AMQPUri>().expect("our own URL").authority.port
    }

    /// The library itself, for what no door of ours does.
    pub async fn raw(&self) -> Connection {
        Connection::connect(&self.url, ConnectionProperties::default()).await.expect("a connection")
    }

    pub fn set_policy(&self, name: &str, pattern: &str, definition: &str) {
        rabbitmqctl(&["set_policy", "-p", &self.name, "--apply-to", "queues", name, pattern, definition]);
    }

    pub fn close_all_connections(&self) {
        rabbitmqctl(&["close_all_connections", "--vhost", &self.name, "a test"]);
    }

    /// One of the two that a broker has: `role` is part of the name that RabbitMQ shows.
    pub fn close_connection(&self, role: &str) {
        let list = rabbitmqctl(&["list_connections", "pid", "vhost", "client_properties"]);
        let pids: Vec<&str> = list.lines().filter_map(|line| self.pid_of(role, line)).collect();
        let [pid] = pids[..] else { panic!("not one connection with the role {role} in {}:\n{list}", self.name) };
        rabbitmqctl(&["close_connection", pid, "a test"]);
    }

    fn pid_of<'a>(&self, role: &str, line: &'a str) -> Option<&'a str> {
        let mut columns = line.split('\t');
        let (pid, vhost, properties) = (columns.next()?, columns.next()?, columns.next()?);
        (vhost == self.name && properties.contains(&format!(" {role}\""))).then_some(pid)
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // Once more while unwinding must not abort the whole run.
        let deleted = Command::new("rabbitmqctl").args(["-q", "delete_vhost", &self.name]).output();
        if !deleted.is_ok_and(|deleted| deleted.status.success()) {
            eprintln!("the virtual host {} is left behind", self.name);
        }
    }
}

/// Runs it against the server at hand and returns what it printed.
pub fn rabbitmqctl(arguments: &[&str]) -> String {
    let output = Command::new("rabbitmqctl").arg("-q").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("rabbitmqctl: {error}; {HOW_TO}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rabbitmqctl {arguments:?}: {error}; {HOW_TO}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// *acme* with an event queue, *beta* without one.
pub fn topology() -> Topology {
    let each = |name, event_queue| {
        let partner = PartnerId::new(name).expect("the tests' partners have valid names");
        PartnerTopology { partner, event_queue }
    };
    Topology { partners: vec![each("acme", true), each("beta", false)] }
}
