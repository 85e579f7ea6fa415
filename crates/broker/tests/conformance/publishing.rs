//! What is declared, and where a published message goes.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use clawback_broker::{Broker, BrokerError, MAX_BODY, Message, Properties, PublishError, Routing, topology};
use futures_util::future::join_all;

use crate::fixture::{Fixture, declared, message, next, partner, purchase, purchases, ready, topology};

pub async fn declaring_twice_is_no_error(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    broker.declare(&topology()).await.expect("what is there already is fine");
    assert_eq!(broker.check(&topology()).await.expect("a check"), []);
}

pub async fn another_queue_of_the_same_name_is_refused(fixture: &mut impl Fixture) {
    fixture.declare_other(&purchases("acme")).await;
    let refused = fixture.broker().declare(&topology()).await;
    assert!(matches!(&refused, Err(BrokerError::Refused(text)) if text.contains(&purchases("acme"))), "{refused:?}");
}

pub async fn a_check_finds_what_is_missing_and_what_is_other(fixture: &mut impl Fixture) {
    let broker = fixture.broker();
    fixture.declare_other(&purchases("acme")).await;
    let found = broker.check(&topology()).await.expect("a check");
    let of = |name: &str| found.iter().filter(|each| each.0.split(' ').any(|word| word == name)).count();
    for missing in ["clawback.events", "clawback.commands.beta", "clawback.dead.acme"] {
        assert_eq!(of(missing), 1, "{missing}: {found:?}");
    }
    assert_eq!(of(&purchases("acme")), 1, "{found:?}");
    let everything = topology().exchanges().len() + topology().queues().len();
    assert_eq!(found.len(), everything, "{found:?}");
    let nothing = broker.queue_state("clawback.dead.acme").await;
    assert!(matches!(nothing, Err(BrokerError::NoQueue(_))), "a check creates nothing: {nothing:?}");
}

pub async fn a_command_reaches_its_own_queue_and_no_other(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let mut consumer = broker.consume(&purchases("acme"), 10).await.expect("a consumer");
    assert_eq!(broker.publish(purchase("acme", "one")).await.expect("confirmed"), Routing::Routed);
    let delivery = next(&mut *consumer).await;
    assert_eq!(delivery.body, "one");
    assert_eq!(delivery.queue, purchases("acme"));
    assert_eq!(topology::partner_of_exchange(&delivery.exchange), Some(partner("acme")));
    assert_eq!(delivery.routing_key, "purchase");
    assert!(!delivery.redelivered);
    for other in ["clawback.sellbacks.acme", "clawback.purchases.beta", "clawback.unrouted"] {
        assert_eq!(ready(&*broker, other).await, 0, "{other}");
    }
}

pub async fn an_event_reaches_the_queue_of_its_partner(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let key = topology::event_routing_key(&partner("acme"), "clawback.purchase.fulfilled");
    assert_eq!(broker.publish(message(topology::EVENTS, &key, "{}")).await.expect("confirmed"), Routing::Routed);
    let mut consumer = broker.consume(&topology::event_queue(&partner("acme")), 1).await.expect("a consumer");
    assert_eq!(next(&mut *consumer).await.routing_key, "acme.purchase.fulfilled");
}

pub async fn what_nobody_wants_is_unrouted(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    for (exchange, key) in [(topology::EVENTS, "beta.purchase.fulfilled"), (topology::STEPS, "nobody")] {
        let routing = broker.publish(message(exchange, key, "x")).await.expect("confirmed");
        assert_eq!(routing, Routing::Unrouted, "{exchange} {key}");
    }
}

pub async fn a_command_nobody_wants_goes_to_the_alternate_exchange(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let stray = message(&topology::commands(&partner("acme")), "purchace", "x");
    assert_eq!(broker.publish(stray).await.expect("confirmed"), Routing::Routed);
    let mut consumer = broker.consume(topology::UNROUTED, 1).await.expect("a consumer");
    let delivery = next(&mut *consumer).await;
    assert_eq!((delivery.exchange.as_str(), delivery.routing_key.as_str()), ("clawback.commands.acme", "purchace"));
}

pub async fn a_missing_exchange_is_named(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let missing = broker.publish(message("clawback.commands.nobody", "purchase", "x")).await;
    assert!(matches!(&missing, Err(PublishError::NoExchange(name)) if name == "clawback.commands.nobody"), "{missing:?}");
    assert_eq!(broker.publish(purchase("acme", "x")).await.expect("publishing goes on"), Routing::Routed);
}

pub async fn a_body_that_is_too_large_is_not_sent(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let refused = broker.publish(purchase("acme", Bytes::from(vec![b' '; MAX_BODY + 1]))).await;
    assert!(matches!(refused, Err(PublishError::TooLarge)), "{refused:?}");
    assert_eq!(ready(&*broker, &purchases("acme")).await, 0);
}

pub async fn properties_arrive_as_they_were_sent(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("empty", ""), ("name", "Zoë")];
    let properties = Properties {
        message_id: Some("m-1".into()),
        correlation_id: Some("r-1".into()),
        content_type: Some("application/json".into()),
        timestamp: DateTime::from_timestamp(1_700_000_000, 0),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    let bodies = [Bytes::from_static(b"{}"), Bytes::new(), Bytes::from(vec![7; 300_000])];
    let mut consumer = broker.consume(&purchases("acme"), 1).await.expect("a consumer");
    for body in bodies {
        let sent = Message { properties: properties.clone(), ..purchase("acme", body.clone()) };
        broker.publish(sent).await.expect("confirmed");
        let delivery = next(&mut *consumer).await;
        assert_eq!(delivery.properties, properties);
        assert_eq!(delivery.body, body);
        delivery.ack().await.expect("a live channel");
    }
}

pub async fn a_thousand_publishes_are_pipelined(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let publishes = (0..1_000).map(|number| broker.publish(purchase("acme", number.to_string())));
    for routing in join_all(publishes).await {
        assert_eq!(routing.expect("confirmed"), Routing::Routed);
    }
    let broker: &Arc<dyn Broker> = &broker;
    crate::fixture::eventually("all are ready", || async { ready(&**broker, &purchases("acme")).await == 1_000 }).await;
}

/// Confirms come in bunches and returns between them: each publish must still hear about itself.
pub async fn each_publish_of_many_hears_its_own_answer(fixture: &mut impl Fixture) {
    let broker = declared(fixture).await;
    let broker = &*broker;
    let lane = |lane: u32| async move {
        for number in 0..100_u32 {
            let wanted = (lane * 100 + number).wrapping_mul(2_654_435_761) >> 30 != 0;
            let key = if wanted { "acme.x" } else { "beta.x" };
            let routing = broker.publish(message(topology::EVENTS, key, format!("{lane}-{number}"))).await;
            let expected = if wanted { Routing::Routed } else { Routing::Unrouted };
            assert_eq!(routing.expect("confirmed"), expected, "lane {lane}, number {number}");
        }
    };
    join_all((0..64).map(lane)).await;
}
