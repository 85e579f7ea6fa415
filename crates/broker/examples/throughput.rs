//! What this crate costs: deliver, publish confirmed, ack, on quorum queues, and the client's CPU for it.
//!
//! `cargo run --release -p clawback-broker --example throughput -- [MESSAGES] [PREFETCH] [BYTES]`
//!
//! Preloads a command queue, then measures from the first delivery to the last ack, once with acks one by one and once joined. Uses
//! the virtual host of `AMQP_URL`, and leaves its queues empty.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use clawback_broker::{
    Amqp, Broker, Message, Properties, Routing,
    amqp::Options,
    topology::{self, PartnerTopology, Topology},
};
use clawback_domain::{PartnerId, pause::CommandKind};
use futures_util::future::join_all;
use tokio::{sync::Semaphore, task::JoinSet};

/// Publishes under way while preloading.
const PRELOADING: usize = 1_000;

/// Handlers at work: deliveries wait for their event's confirm before they are acked.
const HANDLERS: usize = 1_024;

#[tokio::main]
async fn main() {
    let argument = |index, default| env::args().nth(index).map_or(default, |text| text.parse().expect("a number"));
    let (messages, prefetch, bytes) = (argument(1, 30_000), argument(2, 1_024), argument(3, 512));
    let partner = PartnerId::new("throughput").expect("a valid name");
    println!(
        "{:>8} {:>8} {:>10} {:>22} {:>22}",
        "acks", "messages", "per second", "client CPU-µs/message", "broker CPU-µs/message"
    );
    for (name, ack_run) in [("single", 1), ("joined", Options::default().ack_run)] {
        let measured = measure(&partner, messages, prefetch, bytes, ack_run).await;
        let each = |span: Duration| span.as_secs_f64() * 1e6 / messages as f64;
        let (rate, client, broker) = (1e6 / each(measured.took), each(measured.client), each(measured.broker));
        println!("{name:>8} {messages:>8} {rate:>10.0} {client:>22.1} {broker:>22.1}");
    }
}

struct Measured {
    took: Duration,
    client: Duration,
    broker: Duration,
}

async fn measure(partner: &PartnerId, messages: usize, prefetch: usize, bytes: usize, ack_run: usize) -> Measured {
    let url = env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672".to_owned());
    let broker = Amqp::connect(&url, Options { ack_run, ..Options::default() }).await.expect("RabbitMQ at AMQP_URL");
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let topology = Topology { partners: vec![PartnerTopology { partner: partner.clone(), event_queue: true }] };
    broker.declare(&topology).await.expect("declared");
    preload(&*broker, partner, messages, bytes).await;

    let queue = topology::command_queue(partner, CommandKind::Purchase);
    let mut consumer = broker.consume(&queue, prefetch as u16).await.expect("a consumer");
    let mut handled = JoinSet::new();
    let handlers = Arc::new(Semaphore::new(HANDLERS));
    let (started, client, server) = (Instant::now(), cpu_time(), broker_cpu_time());
    for _ in 0..messages {
        let delivery = consumer.next().await.expect("another delivery");
        let permit = handlers.clone().acquire_owned().await.expect("never closed");
        let event = event(partner, delivery.body.clone());
        let broker = broker.clone();
        handled.spawn(async move {
            assert_eq!(broker.publish(event).await.expect("confirmed"), Routing::Routed);
            delivery.ack().await.expect("a live channel");
            drop(permit);
        });
        while handled.try_join_next().is_some() {}
    }
    while handled.join_next().await.is_some() {}
    let measured =
        Measured { took: started.elapsed(), client: cpu_time() - client, broker: broker_cpu_time().saturating_sub(server) };
    drop(consumer);
    empty(&*broker, partner, messages).await;
    broker.close(Duration::from_secs(10)).await;
    measured
}

async fn preload(broker: &dyn Broker, partner: &PartnerId, messages: usize, bytes: usize) {
    for start in (0..messages).step_by(PRELOADING) {
        let publishes = (start..messages.min(start + PRELOADING)).map(|number| {
            let mut command = event(partner, vec![b'x'; bytes].into());
            command.exchange = topology::commands(partner);
            command.routing_key = "purchase".to_owned();
            command.properties.message_id = Some(number.to_string());
            broker.publish(command)
        });
        for routing in join_all(publishes).await {
            assert_eq!(routing.expect("confirmed"), Routing::Routed);
        }
    }
}

async fn empty(broker: &dyn Broker, partner: &PartnerId, messages: usize) {
    let mut events = broker.consume(&topology::event_queue(partner), 1_024).await.expect("a consumer");
    for _ in 0..messages {
        events.next().await.expect("another event").ack().await.expect("a live channel");
    }
}

fn event(partner: &PartnerId, body: bytes::Bytes) -> Message {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let properties = Properties {
        message_id: Some("0193a9d2-7a54-7c8e-9b1f-0a1b2c3d4e5f".to_owned()),
        correlation_id: Some("request".to_owned()),
        content_type: Some("application/cloudevents+json".to_owned()),
        timestamp: None,
        headers: [("traceparent".to_owned(), traceparent)].into(),
    };
    let routing_key = topology::event_routing_key(partner, "clawback.purchase.fulfilled");
    Message { exchange: topology::EVENTS.to_owned(), routing_key, body, properties }
}

/// The same of every Erlang machine here; zero where RabbitMQ runs elsewhere.
fn broker_cpu_time() -> Duration {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains("(beam.smp)")).filter_map(|stat| {
        let mut fields = stat.rsplit(')').next()?.split(' ').skip(12);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    });
    // A hundred ticks a second on every Linux.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}
