//! Rehearsals: Clawback as it is really run, as separate processes on real servers, while things break on purpose.
//!
//! [`Order`] is what partners ask for, [`Stage`] the installation they ask, [`Books`] everything that can be read afterwards: the
//! store, the partners' event queues, and the upstream's ledger, which alone knows what was really bought. [`Books::audit`] holds
//! them against each other.

mod audit;
mod books;
mod orders;
mod stage;

pub use audit::{Tally, UNDER_WAY};
pub use books::{Books, Row};
pub use orders::{Order, orders};
pub use stage::{DRAIN, Plan, Stage, gauge};
