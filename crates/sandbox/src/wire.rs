//! The JSON of the pages: request bodies as tolerantly read as the upstream does, answers written by hand.
//!
//! Answers are appended to one buffer without a tree of values in between: the stand-in is also the upstream of the benchmark and
//! must not be what is measured.

use std::{fmt::Write, sync::Arc};

use serde_json::{Value, json};

use crate::{
    catalogue::{Cents, Listing, PackSpec},
    engine::{Fulfilled, HeldPull, Holdings, Init, Opened, Poll},
    ledger::iso,
    options::{Mode, Windows},
    outcome::Refusal,
    pull::Pulled,
};

/// A body as it was read; a field that is missing or of another type counts as empty.
pub(crate) struct Body(Value);

impl Body {
    /// `None` for what is no JSON.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn init(&self) -> Init<'_> {
        let amount = self.0.get("amount").map_or(0, whole_number);
        Init { pack_id: self.text("id"), amount, user_id: self.text("user_id") }
    }

    /// Between `from` and `to`, or as documented when it names neither; `None` for what is no pair of durations.
    pub(crate) fn windows(&self) -> Option<Windows> {
        let span = |field: &str| humantime::parse_duration(self.text(field)).ok();
        match self.0.as_object()?.is_empty() {
            true => Some(None),
            false => Some(Some((span("from")?, span("to")?))),
        }
    }
}

/// 0, an invalid amount, for what is no whole number; the nearest `i64` for what is too large.
fn whole_number(value: &Value) -> i64 {
    let Value::Number(number) = value else { return 0 };
    number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64)).unwrap_or(0)
}

pub(crate) fn error(refusal: &Refusal) -> String {
    json!({ "error": refusal.error }).to_string()
}

pub(crate) fn opened(opened: &Opened, mode: Mode) -> String {
    let mut out = String::with_capacity(128 + 640 * opened.nfts.len());
    put(&mut out, format_args!(r#"{{"session_id":"{}","nfts":"#, opened.session_id));
    items(&mut out, &opened.nfts, mode);
    out.push('}');
    out
}

pub(crate) fn poll(poll: &Poll, mode: Mode) -> String {
    match poll {
        Poll::Fulfilled(result) => fulfilled(result, mode),
        Poll::Pending | Poll::Hold(_) => r#"{"status":"pending"}"#.to_owned(),
    }
}

fn fulfilled(result: &Fulfilled, mode: Mode) -> String {
    let mut out = String::with_capacity(384 + 640 * result.nfts.len());
    put(&mut out, format_args!(r#"{{"result":{{"session_id":"{}","user_id":"#, result.session_id));
    text(&mut out, &result.user_id);
    put(&mut out, format_args!(r#","public_id":"{}","nfts":"#, result.public_id));
    items(&mut out, &result.nfts, mode);
    put(&mut out, format_args!(r#","tx_hash":"{}"}}}}"#, result.tx_hash));
    out
}

pub(crate) fn sold(amount: Cents) -> String {
    let mut out = r#"{"success":true,"amount":"#.to_owned();
    price(&mut out, amount);
    out.push('}');
    out
}

pub(crate) fn holdings(holdings: &Holdings) -> String {
    let mut out = String::with_capacity(64 + 768 * holdings.items.len());
    out.push_str(r#"{"user_id":"#);
    text(&mut out, &holdings.user_id);
    out.push_str(r#","items":"#);
    list(&mut out, &holdings.items, held);
    out.push('}');
    out
}

fn held(out: &mut String, held: &HeldPull) {
    item(out, &held.pulled, Links::Shown);
    out.pop();
    out.push_str(r#","claw_id":"#);
    text(out, &held.pack.id);
    out.push_str(r#","claw_slug":"#);
    text(out, &held.pack.slug);
    put(out, format_args!(r#","purchased_at":"{}","buyback_expires_at":"#, iso(held.purchased_at)));
    optional(out, held.expires_at.map(iso).as_deref());
    out.push('}');
}

/// In the sandbox `content.links` appears on inventory items alone.
fn items(out: &mut String, pulled: &[Pulled], mode: Mode) {
    let links = match mode {
        Mode::Sandbox => Links::Absent,
        Mode::Production => Links::Shown,
    };
    list(out, pulled, |out, pulled| item(out, pulled, links));
}

#[derive(Clone, Copy, PartialEq)]
enum Links {
    Shown,
    Absent,
}

fn item(out: &mut String, pulled: &Pulled, links: Links) {
    let listing = &*pulled.listing;
    put(out, format_args!(r#"{{"id":"{}","content":{{"metadata":{{"name":"{}","#, pulled.id, listing.name));
    images(out, listing);
    out.push_str(r#","attributes":"#);
    list(out, &listing.attributes, |out, (kind, value)| put(out, format_args!(r#"{{"trait_type":"{kind}","value":{value}}}"#)));
    out.push('}');
    if links == Links::Shown {
        out.push_str(r#","links":{"#);
        images(out, listing);
        out.push('}');
    }
    out.push_str(r#"},"buyback_price":"#);
    price(out, pulled.price);
    put(out, format_args!(r#","type":"{}","mint_address":"#, pulled.listing.kind));
    optional(out, pulled.mint_address());
    out.push_str(r#","collection_address":"#);
    optional(out, pulled.collection_address());
    out.push_str(r#","token_standard":"#);
    optional(out, pulled.token_standard());
    out.push('}');
}

fn images(out: &mut String, listing: &Listing) {
    put(out, format_args!(r#""image":"{}","back_image":"#, listing.image));
    optional(out, listing.back_image.as_deref());
}

pub(crate) fn packs(packs: &[Arc<PackSpec>]) -> String {
    Value::Array(packs.iter().map(|spec| pack(spec)).collect()).to_string()
}

fn pack(pack: &PackSpec) -> Value {
    let number = |cents: Cents| number(cents).parse::<serde_json::Number>().expect("cents are a JSON number");
    let tier = |(place, tier): (usize, &crate::Tier)| {
        json!({
            "id": place + 1, "name": tier.name, "color": tier.color,
            "lower": number(tier.lower), "upper": number(tier.upper), "weight": tier.weight,
        })
    };
    let weights: u64 = pack.tiers.iter().map(|tier| u64::from(tier.weight)).sum();
    let total: u64 = pack.tiers.iter().map(|tier| u64::from(tier.weight) * (tier.lower.0 + tier.upper.0) / 2).sum();
    json!({
        "id": pack.id, "slug": pack.slug, "platform": PLATFORM, "name": pack.name, "description": pack.description,
        "enable": pack.enabled, "in_stock": pack.in_stock,
        "mint_price": number(pack.mint_price), "max_per_mint": pack.max_per_mint, "categories": pack.categories,
        "ev": number(Cents(total.checked_div(weights).unwrap_or(0))),
        "min_ev": pack.tiers.iter().map(|tier| tier.lower).min().map(number),
        "max_ev": pack.tiers.iter().map(|tier| tier.upper).max().map(number),
        "ev_updated_at": "2026-01-01T00:00:00.000Z", "buyback_percent": 0.85,
        "claw_image_url": format!("https://cdn.phygitals.example/claws/{}.png", pack.slug),
        "rarity_distribution": pack.tiers.iter().enumerate().map(tier).collect::<Vec<_>>(),
    })
}

/// The one platform that packs are listed for.
pub(crate) const PLATFORM: &str = "mainnet";

fn list<T>(out: &mut String, all: &[T], one: impl Fn(&mut String, &T)) {
    out.push('[');
    for (place, element) in all.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        one(out, element);
    }
    out.push(']');
}

fn optional(out: &mut String, value: Option<&str>) {
    match value {
        Some(value) => put(out, format_args!(r#""{value}""#)),
        None => out.push_str("null"),
    }
}

/// Text from outside, or of a pack: the only kind that may need escaping.
fn text(out: &mut String, value: &str) {
    put(out, format_args!("{}", Value::from(value)));
}

fn price(out: &mut String, cents: Cents) {
    out.push_str(&number(cents));
}

/// As JavaScript writes it: `98`, `98.5`, `98.55`.
fn number(Cents(cents): Cents) -> String {
    match (cents / 100, cents % 100) {
        (whole, 0) => whole.to_string(),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}", part / 10),
        (whole, part) => format!("{whole}.{part:02}"),
    }
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_numbers_of_at_most_two_decimals() {
        for (cents, text) in [(9_800, "98"), (9_850, "98.5"), (9_855, "98.55"), (5, "0.05"), (0, "0")] {
            assert_eq!(number(Cents(cents)), text);
        }
    }

    #[test]
    fn a_field_of_another_type_counts_as_missing() {
        let amount = |text: &str| Body::parse(format!(r#"{{"id":7,"amount":{text}}}"#).as_bytes()).unwrap().init().amount;
        let cases: [(&str, i64); 9] = [
            ("3", 3),
            ("3.0", 3),
            ("1e1", 10),
            ("-1", -1),
            ("1.5", 0),
            (r#""1""#, 0),
            ("null", 0),
            ("9223372036854775808", i64::MAX),
            ("1e400", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(amount(text), expected, "{text}");
        }
        assert_eq!(Body::parse(br#"{"id":7}"#).unwrap().text("id"), "");
        assert!(Body::parse(b"{").is_none() && Body::parse(b"").is_none());
    }
}
