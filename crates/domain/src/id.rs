//! A type per id, so that no signature can mix them up.
//!
//! Text ids are reference-counted: a purchase's ids travel through many rows and messages and are never edited. The rules of each
//! text are those of the contract; [`UserId`] is the strict one, because it travels in a URL path and a proxy or a URL library
//! may rewrite what looks like path syntax (a 404 for a rewritten path would "prove" absence).

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// Why a text is not an id: a sentence that can stand behind the field's name ("must be 1–128 characters").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(pub String);

/// Every id is a string in JSON; reading one checks its rule.
macro_rules! string_in_json {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rule of this id.
            ///
            /// # Errors
            /// [`InvalidId`] says in words which rule is broken.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text for whoever wants to keep it.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        string_in_json!($name);
    };
}

text_id!(
    /// A tenant: `[a-z0-9][a-z0-9-]{0,62}`. It is part of queue names, routing keys and file names.
    PartnerId,
    check_partner
);
text_id!(
    /// The partner's own idempotency key: 1–128 characters without control characters.
    RequestId,
    |text| check_text(text, 128)
);
text_id!(
    /// The partner's end user: 1–256 characters that no URL library or proxy rewrites.
    UserId,
    check_user
);
text_id!(
    /// A claw machine at the upstream: 1–128 characters.
    PackId,
    |text| check_text(text, 128)
);
text_id!(
    /// The upstream's name for an item. Not unique: in the sandbox one id can be handed out several times.
    ItemId,
    |text| check_text(text, 256)
);
text_id!(
    /// The upstream's name for one purchase, the only handle `buy/status` takes.
    SessionId,
    |text| check_text(text, 512)
);
text_id!(
    /// The upstream's short shareable name of a transaction, for example `_XKCD`.
    PublicId,
    |text| check_text(text, 512)
);
text_id!(
    /// The hash of the mint on chain, or `sandbox_…`.
    TxHash,
    |text| check_text(text, 512)
);

fn check_text(text: &str, most: usize) -> Result<(), InvalidId> {
    let length = text.chars().count();
    if length == 0 || length > most {
        return Err(InvalidId(format!("must be 1–{most} characters, not {length}")));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(InvalidId(format!("must not contain the control character U+{:04X}", c as u32))),
        None => Ok(()),
    }
}

fn check_user(text: &str) -> Result<(), InvalidId> {
    check_text(text, 256)?;
    if text == "." || text == ".." {
        return Err(InvalidId(format!("must not be {text:?}: it is a path segment of its own")));
    }
    match text.chars().find(|c| matches!(c, '/' | '\\' | '%' | '?' | '#') || c.is_whitespace()) {
        Some(c) => Err(InvalidId(format!("must not contain {c:?}: it travels in a URL path"))),
        None => Ok(()),
    }
}

fn check_partner(text: &str) -> Result<(), InvalidId> {
    let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 63 || !lower(bytes[0]) || !bytes.iter().all(|&c| lower(c) || c == b'-') {
        return Err(InvalidId("must match [a-z0-9][a-z0-9-]{0,62}".into()));
    }
    Ok(())
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId("must be a UUID".into()))
            }
        }

        string_in_json!($name);
    };
}

uuid_id!(
    /// One purchase or sellback: UUIDv5 of (partner, `request_id`), one space for both, so that every door computes the same id for
    /// the same command.
    OrderId
);
uuid_id!(
    /// One drawn item: UUIDv5 of (purchase, its position). Item ids repeat, pulls do not.
    PullId
);
uuid_id!(
    /// One event: UUIDv5 of (subject, sequence). The same event computed twice, or sent twice, has the same id.
    EventId
);
uuid_id!(
    /// One message that could not be handled: UUIDv5 of (queue, `message_id` or digest of the body).
    DeadLetterId
);
uuid_id!(
    /// The owner of one attempt, drawn by the handler that began it. Only who holds it may say what the call brought back.
    AttemptToken
);

/// The root of every UUIDv5 here. It must never change: ids of stored rows are computed again from it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6a0e_3c1e_93f4_5c59_8b5c_0d9c_1aa7_be11);

/// Length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
fn v5(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(96);
    name.extend_from_slice(kind.as_bytes());
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

pub use OrderId as PurchaseId;
pub use OrderId as SellbackId;

impl OrderId {
    pub fn of(partner: &PartnerId, request: &RequestId) -> Self {
        Self(v5("command", &[partner.as_str().as_bytes(), request.as_str().as_bytes()]))
    }
}

impl PullId {
    pub fn of(purchase: PurchaseId, position: u32) -> Self {
        Self(v5("pull", &[purchase.0.as_bytes(), &position.to_be_bytes()]))
    }
}

impl EventId {
    /// `subject` is the purchase, sellback, user or dead letter that the event is about.
    pub fn of(subject: Uuid, sequence: u64) -> Self {
        Self(v5("event", &[subject.as_bytes(), &sequence.to_be_bytes()]))
    }
}

/// What the events of a user are about.
pub(crate) fn user_subject(partner: &PartnerId, user: &UserId) -> Uuid {
    v5("user", &[partner.as_str().as_bytes(), user.as_str().as_bytes()])
}

impl DeadLetterId {
    /// `identity` is the AMQP `message_id`, or the SHA-256 digest of the body where there is none.
    pub fn of(queue: &str, identity: &[u8]) -> Self {
        Self(v5("dead", &[queue.as_bytes(), identity]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(result: Result<T, InvalidId>, expected: bool) {
        assert_eq!(result.is_ok(), expected);
    }

    #[test]
    fn a_partner_is_a_short_lower_case_name() {
        for (text, expected) in
            [("acme", true), ("a", true), ("a-1", true), ("0", true), ("-a", false), ("A", false), ("", false), ("a.b", false)]
        {
            check(PartnerId::new(text), expected);
        }
        check(PartnerId::new("a".repeat(63)), true);
        check(PartnerId::new("a".repeat(64)), false);
    }

    #[test]
    fn a_user_never_reaches_a_path_as_syntax() {
        for text in ["a/b", "a\\b", "%2f", "a?b", "a#b", "a b", "a\u{a0}b", ".", "..", "", "a\u{0}b", "a\nb", "a\u{85}b"] {
            check(UserId::new(text), false);
        }
        for text in ["user_abc123", "...", "ü@x.de", "a:b", &"u".repeat(256)] {
            check(UserId::new(text), true);
        }
        check(UserId::new("u".repeat(257)), false);
    }

    #[test]
    fn lengths_are_characters_not_bytes() {
        check(RequestId::new("ß".repeat(128)), true);
        check(RequestId::new("ß".repeat(129)), false);
    }

    #[test]
    fn ids_are_the_same_at_every_door_and_differ_between_partners() {
        let (acme, beta) = (PartnerId::new("acme").unwrap(), PartnerId::new("beta").unwrap());
        let request = RequestId::new("r-1").unwrap();
        assert_eq!(PurchaseId::of(&acme, &request), PurchaseId::of(&acme, &request));
        assert_ne!(PurchaseId::of(&acme, &request), PurchaseId::of(&beta, &request));
        assert_eq!(PurchaseId::of(&acme, &request).to_string(), "d20108d0-d642-53c7-8804-e2c13a7d4c0a");
    }
}
