//! A password of RabbitMQ or PostgreSQL is changed, there and in the file that names it to the processes: all of them go on with it,
//! and none is restarted. A file that says nothing usable changes nothing.

use std::{fs, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use clawback_tests::{
    Database, PrivatePostgres, PrivateRabbitmq, Role, VirtualHost, amqp,
    rehearsal::{Books, Order, Plan, Stage, orders},
    servers,
    wait::{until, until_true},
};
use reqwest::Url;
use sea_orm::ConnectionTrait;

const SOON: Duration = Duration::from_secs(30);
const ALL_ENDED: Duration = Duration::from_secs(60);

/// The processes' user in either server.
const USER: &str = "roles";
/// Every secret here has it within, and no log may.
const SECRET: &str = "s3cret";
/// A slip: the password where its URL should be.
const RUBBISH: &str = "s3cret:rubbish";

/// Orders for each of the three times that something changes.
const EACH: usize = 10;
const PLAN: Plan<'_> = Plan { partners: 2, upstream: &["--settle=200ms"], defaults: "rate_per_second = 100" };

/// A worker and a scheduler that log in as [`USER`], with what they are told in a file.
struct Logged {
    stage: Stage,
    roles: [Role; 2],
    orders: Vec<Order>,
    file: String,
    published: usize,
}

impl Logged {
    /// `variable` is the one whose URL is now in a file.
    async fn in_with(mut stage: Stage, variable: &str, url: &str) -> Result<Self> {
        let file = stage.installation().path("url");
        fs::write(&file, url)?;
        stage.installation().set(variable, "").set(&format!("{variable}_FILE"), file.as_str());
        let roles = [stage.worker().await?, stage.scheduler().await?];
        let orders = orders(3 * EACH, &stage.partners)?;
        Ok(Self { stage, roles, orders, file, published: 0 })
    }

    fn tell(&self, text: &str) -> Result<()> {
        fs::write(&self.file, text).context("the file of the URL")
    }

    async fn publish(&mut self) -> Result<()> {
        self.stage.publish(&self.orders[self.published..][..EACH]).await?;
        self.published += EACH;
        Ok(())
    }

    /// Everything published comes to its end, by the processes that were started first.
    async fn works(&mut self) -> Result<()> {
        self.stage.ended(self.published, ALL_ENDED).await?;
        for role in &mut self.roles {
            ensure!(role.ended()?.is_none(), "{} has ended", role.name());
            until(&format!("{} is ready", role.name()), SOON, || role.is_ready()).await?;
        }
        Ok(())
    }

    /// Each of them has said this at least so often.
    async fn said(&self, text: &str, times: usize) -> Result<()> {
        for role in &self.roles {
            let what = format!("{} has said {text:?} {times} time(s)", role.name());
            until_true(&what, SOON, || role.log().matches(text).count() >= times).await?;
        }
        Ok(())
    }

    /// The books are in order, and nobody has told a secret.
    async fn ended_well(self) -> Result<()> {
        ensure!(self.published == self.orders.len(), "not all was published");
        Books::read(&self.stage).await?.audit(&self.orders)?;
        for role in &self.roles {
            let log = role.log();
            let told = log.lines().find(|line| line.contains(SECRET));
            ensure!(told.is_none(), "{} told a secret: {told:?}", role.name());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_new_password_of_rabbitmq_is_taken_without_a_restart() -> Result<()> {
    let node = PrivateRabbitmq::start().await?;
    let database = Database::create().await?;
    let url = |password: &str| format!("amqp://{USER}:{password}@127.0.0.1:{}/%2f", node.port());
    node.ctl(&["add_user", USER, "s3cret-1"])?;
    node.ctl(&["set_permissions", "-p", "/", USER, ".*", ".*", ".*"])?;
    let stage = Stage::set(&node.url(), database.url(), PLAN).await?;
    let mut logged = Logged::in_with(stage, "AMQP_URL", &url("s3cret-1")).await?;
    let cut = || node.ctl(&["close_all_connections", "--vhost", "/", "a test"]);
    logged.publish().await?;
    logged.works().await?;

    logged.tell(RUBBISH)?;
    logged.said("must be amqp://", 1).await?;
    cut()?;
    logged.said("the last good URL", 1).await?;
    // Two connections each: one to publish, one to consume.
    logged.said("connected to the broker again", 2).await?;
    logged.publish().await?;
    logged.works().await?;

    node.ctl(&["change_password", USER, "s3cret-2"])?;
    ensure!(amqp::connect(&url("s3cret-1")).await.is_err(), "the old password is still taken");
    cut()?;
    logged.said("the broker is not reachable", 2).await?;
    logged.tell(&url("s3cret-2"))?;
    logged.said("connected to the broker again", 4).await?;
    logged.publish().await?;
    logged.works().await?;
    logged.ended_well().await
}

#[tokio::test]
async fn a_new_password_of_postgresql_is_taken_without_a_restart() -> Result<()> {
    let host = VirtualHost::create().await?;
    let server = PrivatePostgres::start().await?;
    let database = Database::create_in(&server.url()).await?;
    let run = async |sql: &str| -> Result<()> {
        let connection = servers::connect(&server.url()).await?;
        connection.execute_unprepared(sql).await?;
        Ok(connection.close().await?)
    };
    let url = |password: &str| -> Result<String> {
        let mut url = Url::parse(database.url())?;
        let set = url.set_username(USER).and_then(|()| url.set_password(Some(password)));
        set.map_err(|()| anyhow!("{} takes no login", database.url()))?;
        Ok(url.into())
    };
    run(&format!("CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD 's3cret-1'")).await?;
    // The test itself is let in as before; the processes show their password.
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.folder().join("data/pg_hba.conf"), rules)?;
    server.restart().await?;
    let stage = Stage::set(host.url(), database.url(), PLAN).await?;
    let mut logged = Logged::in_with(stage, "DATABASE_URL", &url("s3cret-1")?).await?;
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'");
    logged.publish().await?;
    logged.works().await?;

    logged.tell(RUBBISH)?;
    logged.said("must be postgres://", 1).await?;
    run(&cut).await?;
    logged.publish().await?;
    logged.works().await?;

    run(&format!("ALTER ROLE {USER} PASSWORD 's3cret-2'")).await?;
    ensure!(servers::connect(&url("s3cret-1")?).await.is_err(), "the old password is still taken");
    let refused = "password authentication failed";
    let before = server.log().matches(refused).count();
    run(&cut).await?;
    logged.publish().await?;
    until_true("the processes are refused", SOON, || server.log().matches(refused).count() > before + 1).await?;
    logged.tell(&url("s3cret-2")?)?;
    logged.said("the server's URL was read again", 1).await?;
    logged.works().await?;
    logged.ended_well().await
}
