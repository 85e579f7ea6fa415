//! What the sandbox really did, whatever our store believes: `GET /_control/ledger`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Number;

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Ledger {
    pub purchases: Vec<Bought>,
    pub sellbacks: Vec<Sold>,
}

/// One effect of `buy/init`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bought {
    pub session_id: String,
    pub user_id: String,
    pub pack_id: String,
    pub amount: u32,
    pub items: Vec<BoughtItem>,
    /// RFC 3339.
    pub purchased_at: String,
    /// The `X-Request-Id` of the call, `<purchase_id>.<attempt>`; null when the caller sent none.
    pub client_ref: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BoughtItem {
    pub item_id: String,
    pub buyback_price: Option<Number>,
}

/// One effect of `buyback`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sold {
    pub user_id: String,
    pub item_id: String,
    pub amount: Number,
    /// RFC 3339.
    pub sold_at: String,
}

impl Bought {
    /// The purchase it was bought for, as our store names it.
    pub fn purchase_id(&self) -> Option<&str> {
        let (purchase, _attempt) = self.client_ref.as_deref()?.rsplit_once('.')?;
        Some(purchase)
    }

    /// Sorted.
    pub fn item_ids(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.items.iter().map(|item| item.item_id.as_str()).collect();
        ids.sort_unstable();
        ids
    }
}

impl Ledger {
    /// How often each purchase was bought.
    pub fn times_bought(&self) -> BTreeMap<&str, usize> {
        let mut times = BTreeMap::new();
        for purchase in self.purchases.iter().filter_map(Bought::purchase_id) {
            *times.entry(purchase).or_default() += 1;
        }
        times
    }

    /// Purchases that were bought more than once. Must be empty.
    pub fn bought_twice(&self) -> Vec<&str> {
        self.times_bought().into_iter().filter(|&(_, times)| times > 1).map(|(purchase, _)| purchase).collect()
    }

    /// Items of one user that were sold more often than they were bought. Must be empty.
    pub fn sold_twice(&self) -> Vec<(&str, &str)> {
        let mut left = BTreeMap::<(&str, &str), i64>::new();
        for bought in &self.purchases {
            for item in &bought.items {
                *left.entry((&bought.user_id, &item.item_id)).or_default() += 1;
            }
        }
        for sold in &self.sellbacks {
            *left.entry((&sold.user_id, &sold.item_id)).or_default() -= 1;
        }
        left.into_iter().filter(|&(_, left)| left < 0).map(|(item, _)| item).collect()
    }

    /// What was bought for no purchase that can be named. Must be empty where Clawback alone buys.
    pub fn unnamed(&self) -> Vec<&Bought> {
        self.purchases.iter().filter(|bought| bought.purchase_id().is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(references: &[Option<&str>]) -> Ledger {
        let purchases: Vec<_> = references
            .iter()
            .map(|client_ref| {
                serde_json::json!({
                    "session_id": "s", "user_id": "u", "pack_id": "p", "amount": 1, "purchased_at": "2026-01-01T00:00:00Z",
                    "items": [{"item_id": "i", "buyback_price": 12.5}], "client_ref": client_ref
                })
            })
            .collect();
        let sellbacks =
            serde_json::json!([{"user_id": "u", "item_id": "i", "amount": 12.5, "sold_at": "2026-01-02T00:00:00Z"}]);
        serde_json::from_value(serde_json::json!({"purchases": purchases, "sellbacks": sellbacks})).unwrap()
    }

    #[test]
    fn a_purchase_bought_by_two_attempts_is_bought_twice() {
        let ledger = ledger(&[Some("a.1"), Some("b.1"), Some("a.2")]);
        assert_eq!(ledger.bought_twice(), ["a"]);
        assert_eq!(ledger.times_bought(), BTreeMap::from([("a", 2), ("b", 1)]));
    }

    #[test]
    fn an_item_sold_more_often_than_bought_is_sold_twice() {
        let mut ledger = ledger(&[Some("a.1")]);
        assert!(ledger.sold_twice().is_empty());
        ledger.sellbacks.extend_from_within(..);
        assert_eq!(ledger.sold_twice(), [("u", "i")]);
    }

    #[test]
    fn what_has_no_reference_is_unnamed() {
        let ledger = ledger(&[None, Some("a.1"), Some("rubbish")]);
        assert_eq!(ledger.unnamed().len(), 2);
        assert!(ledger.bought_twice().is_empty());
    }
}
