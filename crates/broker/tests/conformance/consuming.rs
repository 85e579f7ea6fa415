//! How deliveries come, and what settling them does.

use clawback_broker::BrokerError;
use futures_util::FutureExt;

use crate::fixture::{Fixture, declared, eventually, next, number, publish_numbers, purchases, ready, take};

pub async fn deliveries_come_in_order(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..50).await;
    let mut consumer = broker.consume(&purchases("acme"), 7).await.expect("a consumer");
    for expected in 0..50 {
        let delivery = next(&mut *consumer).await;
        assert_eq!(number(&delivery), expected);
        delivery.ack().await.expect("a live channel");
    }
}

pub async fn no_more_than_prefetch_are_unacked(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..10).await;
    let mut few = broker.consume(&purchases("acme"), 3).await.expect("a consumer");
    let mut held = take(&mut *few, 3).await;
    let other = fixture.another().await;
    let mut rest = other.consume(&purchases("acme"), 10).await.expect("a consumer");
    assert_eq!(take(&mut *rest, 7).await.iter().map(number).collect::<Vec<_>>(), (3..10).collect::<Vec<_>>());
    assert!(few.next().now_or_never().is_none(), "a fourth came though three are unacked");
    rest.cancel().await;
    publish_numbers(&*broker, 10..11).await;
    held.remove(1).ack().await.expect("a live channel");
    assert_eq!(number(&next(&mut *few).await), 10);
}

pub async fn what_is_acked_never_comes_again(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..3).await;
    let mut consumer = broker.consume(&purchases("acme"), 3).await.expect("a consumer");
    let mut deliveries = take(&mut *consumer, 3).await;
    deliveries.remove(0).ack().await.expect("a live channel");
    deliveries.remove(1).ack().await.expect("a live channel");
    drop((consumer, deliveries));
    let mut successor = broker.consume(&purchases("acme"), 3).await.expect("a consumer");
    let again = next(&mut *successor).await;
    assert_eq!((number(&again), again.redelivered), (1, true));
    again.ack().await.expect("a live channel");
    drop(successor);
    nothing_is_left(&*broker).await;
}

/// Runs that touch, gaps, and a first one that is slow: the ways in which acks can be joined.
pub async fn acks_out_of_order_all_arrive(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..600).await;
    let mut consumer = broker.consume(&purchases("acme"), 200).await.expect("a consumer");
    let mut slow = Vec::new();
    for round in 0..3 {
        let mut deliveries: Vec<_> = take(&mut *consumer, 200).await.into_iter().map(Some).collect();
        slow.extend(deliveries[0].take());
        for index in (0..200).map(|index| index * 7 % 200) {
            let Some(delivery) = deliveries[index].take() else { continue };
            delivery.ack().await.expect("a live channel");
        }
        // Three of the prefetch are held back at most, so the next round fits once the acks arrived.
        if round < 2 {
            slow.remove(0).ack().await.expect("a live channel");
        }
    }
    for delivery in slow {
        delivery.ack().await.expect("a live channel");
    }
    drop(consumer);
    nothing_is_left(&*broker).await;
}

pub async fn what_is_requeued_comes_again(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..2).await;
    let mut consumer = broker.consume(&purchases("acme"), 1).await.expect("a consumer");
    let delivery = next(&mut *consumer).await;
    assert_eq!((number(&delivery), delivery.redelivered), (0, false));
    delivery.requeue().await.expect("a live channel");
    for expected in [(0, true), (1, false)] {
        let delivery = next(&mut *consumer).await;
        assert_eq!((number(&delivery), delivery.redelivered), expected);
        delivery.ack().await.expect("a live channel");
    }
}

pub async fn a_cancelled_consumer_drains_and_its_deliveries_stay_valid(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..10).await;
    let mut consumer = broker.consume(&purchases("acme"), 4).await.expect("a consumer");
    let mut held = take(&mut *consumer, 1).await;
    consumer.cancel().await;
    while let Some(delivery) = consumer.next().await {
        held.push(delivery);
    }
    assert!(consumer.next().await.is_none(), "it stays over");
    let received = held.len() as u64;
    assert!((1..=4).contains(&received), "{received}");
    for delivery in held {
        delivery.ack().await.expect("a cancelled consumer's deliveries are still its own");
    }
    drop(consumer);
    eventually("the rest waits for others", || async {
        let state = broker.queue_state(&purchases("acme")).await.expect("the queue is there");
        (state.ready, state.consumers) == (10 - received, 0)
    })
    .await;
}

pub async fn what_a_dropped_consumer_held_goes_to_others(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    publish_numbers(&*broker, 0..4).await;
    let mut consumer = broker.consume(&purchases("acme"), 4).await.expect("a consumer");
    let mut held = take(&mut *consumer, 2).await;
    drop(consumer);
    // A delivery in hand outlives its consumer.
    held.remove(0).ack().await.expect("the channel lives as long as a delivery of it");
    drop(held);
    let mut successor = broker.consume(&purchases("acme"), 4).await.expect("a consumer");
    let deliveries = take(&mut *successor, 3).await;
    assert_eq!(deliveries.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(deliveries.iter().all(|each| each.redelivered));
}

pub async fn consumers_share_a_queue(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let other = fixture.another().await;
    let mut first = broker.consume(&purchases("acme"), 50).await.expect("a consumer");
    let mut second = other.consume(&purchases("acme"), 50).await.expect("a consumer");
    publish_numbers(&*broker, 0..40).await;
    // Each is served in turn, so that both have their half though neither has acked.
    let mut numbers: Vec<_> = take(&mut *first, 20).await.iter().map(number).collect();
    numbers.extend(take(&mut *second, 20).await.iter().map(number));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

pub async fn a_queue_tells_its_depth_and_its_consumers(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let queue = purchases("acme");
    let state = |ready, consumers| {
        let (broker, queue) = (&broker, &queue);
        async move {
            let state = broker.queue_state(queue).await.expect("the queue is there");
            (state.ready, state.consumers) == (ready, consumers)
        }
    };
    assert!(state(0, 0).await);
    publish_numbers(&*broker, 0..5).await;
    eventually("five are ready", || state(5, 0)).await;
    let mut first = broker.consume(&queue, 1).await.expect("a consumer");
    let other = fixture.another().await;
    let _second = other.consume(&queue, 1).await.expect("a consumer");
    eventually("two are taken", || state(3, 2)).await;
    let held = next(&mut *first).await;
    first.cancel().await;
    // RabbitMQ counts a cancelled consumer until what it holds is settled.
    held.ack().await.expect("a live channel");
    eventually("one is left to consume", || state(3, 1)).await;
}

pub async fn a_queue_that_does_not_exist_is_named(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let consumed = broker.consume("clawback.purchases.nobody", 1).await.err();
    assert!(matches!(&consumed, Some(BrokerError::NoQueue(name)) if name == "clawback.purchases.nobody"), "{consumed:?}");
    let state = broker.queue_state("clawback.purchases.nobody").await;
    assert!(matches!(&state, Err(BrokerError::NoQueue(name)) if name == "clawback.purchases.nobody"), "{state:?}");
    assert_eq!(ready(&*broker, &purchases("acme")).await, 0, "the connection goes on");
}

/// Neither ready nor unacked: a consumer that is gone would have given it back.
async fn nothing_is_left(broker: &dyn clawback_broker::Broker) {
    eventually("the queue is empty and nobody holds anything", || async {
        let state = broker.queue_state(&purchases("acme")).await.expect("the queue is there");
        (state.ready, state.consumers) == (0, 0)
    })
    .await;
    publish_numbers(broker, 1_000..1_001).await;
    let mut consumer = broker.consume(&purchases("acme"), 10).await.expect("a consumer");
    assert_eq!(number(&next(&mut *consumer).await), 1_000, "something had been given back");
}
