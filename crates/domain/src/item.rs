//! Items as the upstream describes them, and pulls: items that one purchase drew.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ItemId, Money, PackId, PartnerId, PullId, PurchaseId, SellbackId, Time, UserId,
    clock::after,
    planted::{Bug, planted},
    reason::codes,
};

/// The description of an item, in the contract's words. Unknown fields of the upstream are kept in `other`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    pub item_id: ItemId,
    pub name: Option<String>,
    pub image: Option<String>,
    pub back_image: Option<String>,
    /// Where it comes from: `enft`, `ebay`, `fanatics`, `alt`, `external`, or what the upstream invents next.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub mint_address: Option<String>,
    pub collection_address: Option<String>,
    pub token_standard: Option<String>,
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// `None` when the upstream's number is missing or does not fit: no price is better than a wrong one.
    pub buyback_price: Option<Money>,
    /// What the upstream sent and no field above models.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attribute {
    pub trait_type: String,
    /// A string or a number, as the upstream has it.
    pub value: serde_json::Value,
}

impl Item {
    /// An item of which only the id is known.
    pub fn bare(item_id: ItemId) -> Self {
        Self {
            item_id,
            name: None,
            image: None,
            back_image: None,
            kind: None,
            mint_address: None,
            collection_address: None,
            token_standard: None,
            attributes: Vec::new(),
            buyback_price: None,
            other: serde_json::Map::new(),
        }
    }
}

/// One item drawn by one purchase. Item ids repeat; pulls do not.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull {
    pub id: PullId,
    pub purchase: PurchaseId,
    /// From 0, the item's place in the upstream's answer.
    pub position: u32,
    pub partner: PartnerId,
    pub user_id: UserId,
    pub pack_id: PackId,
    pub item: Item,
    pub created_at: Time,
    pub sight: Sight,
    /// The sellback that gave it away.
    pub sale: Option<PullSale>,
    pub told: Told,
}

/// What was said and done of a pull for the sake of its expiry, and when; each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Its automatic sale was handed over.
    pub offered_at: Option<Time>,
    /// It was said that its window closed unsold.
    pub closed_at: Option<Time>,
}

/// How a pull was sold by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullSale {
    pub by: SellbackId,
    pub at: Time,
}

impl Pull {
    /// How it stands, as far as sellbacks and looks tell.
    pub fn standing(&self) -> Standing {
        if self.sale.is_some() { Standing::Sold } else { self.sight.standing() }
    }
}

/// What the looks at its user's inventory have shown of a pull. Times are those at which the looks began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// The last good look: an older one tells nothing any more.
    pub looked_at: Option<Time>,
    /// The last look that showed it; `None`: not seen yet.
    pub seen_at: Option<Time>,
    /// The first of the good looks that did not show it since it was last seen.
    pub missing_since: Option<Time>,
    /// `purchased_at` as the inventory has it, on the upstream's clock: tells it from others of the same item id.
    pub purchased_at: Option<Time>,
    pub expiry: Expiry,
    /// The look that first told this expiry.
    pub expiry_read_at: Option<Time>,
    /// The buyback price that the last look which showed it told; `None`: none that could be read.
    pub price: Option<Money>,
    /// The last look that showed it showed an item of another id, for which it may have been exchanged.
    pub exchanged: bool,
}

/// Two good looks this far apart that do not show a pull make it gone.
pub const GONE_AFTER: Duration = Duration::from_secs(120);

codes!(
    /// How a pull stands, as far as sellbacks and looks tell.
    Standing {
        NotSeen = "not_seen",
        Held = "held",
        /// The last good look did not show it; one look alone proves nothing.
        Missing = "missing",
        Gone = "gone",
        /// By us.
        Sold = "sold",
    }
);

impl Sight {
    pub fn standing(&self) -> Standing {
        match (self.seen_at, self.missing_since, self.looked_at) {
            (None, ..) => Standing::NotSeen,
            (Some(_), None, _) => Standing::Held,
            (Some(_), Some(since), Some(last)) if last >= after(since, GONE_AFTER) || planted(Bug::GoneAtOneLook) => {
                Standing::Gone
            }
            (Some(_), Some(_), _) => Standing::Missing,
        }
    }

    /// What remains after a good look that began at `at` and showed it, or did not. An older look changes nothing.
    pub fn after(self, at: Time, shown: Option<Shown>) -> Self {
        if self.looked_at.is_some_and(|last| last >= at) {
            return self;
        }
        let looked_at = Some(at);
        match shown {
            Some(shown) => Self {
                looked_at,
                seen_at: looked_at,
                missing_since: None,
                purchased_at: shown.purchased_at.or(self.purchased_at),
                expiry: if shown.expiry == Expiry::NotRead { self.expiry } else { shown.expiry },
                expiry_read_at: match shown.expiry {
                    Expiry::NotRead => self.expiry_read_at,
                    expiry if expiry == self.expiry => self.expiry_read_at,
                    Expiry::Never | Expiry::At(_) => looked_at,
                },
                price: shown.price,
                exchanged: shown.exchanged,
            },
            None => {
                let missing_since = self.seen_at.and(self.missing_since.or(looked_at));
                Self { looked_at, missing_since, ..self }
            }
        }
    }
}

/// How a look shows a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// `None` too where the item may be another pull's.
    pub purchased_at: Option<Time>,
    pub expiry: Expiry,
    pub price: Option<Money>,
    /// It is an item of another id.
    pub exchanged: bool,
}

/// When the buyback window of a pull shuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// No inventory has told it yet.
    #[default]
    NotRead,
    /// `null`: it does not shut.
    Never,
    At(Time),
}

/// An item as the inventory lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldItem {
    pub item: Item,
    /// The pack it was pulled from, by id and by slug; a pack may be matched by either.
    pub claw_id: Option<String>,
    pub claw_slug: Option<String>,
    pub purchased_at: Option<Time>,
    pub expiry: Expiry,
}

/// An item of which no inventory was asked.
impl From<Item> for HeldItem {
    fn from(item: Item) -> Self {
        Self { item, claw_id: None, claw_slug: None, purchased_at: None, expiry: Expiry::NotRead }
    }
}

impl HeldItem {
    /// How it shows a pull of which it is the item; surely, if it cannot be another's.
    pub fn shown(&self, surely: bool) -> Shown {
        Shown {
            purchased_at: self.purchased_at.filter(|_| surely),
            expiry: self.expiry,
            price: self.item.buyback_price,
            exchanged: false,
        }
    }

    /// What tells it from others of its user.
    pub(crate) fn key(&self) -> (&ItemId, Option<Time>) {
        (&self.item.item_id, self.purchased_at)
    }

    /// One of its pack's names, as the inventory has it.
    pub fn pack(&self) -> Option<&str> {
        self.claw_id.as_deref().or(self.claw_slug.as_deref())
    }

    /// Whether it was pulled from `pack`.
    pub fn is_of(&self, pack: &PackId) -> bool {
        [&self.claw_id, &self.claw_slug].into_iter().flatten().any(|name| name == pack.as_str())
    }
}
