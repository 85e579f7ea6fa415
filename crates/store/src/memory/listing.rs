//! Orders with what hangs on them, and the indexes through which they are found.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use clawback_domain::{
    ItemId, OrderId, PartnerId, PurchaseId, RequestId, Time, UserId,
    command::Target,
    item::{Pull, Sight},
    order::AnyOrder,
    purchase::Purchase,
    sellback::{KnownCopy, MOST_HOLDERS, MOST_KNOWN, MOST_SALES, SaleCase, SoldCopy},
    timeline::Entry,
};
use uuid::Uuid;

use crate::{Counts, Filter};

#[derive(Default)]
pub(super) struct Shelf {
    orders: BTreeMap<OrderId, AnyOrder>,
    requests: BTreeMap<(PartnerId, RequestId), OrderId>,
    due: BTreeSet<(Time, OrderId)>,
    created: BTreeSet<(Time, OrderId)>,
    /// Accepted and waiting for something, oldest first.
    waiting: BTreeSet<(Time, OrderId)>,
    /// Not final, oldest first.
    open: BTreeMap<(PartnerId, UserId), BTreeSet<(Time, OrderId)>>,
    /// The sellback whose sale of an item is not settled.
    selling: BTreeMap<(PartnerId, ItemId), OrderId>,
    entries: BTreeMap<(OrderId, i64), Entry>,
    pruned: BTreeMap<OrderId, Extent>,
    pulls: BTreeMap<(PurchaseId, u32), Pull>,
    drawn: BTreeMap<(PartnerId, UserId), OldestFirst>,
}

/// How far an order was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Extent {
    #[default]
    Whole,
    WithoutTimeline,
    /// The row alone.
    Tombstone,
}

/// Pulls by purchase and position.
type OldestFirst = BTreeSet<(Time, PurchaseId, u32)>;

const LAST: OrderId = OrderId(Uuid::max());

impl Shelf {
    pub(super) fn get(&self, id: OrderId) -> Option<&AnyOrder> {
        self.orders.get(&id)
    }

    pub(super) fn by_request(&self, partner: &PartnerId, request: &RequestId) -> Option<&AnyOrder> {
        self.get(*self.requests.get(&(partner.clone(), request.clone()))?)
    }

    /// Due at `now`, longest overdue first.
    pub(super) fn due(&self, now: Time) -> impl Iterator<Item = &AnyOrder> {
        self.due.range(..=(now, LAST)).map(|(_, id)| &self.orders[id])
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &AnyOrder> {
        self.waiting.iter().map(|(_, id)| &self.orders[id])
    }

    /// A user's purchases that are not final, oldest first.
    pub(super) fn open_of_user(&self, partner: &PartnerId, user: &UserId) -> Vec<&Purchase> {
        let open = self.open.get(&(partner.clone(), user.clone())).into_iter().flatten();
        open.filter_map(|(_, id)| self.orders[id].purchase()).collect()
    }

    /// Who sells this item of this partner, and has not settled it.
    pub(super) fn seller(&self, partner: &PartnerId, item: &ItemId) -> Option<OrderId> {
        self.selling.get(&(partner.clone(), item.clone())).copied()
    }

    /// Inserts or replaces a row, and keeps the indexes.
    pub(super) fn put(&mut self, order: AnyOrder) {
        let (id, created) = (order.id(), (order.created_at(), order.id()));
        if let Some(before) = self.orders.get(&id) {
            if let Some(due) = before.due_at() {
                self.due.remove(&(due, id));
            }
            if let Some(item) = selling(before) {
                self.selling.remove(&(before.partner().clone(), item.clone()));
            }
        }
        self.due.extend(order.due_at().map(|due| (due, id)));
        self.selling.extend(selling(&order).map(|item| ((order.partner().clone(), item.clone()), id)));
        if order.waiting().is_some() {
            self.waiting.insert(created);
        } else {
            self.waiting.remove(&created);
        }
        let open = self.open.entry((order.partner().clone(), order.user_id().clone())).or_default();
        if order.due_at().is_some() {
            open.insert(created);
        } else {
            open.remove(&created);
        }
        if !self.orders.contains_key(&id) {
            self.created.insert(created);
            self.requests.insert((order.partner().clone(), order.request_id().clone()), id);
        }
        self.orders.insert(id, order);
    }

    pub(super) fn tell(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries.into_iter().map(|entry| ((entry.order, entry.version), entry)));
    }

    pub(super) fn draw(&mut self, pulls: Vec<Pull>) {
        for pull in pulls {
            let owner = (pull.partner.clone(), pull.user_id.clone());
            self.drawn.entry(owner).or_default().insert((pull.created_at, pull.purchase, pull.position));
            self.pulls.insert((pull.purchase, pull.position), pull);
        }
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<AnyOrder> {
        if let (Some(partner), Some(request)) = (&filter.partner, &filter.request) {
            let row = self.by_request(partner, request).filter(|row| fits(filter, row));
            return row.into_iter().take(filter.limit as usize).cloned().collect();
        }
        let after = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let is_listed = |id: &OrderId| filter.request.is_some() || self.extent(*id) < Extent::Tombstone;
        let page = |places: &mut dyn Iterator<Item = &(Time, OrderId)>| {
            let listed = places.map(|(_, id)| id).filter(|id| is_listed(id));
            let rows = listed.map(|id| &self.orders[id]).filter(|row| fits(filter, row));
            rows.take(filter.limit as usize).cloned().collect()
        };
        match filter.oldest_first {
            true => page(&mut self.created.range((after, Bound::Unbounded))),
            false => page(&mut self.created.range((Bound::Unbounded, after)).rev()),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for order in self.orders.values() {
            *counts.entry((order.partner().clone(), order.kind(), order.state())).or_default() += 1;
        }
        counts
    }

    pub(super) fn entries(&self, id: OrderId) -> Vec<Entry> {
        self.entries.range((id, i64::MIN)..=(id, i64::MAX)).map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn pulls(&self, id: PurchaseId) -> Vec<Pull> {
        self.pulls.range((id, 0)..=(id, u32::MAX)).map(|(_, pull)| pull.clone()).collect()
    }

    pub(super) fn pull(&self, purchase: PurchaseId, position: u32) -> Option<&Pull> {
        self.pulls.get(&(purchase, position))
    }

    pub(super) fn pull_mut(&mut self, purchase: PurchaseId, position: u32) -> Option<&mut Pull> {
        self.pulls.get_mut(&(purchase, position))
    }

    pub(super) fn pulls_of_user(&self, partner: &PartnerId, user: &UserId) -> Vec<Pull> {
        let drawn = self.drawn.get(&(partner.clone(), user.clone())).into_iter().flatten();
        drawn.map(|(_, purchase, position)| self.pulls[&(*purchase, *position)].clone()).collect()
    }

    /// What a user's sellbacks that are not final are to sell, oldest first.
    pub(super) fn targets(&self, partner: &PartnerId, user: &UserId) -> Vec<Target> {
        let open = self.open.get(&(partner.clone(), user.clone())).into_iter().flatten();
        open.filter_map(|(_, id)| Some(self.orders[id].sellback()?.command.target.clone())).collect()
    }

    pub(super) fn sale_case(&self, partner: &PartnerId, user: &UserId, target: &Target) -> SaleCase {
        let wanted = |pull: &Pull| match target {
            Target::Item(item) => pull.item.item_id == *item,
            Target::Pull(id) => pull.id == *id,
        };
        let pulls: Vec<_> = self.pulls_of_user(partner, user).into_iter().filter(wanted).collect();
        let item = match target {
            Target::Item(item) => Some(item.clone()),
            Target::Pull(_) => pulls.first().map(|pull| pull.item.item_id.clone()),
        };
        let Some(item) = item else { return SaleCase { pulls, ..SaleCase::default() } };
        let held = |pull: &&Pull| pull.partner == *partner && pull.item.item_id == item;
        let users: BTreeSet<_> =
            self.pulls.values().filter(held).map(|pull| &pull.user_id).filter(|other| *other != user).collect();
        let holders: Vec<_> = users.into_iter().take(MOST_HOLDERS as usize + 1).cloned().collect();
        let open = self.open.get(&(partner.clone(), user.clone())).into_iter().flatten();
        let selling = open.filter_map(|(_, id)| selling(&self.orders[id]).cloned()).collect();
        let sold = self.last_sales(partner, &item);
        let copies = self.unsold(partner, holders.iter().take(MOST_HOLDERS as usize).chain([user]), &item);
        SaleCase { holders, under_way: self.seller(partner, &item), selling, pulls, sold, copies }
    }

    /// Newest first.
    fn last_sales(&self, partner: &PartnerId, item: &ItemId) -> Vec<SoldCopy> {
        let sold =
            |order: &AnyOrder| order.sellback().is_some_and(|row| row.state.sold().is_some_and(|sold| sold.item_id == *item));
        let mut sales: Vec<_> = self.orders.values().filter(|order| order.partner() == partner && sold(order)).collect();
        sales.sort_by_key(|order| std::cmp::Reverse((order.updated_at(), order.id())));
        let copy = |order: &AnyOrder| {
            let given = self
                .pulls
                .values()
                .find(|pull| pull.item.item_id == *item && pull.sale.is_some_and(|sale| sale.by == order.id()));
            SoldCopy {
                by: order.id(),
                user_id: order.user_id().clone(),
                purchased_at: given.and_then(|pull| pull.sight.purchased_at),
                sold_at: order.updated_at(),
            }
        };
        sales.into_iter().take(MOST_SALES as usize).map(copy).collect()
    }

    /// Oldest first.
    fn unsold<'a>(&self, partner: &PartnerId, users: impl Iterator<Item = &'a UserId>, item: &ItemId) -> Vec<KnownCopy> {
        let of_users = users.flat_map(|user| self.drawn.get(&(partner.clone(), user.clone())).into_iter().flatten());
        let mut places: Vec<_> = of_users.collect();
        places.sort_unstable();
        let pulls = places.into_iter().map(|(_, purchase, position)| &self.pulls[&(*purchase, *position)]);
        let unsold = pulls.filter(|pull| pull.item.item_id == *item && pull.sale.is_none()).take(MOST_KNOWN);
        let copy = |pull: &Pull| {
            let Sight { looked_at, seen_at, missing_since, purchased_at, exchanged, .. } = pull.sight;
            let sight = Sight { looked_at, seen_at, missing_since, purchased_at, exchanged, ..Sight::default() };
            KnownCopy { user_id: pull.user_id.clone(), created_at: pull.created_at, sight }
        };
        unsold.map(copy).collect()
    }

    pub(super) fn extent(&self, id: OrderId) -> Extent {
        self.pruned.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn prune_timeline(&mut self, id: OrderId) {
        self.entries.retain(|(order, _), _| *order != id);
        self.pruned.insert(id, Extent::WithoutTimeline);
    }

    /// `order`: what is left of it.
    pub(super) fn bury(&mut self, order: AnyOrder) {
        self.pruned.insert(order.id(), Extent::Tombstone);
        self.orders.insert(order.id(), order);
    }

    pub(super) fn give_up(&mut self, pull: &Pull) {
        self.pulls.remove(&(pull.purchase, pull.position));
        if let Some(drawn) = self.drawn.get_mut(&(pull.partner.clone(), pull.user_id.clone())) {
            drawn.remove(&(pull.created_at, pull.purchase, pull.position));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &AnyOrder> {
        self.orders.values()
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

fn selling(order: &AnyOrder) -> Option<&ItemId> {
    Some(&order.sellback()?.state.sale()?.item_id)
}

fn fits(filter: &Filter, row: &AnyOrder) -> bool {
    let place = (row.created_at(), row.id());
    filter.kind.is_none_or(|kind| kind == row.kind())
        && filter.partner.as_ref().is_none_or(|partner| partner == row.partner())
        && filter.state.is_none_or(|state| state == row.state())
        && filter.user.as_ref().is_none_or(|user| user == row.user_id())
        && filter.request.as_ref().is_none_or(|request| request == row.request_id())
        && filter.created_before.is_none_or(|before| row.created_at() < before)
        && filter.after.is_none_or(|after| if filter.oldest_first { place > after } else { place < after })
}
