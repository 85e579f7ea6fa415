//! Whether a look shows what it had to show: else what it does not show may be there all the same.
//!
//! A look may be behind, show nothing of a user or lack part of it, and says so nowhere. What tells are the pulls that are known: one that was
//! seen has to be shown until two looks, some minutes apart, did not; one that was never seen, while an inventory may be behind its purchase.

use std::collections::BTreeMap;

use super::{MOST_COPIES, MOST_HOLDERS, holding::LAG};
use crate::{
    ItemId, Time, UserId,
    answer::{Inventory, InventoryAnswer},
    clock::after,
    evidence::Reading,
    item::{Pull, Sight, Standing},
    planted::{Bug, planted},
};

/// How many known copies of one item id are held against a look: as many as may be told apart, of each who is read.
pub const MOST_KNOWN: usize = MOST_COPIES * (MOST_HOLDERS as usize + 1);

/// A pull of the item id that no sellback has given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCopy {
    pub user_id: UserId,
    /// When its purchase was fulfilled.
    pub created_at: Time,
    /// As far as it tells how the pull stands and when it was bought.
    pub sight: Sight,
}

impl KnownCopy {
    fn has_to_be_shown(&self, read_at: Time) -> bool {
        match self.sight.standing() {
            // No look will show this id once more for it.
            _ if self.sight.exchanged => false,
            Standing::Held | Standing::Missing => true,
            Standing::NotSeen => read_at < after(self.created_at, LAG),
            Standing::Gone | Standing::Sold => false,
        }
    }
}

/// Whether the looks before a sale fail to show a copy of `item` that is known. The upstream may take just that one, and then nobody would see
/// it leave.
pub(super) fn lacks_copies(item: &ItemId, known: &[KnownCopy], readings: &[(UserId, Reading)]) -> bool {
    !planted(Bug::UnshownCopiesIgnored) && readings.iter().any(|(user, reading)| lacks(item, known, user, reading))
}

fn lacks(item: &ItemId, known: &[KnownCopy], user: &UserId, reading: &Reading) -> bool {
    let InventoryAnswer::Read(inventory) = &reading.answer else { return true };
    let copies = inventory.items.iter().filter(|held| held.item.item_id == *item);
    let mut shown: Vec<Option<Time>> = copies.map(|copy| copy.purchased_at).collect();
    let mut take = |fits: &dyn Fn(Option<Time>) -> bool| {
        shown.iter().position(|date| fits(*date)).map(|place| shown.swap_remove(place)).is_some()
    };
    let theirs = known.iter().filter(|copy| copy.user_id == *user && copy.has_to_be_shown(reading.began));
    // What is surely one's is no other's; after that, what may be anybody's.
    let unsure: Vec<_> =
        theirs.map(|copy| copy.sight.purchased_at).filter(|date| date.is_none() || !take(&|shown| shown == *date)).collect();
    let (undated, dated): (Vec<_>, Vec<_>) = unsure.into_iter().partition(Option::is_none);
    dated.iter().any(|_| !take(&|shown| shown.is_none())) || undated.iter().any(|_| !take(&|_| true))
}

/// Whether a look fails to show a pull that it had to show, beside `item` and what else is being sold: then what it does not show may
/// be there all the same.
pub fn lacks_others(inventory: &Inventory, pulls: &[Pull], item: &ItemId, selling: &[ItemId]) -> bool {
    if planted(Bug::SuspiciousIgnored) {
        return false;
    }
    let mut held: BTreeMap<&ItemId, usize> = BTreeMap::new();
    for pull in pulls.iter().filter(|pull| matches!(pull.standing(), Standing::Held | Standing::Missing)) {
        *held.entry(&pull.item.item_id).or_default() += 1;
    }
    held.retain(|id, _| *id != item && !selling.contains(id));
    for shown in &inventory.items {
        if let Some(left) = held.get_mut(&shown.item.item_id) {
            *left = left.saturating_sub(1);
        }
    }
    held.values().any(|left| *left > 0)
}
