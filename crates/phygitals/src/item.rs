//! Items as the upstream writes them, into the domain's words.
//!
//! Only the id is insisted on. A field that is missing or of another type is `None`, and what is not modelled, or could not be read,
//! is kept in `Item::other` under the upstream's own names. Everything kept can be stored: PostgreSQL refuses U+0000 in text and
//! numbers beyond its `numeric`, and one such row would fail a whole batch.

use std::{borrow::Cow, fmt, marker::PhantomData};

use clawback_domain::{
    ItemId, Money, Time, clock,
    item::{Attribute, Expiry, HeldItem, Item},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

type Other = Map<String, Value>;

/// Longer numbers, and those with an exponent, are kept as text where they are not modelled.
const LONGEST_NUMBER: usize = 32;

/// An item of `nfts`.
#[derive(Debug)]
pub(crate) struct WireItem(pub Item);

/// An item of an inventory.
#[derive(Debug)]
pub(crate) struct WireHeldItem(pub HeldItem);

impl<'de> Deserialize<'de> for WireItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let draft: Draft = object(deserializer)?;
        let Some(Value::String(id)) = draft.id else { return Err(D::Error::custom("an item without a readable id")) };
        let item_id = ItemId::new(id).map_err(|error| D::Error::custom(format!("an item's id {error}")))?;
        let mut item = Item { item_id, ..draft.item };
        draft.content.settle(&mut item);
        Ok(Self(item))
    }
}

impl<'de> Deserialize<'de> for WireHeldItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireItem(mut item) = WireItem::deserialize(deserializer)?;
        let claw_id = pluck_text(&mut item.other, "claw_id");
        let claw_slug = pluck_text(&mut item.other, "claw_slug");
        let purchased_at = pluck_time(&mut item.other, "purchased_at").map_err(D::Error::custom)?;
        let told = item.other.contains_key("buyback_expires_at");
        let expires_at = pluck_time(&mut item.other, "buyback_expires_at").map_err(D::Error::custom)?;
        let expiry = match expires_at {
            Some(at) => Expiry::At(at),
            None if told => Expiry::Never,
            None => Expiry::NotRead,
        };
        Ok(Self(HeldItem { item, claw_id, claw_slug, purchased_at, expiry }))
    }
}

/// An item whose id and content are not settled yet.
struct Draft {
    id: Option<Value>,
    item: Item,
    content: Content,
}

impl Default for Draft {
    fn default() -> Self {
        let placeholder = ItemId::new("-").expect("one printable character is an id");
        Self { id: None, item: Item::bare(placeholder), content: Content::default() }
    }
}

impl Fields for Draft {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let item = &mut self.item;
        match name {
            "id" => self.id = Some(map.next_value()?),
            "type" => item.kind = text(name, map, &mut item.other)?,
            "mint_address" => item.mint_address = text(name, map, &mut item.other)?,
            "collection_address" => item.collection_address = text(name, map, &mut item.other)?,
            "token_standard" => item.token_standard = text(name, map, &mut item.other)?,
            "buyback_price" => item.buyback_price = price(name, map, &mut item.other)?,
            "content" => self.content = map.next_value::<Object<Content>>()?.0,
            _ => keep(&mut item.other, name, map.next_value()?),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Content {
    metadata: Metadata,
    links: Links,
    other: Other,
}

#[derive(Default)]
struct Metadata {
    name: Option<String>,
    image: Option<String>,
    back_image: Option<String>,
    attributes: Vec<Attribute>,
    other: Other,
}

#[derive(Default)]
struct Links {
    image: Option<String>,
    back_image: Option<String>,
    other: Other,
}

impl Fields for Content {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "metadata" => self.metadata = map.next_value::<Object<Metadata>>()?.0,
            "links" => self.links = map.next_value::<Object<Links>>()?.0,
            _ => keep(&mut self.other, name, map.next_value()?),
        }
        Ok(())
    }
}

impl Fields for Metadata {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.name = text(name, map, &mut self.other)?,
            "image" => self.image = text(name, map, &mut self.other)?,
            "back_image" => self.back_image = text(name, map, &mut self.other)?,
            "attributes" => self.attributes = attributes(map.next_value()?, &mut self.other),
            _ => keep(&mut self.other, name, map.next_value()?),
        }
        Ok(())
    }
}

impl Fields for Links {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "image" => self.image = text(name, map, &mut self.other)?,
            "back_image" => self.back_image = text(name, map, &mut self.other)?,
            _ => keep(&mut self.other, name, map.next_value()?),
        }
        Ok(())
    }
}

impl Content {
    /// `metadata` has the canonical texts; `links` stand in where it has none, and are kept where they differ.
    fn settle(mut self, item: &mut Item) {
        let Self { metadata, links, other } = &mut self;
        item.name = metadata.name.take();
        item.image = one_of(metadata.image.take(), links.image.take(), "image", &mut links.other);
        item.back_image = one_of(metadata.back_image.take(), links.back_image.take(), "back_image", &mut links.other);
        item.attributes = std::mem::take(&mut metadata.attributes);
        for (name, rest) in [("metadata", &mut metadata.other), ("links", &mut links.other)] {
            if !rest.is_empty() {
                other.insert(name.into(), Value::Object(std::mem::take(rest)));
            }
        }
        if !other.is_empty() {
            item.other.insert("content".into(), Value::Object(std::mem::take(other)));
        }
    }
}

fn one_of(canonical: Option<String>, fallback: Option<String>, name: &str, other: &mut Other) -> Option<String> {
    match (canonical, fallback) {
        (Some(canonical), Some(fallback)) if canonical != fallback => {
            other.insert(name.into(), Value::String(fallback));
            Some(canonical)
        }
        (canonical, fallback) => canonical.or(fallback),
    }
}

/// A list of `{trait_type, value}`. What has another shape is kept whole.
fn attributes(value: Value, other: &mut Other) -> Vec<Attribute> {
    let Value::Array(list) = value else {
        keep_unless_null(other, "attributes", value);
        return Vec::new();
    };
    let mut read = Vec::with_capacity(list.len());
    let mut strange = Vec::new();
    for entry in list {
        match attribute(entry) {
            Ok(attribute) => read.push(attribute),
            Err(entry) => strange.push(entry),
        }
    }
    if !strange.is_empty() {
        keep(other, "attributes", Value::Array(strange));
    }
    read
}

fn attribute(mut entry: Value) -> Result<Attribute, Value> {
    let Some(fields) = entry.as_object_mut().filter(|fields| fields.keys().all(|name| name == "trait_type" || name == "value"))
    else {
        return Err(entry);
    };
    match fields.remove("trait_type") {
        Some(Value::String(name)) => {
            let value = storable(fields.remove("value").unwrap_or_default());
            Ok(Attribute { trait_type: storable_text(name), value })
        }
        Some(strange) => {
            fields.insert("trait_type".into(), strange);
            Err(entry)
        }
        None => Err(entry),
    }
}

fn text<'de, A: MapAccess<'de>>(name: &str, map: &mut A, other: &mut Other) -> Result<Option<String>, A::Error> {
    Ok(match map.next_value()? {
        Value::String(text) => Some(storable_text(text)),
        strange => {
            keep_unless_null(other, name, strange);
            None
        }
    })
}

/// The text of the number is what is read; a price that does not fit exactly is none, and is kept as it came.
fn price<'de, A: MapAccess<'de>>(name: &str, map: &mut A, other: &mut Other) -> Result<Option<Money>, A::Error> {
    let value = map.next_value()?;
    let price = money(&value);
    if price.is_none() {
        keep_unless_null(other, name, value);
    }
    Ok(price)
}

/// Money out of a JSON number, or of a string that holds a decimal.
pub(crate) fn money(value: &Value) -> Option<Money> {
    match value {
        Value::Number(number) => Money::parse_usd(number.as_str()).ok(),
        Value::String(text) => Money::parse_usd(text).ok(),
        _ => None,
    }
}

fn pluck_text(other: &mut Other, name: &str) -> Option<String> {
    match other.remove(name)? {
        Value::String(text) => Some(text),
        strange => {
            keep_unless_null(other, name, strange);
            None
        }
    }
}

/// A missing date is none. One that is there and cannot be read is an error: neither "never" nor "not known" would be true, and a
/// warning hangs on it.
fn pluck_time(other: &mut Other, name: &str) -> Result<Option<Time>, String> {
    match other.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => time(&text).map(Some).ok_or_else(|| format!("{name} {text:?} is not a date")),
        Some(strange) => Err(format!("{name} {strange} is not a date")),
    }
}

/// ISO 8601. Without a zone it is UTC, which the upstream's page promises.
fn time(text: &str) -> Option<Time> {
    let zoned = text.parse::<Time>().ok();
    let time = zoned.or_else(|| Some(text.parse::<chrono::NaiveDateTime>().ok()?.and_utc()));
    time.map(clock::micros)
}

fn keep_unless_null(other: &mut Other, name: &str, value: Value) {
    if !value.is_null() {
        keep(other, name, value);
    }
}

fn keep(other: &mut Other, name: &str, value: Value) {
    other.insert(storable_name(name.into()), storable(value));
}

/// What the stores can keep of a value. Recursion is bounded by the reader's 128 levels.
fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable_text(text)),
        Value::Number(number) if number.as_str().len() > LONGEST_NUMBER || number.as_str().contains(['e', 'E']) => {
            Value::String(number.as_str().into())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(storable).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (storable_name(name), storable(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn storable_text(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// `serde_json` marks its own numbers by such a name; from a store it would read the object around it as a broken number.
fn storable_name(name: String) -> String {
    let name = storable_text(name);
    if name.starts_with("$serde_json::") { name.replacen('$', "_", 1) } else { name }
}

/// A JSON object read name by name, without a map in between.
trait Fields: Default {
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

fn object<'de, T: Fields, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// A nested object. Anything else in its place is passed over: it is worth less than the item around it.
#[derive(Default)]
struct Object<T>(T);

impl<'de, T: Fields> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut read = T::default();
        while let Some(Name(name)) = map.next_key()? {
            read.field(&name, &mut map)?;
        }
        Ok(read)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(text: &str) -> Item {
        serde_json::from_str::<WireItem>(text).unwrap().0
    }

    /// The example of the page on `buy/status`, and what sibling pages add.
    const FULL: &str = r#"{
        "id": "9XnY", "buyback_price": 8.50, "type": "ebay", "mint_address": null, "collection_address": "C", "token_standard": "T",
        "content": {
            "metadata": {
                "name": "Juan Soto", "image": "https://a/b.png", "back_image": null, "rarity": "Epic",
                "attributes": [{"trait_type": "Year", "value": "2024"}, {"trait_type": "Grade", "value": 9.50}, "odd"]
            },
            "links": {"image": "https://a/b.png", "back_image": "https://a/back.png"}
        },
        "fmv": 10.00
    }"#;

    #[test]
    fn every_documented_field_finds_its_place_and_the_rest_is_kept() {
        let text = |text: &str| Some(text.to_owned());
        let attribute = |name: &str, value| Attribute { trait_type: name.into(), value };
        let exact = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let Value::Object(other) =
            json!({ "fmv": exact("10.00"), "content": { "metadata": { "rarity": "Epic", "attributes": ["odd"] } } })
        else {
            unreachable!()
        };
        let expected = Item {
            name: text("Juan Soto"),
            image: text("https://a/b.png"),
            back_image: text("https://a/back.png"),
            kind: text("ebay"),
            collection_address: text("C"),
            token_standard: text("T"),
            attributes: vec![attribute("Year", "2024".into()), attribute("Grade", exact("9.50"))],
            buyback_price: Some(Money::usd(8_500_000)),
            other,
            ..Item::bare(ItemId::new("9XnY").unwrap())
        };
        assert_eq!(item(FULL), expected);
    }

    #[test]
    fn a_field_of_another_type_costs_only_itself() {
        let odd = item(r#"{"id":"i","type":7,"mint_address":{},"content":[1,{"a":2}],"buyback_price":"8.5"}"#);
        assert_eq!((odd.kind, odd.mint_address, odd.buyback_price), (None, None, Some(Money::usd(8_500_000))));
        assert_eq!(odd.other.keys().collect::<Vec<_>>(), ["mint_address", "type"]);
        for content in ["null", "1.5", "\"x\"", "true", r#"{"metadata":3,"links":null}"#] {
            assert_eq!(item(&format!(r#"{{"content":{content},"id":"i"}}"#)).name, None);
        }
    }

    #[test]
    fn an_image_that_differs_from_the_canonical_one_is_kept() {
        let read = item(r#"{"id":"i","content":{"links":{"image":"l"},"metadata":{"image":"m"}}}"#);
        assert_eq!((read.image.as_deref(), &read.other["content"]["links"]["image"]), (Some("m"), &json!("l")));
    }

    #[test]
    fn a_price_is_exact_or_absent_and_then_kept_as_it_came() {
        let cases: &[(&str, Option<i64>)] = &[
            ("8.50", Some(8_500_000)),
            ("0.1", Some(100_000)),
            ("1e2", Some(100_000_000)),
            ("1E+2", Some(100_000_000)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("-1", None),
            ("1e400", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("0.12345678901234567890", None),
            ("123456789012345678901234567890123456789012345678901234567890", None),
            ("\"NaN\"", None),
            ("[1]", None),
        ];
        for (text, expected) in cases {
            let read = item(&format!(r#"{{"id":"i","buyback_price":{text}}}"#));
            assert_eq!(read.buyback_price.map(Money::millionths), *expected, "{text}");
            assert_eq!(read.other.contains_key("buyback_price"), expected.is_none(), "{text}");
        }
        assert!(item(r#"{"id":"i","buyback_price":null}"#).other.is_empty());
    }

    #[test]
    fn everything_kept_can_be_stored() {
        let read = item(
            r#"{"id":"i","type":"a\u0000b","x\u0000":["\u0000",{"\u0000":1}],"big":1e999999,"long":11111111111111111111111111111111111,
                "nested":{"a":1,"$serde_json::private::Number":"no"}}"#,
        );
        assert_eq!(read.kind.as_deref(), Some("a\u{fffd}b"));
        let stored = serde_json::to_string(&read).unwrap();
        assert!(!stored.contains("\\u0000") && !stored.contains(":1e"), "{stored}");
        assert_eq!(serde_json::from_str::<Item>(&stored).unwrap(), read, "and reads back the same");
    }

    #[test]
    fn without_a_readable_id_it_is_no_item() {
        let long = format!(r#"{{"id":"{}"}}"#, "i".repeat(257));
        for text in ["{}", r#"{"id":null}"#, r#"{"id":7}"#, r#"{"id":""}"#, r#"{"id":"a\u0000"}"#, "[]", "null", "\"i\"", &long]
        {
            assert!(serde_json::from_str::<WireItem>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_utc_and_an_unreadable_one_is_an_error_not_an_absent_one() {
        let held = |date: &str| {
            serde_json::from_str::<WireHeldItem>(&format!(
                r#"{{"id":"i","claw_id":"p","purchased_at":null,"buyback_expires_at":{date}}}"#
            ))
            .map(|WireHeldItem(held)| match held.expiry {
                Expiry::NotRead => panic!("it was told"),
                Expiry::Never => None,
                Expiry::At(time) => Some(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            })
            .map_err(|error| error.to_string())
        };
        let cases: &[(&str, Option<&str>)] = &[
            ("null", None),
            (r#""2026-08-08T12:00:00.123Z""#, Some("2026-08-08T12:00:00.123Z")),
            (r#""2026-08-08T14:00:00+02:00""#, Some("2026-08-08T12:00:00Z")),
            (r#""2026-08-08T12:00:00""#, Some("2026-08-08T12:00:00Z")),
            (r#""2026-08-08T12:00:00.123456789Z""#, Some("2026-08-08T12:00:00.123456Z")),
            (r#""9999-12-31T23:59:59Z""#, Some("9999-12-31T23:59:59Z")),
        ];
        for (date, expected) in cases {
            assert_eq!(held(date), Ok(expected.map(str::to_owned)), "{date}");
        }
        for date in [r#""soon""#, "17", r#""""#, r#""2026-13-01T00:00:00Z""#] {
            assert!(held(date).unwrap_err().contains("is not a date"), "{date}");
        }
        let bare = serde_json::from_str::<WireHeldItem>(r#"{"id":"i","claw_slug":"s","x":1}"#).unwrap().0;
        assert_eq!(
            (bare.claw_id, bare.claw_slug.as_deref(), bare.purchased_at, bare.expiry),
            (None, Some("s"), None, Expiry::NotRead)
        );
        assert_eq!(bare.item.other.keys().collect::<Vec<_>>(), ["x"]);
    }
}
