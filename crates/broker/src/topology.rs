//! Exchanges, queues and bindings of the contract, as data: what [`Broker::declare`](crate::Broker::declare) declares, `topology
//! print` prints and the embedded broker routes by. Nothing else in the workspace spells a queue's arguments.

use clawback_domain::{PartnerId, pause::CommandKind};

mod definitions;
mod objects;

pub use objects::{Argument, Binding, DELIVERY_LIMIT, DeadLetter, Exchange, ExchangeKind, Overflow, Queue};

pub const STEPS: &str = "clawback.steps";
pub const DEAD: &str = "clawback.dead";
pub const EVENTS: &str = "clawback.events";
pub const UNROUTED: &str = "clawback.unrouted";

/// The exchange a partner publishes its commands to. The partner of a command is this name and nothing in the message.
pub fn commands(partner: &PartnerId) -> String {
    format!("clawback.commands.{partner}")
}

/// The partner whose command exchange this is.
pub fn partner_of_exchange(exchange: &str) -> Option<PartnerId> {
    PartnerId::new(exchange.strip_prefix("clawback.commands.")?).ok()
}

pub fn command_queue(partner: &PartnerId, kind: CommandKind) -> String {
    match kind {
        CommandKind::Purchase => format!("clawback.purchases.{partner}"),
        CommandKind::Sellback => format!("clawback.sellbacks.{partner}"),
    }
}

pub fn step_queue(partner: &PartnerId) -> String {
    format!("clawback.steps.{partner}")
}

pub fn dead_queue(partner: &PartnerId) -> String {
    format!("clawback.dead.{partner}")
}

pub fn event_queue(partner: &PartnerId) -> String {
    format!("clawback.events.{partner}")
}

/// `<partner>.<type without "clawback.">`, for example `acme.purchase.fulfilled`.
pub fn event_routing_key(partner: &PartnerId, event_type: &str) -> String {
    format!("{partner}.{}", event_type.strip_prefix("clawback.").unwrap_or(event_type))
}

/// What one installation needs: the shared exchanges and, per partner, its own exchange and queues.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    pub partners: Vec<PartnerTopology>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerTopology {
    pub partner: PartnerId,
    pub event_queue: bool,
}

const COMMAND_KINDS: [CommandKind; 2] = [CommandKind::Purchase, CommandKind::Sellback];

impl Topology {
    /// In an order in which they can be declared: an alternate exchange before those that name it.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let shared = [
            Exchange::new(UNROUTED, ExchangeKind::Fanout),
            Exchange::new(STEPS, ExchangeKind::Direct),
            Exchange::new(DEAD, ExchangeKind::Direct),
            Exchange::new(EVENTS, ExchangeKind::Topic),
        ];
        let commands = self.partners.iter().map(|each| Exchange {
            alternate: Some(UNROUTED.to_owned()),
            ..Exchange::new(&commands(&each.partner), ExchangeKind::Direct)
        });
        shared.into_iter().chain(commands).collect()
    }

    pub fn queues(&self) -> Vec<Queue> {
        std::iter::once(Queue::unrouted()).chain(self.partners.iter().flat_map(PartnerTopology::queues)).collect()
    }

    pub fn bindings(&self) -> Vec<Binding> {
        let unrouted = Binding::new(UNROUTED, "", UNROUTED);
        std::iter::once(unrouted).chain(self.partners.iter().flat_map(PartnerTopology::bindings)).collect()
    }
}

impl PartnerTopology {
    fn queues(&self) -> Vec<Queue> {
        let partner = &self.partner;
        let mut queues: Vec<Queue> =
            COMMAND_KINDS.iter().map(|kind| Queue::work(command_queue(partner, *kind), partner)).collect();
        queues.push(Queue::work(step_queue(partner), partner));
        queues.push(Queue::dead(dead_queue(partner)));
        if self.event_queue {
            queues.push(Queue::events(event_queue(partner)));
        }
        queues
    }

    fn bindings(&self) -> Vec<Binding> {
        let partner = &self.partner;
        let mut bindings: Vec<Binding> = COMMAND_KINDS
            .iter()
            .map(|kind| Binding::new(&commands(partner), kind.as_str(), &command_queue(partner, *kind)))
            .collect();
        bindings.push(Binding::new(STEPS, partner.as_str(), &step_queue(partner)));
        bindings.push(Binding::new(DEAD, partner.as_str(), &dead_queue(partner)));
        if self.event_queue {
            bindings.push(Binding::new(EVENTS, &format!("{partner}.#"), &event_queue(partner)));
        }
        bindings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn topology(event_queue: bool) -> Topology {
        Topology { partners: vec![PartnerTopology { partner: PartnerId::new("acme").unwrap(), event_queue }] }
    }

    #[test]
    fn every_binding_joins_an_exchange_and_a_queue_of_the_same_topology() {
        let topology = topology(true);
        let exchanges: Vec<_> = topology.exchanges().into_iter().map(|each| each.name).collect();
        let queues: Vec<_> = topology.queues().into_iter().map(|each| each.name).collect();
        for binding in topology.bindings() {
            assert!(exchanges.contains(&binding.exchange), "{binding:?}");
            assert!(queues.contains(&binding.queue), "{binding:?}");
        }
        assert_eq!(topology.bindings().len(), queues.len(), "each queue is bound once");
    }

    #[test]
    fn an_event_queue_exists_only_when_the_partner_asks_for_it() {
        let names = |event_queue| topology(event_queue).queues().into_iter().map(|each| each.name).collect::<Vec<_>>();
        assert!(names(true).contains(&"clawback.events.acme".to_owned()));
        assert!(!names(false).contains(&"clawback.events.acme".to_owned()));
    }

    #[test]
    fn the_partner_of_a_command_is_read_from_its_exchange() {
        let acme = PartnerId::new("acme").unwrap();
        assert_eq!(partner_of_exchange(&commands(&acme)), Some(acme));
        for other in ["", "clawback.commands.", "clawback.commands.A", "clawback.events", "clawback.commands"] {
            assert_eq!(partner_of_exchange(other), None, "{other}");
        }
    }

    #[test]
    fn an_event_routing_key_is_the_partner_and_the_type_without_our_prefix() {
        let acme = PartnerId::new("acme").unwrap();
        assert_eq!(event_routing_key(&acme, "clawback.purchase.fulfilled"), "acme.purchase.fulfilled");
    }
}
