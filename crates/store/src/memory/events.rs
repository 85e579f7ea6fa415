//! Events in the order of their commits, with the relay's looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_domain::{EventId, PartnerId, Time, clock::after, event::Event};
use uuid::Uuid;

use super::{Committed, Tables};
use crate::{FIRST_LOOK, Sent, StoredEvent};

#[derive(Default)]
pub(super) struct Log {
    /// The event at position `n` stands at `n - 1`.
    rows: Vec<StoredEvent>,
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
        let position = self.rows.len() as i64 + 1;
        self.ids.insert(event.id, position);
        self.subjects.entry(event.subject).or_default().insert(event.sequence, position);
        self.unsent.entry(event.subject).or_default().insert(event.sequence);
        self.look_at(position, after(event.time, FIRST_LOOK));
        self.rows.push(StoredEvent { position, event, sent_at: None, unrouted: false });
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
        let rest = self.rows.iter().skip(position.max(0) as usize);
        let rest = rest.filter(|row| partner.is_none_or(|partner| *partner == row.event.partner));
        rest.take(limit as usize).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &StoredEvent> {
        self.rows.iter()
    }

    pub(super) fn at(&self, position: i64) -> &StoredEvent {
        &self.rows[position as usize - 1]
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

    /// The first mark stands. `false` for one that is marked already, or unknown.
    fn mark(&mut self, sent: &Sent) -> bool {
        let Some(position) = self.ids.get(&sent.event).copied() else { return false };
        let Some(look) = self.look_of.remove(&position) else { return false };
        self.looks.remove(&(look, position));
        let row = &mut self.rows[position as usize - 1];
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
