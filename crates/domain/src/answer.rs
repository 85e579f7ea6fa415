//! What a call to the upstream brought back, already classified: the words between the client and the machine.

use std::time::Duration;

use crate::{
    ItemId, Money, PackId, PublicId, SessionId, Time, TxHash, UserId,
    item::{HeldItem, Item},
    reason::FailureCode,
};

/// What is known of one `buy/init` or `buyback`.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// 200 with a readable session.
    Done { session: SessionId, nfts: Vec<Item> },
    /// A `buyback` that sold; `None` where the amount could not be read.
    Sold { amount: Option<Money> },
    /// A documented refusal: surely no effect.
    Refused { code: FailureCode, message: String, status: u16 },
    /// 401: surely no effect, and nothing else of this partner will pass.
    Unauthorized { message: String },
    /// 429: surely no effect of this call, try later. Of a `buyback` also "active session": somebody is selling it; look, never call
    /// blindly.
    Busy { retry_after: Option<Duration> },
    /// Proven: not a byte of the request's body left, and none ever will.
    NeverSent { why: String },
    /// It may or may not have bought, or sold. Nothing may ever repeat it.
    Unknown { why: String, status: Option<u16> },
}

impl Answer {
    /// The same answer for the machine, which needs no items: those are stored with the attempt.
    pub fn without_items(&self) -> Self {
        match self {
            Answer::Done { session, .. } => Answer::Done { session: session.clone(), nfts: Vec::new() },
            other => other.clone(),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Answer::Done { .. } => "done",
            Answer::Sold { .. } => "sold",
            Answer::Refused { .. } => "refused",
            Answer::Unauthorized { .. } => "unauthorized",
            Answer::Busy { .. } => "busy",
            Answer::NeverSent { .. } => "never_sent",
            Answer::Unknown { .. } => "unknown",
        }
    }
}

/// What `buy/status` said.
#[derive(Debug, Clone, PartialEq)]
pub enum StatusAnswer {
    Fulfilled(Fulfilment),
    Pending,
    /// 400 `Transaction failed`: the purchase counts as cancelled.
    TransactionFailed,
    Unauthorized,
    /// No answer that tells anything: time-out, 5xx, rubbish. Asking again is free.
    Unreadable {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fulfilment {
    pub session: SessionId,
    pub user_id: Option<UserId>,
    pub public_id: Option<PublicId>,
    pub tx_hash: Option<TxHash>,
    pub nfts: Vec<Item>,
}

/// What reading an inventory brought. Only `Read` is a *good* look: a 200 that echoes the user and was read to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum InventoryAnswer {
    Read(Inventory),
    /// 404. Proves absence only for a user of whom no pull is known.
    UserNotFound,
    Unauthorized,
    Unreadable {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    pub user_id: UserId,
    pub items: Vec<HeldItem>,
    /// The upstream's clock when it answered, where it told.
    pub upstream_time: Option<Time>,
}

/// One claw machine of the upstream's list.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    pub id: PackId,
    pub slug: Option<String>,
    pub name: Option<String>,
    pub enabled: bool,
    pub in_stock: bool,
    pub mint_price: Option<Money>,
    pub max_per_mint: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum PacksAnswer {
    Listed(Vec<Pack>),
    Unauthorized,
    Unreadable { why: String },
}

/// The body of `buy/init`, and until when it may be handed to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitRequest {
    pub pack_id: PackId,
    pub amount: u32,
    pub user_id: UserId,
    /// `X-Request-Id`: `<purchase_id>.<attempt>`. The upstream ignores it; the sandbox's ledger keeps it.
    pub reference: String,
    /// Not a byte is sent after it, on wall time and on a clock that counts suspension.
    pub send_by: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuybackRequest {
    pub item_id: ItemId,
    pub reference: String,
    pub send_by: Time,
}
