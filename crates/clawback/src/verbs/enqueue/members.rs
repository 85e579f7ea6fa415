//! The members of a JSON object to the letter, so that one can be taken out and the rest is still read strictly.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// `None` for what is not an object.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The value of `name` and the object without it; neither when it is not there once.
    pub fn without(self, name: &str) -> (Option<Box<RawValue>>, Option<String>) {
        let (mut named, rest): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(member, _)| member == name);
        match (named.pop(), named.is_empty()) {
            (Some((_, value)), true) => (Some(value), Some(object(&rest))),
            (Some(_) | None, _) => (None, None),
        }
    }
}

fn object(members: &[(String, Box<RawValue>)]) -> String {
    let member =
        |(name, value): &(String, Box<RawValue>)| format!("{}:{}", serde_json::Value::from(name.as_str()), value.get());
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}
