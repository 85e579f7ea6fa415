//! The clock: finds rows that are due and enqueues a step for each.
//!
//! It survives every other part: whatever a worker held when it died is a row with a `due_at`, and that is all the scheduler needs.
//! Any number of replicas run side by side; a row is claimed by one of them, for the claim moves `due_at` and raises the version in
//! the same statement. It decides nothing about a row and opens no upstream.
//!
//! Beside it what is old is removed, as long as the configuration says: [`prune`].

mod due;
pub mod prune;

pub use due::Scheduler;
pub use prune::Pruner;
