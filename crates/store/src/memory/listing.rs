//! Purchases with what hangs on them, and the indexes through which they are found.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use clawback_domain::{
    PartnerId, PurchaseId, RequestId, Time, UserId,
    item::Pull,
    purchase::{Purchase, State},
    timeline::Entry,
};
use uuid::Uuid;

use crate::{Counts, Filter};

#[derive(Default)]
pub(super) struct Shelf {
    purchases: BTreeMap<PurchaseId, Purchase>,
    requests: BTreeMap<(PartnerId, RequestId), PurchaseId>,
    due: BTreeSet<(Time, PurchaseId)>,
    created: BTreeSet<(Time, PurchaseId)>,
    /// Accepted and waiting for something, oldest first.
    waiting: BTreeSet<(Time, PurchaseId)>,
    /// Not final, oldest first.
    open: BTreeMap<(PartnerId, UserId), BTreeSet<(Time, PurchaseId)>>,
    entries: BTreeMap<(PurchaseId, i64), Entry>,
    pulls: BTreeMap<(PurchaseId, u32), Pull>,
    drawn: BTreeMap<(PartnerId, UserId), OldestFirst>,
}

/// Pulls by purchase and position.
type OldestFirst = BTreeSet<(Time, PurchaseId, u32)>;

const LAST: PurchaseId = PurchaseId(Uuid::max());

impl Shelf {
    pub(super) fn get(&self, id: PurchaseId) -> Option<&Purchase> {
        self.purchases.get(&id)
    }

    pub(super) fn by_request(&self, partner: &PartnerId, request: &RequestId) -> Option<&Purchase> {
        self.get(*self.requests.get(&(partner.clone(), request.clone()))?)
    }

    /// Due at `now`, longest overdue first.
    pub(super) fn due(&self, now: Time) -> impl Iterator<Item = &Purchase> {
        self.due.range(..=(now, LAST)).map(|(_, id)| &self.purchases[id])
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Purchase> {
        self.waiting.iter().map(|(_, id)| &self.purchases[id])
    }

    /// Those that are not final, oldest first.
    pub(super) fn open_of_user(&self, partner: &PartnerId, user: &UserId) -> Vec<&Purchase> {
        let open = self.open.get(&(partner.clone(), user.clone())).into_iter().flatten();
        open.map(|(_, id)| &self.purchases[id]).collect()
    }

    /// Inserts or replaces a row, and keeps the indexes.
    pub(super) fn put(&mut self, purchase: Purchase) {
        let (id, created) = (purchase.id, (purchase.created_at, purchase.id));
        if let Some(due) = self.purchases.get(&id).and_then(|before| before.due_at) {
            self.due.remove(&(due, id));
        }
        self.due.extend(purchase.due_at.map(|due| (due, id)));
        if matches!(purchase.state, State::Accepted { waiting: Some(_) }) {
            self.waiting.insert(created);
        } else {
            self.waiting.remove(&created);
        }
        let open = self.open.entry((purchase.partner.clone(), purchase.command.user_id.clone())).or_default();
        if purchase.due_at.is_some() {
            open.insert(created);
        } else {
            open.remove(&created);
        }
        if !self.purchases.contains_key(&id) {
            self.created.insert(created);
            self.requests.insert((purchase.partner.clone(), purchase.command.request_id.clone()), id);
        }
        self.purchases.insert(id, purchase);
    }

    pub(super) fn tell(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries.into_iter().map(|entry| ((entry.purchase, entry.version), entry)));
    }

    pub(super) fn draw(&mut self, pulls: Vec<Pull>) {
        for pull in pulls {
            let owner = (pull.partner.clone(), pull.user_id.clone());
            self.drawn.entry(owner).or_default().insert((pull.created_at, pull.purchase, pull.position));
            self.pulls.insert((pull.purchase, pull.position), pull);
        }
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Purchase> {
        if let (Some(partner), Some(request)) = (&filter.partner, &filter.request) {
            let row = self.by_request(partner, request).filter(|row| fits(filter, row));
            return row.into_iter().take(filter.limit as usize).cloned().collect();
        }
        let after = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = |places: &mut dyn Iterator<Item = &(Time, PurchaseId)>| {
            let rows = places.map(|(_, id)| &self.purchases[id]).filter(|row| fits(filter, row));
            rows.take(filter.limit as usize).cloned().collect()
        };
        match filter.oldest_first {
            true => page(&mut self.created.range((after, Bound::Unbounded))),
            false => page(&mut self.created.range((Bound::Unbounded, after)).rev()),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for purchase in self.purchases.values() {
            *counts.entry((purchase.partner.clone(), purchase.state.name())).or_default() += 1;
        }
        counts
    }

    pub(super) fn entries(&self, id: PurchaseId) -> Vec<Entry> {
        self.entries.range((id, i64::MIN)..=(id, i64::MAX)).map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn pulls(&self, id: PurchaseId) -> Vec<Pull> {
        self.pulls.range((id, 0)..=(id, u32::MAX)).map(|(_, pull)| pull.clone()).collect()
    }

    pub(super) fn pull_mut(&mut self, purchase: PurchaseId, position: u32) -> Option<&mut Pull> {
        self.pulls.get_mut(&(purchase, position))
    }

    pub(super) fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Vec<Pull> {
        let drawn = self.drawn.get(&(partner.clone(), user.clone())).into_iter().flatten();
        drawn.map(|(_, purchase, position)| self.pulls[&(*purchase, *position)].clone()).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Purchase> {
        self.purchases.values()
    }

    pub(super) fn all_pulls(&self) -> impl Iterator<Item = &Pull> {
        self.pulls.values()
    }

    pub(super) fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn has_pull(&self, pull: &Pull) -> bool {
        self.pulls.contains_key(&(pull.purchase, pull.position))
    }
}

fn fits(filter: &Filter, row: &Purchase) -> bool {
    let place = (row.created_at, row.id);
    filter.partner.as_ref().is_none_or(|partner| *partner == row.partner)
        && filter.state.is_none_or(|state| state == row.state.name())
        && filter.user.as_ref().is_none_or(|user| *user == row.command.user_id)
        && filter.request.as_ref().is_none_or(|request| *request == row.command.request_id)
        && filter.created_before.is_none_or(|before| row.created_at < before)
        && filter.after.is_none_or(|after| if filter.oldest_first { place > after } else { place < after })
}
