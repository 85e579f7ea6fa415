//! What operators ask and do: a file per verb.

pub mod audit;
pub mod cancel;
pub mod completions;
pub mod config;
pub mod dead;
pub mod doctor;
pub mod enqueue;
pub mod events;
mod events_replay;
mod find;
mod history;
pub mod list;
mod list_items;
pub mod migrate;
pub mod pause;
pub mod prune;
pub mod review;
pub mod rules;
pub mod schema;
pub mod show;
pub mod topology;
pub mod warnings;
pub mod webhooks;
mod who;
