//! Items that no purchase surely explains.

use std::collections::BTreeMap;

use clawback_domain::{PartnerId, Time, UserId, evidence::Unexplained};
use uuid::Uuid;

use super::text;
use crate::{StoreError, unexplained};

#[derive(Default)]
pub(super) struct Leftovers(BTreeMap<Uuid, Unexplained>);

impl Leftovers {
    pub(super) fn record(&mut self, found: Vec<Unexplained>) -> Result<u64, StoreError> {
        found.iter().flat_map(|one| [&one.claw_id, &one.claw_slug]).flatten().try_for_each(|name| text::check(name))?;
        let mut orphaned = 0;
        for (id, one) in unexplained::by_id(found) {
            let known = self.0.get(&id);
            orphaned += u64::from(!one.claimed && known.is_none_or(|known| known.claimed));
            let found_at = known.map_or(one.found_at, |known| known.found_at);
            self.0.insert(id, Unexplained { found_at, ..one });
        }
        Ok(orphaned)
    }

    pub(super) fn forget(&mut self, explained: &[Unexplained]) {
        for one in explained {
            self.0.remove(&unexplained::id(one));
        }
    }

    /// Oldest found first.
    pub(super) fn list(&self, partner: Option<&PartnerId>, user: Option<&UserId>, limit: u32) -> Vec<Unexplained> {
        let asked = |one: &Unexplained| {
            partner.is_none_or(|partner| *partner == one.partner) && user.is_none_or(|user| *user == one.user_id)
        };
        self.oldest_first(asked, limit)
    }

    pub(super) fn orphans(&self, since: Option<Time>, limit: u32) -> Vec<Unexplained> {
        self.oldest_first(|one| is_orphan(one, since), limit)
    }

    /// (orphans, the items that they are)
    pub(super) fn count_orphans(&self, since: Option<Time>) -> (u64, u64) {
        let counts = self.0.values().filter(|one| is_orphan(one, since)).map(|one| u64::from(one.count));
        counts.fold((0, 0), |(found, items), count| (found + 1, items + count))
    }

    fn oldest_first(&self, asked: impl Fn(&Unexplained) -> bool, limit: u32) -> Vec<Unexplained> {
        let mut rows: Vec<_> = self.0.iter().filter(|(_, one)| asked(one)).collect();
        rows.sort_by_key(|(id, one)| (one.found_at, **id));
        rows.into_iter().take(limit as usize).map(|(_, one)| one.clone()).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Unexplained> {
        self.0.values()
    }
}

fn is_orphan(one: &Unexplained, since: Option<Time>) -> bool {
    !one.claimed && since.is_none_or(|since| one.found_at >= since)
}
