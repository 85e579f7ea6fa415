//! A channel dies of one fault and takes innocents along.

use clawback_broker::{Broker, PublishError, Routing};
use futures_util::future::join_all;
use lapin::options::QueueDeleteOptions;

use crate::{
    PURCHASES, eventually, id, message, next, publish_surely, purchase,
    support::{Vhost, topology},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_exchange_is_told_to_its_own_publish_and_to_no_other() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    for round in 0..10 {
        let publishes = (0..200).map(|number| match number {
            100 => broker.publish(message("clawback.commands.nobody", "purchase", "x", Default::default())),
            _ => broker.publish(purchase(number)),
        });
        for (number, result) in join_all(publishes).await.into_iter().enumerate() {
            match (number, result) {
                (100, Err(PublishError::NoExchange(name))) => assert_eq!(name, "clawback.commands.nobody"),
                (100, other) => panic!("round {round}: {other:?}"),
                (_, Ok(Routing::Routed) | Err(PublishError::Unconfirmed(_))) => {}
                (_, other) => panic!("round {round}, number {number}: {other:?}"),
            }
        }
        assert!(publish_surely(&broker, 0).await <= 1, "one loss costs one doubt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_declares_its_deleted_queue_again_by_itself() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 10).await.unwrap();
    publish_surely(&broker, 1).await;
    let held = next(&mut *consumer).await;
    let raw = vhost.raw().await;
    raw.create_channel().await.unwrap().queue_delete(PURCHASES.into(), QueueDeleteOptions::default()).await.unwrap();
    let arrived = async { id(&next(&mut *consumer).await) };
    let published = async {
        eventually("the queue is back and bound", || async {
            broker.queue_state(PURCHASES).await.is_ok_and(|state| state.consumers == 1)
        })
        .await;
        publish_surely(&broker, 2).await;
    };
    assert_eq!(tokio::join!(arrived, published).0, 2);
    drop(held);
    assert_eq!(broker.check(&topology()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_consumer_while_its_queue_is_deleted_leaves_the_connection_alone() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let raw = vhost.raw().await;
    let channel = raw.create_channel().await.unwrap();
    let mut witness = broker.consume("clawback.purchases.beta", 1).await.unwrap();
    for _ in 0..10 {
        broker.declare(&topology()).await.unwrap();
        let consumer = broker.consume(PURCHASES, 10).await.unwrap();
        let deleted = channel.queue_delete(PURCHASES.into(), QueueDeleteOptions::default());
        drop(consumer);
        deleted.await.unwrap();
    }
    let mut beta = purchase(7);
    beta.exchange = "clawback.commands.beta".to_owned();
    broker.publish(beta).await.unwrap();
    let delivery = next(&mut *witness).await;
    assert!(!delivery.redelivered, "the connection under the other consumers was lost");
    delivery.ack().await.expect("its channel is the first one still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_with_deliveries_in_hand_and_publishes_under_way_is_orderly() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 100).await.unwrap();
    join_all((0..100).map(|id| publish_surely(&broker, id))).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(next(&mut *consumer).await);
    }
    for delivery in held.drain(..40) {
        delivery.ack().await.unwrap();
    }
    let publishes = join_all((100..600).map(|id| broker.publish(purchase(id))));
    let closed = async {
        tokio::task::yield_now().await;
        broker.close(crate::PATIENCE).await;
    };
    let (published, ()) = tokio::join!(publishes, closed);
    let confirmed = published.iter().filter(|each| matches!(each, Ok(Routing::Routed))).count();
    let refused = published.iter().filter(|each| matches!(each, Err(PublishError::Closed))).count();
    assert_eq!(confirmed + refused, 500, "an orderly close leaves nothing in doubt");
    drop((consumer, held));
    let successor = vhost.connect().await;
    eventually("40 are acked, the rest is there", || async {
        successor.queue_state(PURCHASES).await.is_ok_and(|state| state.ready == 60 + confirmed as u64)
    })
    .await;
}
