//! The worker in the test's own process, on the parts a test names, against an upstream it controls to the letter.
//!
//! A [`Plant`] is a store and a broker with a scheduler beside them; a [`Stage`] is one partner on it with a worker, an upstream, a
//! clock and a reader of events of its own. So many stages run beside each other on one plant without meeting.

mod double;
mod jumping;
mod looked_at;
mod plant;
mod stage;

pub use double::{Double, Init, Status};
pub use jumping::JumpingClock;
pub use plant::Plant;
pub use stage::{KEY, OverHttp, Setup, Stage, Told};
