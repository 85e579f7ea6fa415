//! Connections that are closed, and connections that are dead without saying so.

use std::time::{Duration, Instant};

use clawback_broker::{Amqp, Broker, BrokerError, Health, PublishError, amqp::Options};
use futures_util::future::join_all;

use crate::{
    PATIENCE, PURCHASES, eventually, id, next, publish_surely, purchase,
    support::{Vhost, proxy::Proxy, topology},
    take_all,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publish_resolves_and_nothing_confirmed_is_lost_when_connections_are_closed() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 50).await.unwrap();
    let publishes = async {
        let each = |lane: u32| {
            let broker = &broker;
            async move {
                for number in 0..150 {
                    publish_surely(broker, lane * 150 + number).await;
                }
            }
        };
        join_all((0..16).map(each)).await;
    };
    let closing = async {
        for _ in 0..3 {
            tokio::task::block_in_place(|| vhost.close_all_connections());
            eventually("connected again", || async { broker.health() == Health::Connected }).await;
        }
    };
    tokio::join!(publishes, closing, take_all(&mut *consumer, 0..2_400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_comes_again_and_its_old_handle_is_stale() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 10).await.unwrap();
    join_all((0..3).map(|id| publish_surely(&broker, id))).await;
    let held = [next(&mut *consumer).await, next(&mut *consumer).await, next(&mut *consumer).await];
    vhost.close_all_connections();
    let mut again = [next(&mut *consumer).await, next(&mut *consumer).await, next(&mut *consumer).await];
    again.sort_by_key(id);
    assert_eq!(again.each_ref().map(|each| (id(each), each.redelivered)), [(0, true), (1, true), (2, true)]);
    for stale in held {
        assert!(stale.ack().await.is_err());
    }
    for delivery in again {
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_noticed_by_its_missing_heartbeat() {
    let vhost = Vhost::create();
    let proxy = Proxy::start(vhost.port()).await;
    let options = Options { heartbeat: Duration::from_secs(1), ..Options::default() };
    let broker = Amqp::connect(&vhost.url_by(proxy.port), options).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 10).await.unwrap();
    proxy.fall_silent(true);
    eventually("the loss is noticed", || async { broker.health() == Health::Disconnected }).await;
    proxy.fall_silent(false);
    publish_surely(&broker, 1).await;
    assert_eq!(id(&next(&mut *consumer).await), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirm_that_never_comes_is_a_doubt_after_its_time_out() {
    let vhost = Vhost::create();
    let proxy = Proxy::start(vhost.port()).await;
    let timeout = Duration::from_millis(500);
    let options = Options { heartbeat: Duration::from_secs(600), confirm_timeout: timeout, ..Options::default() };
    let broker = Amqp::connect(&vhost.url_by(proxy.port), options).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    proxy.fall_silent(true);
    let started = Instant::now();
    for result in join_all((0..100).map(|id| broker.publish(purchase(id)))).await {
        assert!(matches!(result, Err(PublishError::Unconfirmed(_))), "{result:?}");
    }
    assert!((timeout..PATIENCE).contains(&started.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_there_is_no_connection_waits_for_one() {
    let vhost = Vhost::create();
    let proxy = Proxy::start(vhost.port()).await;
    let broker = Amqp::connect(&vhost.url_by(proxy.port), Options::default()).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    proxy.refuse(true);
    // Of the two only the one for publishing: the loss of either is a loss, and a publish is not held back by the other's.
    vhost.close_connection("publish");
    eventually("the loss is noticed", || async { broker.health() == Health::Disconnected }).await;
    let publish = publish_surely(&broker, 1);
    tokio::pin!(publish);
    let refused = proxy.refused();
    tokio::select! {
        doubts = &mut publish => panic!("it did not wait; {doubts} doubts"),
        () = eventually("connecting is tried again", || async { proxy.refused() > refused }) => {}
    }
    proxy.refuse(false);
    assert_eq!(publish.await, 0, "it was never in doubt");
}

#[tokio::test]
async fn what_cannot_be_connected_to_says_why_and_not_the_password() {
    let vhost = Vhost::create();
    let wrong = vhost.url.replace("guest:guest", "guest:s3cret");
    for (url, expected) in [
        (wrong.as_str(), "refused"),
        ("amqp://guest:s3cret@127.0.0.1:1", "not reachable"),
        ("amqp://guest:s3cret@no-such-host.invalid", "not reachable"),
        ("amqps://guest:s3cret@127.0.0.1:5672", "not reachable"),
        ("amqp//guest:s3cret", "refused"),
    ] {
        let Err(error) = Amqp::connect(url, Options::default()).await else { panic!("connected to {url}") };
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        assert!(matches!(error, BrokerError::Refused(_) | BrokerError::Unreachable(_)));
    }
}
