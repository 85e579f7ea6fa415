//! What tells a repeat from a conflict.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::{PurchaseCommand, json::Json};

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

fn canonical(command: &PurchaseCommand) -> String {
    let text = |text: &str| Json::Text(text.to_owned());
    let mut fields = vec![("amount".to_owned(), Json::Number(command.amount.to_string().into()))];
    if let Some(metadata) = &command.metadata {
        fields.push(("metadata".to_owned(), metadata.json()));
    }
    if let Some(time) = command.not_after {
        fields.push(("not_after".to_owned(), Json::Text(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))));
    }
    fields.push(("pack_id".to_owned(), text(command.pack_id.as_str())));
    fields.push(("request_id".to_owned(), text(command.request_id.as_str())));
    fields.push(("user_id".to_owned(), text(command.user_id.as_str())));
    let mut canonical = String::with_capacity(256);
    canonical.push_str("purchase ");
    Json::Object(fields).canonical().write(&mut canonical);
    canonical
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
    use crate::command::parse_purchase;

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
