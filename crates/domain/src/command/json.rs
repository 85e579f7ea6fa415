//! JSON as the partner wrote it: every member of an object kept, duplicates included, and numbers as their text.
//!
//! `serde_json::Value` would let the last duplicate win silently, and treats some member names as its own. Here each level is
//! read by `serde_json` and its members are handed on as raw text, which it has already checked. Depth is bounded before a level
//! is opened, so no message overflows the stack.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::reason::RejectionCode;

/// Levels within metadata. An event wraps metadata in a few more, and common parsers stop at 100.
pub(super) const MOST_LEVELS: usize = 64;

#[derive(Debug)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Cow<'a, str>),
    Text(String),
    List(Vec<Json<'a>>),
    Object(Vec<(String, Json<'a>)>),
}

/// What well-formed JSON may still hold and we refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub what: What,
    /// JSON pointer from the value that was read.
    pub pointer: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Duplicate,
    /// Legal in JSON, refused by PostgreSQL's text.
    Nul,
    /// An escape that names half a character.
    HalfCharacter,
    TooDeep,
}

impl What {
    pub(super) fn code(self) -> RejectionCode {
        match self {
            What::Duplicate | What::TooDeep => RejectionCode::InvalidField,
            What::Nul | What::HalfCharacter => RejectionCode::InvalidEncoding,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            What::Duplicate => "occurs more than once",
            What::Nul => "must not contain U+0000",
            What::HalfCharacter => "contains an unpaired surrogate",
            What::TooDeep => "is nested too deeply (at most 64 levels)",
        }
    }
}

/// The members of one object, in order, duplicates included.
pub(super) struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Collect).map(Members)
    }
}

/// Reads a value whole, and every fault in it.
pub(super) fn read<'a>(raw: &'a RawValue) -> (Json<'a>, Vec<Fault>) {
    let mut reader = Reader { faults: Vec::new(), path: Vec::new() };
    let json = reader.value(raw);
    (json, reader.faults)
}

struct Reader {
    faults: Vec<Fault>,
    path: Vec<String>,
}

impl Reader {
    fn value<'a>(&mut self, raw: &'a RawValue) -> Json<'a> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') if self.path.len() >= MOST_LEVELS => self.fault(What::TooDeep),
            Some(b'{') => match serde_json::from_str::<Members<'a>>(text) {
                Ok(members) => self.object(members.0),
                Err(_) => self.fault(What::HalfCharacter),
            },
            Some(b'[') => self.list(serde_json::from_str(text).expect("the raw text of a list was checked")),
            Some(b'"') => match serde_json::from_str::<String>(text) {
                Ok(text) => self.text(text),
                Err(_) => self.fault(What::HalfCharacter),
            },
            Some(b't') => Json::Bool(true),
            Some(b'f') => Json::Bool(false),
            Some(b'n') => Json::Null,
            _ => Json::Number(Cow::Borrowed(text)),
        }
    }

    fn object<'a>(&mut self, members: Vec<(String, &'a RawValue)>) -> Json<'a> {
        let mut read: Vec<(String, Json<'a>)> = Vec::with_capacity(members.len());
        for (name, raw) in members {
            // The whole is a few KiB: looking through the members before costs less than a set.
            let duplicate = read.iter().any(|(seen, _)| *seen == name);
            let nul = name.contains('\0');
            self.path.push(name);
            if duplicate {
                self.fault(What::Duplicate);
            }
            if nul {
                self.fault(What::Nul);
            }
            let value = self.value(raw);
            let name = self.path.pop().expect("every level pops what it pushed");
            read.push((name, value));
        }
        Json::Object(read)
    }

    fn list<'a>(&mut self, raws: Vec<&'a RawValue>) -> Json<'a> {
        let mut read = Vec::with_capacity(raws.len());
        for (index, raw) in raws.into_iter().enumerate() {
            self.path.push(index.to_string());
            read.push(self.value(raw));
            self.path.pop();
        }
        Json::List(read)
    }

    fn text<'a>(&mut self, text: String) -> Json<'a> {
        if text.contains('\0') { self.fault(What::Nul) } else { Json::Text(text) }
    }

    fn fault<'a>(&mut self, what: What) -> Json<'a> {
        self.faults.push(Fault { what, pointer: pointer(&self.path) });
        Json::Null
    }
}

/// The JSON pointer of a path. Names are the partner's and may be anything, but a pointer goes into headers, logs and stores.
pub(super) fn pointer(path: &[impl AsRef<str>]) -> String {
    path.iter().map(|name| format!("/{}", shown(name.as_ref()).replace('~', "~0").replace('/', "~1"))).collect()
}

/// A partner's text as it may stand in a message of ours: cut when long, control characters replaced.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 64;
    let mut shown: String =
        text.chars().take(MOST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

impl Json<'_> {
    /// One line, members in the order they have.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(text) => out.push_str(text),
            Json::Text(text) => quote(text, out),
            Json::List(values) => enclosed(out, ['[', ']'], values, |value, out| value.write(out)),
            Json::Object(members) => enclosed(out, ['{', '}'], members, |(name, value), out| {
                quote(name, out);
                out.push(':');
                value.write(out);
            }),
        }
    }

    /// Equal values become equal: members sorted by name, numbers in one spelling (`1.0` and `1` are one number).
    pub(super) fn canonical(self) -> Self {
        match self {
            Json::Number(text) => Json::Number(canonical_number(&text).map_or(text, Cow::Owned)),
            Json::List(values) => Json::List(values.into_iter().map(Json::canonical).collect()),
            Json::Object(members) => {
                let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name, value.canonical())).collect();
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                Json::Object(members)
            }
            Json::Null | Json::Bool(_) | Json::Text(_) => self,
        }
    }
}

fn enclosed<T>(out: &mut String, [open, close]: [char; 2], parts: &[T], write: impl Fn(&T, &mut String)) {
    out.push(open);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(part, out);
    }
    out.push(close);
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string always serialises"));
}

/// `-12.50e3` becomes `-125e2`: all digits, no zeros at either end, one exponent. `None` for an exponent beyond any use, which then
/// counts as it is written.
fn canonical_number(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?.checked_sub(places)?.checked_add(zeros)?;
    match significant.trim_start_matches('0') {
        "" => Some("0".into()),
        significant => Some(format!("{sign}{significant}e{exponent}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn faults(text: &str) -> Vec<(What, String)> {
        read(raw(text)).1.into_iter().map(|fault| (fault.what, fault.pointer)).collect()
    }

    fn canonical(text: &str) -> String {
        let mut out = String::new();
        read(raw(text)).0.canonical().write(&mut out);
        out
    }

    #[test]
    fn every_fault_is_found_where_it_stands() {
        let cases = [
            (r#"{"a":1,"b":{"c":[1,{"d":1,"d":2}]}}"#, vec![(What::Duplicate, "/b/c/1/d")]),
            (r#"{"a\u0000":"x","b":["\u0000"]}"#, vec![(What::Nul, "/a\u{fffd}"), (What::Nul, "/b/0")]),
            (r#"{"a/b~c":"\ud800"}"#, vec![(What::HalfCharacter, "/a~1b~0c")]),
            (r#"{"a":{"\udc00":1}}"#, vec![(What::HalfCharacter, "/a")]),
            (r#"{"a":"\ud83d\ude00","$serde_json::private::Number":"x","$serde_json::private::RawValue":"["}"#, vec![]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.into_iter().map(|(what, pointer)| (what, pointer.to_owned())).collect();
            assert_eq!(faults(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_a_fault_and_not_a_stack_overflow() {
        for (levels, expected) in [(MOST_LEVELS, 0), (MOST_LEVELS + 1, 1), (10_000, 1)] {
            assert_eq!(faults(&format!("{}{}", "[".repeat(levels), "]".repeat(levels))).len(), expected, "{levels}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let cases = [
            (["1", "1.0", "1e0", "10E-1", "0.1e+1"], "1e0"),
            (["0", "-0", "0.0", "0e9", "-0.00e-3"], "0"),
            (["-1250", "-1250.0", "-1.25e3", "-125e1", "-0.125E4"], "-125e1"),
        ];
        for (texts, expected) in cases {
            for text in texts {
                assert_eq!(canonical(text), expected, "{text}");
            }
        }
        assert_eq!(canonical("1e99999999999999999999"), "1e99999999999999999999");
    }

    #[test]
    fn members_are_compared_by_name() {
        assert_eq!(canonical(r#" { "b" : [ true , null ] , "a" : "\u00e4\/" } "#), r#"{"a":"ä/","b":[true,null]}"#);
    }
}
