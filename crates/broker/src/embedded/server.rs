//! The broker behind all connections: exchanges, queues, bindings, and the way of a message through them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Notify;

use super::queue::{ConsumerId, LiveQueue, Subscription, Taken};
use crate::{
    BrokerError, Message, Mismatch, PublishError, QueueState, Routing, Settlement, Topology,
    topology::{Binding, Exchange, ExchangeKind, Queue},
};

pub(super) struct Server {
    bound: usize,
    exchanges: BTreeMap<String, Exchange>,
    queues: BTreeMap<String, LiveQueue>,
    /// By exchange.
    bindings: BTreeMap<String, Vec<Binding>>,
    /// Consumers of queues that were deleted: they wait for the queue to be declared again.
    orphans: BTreeMap<String, BTreeMap<ConsumerId, Subscription>>,
    last_consumer: ConsumerId,
    last_connection: u64,
}

impl Server {
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            exchanges: BTreeMap::new(),
            queues: BTreeMap::new(),
            bindings: BTreeMap::new(),
            orphans: BTreeMap::new(),
            last_consumer: 0,
            last_connection: 0,
        }
    }

    pub fn next_connection(&mut self) -> u64 {
        self.last_connection += 1;
        self.last_connection
    }

    pub fn declare(&mut self, topology: &Topology) -> Result<(), BrokerError> {
        for exchange in topology.exchanges() {
            match self.exchanges.get(&exchange.name) {
                Some(there) if *there != exchange => return Err(other("exchange", &exchange.name)),
                Some(_) => {}
                None => drop(self.exchanges.insert(exchange.name.clone(), exchange)),
            }
        }
        topology.queues().iter().try_for_each(|queue| self.declare_queue(queue))?;
        for binding in topology.bindings() {
            let bound = self.bindings.entry(binding.exchange.clone()).or_default();
            if !bound.contains(&binding) {
                bound.push(binding);
            }
        }
        Ok(())
    }

    pub fn declare_queue(&mut self, queue: &Queue) -> Result<(), BrokerError> {
        match self.queues.get(&queue.name) {
            Some(there) if there.declared != *queue => return Err(other("queue", &queue.name)),
            Some(_) => return Ok(()),
            None => {}
        }
        let mut live = LiveQueue::new(queue.clone(), self.bound);
        live.adopt(self.orphans.remove(&queue.name).unwrap_or_default());
        self.queues.insert(queue.name.clone(), live);
        Ok(())
    }

    pub fn delete_queue(&mut self, name: &str) {
        for bindings in self.bindings.values_mut() {
            bindings.retain(|each| each.queue != name);
        }
        if let Some(mut queue) = self.queues.remove(name) {
            self.orphans.insert(name.to_owned(), queue.take_consumers());
        }
    }

    pub fn check(&self, topology: &Topology) -> Vec<Mismatch> {
        let mut found = Vec::new();
        for exchange in topology.exchanges() {
            match self.exchanges.get(&exchange.name) {
                None => found.push(Mismatch(format!("exchange {} is missing", exchange.name))),
                Some(there) if *there != exchange => found.push(Mismatch(format!("exchange {} is another", exchange.name))),
                Some(_) => {}
            }
        }
        for queue in topology.queues() {
            match self.queues.get(&queue.name) {
                None => found.push(Mismatch(format!("queue {} is missing", queue.name))),
                Some(there) if there.declared != queue => found.push(Mismatch(format!("queue {} is another", queue.name))),
                Some(_) => {}
            }
        }
        found
    }

    /// All queues take it or none does: a refused message is surely nowhere.
    pub fn publish(&mut self, message: Message) -> Result<Routing, PublishError> {
        let mut names = self.route(&message)?;
        names.sort();
        names.dedup();
        if names.iter().any(|name| self.queues.get(name).is_some_and(LiveQueue::refuses)) {
            return Err(PublishError::Refused);
        }
        let message = Arc::new(message);
        let mut routing = Routing::Unrouted;
        for name in names {
            if let Some(queue) = self.queues.get_mut(&name) {
                queue.push(message.clone());
                routing = Routing::Routed;
            }
        }
        Ok(routing)
    }

    pub fn consume(&mut self, queue: &str, prefetch: u16, connection: u64) -> Result<(ConsumerId, Arc<Notify>), BrokerError> {
        let live = self.queues.get_mut(queue).ok_or_else(|| BrokerError::NoQueue(queue.to_owned()))?;
        self.last_consumer += 1;
        let arrived = Arc::new(Notify::new());
        live.subscribe(self.last_consumer, connection, prefetch, arrived.clone());
        Ok((self.last_consumer, arrived))
    }

    pub fn queue_state(&self, queue: &str) -> Result<QueueState, BrokerError> {
        self.queues.get(queue).map(LiveQueue::state).ok_or_else(|| BrokerError::NoQueue(queue.to_owned()))
    }

    /// The next delivery for this consumer. One whose queue is gone waits for its return.
    pub fn take(&mut self, queue: &str, id: ConsumerId) -> Taken {
        if self.orphan(queue, id).is_some() {
            return Taken::Nothing;
        }
        self.queues.get_mut(queue).map_or(Taken::Ended, |queue| queue.take(id))
    }

    /// `false`: the delivery went back, or its queue is gone.
    pub fn settle(&mut self, queue: &str, id: ConsumerId, tag: u64, settlement: Settlement) -> bool {
        self.queues.get_mut(queue).is_some_and(|queue| match settlement {
            Settlement::Ack => queue.ack(id, tag),
            Settlement::Requeue => queue.requeue(id, tag),
        })
    }

    /// A delivery's handle is gone, settled or not.
    pub fn release(&mut self, queue: &str, id: ConsumerId) {
        match self.queues.get_mut(queue) {
            Some(queue) => queue.release(id),
            None => {
                if let Some(consumer) = self.orphan(queue, id) {
                    consumer.release();
                }
            }
        }
    }

    pub fn cancel(&mut self, queue: &str, id: ConsumerId) {
        match self.queues.get_mut(queue) {
            Some(queue) => queue.cancel(id),
            None => self.forget(queue, id),
        }
    }

    pub fn drop_consumer(&mut self, queue: &str, id: ConsumerId) {
        match self.queues.get_mut(queue) {
            Some(queue) => queue.drop_consumer(id),
            None => self.forget(queue, id),
        }
    }

    fn orphan(&mut self, queue: &str, id: ConsumerId) -> Option<&mut Subscription> {
        self.orphans.get_mut(queue)?.get_mut(&id)
    }

    fn forget(&mut self, queue: &str, id: ConsumerId) {
        if let Some(consumers) = self.orphans.get_mut(queue) {
            consumers.remove(&id);
        }
    }

    pub fn interrupt(&mut self) {
        for queue in self.queues.values_mut() {
            queue.break_channels(|_| true, false);
        }
    }

    pub fn end_connection(&mut self, connection: u64) {
        for queue in self.queues.values_mut() {
            queue.break_channels(|each| each.connection == connection, true);
        }
        for consumers in self.orphans.values_mut() {
            consumers.retain(|_, each| !each.ends_with(connection));
        }
    }

    fn route(&self, message: &Message) -> Result<Vec<String>, PublishError> {
        if message.exchange.is_empty() {
            return Ok(vec![message.routing_key.clone()]);
        }
        let exchange =
            self.exchanges.get(&message.exchange).ok_or_else(|| PublishError::NoExchange(message.exchange.clone()))?;
        let names = self.bound_to(exchange, &message.routing_key);
        let alternate = exchange.alternate.as_ref().and_then(|name| self.exchanges.get(name));
        match alternate {
            Some(alternate) if names.is_empty() => Ok(self.bound_to(alternate, &message.routing_key)),
            _ => Ok(names),
        }
    }

    fn bound_to(&self, exchange: &Exchange, routing_key: &str) -> Vec<String> {
        let bindings = self.bindings.get(&exchange.name).map(Vec::as_slice).unwrap_or_default();
        let wants = |binding: &&Binding| match exchange.kind {
            ExchangeKind::Direct => binding.routing_key == routing_key,
            ExchangeKind::Fanout => true,
            ExchangeKind::Topic => topic_matches(&binding.routing_key, routing_key),
        };
        bindings.iter().filter(wants).map(|each| each.queue.clone()).collect()
    }
}

fn other(kind: &str, name: &str) -> BrokerError {
    BrokerError::Refused(format!("{kind} {name} exists with other arguments"))
}

/// `*` is exactly one word, `#` any number of them.
fn topic_matches(pattern: &str, key: &str) -> bool {
    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => matches(rest, key) || (!key.is_empty() && matches(pattern, &key[1..])),
            ([word, pattern @ ..], [first, key @ ..]) => (*word == "*" || word == first) && matches(pattern, key),
            (_, _) => false,
        }
    }
    matches(&pattern.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_word_by_word() {
        let check = |pattern, key, expected| assert_eq!(topic_matches(pattern, key), expected, "{pattern} {key}");
        check("acme.#", "acme.purchase.fulfilled", true);
        check("acme.#", "acme", true);
        check("acme.#", "acme-two.purchase", false);
        check("acme.*", "acme.purchase.fulfilled", false);
        check("acme.*.fulfilled", "acme.purchase.fulfilled", true);
        check("#.fulfilled", "acme.purchase.fulfilled", true);
        check("#", "", true);
        check("*", "a.b", false);
    }
}
