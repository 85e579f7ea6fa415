//! What happens to the servers that Clawback stands on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clawback_tests::{amqp, wait::until};
use lapin::options::QueueDeleteOptions;
use tokio::{task::block_in_place, time::sleep};

use super::Struck;
use crate::{
    chance::Chance,
    crew::Duty,
    site::{Site, purchase_queue, step_queue},
};

/// In order: connections are closed with a reason, queues are written out.
pub async fn rabbitmq_restarted(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.rabbitmq.restart().await?;
    Ok(Struck::Hit)
}

/// What was confirmed is there afterwards, what was not acked comes again.
pub async fn rabbitmq_killed(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.rabbitmq.kill()?;
    site.rabbitmq.start_again().await?;
    Ok(Struck::Hit)
}

/// RabbitMQ takes nothing any more and still delivers: calls go on, acks leave, events and steps wait.
pub async fn rabbitmq_out_of_memory(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const ALARM: Duration = Duration::from_secs(20);
    const HELD_UP: Duration = Duration::from_secs(4);
    block_in_place(|| site.rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "1000"]))?;
    let worker = &site.crew.of(Duty::Worker)[0];
    let noticed = until("a worker notices the alarm", ALARM, || async {
        ensure!(worker.is_ready().await.is_err(), "it is ready");
        Ok(())
    });
    let noticed = noticed.await;
    if noticed.is_ok() {
        sleep(HELD_UP).await;
    }
    block_in_place(|| site.rabbitmq.ctl(&["set_vm_memory_high_watermark", "0.4"]))?;
    Ok(noticed.map_or_else(|error| Struck::Missed(format!("{error:#}")), |()| Struck::Hit))
}

/// A password changes while connections stand, and then they are closed. A process that cannot read the new one from its file is
/// restarted, and counted.
pub async fn password_rotated(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    /// Files of secrets are looked at every second; reconnecting backs off for a few.
    const COMES_BACK: Duration = Duration::from_secs(8);
    block_in_place(|| site.rotate_password())?;
    site.broker_way.cut();
    let worker = &site.crew.of(Duty::Worker)[0];
    until("a worker has lost its connection", COMES_BACK, || async {
        ensure!(worker.is_ready().await.is_err(), "it is ready");
        Ok(())
    })
    .await?;
    if site.crew.ready(COMES_BACK).await.is_ok() {
        return Ok(Struck::Hit);
    }
    Ok(Struck::Restarted(site.crew.restart_in_turn(&mut site.stage).await?))
}

/// Steps are hints: those that went with the queue are made again, and the queue, too.
pub async fn step_queue_deleted(site: &mut Site, chance: &mut Chance) -> Result<Struck> {
    let partner = &site.stage.partners[chance.below(site.stage.partners.len())];
    delete(site, &step_queue(partner)).await
}

/// What is a row has left its queue for good: without the queue it goes its way. What is only in the queue would go with it, so that
/// nothing is in it that is not a row.
pub async fn purchase_queue_deleted(site: &mut Site, chance: &mut Chance) -> Result<Struck> {
    let partner = &site.stage.partners[chance.below(site.stage.partners.len())];
    delete(site, &purchase_queue(partner)).await
}

async fn delete(site: &Site, queue: &str) -> Result<Struck> {
    let connection = amqp::connect(&site.rabbitmq.url()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "".into()).await?;
    Ok(Struck::Hit)
}

/// In order: clients are told. Transactions under way are rolled back.
pub async fn postgresql_restarted(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    block_in_place(|| site.postgres.stop())?;
    site.postgres.start_again().await?;
    Ok(Struck::Hit)
}

/// Recovers from its log: what was committed stands, also where the answer was lost.
pub async fn postgresql_killed(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    site.postgres.kill()?;
    site.postgres.start_again().await?;
    Ok(Struck::Hit)
}

/// The upstream hangs, connections and all, and does what it was asked when nobody waits any more.
pub async fn sandbox_frozen(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    /// Longer than any call.
    const HANGS: Duration = Duration::from_secs(5);
    let sandbox = site.stage.upstream().role();
    sandbox.freeze()?;
    sleep(HANGS).await;
    sandbox.wake()?;
    site.stage.upstream().ledger().await.context("the sandbox does not answer again")?;
    Ok(Struck::Hit)
}
