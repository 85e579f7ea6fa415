//! The upstream's JSON, into the domain's words and back.
//!
//! Tolerant where a missing field costs a detail, strict where money hangs on it: a session, the echo of a user, the list of what was
//! drawn. Errors are sentences for logs and people; nothing here panics, whatever arrives.

use std::borrow::Cow;

use clawback_domain::{
    ItemId, Money, PackId, PublicId, SessionId, TxHash, UserId,
    answer::{Fulfilment, Pack},
    item::Item,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::item::{WireItem, money};

#[derive(Serialize)]
pub(crate) struct InitBody<'a> {
    pub id: &'a PackId,
    pub amount: u32,
    pub user_id: &'a UserId,
}

#[derive(Serialize)]
pub(crate) struct StatusBody<'a> {
    pub session_id: &'a SessionId,
}

#[derive(Serialize)]
pub(crate) struct BuybackBody<'a> {
    pub item_id: &'a ItemId,
}

pub(crate) enum Status {
    Fulfilled(Fulfilment),
    Pending,
}

/// The answer of `buy/init`. The session is all that matters: an item that cannot be read is left out rather than lose it.
pub(crate) fn opened(body: &[u8]) -> Result<(SessionId, Vec<Item>), String> {
    #[derive(Deserialize)]
    struct Opened<'a> {
        #[serde(borrow)]
        session_id: Cow<'a, str>,
        #[serde(borrow)]
        nfts: Option<&'a RawValue>,
    }
    let opened: Opened = read(body)?;
    let session = SessionId::new(&opened.session_id).map_err(|error| format!("session_id {error}"))?;
    Ok((session, opened.nfts.map(readable_items).unwrap_or_default()))
}

/// The answer of `buy/status` for `asked`, which stands in where the echo is missing.
pub(crate) fn status(body: &[u8], asked: &SessionId) -> Result<Status, String> {
    #[derive(Deserialize)]
    struct Polled<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        status: Option<&'a RawValue>,
    }
    let polled: Polled = read(body)?;
    match polled.result {
        Some(result) => fulfilment(result, asked).map(Status::Fulfilled),
        None if text(polled.status).is_some_and(|status| status == "pending") => Ok(Status::Pending),
        None => Err("neither a result nor pending".into()),
    }
}

/// An echo that is there and cannot be an id of ours is an error, not an absent one: it might be somebody else's.
fn fulfilment(result: &RawValue, asked: &SessionId) -> Result<Fulfilment, String> {
    #[derive(Deserialize)]
    struct Fulfilled<'a> {
        session_id: Option<SessionId>,
        user_id: Option<UserId>,
        #[serde(borrow)]
        public_id: Option<&'a RawValue>,
        #[serde(borrow)]
        tx_hash: Option<&'a RawValue>,
        nfts: Vec<WireItem>,
    }
    let read: Fulfilled = serde_json::from_str(result.get()).map_err(|error| error.to_string())?;
    Ok(Fulfilment {
        session: read.session_id.unwrap_or_else(|| asked.clone()),
        user_id: read.user_id,
        public_id: text(read.public_id).and_then(|text| PublicId::new(text).ok()),
        tx_hash: text(read.tx_hash).and_then(|text| TxHash::new(text).ok()),
        nfts: read.nfts.into_iter().map(|WireItem(item)| item).collect(),
    })
}

/// The answer of `buyback`: what it was sold for, where that can be read. An error unless it says `success`.
pub(crate) fn sold(body: &[u8]) -> Result<Option<Money>, String> {
    #[derive(Deserialize)]
    struct Sold {
        success: bool,
        amount: Option<Value>,
    }
    let sold: Sold = read(body)?;
    if !sold.success {
        return Err("success is false".into());
    }
    Ok(sold.amount.as_ref().and_then(money))
}

/// The list of packs. A pack without a readable id cannot be bought from and is left out. What does not say that it is out of stock
/// or disabled is taken to be for sale: the upstream refuses for itself, but nobody buys what we refuse.
pub(crate) fn packs(body: &[u8]) -> Result<Vec<Pack>, String> {
    let list: Vec<Value> = read(body)?;
    Ok(list.iter().filter_map(pack).collect())
}

fn pack(value: &Value) -> Option<Pack> {
    let own = |name: &str| value.get(name)?.as_str().map(|text| text.replace('\0', "\u{fffd}"));
    let says_no = |name: &str| value.get(name).and_then(Value::as_bool) == Some(false);
    Some(Pack {
        id: PackId::new(value.get("id")?.as_str()?).ok()?,
        slug: own("slug"),
        name: own("name"),
        enabled: !says_no("enable"),
        in_stock: !says_no("in_stock"),
        mint_price: value.get("mint_price").and_then(money),
        max_per_mint: value.get("max_per_mint").and_then(Value::as_u64).and_then(|most| most.try_into().ok()),
    })
}

/// The text of `{"error": text}`.
pub(crate) fn error(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        error: Cow<'a, str>,
    }
    read::<Refusal>(body).ok().map(|refusal| refusal.error)
}

pub(crate) fn is_json(body: &[u8]) -> bool {
    read::<serde::de::IgnoredAny>(body).is_ok()
}

fn readable_items(nfts: &RawValue) -> Vec<Item> {
    let own = |WireItem(item)| item;
    if let Ok(items) = serde_json::from_str::<Vec<WireItem>>(nfts.get()) {
        return items.into_iter().map(own).collect();
    }
    let each = serde_json::from_str::<Vec<&RawValue>>(nfts.get()).unwrap_or_default();
    let readable: Vec<_> = each.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).map(own).collect();
    tracing::warn!(items = each.len(), readable = readable.len(), "buy/init brought items that cannot be read");
    readable
}

fn text(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw?.get()).ok()
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_session_or_a_deep_item_never_panics() {
        let long = format!(r#"{{"session_id":"{}"}}"#, "s".repeat(1 << 20));
        assert_eq!(opened(long.as_bytes()), Err("session_id must be 1–512 characters, not 1048576".into()));
        let deep = format!(
            r#"{{"session_id":"s","nfts":[{{"id":"i","x":{}{}}},{{"id":"j"}}]}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        let (_, items) = opened(deep.as_bytes()).unwrap();
        assert_eq!(items.iter().map(|item| item.item_id.as_str()).collect::<Vec<_>>(), ["j"], "the session outlives the item");
        assert!(opened(b"{\"session_id\":\"\xff\"}").is_err());
        assert!(opened(br#"{"session_id":"\ud800"}"#).is_err());
    }

    #[test]
    fn packs_are_for_sale_unless_they_say_otherwise() {
        let list = packs(
            br#"[{"id":"a","slug":"x","name":"n\u0000","enable":false,"in_stock":true,"mint_price":99.90,"max_per_mint":10,"ev":1e9},
                 {"id":"b"}, {"id":"c","in_stock":"no","mint_price":-1,"max_per_mint":-3}, {"slug":"no id"}, 7]"#,
        )
        .unwrap();
        let own = |text: &str| Some(text.to_owned());
        let pack = |id: &str| Pack {
            id: PackId::new(id).unwrap(),
            slug: None,
            name: None,
            enabled: true,
            in_stock: true,
            mint_price: None,
            max_per_mint: None,
        };
        let first = Pack {
            slug: own("x"),
            name: own("n\u{fffd}"),
            enabled: false,
            mint_price: Some(Money::usd(99_900_000)),
            max_per_mint: Some(10),
            ..pack("a")
        };
        assert_eq!(list, [first, pack("b"), pack("c")]);
    }

    fn text(body: &impl Serialize) -> String {
        serde_json::to_string(body).unwrap()
    }

    #[test]
    fn what_is_sent_is_what_the_pages_show() {
        let (pack, user) = (PackId::new("BSG6Dy...").unwrap(), UserId::new("user_abc123").unwrap());
        assert_eq!(
            text(&InitBody { id: &pack, amount: 2, user_id: &user }),
            r#"{"id":"BSG6Dy...","amount":2,"user_id":"user_abc123"}"#
        );
        assert_eq!(text(&StatusBody { session_id: &SessionId::new("s\"1").unwrap() }), r#"{"session_id":"s\"1"}"#);
        assert_eq!(text(&BuybackBody { item_id: &ItemId::new("i").unwrap() }), r#"{"item_id":"i"}"#);
    }
}
