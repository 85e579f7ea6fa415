//! The free data of a command: kept as text, echoed by every event, never interpreted.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{self, Fault, Json};

/// As the partner wrote it, white space included.
pub const MOST_METADATA_BYTES: usize = 4 * 1024;

/// The text of one JSON object on one line, without duplicate members and without U+0000; members and numbers as they were written.
///
/// In JSON it is the object itself. Equality is that of the text; a command's [`digest`](super::PurchaseCommand::digest) compares
/// by value.
#[derive(Clone)]
pub struct Metadata(Arc<RawValue>);

/// Why a text is not metadata: a sentence that can stand behind the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMetadata(pub String);

impl Metadata {
    /// # Errors
    /// What is not JSON, not an object, too large, too deep, or holds a duplicate member or U+0000.
    pub fn parse(text: &str) -> Result<Self, InvalidMetadata> {
        let raw = serde_json::from_str::<&RawValue>(text).map_err(|error| InvalidMetadata(error.to_string()))?;
        Self::read(raw).map_err(|refused| InvalidMetadata(refused.to_string()))
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    pub(super) fn read(raw: &RawValue) -> Result<Self, Refused> {
        if !raw.get().starts_with('{') {
            return Err(Refused::NotAnObject);
        }
        if raw.get().len() > MOST_METADATA_BYTES {
            return Err(Refused::TooLarge(raw.get().len()));
        }
        let (json, faults) = json::read(raw);
        if !faults.is_empty() {
            return Err(Refused::Faults(faults));
        }
        let mut line = String::with_capacity(raw.get().len());
        json.write(&mut line);
        let line = RawValue::from_string(line).expect("what was read as JSON is written as JSON");
        Ok(Self(Arc::from(line)))
    }

    pub(super) fn json(&self) -> Json<'_> {
        json::read(&self.0).0
    }
}

/// Why a value is not metadata.
#[derive(Debug)]
pub(super) enum Refused {
    NotAnObject,
    TooLarge(usize),
    Faults(Vec<Fault>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotAnObject => f.write_str("must be an object"),
            Refused::TooLarge(bytes) => write!(f, "must be at most {MOST_METADATA_BYTES} bytes of JSON, not {bytes}"),
            Refused::Faults(faults) => match faults.first() {
                Some(fault) => write!(f, "{} at {:?}", fault.what.message(), fault.pointer),
                None => f.write_str("is not readable"),
            },
        }
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Metadata {}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(&raw).map_err(|refused| serde::de::Error::custom(format!("metadata {refused}")))
    }
}

impl schemars::JsonSchema for Metadata {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metadata".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "The partner's free data, at most 4 KiB of JSON; every event of the command echoes it."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_with_members_and_numbers_as_written() {
        let metadata = Metadata::parse("\t{ \"b\" : 1.50,\n \"a\" : \"\\u202e ü \\n\" }\r\n").unwrap();
        assert_eq!(metadata.as_str(), "{\"b\":1.50,\"a\":\"\u{202e} ü \\n\"}");
        assert_eq!(serde_json::to_string(&metadata).unwrap(), metadata.as_str());
        assert_eq!(serde_json::from_str::<Metadata>(metadata.as_str()).unwrap(), metadata);
    }

    #[test]
    fn what_is_not_a_small_clean_object_is_refused() {
        let large = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(Metadata::parse(&large(MOST_METADATA_BYTES)).is_ok());
        let cases = [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[]", "must be an object"),
            ("null", "must be an object"),
            (r#"{"a":{"b":1,"b":1}}"#, r#"occurs more than once at "/a/b""#),
            (r#"{"a":"\u0000"}"#, r#"must not contain U+0000 at "/a""#),
            (&large(MOST_METADATA_BYTES + 1), "must be at most 4096 bytes of JSON, not 4097"),
        ];
        for (text, expected) in cases {
            assert_eq!(Metadata::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
