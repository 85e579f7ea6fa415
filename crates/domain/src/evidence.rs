//! What is known of an unknown outcome, and the verdict drawn from it.
//!
//! The inventory is the only witness. A look is *good* when it was read to its end and echoes the user. What this rule set
//! concludes is deliberately little: items that no known pull explains, and the control that every known pull was seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ItemId, PackId, Time,
    answer::InventoryAnswer,
    item::{HeldItem, Item, Pull},
    reason::ReviewCode,
};

/// What follows from the evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing yet; look again.
    Wait(String),
    /// These items are the purchase's.
    Recovered(Vec<Item>),
    /// It surely bought nothing.
    Absent,
    /// A person must decide.
    Unclear(ReviewCode, String),
}

/// Kept with a review, shown to people, carried by events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Why the outcome is in doubt.
    pub doubt: String,
    pub looks: Vec<Look>,
    /// The verdict in words.
    pub verdict: String,
}

/// One reading of the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Look {
    pub at: Time,
    /// Read to its end, and it echoed the user.
    pub good: bool,
    /// How many items it listed.
    pub listed: u32,
    /// Known pulls of this user that it did not show.
    pub missing: u32,
    /// Items of the pack, bought since the attempt began, that no known pull explains; at most [`MOST_ITEMS`].
    pub unexplained: Vec<ItemId>,
    pub note: String,
}

/// How many items a look names: an inventory may hold thousands, evidence is read by people.
pub const MOST_ITEMS: usize = 100;

/// How far the upstream's clock may be behind ours.
pub const CLOCK_SKEW: std::time::Duration = std::time::Duration::from_secs(30);

/// Reads an inventory for a purchase of `pack` begun at `since`, against every pull that is known of its user.
pub fn look(answer: &InventoryAnswer, known: &[Pull], pack: &PackId, since: Time, now: Time) -> Look {
    let bad = |note: &str| Look {
        at: now,
        good: false,
        listed: 0,
        missing: known.len() as u32,
        unexplained: Vec::new(),
        note: note.into(),
    };
    match answer {
        InventoryAnswer::Read(inventory) => {
            let (unexplained, missing) = unexplained(&inventory.items, known, pack, since);
            Look {
                at: now,
                good: true,
                listed: inventory.items.len() as u32,
                missing,
                unexplained: unexplained.iter().take(MOST_ITEMS).map(|held| held.item.item_id.clone()).collect(),
                note: format!("{} unexplained items", unexplained.len()),
            }
        }
        InventoryAnswer::UserNotFound => Look { good: known.is_empty(), ..bad("the upstream does not know the user") },
        InventoryAnswer::Unauthorized => bad("the upstream refused the API key"),
        InventoryAnswer::Unreadable { why } => bad(why),
    }
}

/// Items of `pack` bought after `since` that no known pull explains, and how many known pulls the inventory does not show. Item
/// ids repeat, so what is matched is counts: each known pull explains one item of its id.
fn unexplained<'a>(items: &'a [HeldItem], known: &[Pull], pack: &PackId, since: Time) -> (Vec<&'a HeldItem>, u32) {
    let mut explained = std::collections::BTreeMap::<&ItemId, u32>::new();
    for pull in known {
        *explained.entry(&pull.item.item_id).or_default() += 1;
    }
    let since = since - CLOCK_SKEW;
    // Oldest first: an item bought before the attempt is what a known pull explains.
    let mut ordered: Vec<_> = items.iter().collect();
    ordered.sort_by_key(|held| held.purchased_at);
    let mut left = Vec::new();
    for held in ordered {
        match explained.get_mut(&held.item.item_id) {
            Some(count) if *count > 0 => *count -= 1,
            Some(_) | None => left.push(held),
        }
    }
    let of_pack = |held: &&HeldItem| {
        [&held.claw_id, &held.claw_slug].into_iter().flatten().any(|name| name == pack.as_str())
            && held.purchased_at.is_none_or(|at| at >= since)
    };
    (left.into_iter().filter(of_pack).collect(), explained.values().sum())
}

/// The verdict on a transaction that the upstream says has failed: its items must be absent from a good look that shows every
/// pull we know of.
pub fn judge_cancelled(look: &Look) -> Verdict {
    match look {
        look if !look.good => Verdict::Wait(look.note.clone()),
        look if !look.unexplained.is_empty() => Verdict::Unclear(
            ReviewCode::ItemMismatch,
            "the upstream says that the transaction failed, yet the inventory shows items that no purchase explains".into(),
        ),
        look if look.missing > 0 => Verdict::Wait("the inventory does not show every known pull".into()),
        _ => Verdict::Absent,
    }
}

/// The verdict on an attempt whose outcome is unknown. One look settles nothing: a person decides, with the evidence.
pub fn judge_unknown(doubt: &str, look: &Look) -> Verdict {
    let seen = match look {
        look if !look.good => format!("the inventory could not be read ({})", look.note),
        look if look.unexplained.is_empty() => "the inventory shows nothing that no purchase explains".into(),
        look => format!("the inventory shows {} unexplained items", look.unexplained.len()),
    };
    Verdict::Unclear(ReviewCode::UnknownOutcome, format!("{doubt}; {seen}"))
}
