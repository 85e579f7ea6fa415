//! The queue consumer: takes commands, buys or sells at most once for each, follows every order to its end, publishes what happened
//! and delivers it to webhooks.
//!
//! The worker decides nothing: [`clawback_domain::purchase::decide`] does. Here its decisions are written, then performed, and what
//! the world answers is fed back. The outside is seen only through [`Doors`]; there is no clock, no randomness and no task that does
//! not come through them, which is why the simulation can drive this very code.
//!
//! What may die at any line, and who finds it, is said where the lines are: the row's `due_at` brings back whatever a worker held.

pub mod doors;
mod lifecycle;

mod consume;
mod crowds;
mod dead;
mod guards;
mod held;
mod packs;
mod permits;
mod purchase;
mod reconcile;
mod relay;
mod sale_looks;
mod sellback;
mod survey;
mod take;
mod tell;
mod tenant;
mod users;
mod webhook;
mod write;

pub use doors::{Doors, Limits, Partner};
pub use lifecycle::Worker;
pub use relay::message as event_message;
