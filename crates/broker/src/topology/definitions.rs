//! The topology in RabbitMQ's own format, for `rabbitmqctl import_definitions` or the management API.
//!
//! Users are left out, since importing a user sets its password. Create one per partner, named like the partner, before importing;
//! the permissions here then let it write to its own exchange and read its own event queue, nothing else.

use serde_json::{Map, Value, json};

use super::{
    Topology, commands, event_queue,
    objects::{Argument, Exchange, Overflow, Queue},
};

impl Topology {
    /// Exchanges, queues, bindings, policies and permissions of one virtual host.
    pub fn definitions(&self, vhost: &str) -> Value {
        json!({
            "exchanges": self.exchanges().iter().map(|each| exchange(vhost, each)).collect::<Vec<_>>(),
            "queues": self.queues().iter().map(|each| queue(vhost, each)).collect::<Vec<_>>(),
            "bindings": self.bindings().iter().map(|each| json!({
                "source": each.exchange, "vhost": vhost, "destination": each.queue, "destination_type": "queue",
                "routing_key": each.routing_key, "arguments": {},
            })).collect::<Vec<_>>(),
            "policies": self.policies(vhost),
            "permissions": self.permissions(vhost),
        })
    }

    /// One policy per bound, so that an operator changes a number instead of queues.
    fn policies(&self, vhost: &str) -> Vec<Value> {
        let queues = self.queues();
        let bound = |overflow| queues.iter().find(|each| each.overflow == overflow).and_then(|each| each.bound);
        let policy = |name: &str, pattern: &str, overflow: Overflow| {
            bound(overflow).map(|bound| {
                json!({
                    "vhost": vhost, "name": name, "pattern": pattern, "apply-to": "queues", "priority": 0,
                    "definition": {"max-length": bound, "overflow": overflow.as_str()},
                })
            })
        };
        let work = policy("clawback-bound", r"^clawback\.((purchases|sellbacks|steps)\..*|unrouted)$", Overflow::RejectPublish);
        let events = policy("clawback-events-bound", r"^clawback\.events\..*$", Overflow::DropHead);
        work.into_iter().chain(events).collect()
    }

    fn permissions(&self, vhost: &str) -> Vec<Value> {
        let permission = |each: &super::PartnerTopology| {
            let read = match each.event_queue {
                true => exactly(&event_queue(&each.partner)),
                false => "^$".to_owned(),
            };
            json!({
                "user": each.partner.as_str(), "vhost": vhost, "configure": "^$",
                "write": exactly(&commands(&each.partner)), "read": read,
            })
        };
        self.partners.iter().map(permission).collect()
    }
}

/// A permission's pattern matches anywhere in a name unless it is anchored; of the characters a name has only the dot is special.
fn exactly(name: &str) -> String {
    format!("^{}$", name.replace('.', r"\."))
}

fn exchange(vhost: &str, exchange: &Exchange) -> Value {
    let arguments = exchange.alternate.iter().map(|name| ("alternate-exchange".to_owned(), json!(name))).collect::<Map<_, _>>();
    json!({
        "name": exchange.name, "vhost": vhost, "type": exchange.kind.as_str(), "durable": true, "auto_delete": false,
        "internal": false, "arguments": arguments,
    })
}

fn queue(vhost: &str, queue: &Queue) -> Value {
    let value = |argument| match argument {
        Argument::Text(text) => json!(text),
        Argument::Number(number) => json!(number),
    };
    let arguments = queue.arguments().into_iter().map(|(name, argument)| (name.to_owned(), value(argument)));
    json!({
        "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
        "arguments": arguments.collect::<Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::topology;

    #[test]
    fn a_partner_may_write_to_its_own_exchange_and_read_its_own_events_and_nothing_else() {
        let permissions = topology(true).definitions("/")["permissions"][0].clone();
        assert_eq!(permissions["user"], "acme");
        assert_eq!(permissions["configure"], "^$");
        assert_eq!(permissions["write"], r"^clawback\.commands\.acme$");
        assert_eq!(permissions["read"], r"^clawback\.events\.acme$");
        assert_eq!(topology(false).definitions("/")["permissions"][0]["read"], "^$");
    }

    #[test]
    fn queues_that_must_not_lose_refuse_and_those_the_store_backs_drop_their_head() {
        let definitions = topology(true).definitions("/");
        let overflow = |name: &str| {
            let queues = definitions["queues"].as_array().unwrap();
            queues.iter().find(|each| each["name"] == name).unwrap()["arguments"]["x-overflow"].clone()
        };
        for name in ["clawback.purchases.acme", "clawback.sellbacks.acme", "clawback.steps.acme", "clawback.unrouted"] {
            assert_eq!(overflow(name), "reject-publish", "{name}");
        }
        assert_eq!(overflow("clawback.events.acme"), "drop-head");
        let policies = definitions["policies"].as_array().unwrap();
        assert_eq!(policies.len(), 2);
        assert!(policies.iter().all(|each| each["definition"]["max-length"].as_u64() > Some(0)));
    }

    #[test]
    fn a_command_exchange_sends_what_nobody_wants_to_the_unrouted_queue() {
        let definitions = topology(true).definitions("/");
        let exchanges = definitions["exchanges"].as_array().unwrap();
        let commands = exchanges.iter().find(|each| each["name"] == "clawback.commands.acme").unwrap();
        assert_eq!(commands["arguments"]["alternate-exchange"], "clawback.unrouted");
    }
}
