//! What the tests that cross crates stand on: servers of their own, processes they may kill, and a partner to play.
//!
//! Everything here is removed when its guard drops, also when a test panics: virtual hosts, databases, private servers, processes,
//! folders. Nothing is skipped when a component is missing; the error says what is missing and how to get it.
//!
//! Private servers and the sweep behind them read `/proc`: they are for Linux.

pub mod files;
pub mod http;
pub mod ports;
pub mod processes;
pub mod proxy;
pub mod small_disk;
pub mod wait;

pub mod private_postgres;
pub mod private_rabbitmq;

pub mod database;
pub mod servers;
pub mod vhost;

pub mod amqp;
pub mod in_process;
pub mod installation;
pub mod ledger;
pub mod python;
pub mod role;
pub mod sandbox;

/// What the tests of the promises share. Here rather than in each of them, so that it is compiled once.
#[path = "../rehearsal/mod.rs"]
pub mod rehearsal;

pub use amqp::{Events, Partner};
pub use database::Database;
pub use installation::Installation;
pub use ledger::Ledger;
pub use private_postgres::PrivatePostgres;
pub use private_rabbitmq::PrivateRabbitmq;
pub use proxy::{Proxy, Weather};
pub use role::Role;
pub use sandbox::Sandbox;
pub use small_disk::SmallDisk;
pub use vhost::VirtualHost;
