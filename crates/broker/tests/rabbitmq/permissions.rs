//! The definitions we print: RabbitMQ takes them, and they keep a partner to its own.

use std::os::unix::fs::PermissionsExt;

use clawback_broker::{
    Amqp, Broker, BrokerError, PublishError, Routing, Topology,
    amqp::Options,
    topology::{self, PartnerTopology},
};
use clawback_domain::{PartnerId, pause::CommandKind};

use crate::{
    message, next,
    support::{Vhost, rabbitmqctl},
};

/// Users are the server's, not the virtual host's, so these have names of their own.
struct Users([PartnerId; 2]);

impl Users {
    fn create() -> Self {
        let users = ["one", "two"].map(|each| PartnerId::new(format!("clawback-test-{}-{each}", std::process::id())).unwrap());
        for user in &users {
            rabbitmqctl(&["add_user", user.as_str(), "s3cret"]);
        }
        Self(users)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for user in &self.0 {
            rabbitmqctl(&["delete_user", user.as_str()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_definitions_are_what_we_declare_and_keep_a_partner_to_its_own() {
    let vhost = Vhost::create();
    let users = Users::create();
    let [one, two] = &users.0;
    let partners = users.0.iter().map(|partner| PartnerTopology { partner: partner.clone(), event_queue: true });
    let topology = Topology { partners: partners.collect() };

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), topology.definitions(&vhost.name).to_string()).unwrap();
    // rabbitmqctl reads it as the user rabbitmq.
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    rabbitmqctl(&["import_definitions", file.path().to_str().unwrap()]);
    let broker = vhost.connect().await;
    assert_eq!(broker.check(&topology).await.unwrap(), []);
    broker.declare(&topology).await.expect("what was imported is what we declare");
    check_policies(&vhost, one);

    let url = vhost.url.replace("guest:guest", &format!("{one}:s3cret"));
    let partner = Amqp::connect(&url, Options::default()).await.unwrap();
    let own = message(&topology::commands(one), "purchase", "x", Default::default());
    assert_eq!(partner.publish(own).await.unwrap(), Routing::Routed);
    for exchange in [&topology::commands(two), topology::EVENTS, topology::STEPS, topology::DEAD, topology::UNROUTED] {
        let refused = partner.publish(message(exchange, "purchase", "x", Default::default())).await;
        assert!(matches!(&refused, Err(PublishError::NoExchange(name)) if name == exchange), "{exchange}: {refused:?}");
    }
    let event = message(topology::EVENTS, &format!("{one}.x"), "event", Default::default());
    assert_eq!(broker.publish(event).await.unwrap(), Routing::Routed);
    let mut events = partner.consume(&topology::event_queue(one), 1).await.unwrap();
    assert_eq!(next(&mut *events).await.body, "event");
    let forbidden =
        [topology::event_queue(two), topology::command_queue(one, CommandKind::Purchase), topology::step_queue(one)];
    for queue in forbidden {
        let refused = partner.consume(&queue, 1).await.err();
        assert!(matches!(refused, Some(BrokerError::Refused(_))), "{queue}: {refused:?}");
    }
}

fn check_policies(vhost: &Vhost, partner: &PartnerId) {
    let listed = rabbitmqctl(&["list_queues", "-p", &vhost.name, "--no-table-headers", "name", "policy"]);
    let policy = |queue: &str| listed.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t')).map(str::to_owned);
    for kind in [CommandKind::Purchase, CommandKind::Sellback] {
        assert_eq!(policy(&topology::command_queue(partner, kind)).as_deref(), Some("clawback-bound"), "{listed}");
    }
    assert_eq!(policy(&topology::step_queue(partner)).as_deref(), Some("clawback-bound"), "{listed}");
    assert_eq!(policy(topology::UNROUTED).as_deref(), Some("clawback-bound"), "{listed}");
    assert_eq!(policy(&topology::event_queue(partner)).as_deref(), Some("clawback-events-bound"), "{listed}");
    assert_eq!(policy(&topology::dead_queue(partner)).as_deref(), Some(""), "{listed}");
}
