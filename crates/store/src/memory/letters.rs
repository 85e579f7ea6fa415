//! What people deal with: dead letters and pauses.

use std::collections::BTreeMap;

use clawback_domain::{
    DeadLetterId, PartnerId, Time,
    event::Event,
    pause::{Pause, PauseScope},
};

use super::{Committed, Tables, rules, text};
use crate::{DeadLetter, DeadLetterState, StoreError};

#[derive(Default)]
pub(super) struct Desk {
    letters: BTreeMap<DeadLetterId, DeadLetter>,
    settled: BTreeMap<DeadLetterId, Time>,
    pauses: BTreeMap<PauseScope, Pause>,
}

impl Tables {
    pub(super) fn bury(&mut self, letter: DeadLetter, event: Event) -> Result<bool, StoreError> {
        text::check_letter(&letter)?;
        text::check_event(&event)?;
        if self.desk.letters.contains_key(&letter.id) {
            return Ok(false);
        }
        rules::new_event(&event, &self.log)?;
        self.log.append(event.clone());
        self.desk.letters.insert(letter.id, letter.clone());
        self.commits.push(Committed::Buried { letter, event });
        Ok(true)
    }
}

impl Desk {
    pub(super) fn letter(&self, id: DeadLetterId) -> Option<&DeadLetter> {
        self.letters.get(&id)
    }

    pub(super) fn letters(&self, partner: Option<&PartnerId>, limit: u32) -> Vec<DeadLetter> {
        let mut letters: Vec<_> =
            self.letters.values().filter(|letter| partner.is_none_or(|partner| *partner == letter.partner)).collect();
        letters.sort_by_key(|letter| std::cmp::Reverse((letter.received_at, letter.id)));
        letters.into_iter().take(limit as usize).cloned().collect()
    }

    pub(super) fn all_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.values()
    }

    /// When it was redriven or discarded; `None` while it is kept.
    pub(super) fn settled_at(&self, id: DeadLetterId) -> Option<Time> {
        self.settled.get(&id).copied()
    }

    pub(super) fn remove(&mut self, id: DeadLetterId) {
        self.letters.remove(&id);
        self.settled.remove(&id);
    }

    pub(super) fn settle(&mut self, id: DeadLetterId, state: DeadLetterState, by: &str, at: Time) -> Result<bool, StoreError> {
        text::check(by)?;
        let kept = self.letters.get_mut(&id).filter(|letter| letter.state == DeadLetterState::Kept);
        let Some(letter) = kept else { return Ok(false) };
        letter.state = state;
        letter.settled_by = Some(by.into());
        self.settled.insert(id, at);
        Ok(true)
    }

    pub(super) fn pauses(&self) -> Vec<Pause> {
        self.pauses.values().cloned().collect()
    }

    pub(super) fn pause(&mut self, pause: Pause) -> Result<bool, StoreError> {
        text::check_pause(&pause)?;
        let new = !self.pauses.contains_key(&pause.scope);
        if new {
            self.pauses.insert(pause.scope.clone(), pause);
        }
        Ok(new)
    }

    pub(super) fn resume(&mut self, scope: &PauseScope) -> bool {
        self.pauses.remove(scope).is_some()
    }
}
