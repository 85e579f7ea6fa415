//! Connections that break, queues that vanish, brokers that are closed.

use std::time::Duration;

use clawback_broker::{BrokerError, PublishError, Routing};

use crate::fixture::{
    Fixture, PATIENCE, declared, eventually, next, number, publish_numbers, purchase, purchases, take, topology,
};

pub async fn unacked_deliveries_come_again_after_an_interruption(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..6).await;
    let mut consumer = broker.consume(&purchases("acme"), 3).await.expect("a consumer");
    let mut held = take(&mut *consumer, 2).await;
    fixture.interrupt().await;
    let mut again: Vec<_> = Vec::new();
    for _ in 0..6 {
        let delivery = next(&mut *consumer).await;
        again.push((number(&delivery), delivery.redelivered));
        delivery.ack().await.expect("the new channel lives");
    }
    again.sort_unstable();
    assert_eq!(again.iter().map(|each| each.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(again[..2].iter().all(|each| each.1), "what was held is marked: {again:?}");
    assert!(held.remove(0).ack().await.is_err(), "a delivery of the old channel is stale");
    assert!(held.remove(0).requeue().await.is_err(), "a delivery of the old channel is stale");
    publish_numbers(&*broker, 6..7).await;
    assert_eq!(number(&next(&mut *consumer).await), 6);
}

pub async fn a_consumer_survives_the_deletion_of_its_queue(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..2).await;
    let mut consumer = broker.consume(&purchases("acme"), 1).await.expect("a consumer");
    let held = next(&mut *consumer).await;
    fixture.delete_queue(&purchases("acme")).await;
    let publisher = fixture.another().await;
    // In a real installation the consumer itself declares again; in memory nobody else can delete.
    let republished = async {
        publisher.declare(&topology()).await.expect("the topology can be declared again");
        publisher.publish(purchase("acme", "7")).await.expect("confirmed");
    };
    let (delivery, ()) = tokio::join!(next(&mut *consumer), republished);
    assert_eq!((number(&delivery), delivery.redelivered), (7, false));
    drop(held);
    delivery.ack().await.expect("the new channel lives");
}

pub async fn a_closed_broker_ends_its_consumers(fixture: &mut impl Fixture) {
    let other = fixture.another().await;
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..5).await;
    let mut consumer = broker.consume(&purchases("acme"), 2).await.expect("a consumer");
    take(&mut *consumer, 1).await.remove(0).ack().await.expect("a live channel");
    let held = next(&mut *consumer).await;
    broker.close(PATIENCE).await;
    let over = async { while consumer.next().await.is_some() {} };
    assert!(tokio::time::timeout(PATIENCE, over).await.is_ok(), "a closed broker's consumer ends");
    assert!(held.ack().await.is_err(), "nothing can be settled on a closed connection");
    let refused = broker.publish(purchase("acme", "x")).await;
    assert!(matches!(refused, Err(PublishError::Closed)), "{refused:?}");
    assert!(matches!(broker.consume(&purchases("acme"), 1).await.err(), Some(BrokerError::Closed)));
    broker.close(Duration::ZERO).await;
    eventually("what was not acked before the close is ready for others", || async {
        let state = other.queue_state(&purchases("acme")).await.expect("the queue is there");
        (state.ready, state.consumers) == (4, 0)
    })
    .await;
    assert_eq!(other.publish(purchase("acme", "5")).await.expect("others go on"), Routing::Routed);
}
