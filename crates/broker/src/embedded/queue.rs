//! One queue: what is ready, who consumes it, and what each of them holds unacked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::{
    Message, QueueState,
    topology::{Overflow, Queue},
};

pub(super) type ConsumerId = u64;

/// A message in a queue.
#[derive(Clone)]
pub(super) struct Stored {
    pub message: Arc<Message>,
    pub redelivered: bool,
}

pub(super) struct LiveQueue {
    pub declared: Queue,
    bound: usize,
    ready: VecDeque<Stored>,
    consumers: BTreeMap<ConsumerId, Subscription>,
    /// The consumer served last: the next in turn comes after it.
    served: ConsumerId,
}

/// A consumer's channel.
pub(super) struct Subscription {
    pub connection: u64,
    prefetch: usize,
    /// Deliveries on their way to the consumer or in its hands, by tag. Tags only rise.
    unacked: BTreeMap<u64, Stored>,
    /// Tags that were not taken by `next` yet.
    inbox: VecDeque<u64>,
    next_tag: u64,
    /// Handles the consumer still holds, settled or not.
    held: usize,
    /// Wants no more: cancelled, dropped, or its connection was closed.
    ended: bool,
    /// The consumer itself is gone; its channel lives until nothing of it is held.
    dropped: bool,
    arrived: Arc<Notify>,
}

pub(super) enum Taken {
    Delivery(u64, Stored),
    Nothing,
    Ended,
}

impl LiveQueue {
    pub fn new(declared: Queue, limit: usize) -> Self {
        let bound = declared.bound.map_or(limit, |bound| limit.min(usize::try_from(bound).unwrap_or(usize::MAX)));
        Self { declared, bound, ready: VecDeque::new(), consumers: BTreeMap::new(), served: 0 }
    }

    pub fn refuses(&self) -> bool {
        self.declared.overflow == Overflow::RejectPublish && self.ready.len() >= self.bound
    }

    pub fn push(&mut self, message: Arc<Message>) {
        if self.declared.overflow == Overflow::DropHead && self.ready.len() >= self.bound {
            self.ready.pop_front();
        }
        self.ready.push_back(Stored { message, redelivered: false });
        self.dispatch();
    }

    pub fn state(&self) -> QueueState {
        let consumers = self.consumers.values().filter(|each| !each.ended).count();
        QueueState { ready: self.ready.len() as u64, consumers: consumers as u32 }
    }

    pub fn subscribe(&mut self, id: ConsumerId, connection: u64, prefetch: u16, arrived: Arc<Notify>) {
        let subscription = Subscription {
            connection,
            prefetch: usize::from(prefetch.max(1)),
            unacked: BTreeMap::new(),
            inbox: VecDeque::new(),
            next_tag: 0,
            held: 0,
            ended: false,
            dropped: false,
            arrived,
        };
        self.consumers.insert(id, subscription);
        self.dispatch();
    }

    pub fn take(&mut self, id: ConsumerId) -> Taken {
        let Some(consumer) = self.consumers.get_mut(&id) else { return Taken::Ended };
        if let Some(tag) = consumer.inbox.pop_front() {
            consumer.held += 1;
            return Taken::Delivery(tag, consumer.unacked[&tag].clone());
        }
        if consumer.ended { Taken::Ended } else { Taken::Nothing }
    }

    /// `false`: the delivery has gone back already.
    pub fn ack(&mut self, id: ConsumerId, tag: u64) -> bool {
        let acked = self.consumers.get_mut(&id).is_some_and(|each| each.unacked.remove(&tag).is_some());
        self.dispatch();
        acked
    }

    pub fn requeue(&mut self, id: ConsumerId, tag: u64) -> bool {
        let stored = self.consumers.get_mut(&id).and_then(|each| each.unacked.remove(&tag));
        let requeued = stored.is_some();
        self.give_back(stored);
        self.dispatch();
        requeued
    }

    pub fn cancel(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.ended = true;
            consumer.arrived.notify_one();
        }
    }

    /// The consumer is gone; what it never took goes back with the rest, once nothing of it is held any more.
    pub fn drop_consumer(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.ended = true;
            consumer.dropped = true;
        }
        self.end_if_over(id);
    }

    pub fn release(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.release();
        }
        self.end_if_over(id);
    }

    /// The channels of these consumers break: everything unacked goes back. `ended` ones are over, the others get it anew.
    pub fn break_channels(&mut self, broken: impl Fn(&Subscription) -> bool, ends: bool) {
        for consumer in self.consumers.values_mut().filter(|each| broken(each)) {
            consumer.inbox.clear();
            consumer.ended |= ends;
            consumer.arrived.notify_one();
        }
        let unacked = self.consumers.values_mut().filter(|each| broken(each)).map(|each| std::mem::take(&mut each.unacked));
        let unacked: Vec<_> = unacked.flat_map(BTreeMap::into_values).collect();
        self.give_back(unacked);
        self.dispatch();
    }

    /// Whoever consumed the queue that is gone, to consume its successor.
    pub fn take_consumers(&mut self) -> BTreeMap<ConsumerId, Subscription> {
        for consumer in self.consumers.values_mut() {
            consumer.inbox.clear();
            consumer.unacked.clear();
        }
        std::mem::take(&mut self.consumers)
    }

    pub fn adopt(&mut self, consumers: BTreeMap<ConsumerId, Subscription>) {
        self.consumers.extend(consumers);
        self.dispatch();
    }

    fn end_if_over(&mut self, id: ConsumerId) {
        let over = |each: &Subscription| each.dropped && each.held == 0;
        if self.consumers.get(&id).is_some_and(over)
            && let Some(consumer) = self.consumers.remove(&id)
        {
            self.give_back(consumer.unacked.into_values());
            self.dispatch();
        }
    }

    /// To the front, in the order in which they stood.
    fn give_back(&mut self, stored: impl IntoIterator<Item = Stored, IntoIter: DoubleEndedIterator>) {
        for stored in stored.into_iter().rev() {
            self.ready.push_front(Stored { redelivered: true, ..stored });
        }
    }

    /// Hands what is ready to the consumers in turn, up to the prefetch of each.
    fn dispatch(&mut self) {
        while !self.ready.is_empty() {
            let Some(id) = self.next_in_turn() else { return };
            let (Some(consumer), Some(stored)) = (self.consumers.get_mut(&id), self.ready.pop_front()) else { return };
            consumer.next_tag += 1;
            consumer.inbox.push_back(consumer.next_tag);
            consumer.unacked.insert(consumer.next_tag, stored);
            consumer.arrived.notify_one();
            self.served = id;
        }
    }

    fn next_in_turn(&self) -> Option<ConsumerId> {
        let after = self.consumers.range(self.served + 1..);
        let before = self.consumers.range(..=self.served);
        after.chain(before).find(|(_, each)| each.wants_more()).map(|(id, _)| *id)
    }
}

impl Subscription {
    /// Whether it belongs to that connection; if so it is told to look.
    pub fn ends_with(&self, connection: u64) -> bool {
        if self.connection == connection {
            self.arrived.notify_one();
        }
        self.connection == connection
    }

    pub fn release(&mut self) {
        self.held -= 1;
    }

    fn wants_more(&self) -> bool {
        !self.ended && self.unacked.len() < self.prefetch
    }
}
