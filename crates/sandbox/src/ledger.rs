//! What was really bought and sold, whatever the answers said: the only thing that tests and the demo count against.

use chrono::SecondsFormat;
use clawback_domain::{Money, Time};
use serde::{Deserialize, Serialize};

/// The body of `GET /_control/ledger`, in the order in which things happened.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// From the moment of `buy/init`, settled or not. A purchase that was cancelled is not in it: nothing was bought.
    pub purchases: Vec<LedgerPurchase>,
    /// What came in through `buyback`; what was sold elsewhere is not in it.
    pub sellbacks: Vec<LedgerSellback>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerPurchase {
    pub session_id: String,
    pub user_id: String,
    pub pack_id: String,
    /// How many pulls.
    pub amount: u32,
    pub items: Vec<LedgerItem>,
    #[serde(serialize_with = "time")]
    pub purchased_at: Time,
    /// The `X-Request-Id` of the call.
    pub client_ref: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerItem {
    pub item_id: String,
    #[serde(with = "number")]
    pub buyback_price: Money,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerSellback {
    pub user_id: String,
    pub item_id: String,
    /// USD.
    #[serde(with = "number")]
    pub amount: Money,
    #[serde(serialize_with = "time")]
    pub sold_at: Time,
}

/// The upstream's way to write an instant: milliseconds and a `Z`.
pub(crate) fn iso(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn time<S: serde::Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso(*time))
}

/// Money as the upstream writes it: a JSON number, exact.
mod number {
    use clawback_domain::Money;
    use serde::{Deserialize, Serialize, de::Error as _};
    use serde_json::Number;

    pub(super) fn serialize<S: serde::Serializer>(money: &Money, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<Number>(&money.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        Money::parse_usd(&Number::deserialize(deserializer)?.to_string()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_json_of_the_contract_and_reads_back() {
        let text = r#"{"purchases":[{"session_id":"s","user_id":"u","pack_id":"p","amount":1,"items":[{"item_id":"i","buyback_price":8.50}],"purchased_at":"2026-01-02T03:04:05.678Z","client_ref":"r.1"}],"sellbacks":[{"user_id":"u","item_id":"i","amount":98.50,"sold_at":"2026-01-02T03:04:05.000Z"}]}"#;
        let ledger: Ledger = serde_json::from_str(text).unwrap();
        assert_eq!(ledger.purchases[0].items[0].buyback_price, Money::usd(8_500_000));
        assert_eq!(serde_json::to_string(&ledger).unwrap(), text);
    }
}
