//! Writes to purchases: each checks everything first and then writes everything, so that a refused write leaves no trace.

use std::time::Duration;

use clawback_domain::{
    PartnerId, Time,
    change::{Change, Insertion},
    clock::after,
    pause::{CommandKind, PauseScope},
    poll::next_nudge,
    purchase::{Purchase, State},
    reason::WaitCode,
};

use super::{Committed, Tables, rules, text};
use crate::{Applied, Due, Inserted, StoreError};

impl Tables {
    pub(super) fn insert(&mut self, insertion: Insertion) -> Result<Inserted, StoreError> {
        text::check_insertion(&insertion)?;
        let Insertion { purchase, attempt, entries } = insertion;
        if let Some(taken) = self.shelf.by_request(&purchase.partner, &purchase.command.request_id) {
            return Ok(Inserted::Exists(Box::new(taken.clone())));
        }
        rules::due(&purchase)?;
        rules::entries(&purchase, &entries)?;
        rules::attempt(&purchase, attempt.as_ref(), &self.attempts)?;
        if let Some(attempt) = attempt {
            self.attempts.begin(purchase.id, attempt);
        }
        self.shelf.put(purchase.clone());
        self.shelf.tell(entries);
        self.commits.push(Committed::Purchase { before: None, after: purchase, attempt, pulls: Vec::new(), event: None });
        Ok(Inserted::New)
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<Applied, StoreError> {
        text::check_change(&change)?;
        let Change { after, attempt, fact, pulls, event, entry, ruling } = change;
        let fitting = self.shelf.get(after.id).filter(|row| row.version + 1 == after.version).cloned();
        let upheld = ruling.is_none_or(|ruling| self.cases.fits(&after, ruling));
        let Some(before) = fitting.filter(|_| upheld) else {
            fact.into_iter().for_each(|fact| self.write_fact(fact));
            return Ok(Applied::Lost);
        };
        rules::transition(&before, &after)?;
        rules::due(&after)?;
        rules::entries(&after, entry.as_slice())?;
        rules::attempt(&after, attempt.as_ref(), &self.attempts)?;
        rules::pulls(&after, &pulls, &self.shelf)?;
        rules::event(&before, &after, event.as_ref(), &self.log)?;

        fact.into_iter().for_each(|fact| self.write_fact(fact));
        ruling.into_iter().for_each(|ruling| self.cases.rule(&after, ruling));
        if let Some(attempt) = attempt {
            self.attempts.begin(after.id, attempt);
        }
        self.shelf.put(after.clone());
        self.shelf.tell(entry);
        self.shelf.draw(pulls.clone());
        event.clone().into_iter().for_each(|event| self.log.append(event));
        self.commits.push(Committed::Purchase { before: Some(before), after, attempt, pulls, event });
        Ok(Applied::Committed)
    }

    pub(super) fn claim_due(&mut self, now: Time, limit: u32, except: &[PartnerId]) -> Vec<Due> {
        let claimed: Vec<_> =
            self.shelf.due(now).filter(|purchase| !except.contains(&purchase.partner)).take(limit as usize).cloned().collect();
        let claim = |before: Purchase| {
            let mut after = before.clone();
            after.due_at = Some(next_look(&before, now));
            after.nudges += 1;
            after.version += 1;
            let due = Due { partner: after.partner.clone(), purchase: after.id, version: after.version };
            self.replace(before, after);
            due
        };
        claimed.into_iter().map(claim).collect()
    }

    pub(super) fn lift(&mut self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate: u32) -> u64 {
        let held: Vec<_> = self.shelf.waiting().filter(|purchase| held_by(purchase, scope, codes)).cloned().collect();
        let count = held.len() as u64;
        for (place, before) in held.into_iter().enumerate() {
            let slot = after(now, Duration::from_secs(1).mul_f64(place as f64 / f64::from(rate.max(1))));
            let mut after = before.clone();
            after.due_at = before.due_at.map(|due| due.min(slot));
            after.version += 1;
            self.replace(before, after);
        }
        count
    }

    /// A write without anything beside the row.
    fn replace(&mut self, before: Purchase, after: Purchase) {
        self.shelf.put(after.clone());
        self.commits.push(Committed::Purchase { before: Some(before), after, attempt: None, pulls: Vec::new(), event: None });
    }
}

/// Where a claim moves `due_at`: not past `not_after`, for then the row must change by itself.
fn next_look(purchase: &Purchase, now: Time) -> Time {
    let next = after(now, next_nudge(purchase.nudges));
    match (&purchase.state, purchase.command.not_after) {
        (State::Accepted { .. }, Some(end)) if end > now => next.min(end),
        _ => next,
    }
}

fn held_by(purchase: &Purchase, scope: &PauseScope, codes: &[WaitCode]) -> bool {
    let State::Accepted { waiting: Some(waiting) } = &purchase.state else { return false };
    codes.contains(&waiting.code)
        && scope.kind != Some(CommandKind::Sellback)
        && scope.partner.as_ref().is_none_or(|partner| *partner == purchase.partner)
        && scope.pack.as_ref().is_none_or(|pack| *pack == purchase.command.pack_id)
}
