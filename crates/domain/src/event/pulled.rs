//! An item of a purchase as partners see it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Currency, ItemId, Money, PullId, PurchaseId, Time,
    item::{Attribute, Expiry, Pull},
};

/// One item that a purchase drew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Item")]
pub struct PulledItem<'a> {
    /// Names this one draw. Item ids repeat, pull ids do not.
    pub pull_id: PullId,
    pub item_id: ItemId,
    pub purchase_id: PurchaseId,
    pub name: Option<Cow<'a, str>>,
    pub image: Option<Cow<'a, str>>,
    pub back_image: Option<Cow<'a, str>>,
    /// Where it comes from: `enft`, `ebay`, `fanatics`, `alt`, `external`, or what the upstream invents next.
    #[serde(rename = "type")]
    pub kind: Option<Cow<'a, str>>,
    pub mint_address: Option<Cow<'a, str>>,
    pub collection_address: Option<Cow<'a, str>>,
    pub token_standard: Option<Cow<'a, str>>,
    pub attributes: Cow<'a, [Attribute]>,
    /// `null`: the upstream named none that could be read.
    pub buyback_price: Option<Money>,
    /// ISO 4217.
    pub currency: Cow<'a, str>,
    /// When the buyback window shuts. `null`: never, or not read yet; `expiry_known` says which.
    pub expires_at: Option<Time>,
    pub expiry_known: bool,
}

impl<'a> PulledItem<'a> {
    /// As the last look that showed it told its price, not as its purchase did.
    pub fn as_last_seen(pull: &'a Pull) -> Self {
        let price = if pull.sight.seen_at.is_some() { pull.sight.price } else { pull.item.buyback_price };
        let currency = Cow::Borrowed(price.map_or(Currency::default(), Money::currency).code());
        Self { buyback_price: price, currency, ..Self::from(pull) }
    }
}

impl<'a> From<&'a Pull> for PulledItem<'a> {
    fn from(pull: &'a Pull) -> Self {
        let item = &pull.item;
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let (expires_at, expiry_known) = match pull.sight.expiry {
            Expiry::NotRead => (None, false),
            Expiry::Never => (None, true),
            Expiry::At(time) => (Some(time), true),
        };
        Self {
            pull_id: pull.id,
            item_id: item.item_id.clone(),
            purchase_id: pull.purchase,
            name: text(&item.name),
            image: text(&item.image),
            back_image: text(&item.back_image),
            kind: text(&item.kind),
            mint_address: text(&item.mint_address),
            collection_address: text(&item.collection_address),
            token_standard: text(&item.token_standard),
            attributes: Cow::Borrowed(&item.attributes),
            buyback_price: item.buyback_price,
            currency: Cow::Borrowed(item.buyback_price.map_or(Currency::default(), Money::currency).code()),
            expires_at,
            expiry_known,
        }
    }
}
