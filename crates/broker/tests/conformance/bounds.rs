//! A full queue.

use clawback_broker::{PublishError, Routing, topology};

use crate::fixture::{Fixture, declared, eventually, message, next, number, partner, purchase, purchases, ready};

pub async fn a_full_queue_refuses_and_takes_again_once_there_is_room(fixture: &mut impl Fixture) {
    fixture.bound(5).await;
    let broker = declared(fixture).await;
    let mut taken = 0;
    loop {
        match broker.publish(purchase("acme", taken.to_string())).await {
            Ok(Routing::Routed) => taken += 1,
            Err(PublishError::Refused) => break,
            other => panic!("{other:?}"),
        }
        assert!(taken < 50, "the bound of 5 is not kept");
    }
    assert!(taken >= 5, "refused at {taken} already");
    assert_eq!(broker.publish(purchase("beta", "x")).await.expect("another queue has room"), Routing::Routed);
    let mut consumer = broker.consume(&purchases("acme"), 1).await.expect("a consumer");
    for expected in 0..taken {
        let delivery = next(&mut *consumer).await;
        assert_eq!(number(&delivery), expected, "what was confirmed is there, what was refused is not");
        delivery.ack().await.expect("a live channel");
    }
    eventually("there is room again", || async { broker.publish(purchase("acme", "9")).await.is_ok() }).await;
}

pub async fn a_full_event_queue_drops_its_head(fixture: &mut impl Fixture) {
    fixture.bound(5).await;
    let broker = declared(fixture).await;
    for event in 0..20 {
        let routing = broker.publish(message(topology::EVENTS, "acme.x", event.to_string())).await;
        assert_eq!(routing.expect("an event queue never refuses"), Routing::Routed);
    }
    let queue = topology::event_queue(&partner("acme"));
    eventually("the queue keeps its bound", || async { ready(&*broker, &queue).await == 5 }).await;
    let mut consumer = broker.consume(&queue, 1).await.expect("a consumer");
    assert_eq!(number(&next(&mut *consumer).await), 15, "the oldest have gone");
}
