//! The binary itself, with crash points.

include!("../../crates/clawback/src/main.rs");
