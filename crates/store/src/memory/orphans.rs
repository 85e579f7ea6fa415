//! Items that no purchase explains.

use std::collections::{BTreeMap, btree_map::Entry};

use clawback_domain::{PartnerId, Time, UserId, evidence::Orphan};
use uuid::Uuid;

use super::text;
use crate::{StoreError, orphans};

#[derive(Default)]
pub(super) struct Orphans(BTreeMap<Uuid, Orphan>);

impl Orphans {
    pub(super) fn record(&mut self, found: Vec<Orphan>) -> Result<u64, StoreError> {
        found.iter().filter_map(|orphan| orphan.pack.as_deref()).try_for_each(text::check)?;
        let mut new = 0;
        for (id, orphan) in orphans::by_id(found) {
            match self.0.entry(id) {
                Entry::Occupied(mut known) => {
                    let found_at = known.get().found_at;
                    known.insert(Orphan { found_at, ..orphan });
                }
                Entry::Vacant(place) => {
                    place.insert(orphan);
                    new += 1;
                }
            }
        }
        Ok(new)
    }

    pub(super) fn forget(&mut self, explained: &[Orphan]) {
        for orphan in explained {
            self.0.remove(&orphans::id(orphan));
        }
    }

    /// Oldest found first.
    pub(super) fn list(&self, partner: Option<&PartnerId>, user: Option<&UserId>, limit: u32) -> Vec<Orphan> {
        let asked = |orphan: &Orphan| {
            partner.is_none_or(|partner| *partner == orphan.partner) && user.is_none_or(|user| *user == orphan.user_id)
        };
        self.oldest_first(asked, limit)
    }

    pub(super) fn found_since(&self, since: Option<Time>, limit: u32) -> Vec<Orphan> {
        self.oldest_first(|orphan| is_found_since(orphan, since), limit)
    }

    /// (orphans, the items that they are)
    pub(super) fn count(&self, since: Option<Time>) -> (u64, u64) {
        let counts = self.0.values().filter(|orphan| is_found_since(orphan, since)).map(|orphan| u64::from(orphan.count));
        counts.fold((0, 0), |(found, items), count| (found + 1, items + count))
    }

    fn oldest_first(&self, asked: impl Fn(&Orphan) -> bool, limit: u32) -> Vec<Orphan> {
        let mut rows: Vec<_> = self.0.iter().filter(|(_, orphan)| asked(orphan)).collect();
        rows.sort_by_key(|(id, orphan)| (orphan.found_at, **id));
        rows.into_iter().take(limit as usize).map(|(_, orphan)| orphan.clone()).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Orphan> {
        self.0.values()
    }
}

fn is_found_since(orphan: &Orphan, since: Option<Time>) -> bool {
    since.is_none_or(|since| orphan.found_at >= since)
}
