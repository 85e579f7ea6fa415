//! A stand-in for the upstream: the documented sandbox, and a production mode with faults on demand.
//!
//! [`Engine`] is the upstream as a pure state machine: seeded, told the time at each call, without I/O, tasks or a clock of its
//! own. Two doors lead to it: [`serve`] puts it behind HTTP, faults on the wire included; [`InProcess`] is the same upstream as
//! the worker's `Upstream`, for tests and the simulation. What was really bought and sold is read from [`Ledger`], and that is
//! what tests, the demo and the benchmark count against: nothing here may be kinder, or stricter, than the pages say.

pub mod catalogue;
pub mod fault;
pub mod options;

pub mod engine;
pub mod ledger;
pub mod outcome;

pub mod in_process;
pub mod typed;

pub mod server;

mod chance;
mod pull;
mod wire;

pub use catalogue::{Cents, PackSpec, Tier};
pub use engine::{Engine, Shared};
pub use fault::{Endpoint, Fault, Kind};
pub use in_process::InProcess;
pub use ledger::Ledger;
pub use options::{Mode, Options};
pub use outcome::{Outcome, Refusal};
pub use pull::Pulled;
pub use server::{ServerOptions, serve};
