//! From the bytes of a message to a command.
//!
//! Nearly every message is right, so it is read once by a typed reader that knows only yes and no. If it says no, [`explain`] reads
//! it again, slowly, and collects every problem. [`explain`] alone defines what is right: what it accepts is accepted, and a test
//! holds the two to the same answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Metadata, Problem, PurchaseCommand, Rejected, SellbackCommand, Target, explain, rules};
use crate::reason::RejectionCode;

/// A command is a few hundred bytes and at most 4 KiB of metadata; more is somebody else's message.
pub const MOST_BYTES: usize = 64 * 1024;

/// The content type of a CloudEvent in structured mode: the command is its `data`.
pub const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";

/// Reads a purchase command. Never panics, never overflows the stack, whatever the bytes.
///
/// `content_type`: `application/json` or none for the bare object, [`CLOUDEVENTS_JSON`] for an event that carries it as `data` (the
/// event's `id` is not the idempotency key, and its other attributes are not read).
///
/// # Errors
/// Every problem of the message at once, with the ids as far as they could be read.
pub fn parse_purchase(content_type: Option<&str>, body: &[u8]) -> Result<PurchaseCommand, Rejected> {
    parse(content_type, body)
}

/// Reads a sellback command, as [`parse_purchase`] reads a purchase.
///
/// # Errors
/// As there.
pub fn parse_sellback(content_type: Option<&str>, body: &[u8]) -> Result<SellbackCommand, Rejected> {
    parse(content_type, body)
}

fn parse<C: Command>(content_type: Option<&str>, body: &[u8]) -> Result<C, Rejected> {
    let (text, at) = text(content_type, body)?;
    read(text, at)
}

/// The JSON of what is asked for, and its pointer within the message.
pub(super) fn text<'b>(content_type: Option<&str>, body: &'b [u8]) -> Result<(&'b str, &'static str), Rejected> {
    if body.len() > MOST_BYTES {
        let message = format!("the message must be at most {MOST_BYTES} bytes, not {}", body.len());
        return Err(Rejected::one(RejectionCode::TooLarge, message));
    }
    let form = Form::of(content_type)?;
    let text = std::str::from_utf8(body).map_err(|error| {
        Rejected::one(RejectionCode::InvalidEncoding, format!("the message is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    match form {
        Form::Bare => Ok((text, "")),
        Form::CloudEvent => Ok((explain::data(text)?, "/data")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bare,
    CloudEvent,
}

impl Form {
    fn of(content_type: Option<&str>) -> Result<Self, Rejected> {
        let mut parts = content_type.unwrap_or_default().split(';').map(|part| part.trim().to_ascii_lowercase());
        let form = match parts.next().as_deref() {
            None | Some("" | "application/json") => Form::Bare,
            Some(CLOUDEVENTS_JSON) => Form::CloudEvent,
            Some(other) => return Err(unknown_encoding("content type", other)),
        };
        match parts.find_map(|part| part.strip_prefix("charset=").map(|name| name.trim_matches('"').to_owned())) {
            None => Ok(form),
            Some(name) if matches!(name.as_str(), "utf-8" | "utf8" | "us-ascii") => Ok(form),
            Some(name) => Err(unknown_encoding("charset", &name)),
        }
    }
}

fn unknown_encoding(what: &str, name: &str) -> Rejected {
    let name = super::json::shown(name);
    Problem::new(RejectionCode::InvalidEncoding, format!("the {what} {name:?} is not understood"))
        .hint(format!("application/json or {CLOUDEVENTS_JSON}, in UTF-8"))
        .into()
}

/// `at` is the pointer of `text` within the message.
fn read<C: Command>(text: &str, at: &'static str) -> Result<C, Rejected> {
    match C::quick(text) {
        Some(command) => Ok(command),
        None => C::explained(text, at),
    }
}

/// What is read in both ways.
trait Command: Sized {
    fn quick(text: &str) -> Option<Self>;
    fn explained(text: &str, at: &'static str) -> Result<Self, Rejected>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurchaseFields<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    pack_id: Cow<'a, str>,
    amount: u32,
    not_after: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Command for PurchaseCommand {
    fn quick(text: &str) -> Option<Self> {
        let fields: PurchaseFields<'_> = serde_json::from_str(text).ok()?;
        Some(Self {
            request_id: rules::request_id(&fields.request_id).ok()?,
            user_id: rules::user_id(&fields.user_id).ok()?,
            pack_id: rules::pack_id(&fields.pack_id).ok()?,
            amount: rules::amount(fields.amount).ok()?,
            not_after: fields.not_after.map(|text| rules::not_after(&text)).transpose().ok()?,
            metadata: fields.metadata.map(Metadata::read).transpose().ok()?,
        })
    }

    fn explained(text: &str, at: &'static str) -> Result<Self, Rejected> {
        explain::purchase(text, at)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SellbackFields<'a> {
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    item_id: Option<String>,
    pull_id: Option<String>,
    min_price: Option<String>,
    not_after: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Command for SellbackCommand {
    fn quick(text: &str) -> Option<Self> {
        let fields: SellbackFields<'_> = serde_json::from_str(text).ok()?;
        let target = match (fields.item_id, fields.pull_id) {
            (Some(item), None) => Target::Item(rules::item_id(&item).ok()?),
            (None, Some(pull)) => Target::Pull(rules::pull_id(&pull).ok()?),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Self {
            request_id: rules::request_id(&fields.request_id).ok()?,
            user_id: rules::user_id(&fields.user_id).ok()?,
            target,
            min_price: fields.min_price.map(|text| rules::min_price(&text)).transpose().ok()?,
            not_after: fields.not_after.map(|text| rules::not_after(&text)).transpose().ok()?,
            metadata: fields.metadata.map(Metadata::read).transpose().ok()?,
        })
    }

    fn explained(text: &str, at: &'static str) -> Result<Self, Rejected> {
        explain::sellback(text, at)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_content_type_says_where_the_command_is() {
        let cases: &[(Option<&str>, Result<Form, &str>)] = &[
            (None, Ok(Form::Bare)),
            (Some(""), Ok(Form::Bare)),
            (Some("application/json"), Ok(Form::Bare)),
            (Some(" Application/JSON ; Charset=\"UTF-8\""), Ok(Form::Bare)),
            (Some("application/cloudevents+json; charset=utf-8"), Ok(Form::CloudEvent)),
            (Some("application/json; charset=utf-16"), Err("the charset \"utf-16\" is not understood")),
            (Some("text/json"), Err("the content type \"text/json\" is not understood")),
            (
                Some("application/cloudevents-batch+json"),
                Err("the content type \"application/cloudevents-batch+json\" is not understood"),
            ),
            (Some("x\0y"), Err("the content type \"x\u{fffd}y\" is not understood")),
        ];
        for (given, expected) in cases {
            let form = Form::of(*given).map_err(|rejected| rejected.to_string());
            assert_eq!(form, expected.map_err(str::to_owned), "{given:?}");
        }
    }

    /// Pieces of which some are right, so that both readers are asked something at every field.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            r#""request_id":"r""#,
            r#""request_id":"\u0072""#,
            r#""request_id":"auto:r""#,
            r#""request_id":"\ud800""#,
            r#""user_id":"u""#,
            r#""user_id":"a/b""#,
            r#""user_id":7"#,
            r#""pack_id":"p""#,
            r#""pack_id":"""#,
            r#""amount":1"#,
            r#""amount":10001"#,
            r#""amount":-0"#,
            r#""amount":1e2"#,
            r#""amount":99999999999999999999"#,
            r#""not_after":null"#,
            r#""not_after":"2030-01-01T00:00:00+01:00""#,
            r#""not_after":"2030-01-01""#,
            r#""metadata":{"a":[1,{"b":null}]}"#,
            r#""metadata":{"a":1,"a":1}"#,
            r#""metadata":{"$serde_json::private::RawValue":"1"}"#,
            r#""metadata":null"#,
            r#""$serde_json::private::RawValue":"{}""#,
            r#""extra":1"#,
        ])
    }

    fn sold_piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            r#""request_id":"r""#,
            r#""request_id":"auto:r""#,
            r#""user_id":"u""#,
            r#""item_id":"i""#,
            r#""item_id":"""#,
            r#""item_id":null"#,
            r#""item_id":7"#,
            r#""pull_id":"6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11""#,
            r#""pull_id":"6A0E3C1E93F45C598B5C0D9C1AA7BE11""#,
            r#""pull_id":"{6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11}""#,
            r#""pull_id":null"#,
            r#""min_price":"8.50""#,
            r#""min_price":"-8.50""#,
            r#""min_price":"1e2""#,
            r#""min_price":8.5"#,
            r#""min_price":null"#,
            r#""not_after":"2030-01-01T00:00:00+01:00""#,
            r#""metadata":{"a":1}"#,
            r#""pack_id":"p""#,
        ])
    }

    /// On the object of `pieces`, with those of `given` whose fields are missing.
    fn agree<C: Command + Clone + PartialEq + Debug>(pieces: &[&str], given: &[&str]) -> Result<(), TestCaseError> {
        let name = |piece: &str| piece.split(':').next().unwrap().to_owned();
        let missing = given.iter().filter(|field| pieces.iter().all(|piece| name(piece) != name(field)));
        let text = format!("{{{}}}", pieces.iter().chain(missing).copied().collect::<Vec<_>>().join(","));
        let explained = C::explained(&text, "");
        prop_assert_eq!(C::quick(&text), explained.as_ref().ok().cloned(), "{}", &text);
        if let Err(rejected) = explained {
            prop_assert!(!rejected.problems.is_empty());
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_quick_reader_and_the_explaining_one_agree(pieces in prop::collection::vec(piece(), 0..5)) {
            agree::<PurchaseCommand>(&pieces, &[r#""request_id":"r""#, r#""user_id":"u""#, r#""pack_id":"p""#, r#""amount":3"#])?;
        }

        #[test]
        fn they_agree_on_sellbacks_too(pieces in prop::collection::vec(sold_piece(), 0..5)) {
            agree::<SellbackCommand>(&pieces, &[r#""request_id":"r""#, r#""user_id":"u""#])?;
        }
    }
}
