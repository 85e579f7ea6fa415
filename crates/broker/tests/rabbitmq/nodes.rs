//! A broker of one's own: restarted under load, out of memory, impatient.

use std::time::Duration;

use clawback_broker::{Amqp, Broker, Health, amqp::Options};
use futures_util::future::join_all;

use crate::{
    PATIENCE, PURCHASES, eventually, id, next, publish_surely, purchase,
    support::{node::Node, topology},
    take_all,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_restarts() {
    let mut node = tokio::task::block_in_place(Node::start);
    let broker = Amqp::connect(&node.url(), Options::default()).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 20).await.unwrap();
    join_all((0..200).map(|id| publish_surely(&broker, id))).await;
    let held = next(&mut *consumer).await;
    let publishes = join_all((200..400).map(|id| publish_surely(&broker, id)));
    let restart = async {
        tokio::task::yield_now().await;
        tokio::task::block_in_place(|| node.restart());
    };
    tokio::join!(publishes, restart);
    take_all(&mut *consumer, 0..400).await;
    assert!(held.ack().await.is_err(), "what was held before the restart came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_memory_holds_publishing_up_and_nothing_else() {
    let node = tokio::task::block_in_place(Node::start);
    let options = Options { confirm_timeout: PATIENCE, ..Options::default() };
    let broker = Amqp::connect(&node.url(), options).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 1).await.unwrap();
    join_all((0..3).map(|id| publish_surely(&broker, id))).await;
    tokio::task::block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]));

    let publish = broker.publish(purchase(3));
    tokio::pin!(publish);
    let blocked = eventually("publishing is held up", || async { broker.health() == Health::Blocked });
    tokio::select! {
        result = &mut publish => panic!("confirmed without memory: {result:?}"),
        () = blocked => {}
    }
    for expected in 0..3 {
        let delivery = next(&mut *consumer).await;
        assert_eq!((id(&delivery), delivery.redelivered), (expected, false), "consuming and acking go on");
        delivery.ack().await.unwrap();
    }
    tokio::task::block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "0.4"]));
    publish.await.expect("it waited for the end of the alarm");
    assert_eq!(broker.health(), Health::Connected);
    assert_eq!(id(&next(&mut *consumer).await), 3);
    broker.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_held_too_long_comes_again() {
    let node = tokio::task::block_in_place(Node::start);
    // RabbitMQ's patience is half an hour, looked at once a minute.
    let impatient =
        "application:set_env(rabbit, consumer_timeout, 500), application:set_env(rabbit, channel_tick_interval, 200).";
    tokio::task::block_in_place(|| node.ctl(&["eval", impatient]));
    let broker = Amqp::connect(&node.url(), Options::default()).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 1).await.unwrap();
    publish_surely(&broker, 1).await;
    let held = next(&mut *consumer).await;
    let again = next(&mut *consumer).await;
    assert_eq!((id(&again), again.redelivered), (1, true));
    assert!(held.ack().await.is_err(), "its channel is gone");
    again.ack().await.unwrap();
    assert_eq!(broker.health(), Health::Connected, "the connection never went");
    broker.close(Duration::from_secs(10)).await;
}
