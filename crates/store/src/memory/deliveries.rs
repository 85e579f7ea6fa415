//! Deliveries to webhooks.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use clawback_domain::{
    PartnerId, Time,
    clock::after,
    webhook::{Breaker, Gate},
};

use super::{Memory, Tables, events::Log, text};
use crate::{Claimed, Deliveries, Replay, Replayed, Settled, StoreError, StoredEvent, Webhook};

#[derive(Default)]
pub(super) struct Hooks {
    hooks: BTreeMap<PartnerId, Hook>,
    /// By the event's position.
    rows: BTreeMap<i64, Row>,
}

#[derive(Default)]
struct Hook {
    position: i64,
    disabled: Option<(Time, String)>,
    breaker: Breaker,
    acted: Option<(Time, String)>,
}

#[derive(Default)]
struct Row {
    /// `None` once given up.
    due_at: Option<Time>,
    tries: u32,
    last_error: Option<String>,
}

impl Hooks {
    fn spool(&mut self, log: &Log, partner: &PartnerId, now: Time, limit: u32) -> u32 {
        let Some(hook) = self.hooks.get_mut(partner) else {
            let position = log.all().last().map_or(0, |stored| stored.position);
            self.hooks.insert(partner.clone(), Hook { position, ..Hook::default() });
            return 0;
        };
        if hook.disabled.is_some() || matches!(hook.breaker.gate(now), Gate::Held { .. }) {
            return 0;
        }
        let page = log.after(Some(partner), hook.position, limit);
        for stored in &page {
            hook.position = stored.position;
            self.rows.entry(stored.position).or_insert(Row { due_at: Some(now), ..Row::default() });
        }
        page.len() as u32
    }

    fn claim(&mut self, log: &Log, partner: &PartnerId, now: Time, limit: u32, lease: Duration) -> Vec<Claimed> {
        let Some(hook) = self.hooks.get_mut(partner).filter(|hook| hook.disabled.is_none()) else { return Vec::new() };
        let is_probe = match hook.breaker.gate(now) {
            Gate::Open => false,
            Gate::Probe => true,
            Gate::Held { .. } => return Vec::new(),
        };
        let until = after(now, lease);
        let limit = if is_probe { 1 } else { limit };
        let mut due: Vec<_> = self.waiting(log, partner).filter(|(due_at, _)| *due_at <= now).collect();
        due.retain(|(_, stored)| !self.has_predecessor(log, stored));
        due.sort_by_key(|(due_at, stored)| (*due_at, stored.position));
        due.truncate(limit as usize);
        if is_probe && !due.is_empty() {
            self.hook(partner).breaker.held_until = Some(until);
        }
        let claim = |(_, stored): (Time, &StoredEvent)| {
            let row = self.rows.get_mut(&stored.position).expect("it waits");
            row.due_at = Some(until);
            Claimed { position: stored.position, event: stored.event.clone(), tries: row.tries, until, is_probe }
        };
        let mut claimed: Vec<_> = due.into_iter().map(claim).collect();
        claimed.sort_by_key(|claimed| claimed.position);
        claimed
    }

    /// Whether this event's time with the webhooks is over: no place is before it, and it does not wait.
    pub(super) fn are_past(&self, stored: &StoredEvent) -> bool {
        let waits = self.rows.get(&stored.position).is_some_and(|row| row.due_at.is_some());
        let comes = self.hooks.get(&stored.event.partner).is_some_and(|hook| hook.position < stored.position);
        !waits && !comes
    }

    pub(super) fn forget(&mut self, position: i64) {
        self.rows.remove(&position);
    }

    fn hook(&mut self, partner: &PartnerId) -> &mut Hook {
        self.hooks.entry(partner.clone()).or_default()
    }

    fn waiting<'l>(&self, log: &'l Log, partner: &PartnerId) -> impl Iterator<Item = (Time, &'l StoredEvent)> {
        let waiting = self.rows.iter().filter_map(|(position, row)| Some((row.due_at?, log.at(*position))));
        waiting.filter(move |(_, stored)| stored.event.partner == *partner)
    }

    fn has_predecessor(&self, log: &Log, stored: &StoredEvent) -> bool {
        let before = log.of(stored.event.subject).take_while(|other| other.event.sequence < stored.event.sequence);
        before.into_iter().any(|other| self.rows.get(&other.position).is_some_and(|row| row.due_at.is_some()))
    }

    fn settle(&mut self, claimed: &Claimed, settled: Settled, now: Time) {
        let partner = &claimed.event.partner;
        let row = self.rows.get_mut(&claimed.position).filter(|row| row.due_at == Some(claimed.until));
        match (settled, row) {
            (Settled::Delivered, _) => {
                self.rows.remove(&claimed.position);
                self.hook(partner).breaker = Breaker::default();
            }
            (Settled::Failed { .. } | Settled::Gone { .. }, None) => {}
            (Settled::Failed { why, due_at, pause }, Some(row)) => {
                row.failed(why, due_at);
                let hook = self.hook(partner);
                hook.breaker = hook.breaker.failed(claimed.is_probe, pause, now);
            }
            (Settled::Gone { why }, Some(row)) => {
                row.failed(why.clone(), Some(now));
                self.hook(partner).disabled.get_or_insert((now, why));
            }
        }
    }

    fn show(&self, log: &Log, partner: &PartnerId, hook: &Hook) -> Webhook {
        let ours = |position: &i64| log.at(*position).event.partner == *partner;
        let rows = || self.rows.iter().filter(|(position, _)| ours(position));
        let waiting = || rows().filter(|(_, row)| row.due_at.is_some());
        Webhook {
            partner: partner.clone(),
            position: hook.position,
            disabled: hook.disabled.clone(),
            breaker: hook.breaker,
            acted: hook.acted.clone(),
            waiting: waiting().count() as u64,
            given_up: rows().filter(|(_, row)| row.due_at.is_none()).count() as u64,
            oldest: waiting().map(|(position, _)| log.at(*position).event.time).min(),
            last_error: waiting().find_map(|(_, row)| row.last_error.clone()),
        }
    }

    fn replay(&mut self, log: &Log, partner: &PartnerId, what: Replay, due_at: Time, act: &str) -> Replayed {
        let Some(hook) = self.hooks.get_mut(partner) else { return Replayed::default() };
        let place = hook.position;
        let (positions, next): (Vec<i64>, _) = match what {
            Replay::Event(id) => {
                let found = log.get(id).filter(|stored| stored.event.partner == *partner && stored.position <= place);
                (found.map(|stored| stored.position).into_iter().collect(), None)
            }
            Replay::Since { since, position, limit } => {
                let mut page = log.after(Some(partner), position, limit);
                page.retain(|stored| stored.position <= place);
                let next = page.last().map(|stored| stored.position).filter(|_| page.len() as u32 == limit);
                page.retain(|stored| stored.event.time >= since);
                (page.iter().map(|stored| stored.position).collect(), next)
            }
            Replay::GivenUp { limit } => {
                let given_up = self.rows.iter().filter(|(_, row)| row.due_at.is_none()).map(|(position, _)| *position);
                let mut ours = given_up.filter(|position| log.at(*position).event.partner == *partner);
                let page: Vec<_> = ours.by_ref().take(limit as usize).collect();
                let next = page.last().copied().filter(|_| page.len() as u32 == limit);
                (page, next)
            }
        };
        let count = positions.into_iter().filter(|position| self.put_back(*position, due_at)).count() as u64;
        self.hook(partner).acted = Some((due_at, act.into()));
        Replayed { count, next }
    }

    /// `false` when it was waiting.
    fn put_back(&mut self, position: i64, due_at: Time) -> bool {
        let row = self.rows.entry(position).or_default();
        let is_back = row.due_at.is_none();
        if is_back {
            *row = Row { due_at: Some(due_at), tries: 0, last_error: row.last_error.take() };
        }
        is_back
    }
}

impl Row {
    fn failed(&mut self, why: String, due_at: Option<Time>) {
        *self = Self { due_at, tries: self.tries + 1, last_error: Some(why) };
    }
}

#[async_trait]
impl Deliveries for Memory {
    async fn spool(&self, partner: &PartnerId, now: Time, limit: u32) -> Result<u32, StoreError> {
        Ok(self.commit(|Tables { hooks, log, .. }| hooks.spool(log, partner, now, limit)))
    }

    async fn claim_deliveries(
        &self,
        partner: &PartnerId,
        now: Time,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        Ok(self.commit(|Tables { hooks, log, .. }| hooks.claim(log, partner, now, limit, lease)))
    }

    async fn settle_delivery(&self, claimed: &Claimed, settled: Settled, now: Time) -> Result<(), StoreError> {
        if let Settled::Failed { why, .. } | Settled::Gone { why } = &settled {
            text::check(why)?;
        }
        self.commit(|tables| tables.hooks.settle(claimed, settled, now));
        Ok(())
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        Ok(self.read(|Tables { hooks, log, .. }| hooks.hooks.iter().map(|(name, hook)| hooks.show(log, name, hook)).collect()))
    }

    async fn enable_webhook(&self, partner: &PartnerId, act: &str, now: Time) -> Result<bool, StoreError> {
        text::check(act)?;
        Ok(self.commit(|tables| {
            let Some(hook) = tables.hooks.hooks.get_mut(partner) else { return false };
            *hook = Hook { position: hook.position, acted: Some((now, act.into())), ..Hook::default() };
            true
        }))
    }

    async fn replay_deliveries(
        &self,
        partner: &PartnerId,
        what: Replay,
        due_at: Time,
        act: &str,
    ) -> Result<Replayed, StoreError> {
        text::check(act)?;
        Ok(self.commit(|Tables { hooks, log, .. }| hooks.replay(log, partner, what, due_at, act)))
    }
}
