//! Why something ended, waits, or needs a person: the codes of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Time;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The code of this text; `None` for one that this version does not know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use codes;

codes!(
    /// Why a purchase or a sellback failed.
    FailureCode {
        OutOfStock = "out_of_stock",
        AmountTooSmall = "amount_too_small",
        AmountTooLarge = "amount_too_large",
        UnknownPack = "unknown_pack",
        UserRequired = "user_required",
        TransactionFailed = "transaction_failed",
        Expired = "expired",
        Cancelled = "cancelled",
        ItemNotFound = "item_not_found",
        ItemExpired = "item_expired",
        PriceBelowMinimum = "price_below_minimum",
        /// An unrecognised 4xx, after every look proved absence; or a person's word.
        Refused = "refused",
    }
);

codes!(
    /// Why a purchase or a sellback waits for a person, or for time.
    ReviewCode {
        UnknownOutcome = "unknown_outcome",
        PartialItems = "partial_items",
        Ambiguous = "ambiguous",
        StillPending = "still_pending",
        ItemMismatch = "item_mismatch",
    }
);

codes!(
    /// Why a message was not taken as a command.
    RejectionCode {
        InvalidJson = "invalid_json",
        InvalidEncoding = "invalid_encoding",
        TooLarge = "too_large",
        InvalidField = "invalid_field",
        UnknownField = "unknown_field",
        MissingField = "missing_field",
        RequestIdConflict = "request_id_conflict",
        UnknownCommand = "unknown_command",
        PartnerClosed = "partner_closed",
    }
);

codes!(
    /// Why an accepted order has not been called yet.
    WaitCode {
        Paused = "paused",
        PackPaused = "pack_paused",
        Unauthorized = "unauthorized",
        /// No permit (rate or concurrency) within a minute.
        Permit = "permit",
        /// The upstream said so (429).
        Busy = "busy",
        /// The call was proven not to have left this machine.
        NotSent = "not_sent",
        /// Another sellback of the same item is not settled.
        ItemBusy = "item_busy",
        /// The inventory, read just before the call, did not show the item.
        NotShown = "not_shown",
        /// The inventory could not be read, did not tell the price, or lacked a copy of the item that is known to be held.
        NotRead = "not_read",
    }
);

/// `what`, and in whose words why.
pub(crate) fn sentence(what: &str, why: &str) -> String {
    if why.is_empty() { what.into() } else { format!("{what}: {why}") }
}

/// Why a purchase or a sellback failed, for the partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
    /// The upstream's HTTP status, where one was received.
    pub upstream_status: Option<u16>,
}

/// What a purchase waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub code: WaitCode,
    pub message: String,
    /// When it is tried again by itself; `None` when something else must happen first.
    pub until: Option<Time>,
}
