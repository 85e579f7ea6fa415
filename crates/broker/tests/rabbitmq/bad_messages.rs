//! Messages that the library cannot read, or that would end it.

use clawback_broker::{Amqp, Broker, Properties, amqp::Options};
use lapin::{
    BasicProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};

use crate::{
    PURCHASES, id, message, next, publish_surely,
    support::{Vhost, proxy::Proxy, topology},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_that_are_not_utf8_break_nothing_and_the_body_arrives() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut consumer = broker.consume(PURCHASES, 10).await.unwrap();

    let proxy = Proxy::start(vhost.port()).await;
    let partner = Amqp::connect(&vhost.url_by(proxy.port), Options::default()).await.unwrap();
    // From here on, each @ the partner sends is a byte that no UTF-8 text has.
    proxy.change(b'@', 0xff);
    let properties = Properties {
        message_id: Some("m@1".to_owned()),
        correlation_id: Some("@@".to_owned()),
        content_type: Some("application/json".to_owned()),
        timestamp: None,
        headers: [("na@me".to_owned(), "fine".to_owned()), ("value".to_owned(), "@".to_owned())].into(),
    };
    partner.publish(message("clawback.commands.acme", "purchase", "{\"user\":\"@\"}", properties)).await.unwrap();

    let delivery = next(&mut *consumer).await;
    assert!(!delivery.redelivered, "it broke a connection");
    assert_eq!(delivery.body, &b"{\"user\":\"\xff\"}"[..], "the body is handed on as it is");
    assert_eq!(delivery.properties.message_id.as_deref(), Some("m?1"));
    assert_eq!(delivery.properties.correlation_id.as_deref(), Some("??"));
    assert_eq!(delivery.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(delivery.properties.headers, [("na?me".to_owned(), "fine".to_owned())].into());
    delivery.ack().await.unwrap();
    publish_surely(&broker, 1).await;
    assert_eq!(id(&next(&mut *consumer).await), 1, "the next message is handled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_routing_key_that_is_not_utf8_can_be_looked_at() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let proxy = Proxy::start(vhost.port()).await;
    let partner = Amqp::connect(&vhost.url_by(proxy.port), Options::default()).await.unwrap();
    proxy.change(b'@', 0xff);
    partner.publish(message("clawback.commands.acme", "purch@se", "x", Properties::default())).await.unwrap();
    let mut consumer = broker.consume("clawback.unrouted", 1).await.unwrap();
    let delivery = next(&mut *consumer).await;
    assert_eq!((delivery.routing_key.as_str(), delivery.redelivered), ("purch?se", false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_deeply_nested_headers_are_left_out() {
    let vhost = Vhost::create();
    let broker = vhost.connect().await;
    broker.declare(&topology()).await.unwrap();
    let mut nested = FieldTable::default();
    for _ in 0..100 {
        let mut outer = FieldTable::default();
        outer.insert("in".into(), AMQPValue::FieldTable(nested));
        nested = outer;
    }
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString("00-ab".into()));
    headers.insert("x-death".into(), AMQPValue::LongString("forged".into()));
    let mut forged = headers.clone();
    forged.insert("x-delivery-count".into(), AMQPValue::LongLongInt(i64::MAX));
    headers.insert("deep".into(), AMQPValue::FieldTable(nested));
    let raw = vhost.raw().await;
    let channel = raw.create_channel().await.unwrap();
    for table in [headers, forged] {
        let properties = BasicProperties::default().with_headers(table);
        let (exchange, key) = ("clawback.commands.acme".into(), "purchase".into());
        channel.basic_publish(exchange, key, BasicPublishOptions::default(), b"1", properties).await.unwrap();
    }
    let mut consumer = broker.consume(PURCHASES, 10).await.unwrap();
    let deep = next(&mut *consumer).await;
    assert_eq!((deep.properties.headers.len(), deep.redelivered), (0, false));
    deep.ack().await.unwrap();
    let forged = next(&mut *consumer).await;
    assert_eq!(forged.properties.headers.keys().collect::<Vec<_>>(), ["traceparent", "x-death"]);
    forged.ack().await.unwrap();
}
