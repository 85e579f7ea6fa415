//! What Clawback knows and decides, without doing anything.
//!
//! Ids, money, commands, events and the purchase machine live here as pure code: no I/O, no clock, no randomness, no other
//! crate of the workspace. Whoever calls passes `now` and hands in what was drawn; what must be done comes back as data. The
//! worker performs it, the simulation drives the very same functions.
//!
//! [`clock`] only *describes* the doors through which time, chance and tasks reach the worker; their implementations live where
//! they are built.

pub mod clock;
pub mod id;
pub mod money;
pub mod trace;

pub mod command;
pub mod item;
pub mod reason;

pub mod answer;
pub mod change;
pub mod event;
pub mod order;
pub mod poll;
pub mod purchase;
pub mod sellback;
pub mod timeline;
pub mod user;

pub mod resource;
pub mod schema;

pub mod evidence;
pub mod pause;
pub mod planted;
pub mod rehearsal;
pub mod warning;
pub mod webhook;

pub use clock::{Clock, Tasks, Time};
pub use id::{
    AttemptToken, DeadLetterId, EventId, InvalidId, ItemId, OrderId, PackId, PartnerId, PublicId, PullId, PurchaseId,
    RequestId, SellbackId, SessionId, TxHash, UserId,
};
pub use money::{Currency, Money};
