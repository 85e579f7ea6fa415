//! The long-running roles. Each is the same process with other parts in it.

mod keys;
mod metered;
mod parts;
mod process;
mod reload;
pub mod sandbox;
mod separate;
mod signals;
mod stored;
pub mod up;
pub mod webhooks;

pub use parts::Upstreams;
pub use process::{RoleFlags, rates, rules};
pub use separate::{ApiFlags, api, refuse_no_partners, scheduler, worker};
