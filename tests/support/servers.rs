//! The RabbitMQ and PostgreSQL that tests share: those that the environment names, else those on the standard local ports.
//!
//! Sharing is safe because no test uses them bare: each makes a virtual host ([`VirtualHost`](crate::VirtualHost)) or a database
//! ([`Database`](crate::Database)) of its own. `tests/run` starts private servers where there are none and names them here.

use std::{
    env, fmt,
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};

use crate::{amqp, vhost};

/// A server on this machine answers in milliseconds or not at all; this also covers one that is named and farther away.
const ANSWER: Duration = Duration::from_secs(10);

const LOCAL_RABBITMQ: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
/// Without a password, as `trust` allows, and with the one that images are usually started with.
const LOCAL_POSTGRES: [&str; 2] =
    ["postgres://postgres@127.0.0.1:5432/postgres", "postgres://postgres:postgres@127.0.0.1:5432/postgres"];

/// Where a server was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The environment names it: it is used or nothing is.
    Named(String),
    /// On its standard port, and it lets us do what tests need.
    Local(String),
    /// Nothing usable; the text tells what was tried.
    Nothing(String),
}

impl Found {
    pub fn url(self, hint: &str) -> Result<String> {
        match self {
            Self::Named(url) | Self::Local(url) => Ok(url),
            Self::Nothing(why) => Err(anyhow::anyhow!("{why}; {hint}")),
        }
    }
}

const HINT: &str = "run ./tests/run, which starts what is missing";

/// A RabbitMQ whose `rabbitmqctl` is on the PATH and in which virtual hosts may be made.
pub async fn rabbitmq() -> Result<String> {
    find_rabbitmq().await?.url(&format!("{HINT}, or set AMQP_URL"))
}

/// A PostgreSQL in which databases may be made.
pub async fn postgres() -> Result<String> {
    find_postgres().await?.url(&format!("{HINT}, or set DATABASE_URL"))
}

/// An error when `AMQP_URL` is set and cannot be used: falling back to another server would hide it.
pub async fn find_rabbitmq() -> Result<Found> {
    if let Some(url) = named("AMQP_URL") {
        amqp::connect(&url).await.context("AMQP_URL is set, but no connection could be made")?;
        return Ok(Found::Named(url));
    }
    Ok(match local_rabbitmq().await {
        Ok(()) => Found::Local(LOCAL_RABBITMQ.to_owned()),
        Err(why) => Found::Nothing(format!("RabbitMQ on 127.0.0.1:5672 cannot be used: {why:#}")),
    })
}

async fn local_rabbitmq() -> Result<()> {
    somebody_listens_on(5672)?;
    amqp::connect(LOCAL_RABBITMQ).await?;
    vhost::rabbitmqctl(&["list_vhosts", "name"]).map(drop)
}

/// An error when `DATABASE_URL` is set and cannot be used.
pub async fn find_postgres() -> Result<Found> {
    if let Some(url) = named("DATABASE_URL") {
        ensure!(
            url.starts_with("postgres"),
            "DATABASE_URL must name a PostgreSQL here: SQLite's tests make files of their own"
        );
        may_make_databases(&url).await.context("DATABASE_URL is set, but cannot be used")?;
        return Ok(Found::Named(url));
    }
    Ok(match local_postgres().await {
        Ok(url) => Found::Local(url.to_owned()),
        Err(why) => Found::Nothing(format!("PostgreSQL on 127.0.0.1:5432 cannot be used: {why:#}")),
    })
}

async fn local_postgres() -> Result<&'static str> {
    somebody_listens_on(5432)?;
    let [bare, with_password] = LOCAL_POSTGRES;
    match may_make_databases(bare).await {
        Ok(()) => Ok(bare),
        Err(_) => may_make_databases(with_password).await.map(|()| with_password),
    }
}

/// Asked first, because the clients go on trying for a while where nobody ever will answer.
fn somebody_listens_on(port: u16) -> Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop).context("nobody listens there")
}

async fn may_make_databases(url: &str) -> Result<()> {
    let connection = connect(url).await?;
    let sql = "SELECT 1 FROM pg_roles WHERE rolname = current_user AND (rolcreatedb OR rolsuper)";
    let allowed = connection.execute_unprepared(sql).await?.rows_affected() == 1;
    connection.close().await?;
    ensure!(allowed, "its user may not create databases");
    Ok(())
}

/// One plain connection, for what tests do around the code under test.
pub async fn connect(url: &str) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).connect_timeout(ANSWER).acquire_timeout(ANSWER).sqlx_logging(false);
    Ok(sea_orm::Database::connect(options).await?)
}

fn named(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|url| !url.is_empty())
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(_) => f.write_str("the one the environment names"),
            Self::Local(_) => f.write_str("the one on its standard local port"),
            Self::Nothing(why) => f.write_str(why),
        }
    }
}
