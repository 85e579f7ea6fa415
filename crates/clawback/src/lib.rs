//! The binary as a library: configuration, roles, command line, HTTP API.
//!
//! [`cli`] says what there is to say. A *role* runs until it is told to stop ([`roles`]); a *verb* looks at the store or moves
//! something in it and ends ([`verbs`]); [`demo`] is the whole system in one process for a few seconds. [`config`] is what all of
//! them are told, [`http`] the partners' door, [`ops`] the operators'.

mod cli;
pub mod config;
mod context;
mod evidence;
mod failure;
mod kind;
mod output;

mod accepting;
mod auditing;
mod cancelling;
mod items;
mod pausing;
mod reviewing;

mod clock;
mod demo;
mod http;
mod ops;
mod roles;
mod verbs;

pub use cli::run;
