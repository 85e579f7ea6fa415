//! The upstream's client: typed calls, every answer classified, nothing ever repeated.
//!
//! [`Phygitals`] is the real one. What an answer means is decided in `classify` alone; whether a call may have left at all is told by
//! its own request body, in `gate`. JSON of the upstream ends here: what leaves this crate are the domain's words.

mod client;
mod key;

mod classify;
mod gate;
mod reply;

mod date;
mod inventory;
mod item;
mod retry_after;
mod wire;

pub use client::{Phygitals, SetupError};
pub use key::{ApiKey, InvalidKey};

use async_trait::async_trait;
use clawback_domain::{
    SessionId, UserId,
    answer::{Answer, BuybackRequest, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
};

/// One account at the upstream: what a partner's API key addresses.
///
/// Every call ends by itself (each has its time-outs) and none fails otherwise than by its answer. Dropping a call's future closes
/// its request: what was not handed to a socket by then never will be.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// `POST /api/v1/vm/buy/init`. Spends money, is not idempotent, is sent at most once.
    async fn buy_init(&self, request: InitRequest) -> Answer;

    /// `POST /api/v1/vm/buy/status`. The upstream may hold it for its whole poll window.
    async fn buy_status(&self, session: &SessionId) -> StatusAnswer;

    /// `GET /api/v1/inventory/{user_id}`.
    async fn inventory(&self, user: &UserId) -> InventoryAnswer;

    /// `GET /api/v1/vm/available?platform=mainnet`.
    async fn packs(&self) -> PacksAnswer;

    /// `POST /api/v1/vm/buyback`: `Sold` or not. Sells, is not idempotent, is sent at most once.
    async fn buyback(&self, request: BuybackRequest) -> Answer;

    /// A digest of the API key in use, so that a pause made by a 401 can be lifted by another key. Not the key.
    fn key_fingerprint(&self) -> String;
}
