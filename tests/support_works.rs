//! What the other tests stand on: private servers start, restart, die and leave nothing behind; shared ones are kept apart.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use clawback_tests::{
    Database, Installation, Partner, PrivatePostgres, PrivateRabbitmq, VirtualHost, amqp, http, ports, processes, servers,
    vhost, wait::until,
};
use lapin::{ExchangeKind, options::*, types::FieldTable};
use sea_orm::ConnectionTrait;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// The part of the topology that the partner needs here: Clawback itself declares the rest.
async fn loop_commands_back_as_events(url: &str, partner: &str) -> Result<()> {
    let connection = amqp::connect(url).await?;
    let channel = connection.create_channel().await?;
    let (exchange, queue) = (format!("clawback.commands.{partner}"), format!("clawback.events.{partner}"));
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.clone().into(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
    channel.queue_declare(queue.clone().into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), "purchase".into(), options, FieldTable::default()).await?;
    Ok(connection.close(200, "done".into()).await?)
}

#[tokio::test]
async fn a_private_rabbitmq_keeps_its_messages_through_a_stop_and_a_kill_and_leaves_nothing_behind() -> Result<()> {
    let mut node = PrivateRabbitmq::start().await?;
    loop_commands_back_as_events(&node.url(), "acme").await?;
    let partner = Partner::connect(&node.url(), "acme").await?;
    partner.purchase(&json!({"request_id": "before"})).await?;

    node.restart().await?;
    let partner = Partner::connect(&node.url(), "acme").await?;
    partner.purchase(&json!({"request_id": "between"})).await?;

    node.kill()?;
    ensure!(amqp::connect(&node.url()).await.is_err(), "a killed node took a connection");
    node.start_again().await?;
    let mut events = Partner::connect(&node.url(), "acme").await?.events().await?;
    for expected in ["before", "between"] {
        assert_eq!(events.next(SOON).await?["request_id"], expected);
    }

    let environment = format!("HOME={}", node.home().display());
    let home = node.home().to_owned();
    ensure!(processes::with_environment(&environment).len() > 1, "the node and its epmd are found by their HOME");
    drop(node);
    processes::gone(&environment).await?;
    ensure!(!home.exists(), "its folder is left behind");
    Ok(())
}

#[tokio::test]
async fn a_private_postgres_keeps_what_was_committed_through_a_stop_and_a_kill_and_leaves_nothing_behind() -> Result<()> {
    let server = PrivatePostgres::start().await?;
    let (folder, pid) = (server.folder().to_owned(), server.pid()?);
    let run = async |sql: &str| -> Result<u64> {
        let connection = servers::connect(&server.url()).await?;
        Ok(connection.execute_unprepared(sql).await?.rows_affected())
    };
    run("CREATE TABLE kept (id int)").await?;
    run("INSERT INTO kept VALUES (1)").await?;
    server.restart().await?;
    run("INSERT INTO kept VALUES (2)").await?;
    server.kill()?;
    server.start_again().await?;
    assert_eq!(run("SELECT id FROM kept").await?, 2);
    assert_ne!(pid, server.pid()?, "a killed server came back as a new process");

    let last = server.pid()?;
    drop(server);
    until("the server's process is gone", SOON, || async {
        let gone = !Path::new("/proc").join(last.to_string()).exists();
        gone.then_some(()).context("still there")
    })
    .await?;
    ensure!(!folder.exists(), "its folder is left behind");
    Ok(())
}

#[tokio::test]
async fn a_private_server_ends_when_its_test_panics() {
    let panicked = tokio::spawn(async {
        let server = PrivatePostgres::start().await.unwrap();
        std::panic::panic_any(server.url());
    });
    let url = panicked.await.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(servers::connect(&url).await.is_err());
}

#[tokio::test]
async fn two_virtual_hosts_see_nothing_of_each_other_and_are_removed() -> Result<()> {
    let (first, second) = (VirtualHost::create().await?, VirtualHost::create().await?);
    loop_commands_back_as_events(first.url(), "acme").await?;
    loop_commands_back_as_events(second.url(), "acme").await?;
    Partner::connect(first.url(), "acme").await?.purchase(&json!({"request_id": "mine"})).await?;
    Partner::connect(second.url(), "acme").await?.purchase(&json!({"request_id": "yours"})).await?;
    let mut events = Partner::connect(second.url(), "acme").await?.events().await?;
    assert_eq!(events.next(SOON).await?["request_id"], "yours");

    let name = first.name().to_owned();
    drop(first);
    ensure!(!vhost::rabbitmqctl(&["list_vhosts", "name"])?.contains(&name), "{name} is left behind");
    Ok(())
}

#[tokio::test]
async fn a_database_is_removed_though_someone_is_connected() -> Result<()> {
    let database = Database::create().await?;
    let url = database.url().to_owned();
    let connected = servers::connect(&url).await?;
    connected.execute_unprepared("CREATE TABLE t (id int)").await?;
    drop(database);
    ensure!(servers::connect(&url).await.is_err(), "{url} is left behind");
    Ok(())
}

#[tokio::test]
async fn a_message_that_no_queue_takes_is_an_error_to_the_partner() -> Result<()> {
    let host = VirtualHost::create().await?;
    loop_commands_back_as_events(host.url(), "acme").await?;
    let partner = Partner::connect(host.url(), "acme").await?;
    let unroutable = partner.publish("no-such-command", b"{}").await.unwrap_err();
    assert!(unroutable.to_string().contains("returned"), "{unroutable:#}");
    Ok(())
}

#[tokio::test]
async fn many_purchases_go_out_pipelined_and_come_back_in_order() -> Result<()> {
    let host = VirtualHost::create().await?;
    loop_commands_back_as_events(host.url(), "acme").await?;
    let partner = Partner::connect(host.url(), "acme").await?;
    partner.purchase_all((0..1000).map(|n| json!({ "n": n }))).await?;
    let read = partner.events().await?.until(SOON, |event| event["n"] == 999).await?;
    let expected: Vec<_> = (0..1000).map(|n| json!({ "n": n })).collect();
    assert_eq!(read, expected);
    Ok(())
}

#[tokio::test]
async fn the_binary_under_test_runs_with_its_installations_environment_alone() -> Result<()> {
    let mut installation = Installation::new()?;
    installation.set("CLAWBACK_LISTEN", "127.0.0.1:1");
    installation.run(&["--version"]).await?;
    let command = installation.command(&[])?;
    let environment: Vec<_> = command.get_envs().filter_map(|(name, _)| name.to_str()).collect();
    assert!(environment.contains(&"CLAWBACK_LISTEN"), "{environment:?}");
    assert!(!environment.contains(&"CARGO"), "{environment:?}");
    Ok(())
}

#[tokio::test]
async fn a_role_ends_in_order_when_asked_and_at_once_when_killed() -> Result<()> {
    let mut installation = Installation::new()?;
    let address = format!("127.0.0.1:{}", ports::free());
    let url = format!("http://{address}/_control/clock");
    let mut asked = installation.start(&["sandbox", "--listen", &address])?;
    asked.answers(&url).await?;
    ensure!(asked.log().contains(&address), "its log is captured: {}", asked.log());
    ensure!(asked.terminate(SOON).await?.success(), "SIGTERM is no failure");

    let mut killed = installation.start(&["sandbox", "--listen", &address])?;
    killed.answers(&url).await?;
    killed.kill()?;
    ensure!(http::get(&url).await.is_err(), "a killed process answers");
    Ok(())
}

#[tokio::test]
async fn a_role_that_ends_before_it_is_ready_shows_what_it_said() -> Result<()> {
    let mut installation = Installation::new()?;
    let error = installation.start_ready(&["worker"]).await.unwrap_err();
    assert!(error.to_string().contains("AMQP_URL"), "{error:#}");
    Ok(())
}
