//! HTTP: the partners' door to the same commands, and what both doors share.

pub mod bearer;
pub mod body;
pub mod problem;
pub mod server;

mod api;
mod asked;
pub mod cursor;
mod events;
mod items;
mod orders;
mod settings;

pub use api::{Api, ApiPartner, router};
pub use events::Asked;
