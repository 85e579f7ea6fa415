//! What tells a repeat from a conflict.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::{Metadata, PurchaseCommand, SellbackCommand, Target, json::Json};
use crate::Time;

/// SHA-256 over the canonical form of a command's fields; equal exactly when all fields are.
///
/// The canonical form is the word of the command and a JSON object of the fields that were given: members sorted by name, numbers
/// in one spelling, times in UTC with microseconds. It is kept for every command for ever, so its form must never change.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct InvalidDigest;

impl PurchaseCommand {
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(canonical(self)).into())
    }
}

impl SellbackCommand {
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(sold(self)).into())
    }
}

fn canonical(command: &PurchaseCommand) -> String {
    let PurchaseCommand { request_id, user_id, pack_id, amount, not_after, metadata } = command;
    let mut fields = Fields::default();
    fields.add("amount", Json::Number(amount.to_string().into()));
    fields.add_metadata(metadata.as_ref());
    fields.add_time("not_after", *not_after);
    fields.add_text("pack_id", pack_id);
    fields.add_text("request_id", request_id);
    fields.add_text("user_id", user_id);
    fields.write("purchase ")
}

fn sold(command: &SellbackCommand) -> String {
    let SellbackCommand { request_id, user_id, target, min_price, not_after, metadata } = command;
    let mut fields = Fields::default();
    if let Target::Item(item_id) = target {
        fields.add_text("item_id", item_id);
    }
    fields.add_metadata(metadata.as_ref());
    if let Some(price) = min_price {
        fields.add_text("min_price", price);
    }
    fields.add_time("not_after", *not_after);
    if let Target::Pull(pull_id) = target {
        fields.add_text("pull_id", pull_id);
    }
    fields.add_text("request_id", request_id);
    fields.add_text("user_id", user_id);
    fields.write("sellback ")
}

/// In order of their names.
#[derive(Default)]
struct Fields<'a>(Vec<(String, Json<'a>)>);

impl<'a> Fields<'a> {
    fn add(&mut self, name: &str, value: Json<'a>) {
        self.0.push((name.to_owned(), value));
    }

    fn add_text(&mut self, name: &str, value: &impl fmt::Display) {
        self.add(name, Json::Text(value.to_string()));
    }

    fn add_time(&mut self, name: &str, time: Option<Time>) {
        if let Some(time) = time {
            self.add(name, Json::Text(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)));
        }
    }

    fn add_metadata(&mut self, metadata: Option<&'a Metadata>) {
        if let Some(metadata) = metadata {
            self.add("metadata", metadata.json());
        }
    }

    fn write(self, word: &str) -> String {
        let mut canonical = String::with_capacity(256);
        canonical.push_str(word);
        Json::Object(self.0).canonical().write(&mut canonical);
        canonical
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidDigest);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{parse_purchase, parse_sellback};

    fn parsed(text: &str) -> PurchaseCommand {
        parse_purchase(None, text.as_bytes()).unwrap()
    }

    const FIRST: &str = r#"{"request_id":"r","user_id":"u","pack_id":"p","amount":1,"not_after":"2030-01-01T00:00:00Z","metadata":{"a":1,"b":[2]}}"#;

    #[test]
    fn the_canonical_form_never_changes() {
        let command = parsed(FIRST);
        assert_eq!(
            canonical(&command),
            r#"purchase {"amount":1e0,"metadata":{"a":1e0,"b":[2e0]},"not_after":"2030-01-01T00:00:00.000000Z","pack_id":"p","request_id":"r","user_id":"u"}"#
        );
        assert_eq!(command.digest().to_string(), "8fe64495e7058e536e6792803c665842997902d15b52d6fab53ca91810766567");
    }

    #[test]
    fn the_canonical_form_of_a_sellback_never_changes() {
        let read = |text: &str| parse_sellback(None, text.as_bytes()).unwrap();
        let of_item = read(r#"{"request_id":"r","user_id":"u","item_id":"i","min_price":"8.5","metadata":{"a":1}}"#);
        assert_eq!(
            sold(&of_item),
            r#"sellback {"item_id":"i","metadata":{"a":1e0},"min_price":"8.50","request_id":"r","user_id":"u"}"#
        );
        let of_pull = read(
            r#"{"request_id":"r","user_id":"u","pull_id":"6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11","not_after":"2030-01-01T00:00:00Z"}"#,
        );
        assert_eq!(
            sold(&of_pull),
            r#"sellback {"not_after":"2030-01-01T00:00:00.000000Z","pull_id":"6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11","request_id":"r","user_id":"u"}"#
        );
        assert_eq!(read(&of_item.to_json()).digest(), of_item.digest());
        assert_eq!(read(&of_pull.to_json()), of_pull);
        assert_ne!(of_item.digest(), of_pull.digest());
    }

    #[test]
    fn the_same_fields_in_other_words_are_a_repeat() {
        for same in [
            r#"{"metadata":{"b":[2.0],"a":1},"amount":1,"pack_id":"p","user_id":"u","request_id":"r","not_after":"2030-01-01T01:00:00.000+01:00"}"#,
            r#"{"request_id":"\u0072","user_id":"u","pack_id":"p","amount":1,"not_after":"2029-12-31t23:00:00-01:00","metadata":{"a":1,"\u0062":[2e0]}}"#,
        ] {
            assert_eq!(parsed(same).digest(), parsed(FIRST).digest(), "{same}");
        }
    }

    #[test]
    fn any_other_field_is_a_conflict() {
        for (field, other) in [
            (r#""request_id":"r""#, r#""request_id":"R""#),
            (r#""user_id":"u""#, r#""user_id":"p""#),
            (r#""pack_id":"p""#, r#""pack_id":"u""#),
            (r#""amount":1"#, r#""amount":2"#),
            (r#""not_after":"2030-01-01T00:00:00Z""#, r#""not_after":"2030-01-01T00:00:00.000001Z""#),
            (r#","not_after":"2030-01-01T00:00:00Z""#, ""),
            (r#""a":1"#, r#""a":"1""#),
            (r#""b":[2]"#, r#""b":[2,2]"#),
            (r#"{"a":1,"b":[2]}"#, "{}"),
            (r#","metadata":{"a":1,"b":[2]}"#, ""),
        ] {
            let changed = FIRST.replacen(field, other, 1);
            assert_ne!(changed, FIRST);
            assert_ne!(parsed(&changed).digest(), parsed(FIRST).digest(), "{changed}");
        }
        let bare = parsed(&FIRST.replace(r#","metadata":{"a":1,"b":[2]}"#, ""));
        let empty = parsed(&FIRST.replace(r#"{"a":1,"b":[2]}"#, "{}"));
        assert_ne!(bare.digest(), empty.digest());
    }

    #[test]
    fn it_reads_back_from_its_digits() {
        let digest = parsed(FIRST).digest();
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(InvalidDigest), "{bad}");
        }
    }
}
