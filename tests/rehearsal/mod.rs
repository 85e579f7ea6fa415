//! Rehearsals: Clawback as it is really run, as separate processes on real servers, while things break on purpose.
//!
//! [`Order`] is what partners ask for, [`Stage`] the installation they ask, [`Books`] everything that can be read afterwards: the
//! store, the partners' event queues, and the upstream's ledger, which alone knows what was really bought. [`Books::audit`] holds
//! them against each other; [`Books::audit_sales`] does so with what was [`Asked`] to be sold, [`Books::warning_findings`] with what was told
//! before buyback windows shut, and after.

mod audit;
mod books;
mod orders;
mod sales;
mod stage;
#[cfg(test)]
mod story;
mod told;
mod warned;

pub use audit::{Tally, UNDER_WAY};
pub use books::{Books, Row};
pub use orders::{Order, orders};
pub use sales::{Asked, Sales};
pub use stage::{DRAIN, Plan, Stage, gauge};
pub use warned::Warned;
