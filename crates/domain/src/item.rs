//! Items as the upstream describes them, and pulls: items that one purchase drew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ItemId, Money, PackId, PartnerId, PullId, PurchaseId, Time, UserId};

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
    pub expiry: Expiry,
}

/// When the buyback window of a pull shuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// No inventory has shown it yet.
    #[default]
    NotRead,
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
    pub expires_at: Option<Time>,
}
