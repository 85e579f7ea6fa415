//! Events in the order of their commits, with the relay's looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use clawback_domain::{EventId, PartnerId, Time, clock::after, event::Event};
use uuid::Uuid;

use super::{Committed, Tables};
use crate::{FIRST_LOOK, Sent, StoredEvent};

#[derive(Default)]
pub(super) struct Log {
    /// By position.
    rows: BTreeMap<i64, StoredEvent>,
    /// The position given last.
    last: i64,
    ids: BTreeMap<EventId, i64>,
    /// Position by sequence.
    subjects: BTreeMap<Uuid, BTreeMap<u64, i64>>,
    /// Of unsent events only.
    unsent: BTreeMap<Uuid, BTreeSet<u64>>,
    looks: BTreeSet<(Time, i64)>,
    look_of: BTreeMap<i64, Time>,
}

impl Log {
    pub(super) fn append(&mut self, event: Event) {
        self.last += 1;
        let position = self.last;
        self.ids.insert(event.id, position);
        self.subjects.entry(event.subject).or_default().insert(event.sequence, position);
        self.unsent.entry(event.subject).or_default().insert(event.sequence);
        self.look_at(position, after(event.time, FIRST_LOOK));
        self.rows.insert(position, StoredEvent { position, event, sent_at: None, unrouted: false });
    }

    pub(super) fn has(&self, event: &Event) -> bool {
        let place = self.subjects.get(&event.subject).and_then(|sequences| sequences.get(&event.sequence));
        place.is_some() || self.ids.contains_key(&event.id)
    }

    pub(super) fn claim_unsent(&mut self, now: Time, limit: u32, again: Duration) -> Vec<StoredEvent> {
        let due = self.looks.range(..=(now, i64::MAX)).map(|(_, position)| *position);
        // The first unsent one of a subject only: so never two of one subject either.
        let mut claimed: Vec<_> = due.filter(|position| self.is_next(*position)).take(limit as usize).collect();
        for position in &claimed {
            self.look_at(*position, after(now, again));
        }
        claimed.sort_unstable();
        claimed.into_iter().map(|position| self.at(position).clone()).collect()
    }

    pub(super) fn predecessors_sent(&self, subject: Uuid, sequence: u64) -> bool {
        self.unsent.get(&subject).and_then(BTreeSet::first).is_none_or(|first| *first >= sequence)
    }

    pub(super) fn get(&self, id: EventId) -> Option<&StoredEvent> {
        self.ids.get(&id).map(|position| self.at(*position))
    }

    pub(super) fn last(&self, subject: Uuid) -> Option<&StoredEvent> {
        let (_, position) = self.subjects.get(&subject)?.last_key_value()?;
        Some(self.at(*position))
    }

    /// Of a subject, in order.
    pub(super) fn of(&self, subject: Uuid) -> impl Iterator<Item = &StoredEvent> {
        self.subjects.get(&subject).into_iter().flatten().map(|(_, position)| self.at(*position))
    }

    pub(super) fn after(&self, partner: Option<&PartnerId>, position: i64, limit: u32) -> Vec<StoredEvent> {
        let rest = self.rows.range((Bound::Excluded(position), Bound::Unbounded)).map(|(_, row)| row);
        let rest = rest.filter(|row| partner.is_none_or(|partner| *partner == row.event.partner));
        rest.take(limit as usize).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &StoredEvent> {
        self.rows.values()
    }

    pub(super) fn at(&self, position: i64) -> &StoredEvent {
        &self.rows[&position]
    }

    fn is_next(&self, position: i64) -> bool {
        let event = &self.at(position).event;
        self.predecessors_sent(event.subject, event.sequence)
    }

    fn look_at(&mut self, position: i64, look: Time) {
        if let Some(before) = self.look_of.insert(position, look) {
            self.looks.remove(&(before, position));
        }
        self.looks.insert((look, position));
    }

    /// Takes an event that is sent out of the log.
    pub(super) fn remove(&mut self, id: EventId) -> Option<StoredEvent> {
        let row = self.rows.remove(&self.ids.remove(&id)?)?;
        if let Some(sequences) = self.subjects.get_mut(&row.event.subject) {
            sequences.remove(&row.event.sequence);
            if sequences.is_empty() {
                self.subjects.remove(&row.event.subject);
            }
        }
        Some(row)
    }

    /// The first mark stands. `false` for one that is marked already, or unknown.
    fn mark(&mut self, sent: &Sent) -> bool {
        let Some(position) = self.ids.get(&sent.event).copied() else { return false };
        let Some(look) = self.look_of.remove(&position) else { return false };
        self.looks.remove(&(look, position));
        let row = self.rows.get_mut(&position).expect("what is looked at is there");
        (row.sent_at, row.unrouted) = (Some(sent.at), sent.unrouted);
        let (subject, sequence) = (row.event.subject, row.event.sequence);
        if let Some(unsent) = self.unsent.get_mut(&subject) {
            unsent.remove(&sequence);
            if unsent.is_empty() {
                self.unsent.remove(&subject);
            }
        }
        true
    }
}

impl Tables {
    pub(super) fn mark_sent(&mut self, events: &[Sent]) {
        for sent in events {
            if self.log.mark(sent) {
                self.commits.push(Committed::Sent(*sent));
            }
        }
    }
}
