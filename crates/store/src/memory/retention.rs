//! What is removed by age.

use std::sync::Arc;

use async_trait::async_trait;
use clawback_domain::{
    DeadLetterId, EventId, OrderId, Time,
    command::{PurchaseCommand, SellbackCommand},
    event::EventType,
    item::Pull,
    order::AnyOrder,
    purchase::{self, Fulfilled},
    sellback::{self, Sold},
    trace::TraceContext,
};
use uuid::Uuid;

use super::{Memory, Tables, listing::Extent};
use crate::{Page, Place, Prunable, Prune, Pruned, StoreError, StoredEvent};

impl Tables {
    fn prune(&mut self, what: Prunable, before: Time, page: Page) -> Pruned {
        let mut found = self.found(what, before);
        found.retain(|place| page.after.is_none_or(|after| *place > after));
        found.sort_unstable();
        found.truncate(page.limit as usize);
        let next = found.last().copied().filter(|_| found.len() == page.limit as usize);
        found.retain(|(_, id)| self.is_done_with(what, before, *id));
        found.iter().for_each(|(_, id)| self.remove(what, *id));
        Pruned { removed: found.len() as u64, next }
    }

    /// As if all kinds before it had been pruned.
    fn prunable(&self, what: Prunable, before: Time) -> u64 {
        let found = match what {
            Prunable::Orders => [self.found(Prunable::Timelines, before), self.found(what, before)].concat(),
            Prunable::Events | Prunable::DeadLetters | Prunable::Timelines | Prunable::Pulls => self.found(what, before),
        };
        let counts = |id| match what {
            Prunable::DeadLetters => self.desk.settled_at(DeadLetterId(id)).is_some_and(|at| at < before),
            Prunable::Pulls => true,
            Prunable::Events | Prunable::Timelines | Prunable::Orders => self.is_done_with(what, before, id),
        };
        found.into_iter().filter(|(_, id)| counts(*id)).count() as u64
    }

    /// Everything of its kind that is old enough by what it is found by.
    fn found(&self, what: Prunable, before: Time) -> Vec<Place> {
        let mut found: Vec<Place> = match what {
            Prunable::Events => {
                let passing = self.log.all().filter(|row| is_of_no_order(row.event.kind));
                passing.map(|row| (row.event.time, row.event.id.0)).collect()
            }
            Prunable::DeadLetters => self.desk.all_letters().map(|letter| (letter.received_at, letter.id.0)).collect(),
            Prunable::Timelines => self.ended(Extent::Whole),
            Prunable::Orders => self.ended(Extent::WithoutTimeline),
            Prunable::Pulls => self.shelf.all_pulls().filter_map(|pull| Some((pull.sale?.at, pull.id.0))).collect(),
        };
        found.retain(|(at, _)| *at < before);
        found
    }

    fn ended(&self, extent: Extent) -> Vec<Place> {
        let ended = self.shelf.all().filter(|order| order.state().is_final() && self.shelf.extent(order.id()) == extent);
        ended.map(|order| (order.created_at(), order.id().0)).collect()
    }

    fn is_done_with(&self, what: Prunable, before: Time, id: Uuid) -> bool {
        let ended = || self.shelf.get(OrderId(id)).is_some_and(|order| order.updated_at() < before);
        match what {
            Prunable::Events => self.log.get(EventId(id)).is_some_and(|row| self.is_past(row) && self.may_go(row)),
            Prunable::DeadLetters => {
                self.desk.settled_at(DeadLetterId(id)).is_some_and(|at| at < before) && self.log.of(id).next().is_none()
            }
            Prunable::Timelines => ended(),
            Prunable::Orders => ended() && self.log.of(id).all(|row| self.is_past(row)),
            Prunable::Pulls => self.sold(id).all(|pull| self.shelf.extent(pull.purchase) == Extent::Tombstone),
        }
    }

    fn is_past(&self, row: &StoredEvent) -> bool {
        row.sent_at.is_some() && self.hooks.are_past(row)
    }

    fn may_go(&self, row: &StoredEvent) -> bool {
        let is_last = || self.log.last(row.event.subject).is_some_and(|last| last.event.id == row.event.id);
        row.event.kind == EventType::CommandRejected || !is_last()
    }

    fn sold(&self, id: Uuid) -> impl Iterator<Item = &Pull> {
        self.shelf.all_pulls().filter(move |pull| pull.id.0 == id && pull.sale.is_some())
    }

    fn remove(&mut self, what: Prunable, id: Uuid) {
        match what {
            Prunable::Events => self.remove_event(EventId(id)),
            Prunable::DeadLetters => self.desk.remove(DeadLetterId(id)),
            Prunable::Timelines => self.shelf.prune_timeline(OrderId(id)),
            Prunable::Orders => {
                let events: Vec<_> = self.log.of(id).map(|row| row.event.id).collect();
                events.into_iter().for_each(|event| self.remove_event(event));
                self.attempts.forget(OrderId(id));
                let order = self.shelf.get(OrderId(id)).cloned().expect("an order is never removed");
                self.shelf.bury(bare(order));
            }
            Prunable::Pulls => {
                let sold: Vec<_> = self.sold(id).cloned().collect();
                for pull in &sold {
                    self.shelf.give_up(pull);
                    self.people.forget(pull);
                }
            }
        }
    }

    fn remove_event(&mut self, id: EventId) {
        if let Some(row) = self.log.remove(id) {
            self.hooks.forget(row.position);
        }
    }
}

/// Kinds that no order's row stands behind.
fn is_of_no_order(kind: EventType) -> bool {
    match kind {
        EventType::CommandRejected | EventType::BuybackExpiring | EventType::BuybackExpired => true,
        EventType::PurchaseFulfilled
        | EventType::PurchaseFailed
        | EventType::PurchaseReview
        | EventType::SellbackCompleted
        | EventType::SellbackFailed
        | EventType::SellbackReview => false,
    }
}

/// A final order without what is only kept for a while. Its digest is still that of what the partner gave.
fn bare(order: AnyOrder) -> AnyOrder {
    match order {
        AnyOrder::Purchase(mut row) => {
            row.command = Arc::new(PurchaseCommand { metadata: None, ..(*row.command).clone() });
            row.trace = without_state(&row.trace);
            row.state = match row.state {
                purchase::State::Fulfilled(fulfilled) => purchase::State::Fulfilled(Fulfilled { evidence: None, ..fulfilled }),
                purchase::State::Failed { failure, session, .. } => {
                    purchase::State::Failed { failure, session, evidence: None }
                }
                open @ (purchase::State::Accepted { .. }
                | purchase::State::Initiating(_)
                | purchase::State::Pending(_)
                | purchase::State::Reconciling(_)
                | purchase::State::Review(_)) => open,
            };
            row.into()
        }
        AnyOrder::Sellback(mut row) => {
            row.command = Arc::new(SellbackCommand { metadata: None, ..(*row.command).clone() });
            row.trace = without_state(&row.trace);
            row.state = match row.state {
                sellback::State::Sold(sold) => sellback::State::Sold(Sold { evidence: None, ..sold }),
                sellback::State::Failed { failure, .. } => sellback::State::Failed { failure, evidence: None },
                open @ (sellback::State::Accepted { .. }
                | sellback::State::Selling(_)
                | sellback::State::Reconciling(_)
                | sellback::State::Review(_)) => open,
            };
            row.into()
        }
    }
}

fn without_state(trace: &TraceContext) -> TraceContext {
    TraceContext::parse(trace.traceparent(), None).expect("it was read before")
}

#[async_trait]
impl Prune for Memory {
    async fn prune(&self, what: Prunable, before: Time, page: Page) -> Result<Pruned, StoreError> {
        Ok(self.commit(|tables| tables.prune(what, before, page)))
    }

    async fn prunable(&self, what: Prunable, before: Time) -> Result<u64, StoreError> {
        Ok(self.read(|tables| tables.prunable(what, before)))
    }
}
