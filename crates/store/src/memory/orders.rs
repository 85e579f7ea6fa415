//! Writes to orders: each checks everything first and then writes everything, so that a refused write leaves no trace.

use std::time::Duration;

use clawback_domain::{
    PartnerId, Time,
    change::{Change, Insertion},
    clock::after,
    item::PullSale,
    order::{AnyOrder, StateName},
    pause::PauseScope,
    poll::next_nudge,
    reason::WaitCode,
};

use super::{Committed, Tables, rules, text};
use crate::{Applied, Due, Inserted, StoreError};

impl Tables {
    pub(super) fn insert(&mut self, insertion: Insertion) -> Result<Inserted, StoreError> {
        text::check_insertion(&insertion)?;
        let Insertion { order, attempt, entries } = insertion;
        if let Some(taken) = self.shelf.by_request(order.partner(), order.request_id()) {
            return Ok(Inserted::Exists(Box::new(taken.clone())));
        }
        rules::due(&order)?;
        rules::selling(&order, &self.shelf)?;
        rules::entries(&order, &entries)?;
        rules::attempt(&order, attempt.as_ref(), &self.attempts)?;
        if let Some(attempt) = attempt {
            self.attempts.begin(order.id(), attempt);
        }
        self.shelf.put(order.clone());
        self.shelf.tell(entries);
        self.commits.push(Committed::Order { before: None, after: order, attempt, pulls: Vec::new(), event: None });
        Ok(Inserted::New)
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<Applied, StoreError> {
        text::check_change(&change)?;
        let sold = change.sold();
        let Change { after, attempt, fact, pulls, event, entry, ruling } = change;
        let fitting = self.shelf.get(after.id()).filter(|row| row.version() + 1 == after.version()).cloned();
        let upheld = ruling.is_none_or(|ruling| self.cases.fits(&after, ruling));
        let Some(before) = fitting.filter(|_| upheld) else {
            fact.into_iter().for_each(|fact| self.write_fact(fact));
            return Ok(Applied::Lost);
        };
        rules::transition(&before, &after)?;
        rules::due(&after)?;
        rules::selling(&after, &self.shelf)?;
        rules::entries(&after, entry.as_slice())?;
        rules::attempt(&after, attempt.as_ref(), &self.attempts)?;
        rules::pulls(&after, &pulls, &self.shelf)?;
        rules::event(&before, &after, event.as_ref(), &self.log)?;

        fact.into_iter().for_each(|fact| self.write_fact(fact));
        ruling.into_iter().for_each(|ruling| self.cases.rule(&after, ruling));
        if let Some(attempt) = attempt {
            self.attempts.begin(after.id(), attempt);
        }
        self.shelf.put(after.clone());
        self.shelf.tell(entry);
        self.shelf.draw(pulls.clone());
        if !pulls.is_empty() {
            self.people.wish(after.partner(), after.user_id(), after.updated_at());
        }
        let given_away = sold.and_then(|place| self.shelf.pull_mut(place.purchase, place.position));
        if let Some(pull) = given_away.filter(|pull| (&pull.partner, &pull.user_id) == (after.partner(), after.user_id())) {
            pull.sale = pull.sale.or(Some(PullSale { by: after.id(), at: after.updated_at() }));
        }
        event.clone().into_iter().for_each(|event| self.log.append(event));
        self.commits.push(Committed::Order { before: Some(before), after, attempt, pulls, event });
        Ok(Applied::Committed)
    }

    pub(super) fn claim_due(&mut self, now: Time, limit: u32, except: &[PartnerId]) -> Vec<Due> {
        let claimed: Vec<_> =
            self.shelf.due(now).filter(|order| !except.contains(order.partner())).take(limit as usize).cloned().collect();
        let claim = |before: AnyOrder| {
            let (due_at, nudges) = (next_look(&before, now), before.nudges() + 1);
            let after = before.clone().moved(due_at, nudges);
            let due = Due { partner: after.partner().clone(), order: after.id(), version: after.version() };
            self.replace(before, after);
            due
        };
        claimed.into_iter().map(claim).collect()
    }

    pub(super) fn lift(&mut self, scope: &PauseScope, codes: &[WaitCode], now: Time, rate: u32) -> u64 {
        let held: Vec<_> = self.shelf.waiting().filter(|order| held_by(order, scope, codes)).cloned().collect();
        let count = held.len() as u64;
        for (place, before) in held.into_iter().enumerate() {
            let slot = after(now, Duration::from_secs(1).mul_f64(place as f64 / f64::from(rate.max(1))));
            let due_at = before.due_at().map_or(slot, |due| due.min(slot));
            let after = before.clone().moved(due_at, before.nudges());
            self.replace(before, after);
        }
        count
    }

    /// A write without anything beside the row.
    fn replace(&mut self, before: AnyOrder, after: AnyOrder) {
        self.shelf.put(after.clone());
        self.commits.push(Committed::Order { before: Some(before), after, attempt: None, pulls: Vec::new(), event: None });
    }
}

/// Where a claim moves `due_at`: not past `not_after`, for then the row must change by itself.
fn next_look(order: &AnyOrder, now: Time) -> Time {
    let next = after(now, next_nudge(order.nudges()));
    match (order.state(), order.not_after()) {
        (StateName::Accepted, Some(end)) if end > now => next.min(end),
        _ => next,
    }
}

fn held_by(order: &AnyOrder, scope: &PauseScope, codes: &[WaitCode]) -> bool {
    let Some(waiting) = order.waiting() else { return false };
    let pack = order.purchase().map(|purchase| &purchase.command.pack_id);
    codes.contains(&waiting.code)
        && scope.kind.is_none_or(|kind| kind == order.kind())
        && scope.partner.as_ref().is_none_or(|partner| partner == order.partner())
        && scope.pack.as_ref().is_none_or(|paused| pack == Some(paused))
}
