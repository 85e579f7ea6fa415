//! One partner's trouble is its own: neither a backlog nor a hanging upstream delays another's purchase, and what a partner may use
//! it may use once, however many workers there are.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clawback_broker::topology;
use clawback_tests::{
    Partner,
    in_process::{Plant, Setup, Stage},
    wait::until,
};
use clawback_worker::Limits;
use serde_json::json;

const FULFILLED: &str = "clawback.purchase.fulfilled";
const SOON: Duration = Duration::from_secs(60);

/// Longer than a worker waits before it counts the workers again.
const COUNT: Duration = Duration::from_secs(5);

/// Commands that wait. `CLAWBACK_BACKLOG=100000` is the size that the promise speaks of.
const BACKLOG: usize = 5_000;

/// An upstream that answers as quickly as a near one does.
fn setup() -> Setup {
    Setup { latency: Duration::from_millis(20), ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_partner_does_not_delay_another() -> Result<()> {
    let backlog = match env::var("CLAWBACK_BACKLOG") {
        Ok(text) => text.parse().context("CLAWBACK_BACKLOG must be a number")?,
        Err(_) => BACKLOG,
    };
    let plant = Plant::on_servers().await?;
    let [large, small] = two(&plant).await?;
    let client = Partner::connect(plant.amqp_url().context("RabbitMQ has one")?, large.partner.as_str()).await?;
    let command =
        |number| json!({ "request_id": format!("backlog-{number}"), "user_id": "bob", "pack_id": "rookie", "amount": 1 });
    client.purchase_all((0..backlog).map(command)).await?;
    large.upstream.called(100).await;

    for probe in 0..5 {
        let published = Instant::now();
        let id = small.buy(&format!("probe-{probe}")).await?;
        small.tells(id.0, &[FULFILLED]).await?;
        let begun = large.upstream.begun();
        println!("with {} of {backlog} waiting, another's purchase took {:?}", backlog - begun, published.elapsed());
        assert!(begun * 10 <= backlog, "more than a tenth of the backlog went first: {begun}");
    }
    assert_eq!(small.upstream.begun(), 5);
    let before = large.upstream.begun();
    large.upstream.called(before + 1).await;
    large.stop().await?;
    plant.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_upstream_of_one_partner_does_not_delay_another() -> Result<()> {
    let plant = Plant::on_servers().await?;
    let [slow, quick] = two(&plant).await?;
    slow.upstream.hang();
    for number in 0..300 {
        slow.buy(&format!("slow-{number}")).await?;
    }
    let all = setup().limits.concurrency as usize;
    slow.upstream.called(all).await;

    for number in 0..50 {
        let id = quick.buy(&format!("quick-{number}")).await?;
        quick.tells(id.0, &[FULFILLED]).await?;
    }
    assert_eq!((quick.upstream.begun(), slow.upstream.begun()), (50, all), "the slow one holds its own permits, and no more");
    assert_eq!(slow.engine.lock().ledger().purchases, []);
    slow.upstream.go_on();
    slow.stop().await?;
    plant.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_for_two_workers_together() -> Result<()> {
    const CALLS: usize = 40;
    let limits = Limits { concurrency: 4, rate_per_second: 20, ..Limits::default() };
    let plant = Plant::on_servers().await?;
    // Ten at once would fit into a call; four may.
    let setup = Setup { limits, latency: Duration::from_millis(500), ..with_patience() };
    let first = Stage::set(&plant, "shared", setup).await?;
    let second = first.beside(&plant).await?;
    share([&first, &second]).await?;

    let published = Instant::now();
    for number in 0..CALLS {
        first.buy(&format!("shared-{number}")).await?;
    }
    until("every purchase is bought", SOON, || async {
        let bought = first.engine.lock().ledger().purchases.len();
        if bought == CALLS { Ok(()) } else { Err(format!("{bought} are")) }
    })
    .await?;
    assert_eq!(first.upstream.begun() + second.upstream.begun(), CALLS, "none is called twice");
    assert!(first.upstream.begun() > 0 && second.upstream.begun() > 0, "both work");
    assert_eq!(first.upstream.most_in_flight(), 4, "together they use what they may, and no more");
    for (number, begin) in first.upstream.begins().into_iter().enumerate() {
        // Each worker may be a tenth of a second ahead, and begins with one call at once.
        let least = Duration::from_secs(1).mul_f64(number.saturating_sub(4) as f64 / f64::from(limits.rate_per_second));
        assert!(begin - published >= least, "call {number} began {:?} after the first could", begin - published);
    }
    first.stop().await?;
    second.stop().await?;
    plant.close().await;
    Ok(())
}

async fn two(plant: &Plant) -> Result<[Stage; 2]> {
    let stages = Stage::set_together(plant, &["one", "two"], setup()).await?;
    stages.try_into().ok().context("two were asked for")
}

/// Calls may take longer than this test's default allows.
fn with_patience() -> Setup {
    let mut setup = Setup::default();
    setup.rules.timeouts.init = Duration::from_secs(30);
    setup
}

/// Returns when both workers have counted two: each is alone in its share as long as it has not seen the other.
async fn share(stages: [&Stage; 2]) -> Result<()> {
    let queue = topology::step_queue(&stages[0].partner);
    until("two workers are there", SOON, || async {
        match stages[0].broker.queue_state(&queue).await {
            Ok(state) if state.consumers == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    for stage in stages {
        let counted = stage.looks(&queue);
        until("it counts the workers again", SOON, || async {
            stage.clock.advance(COUNT);
            // The second look began after the two were there, and the third after the second was taken in.
            if stage.looks(&queue) >= counted + 3 { Ok(()) } else { Err("not yet") }
        })
        .await?;
    }
    Ok(())
}
