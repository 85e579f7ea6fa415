//! What only a real server can do to a group commit: cut it off at its worst moment, deadlock it, plan it badly.

#[allow(dead_code, reason = "the suite's builders, of which these tests need some")]
#[path = "../conformance/build.rs"]
mod build;
mod place;
mod proxy;
#[allow(dead_code, reason = "the suite's builders, of which these tests need some")]
#[path = "../conformance/sale.rs"]
mod sale;
#[allow(dead_code, reason = "the suite's builders, of which these tests need some")]
#[path = "../conformance/watch.rs"]
mod watch;

mod contention;
mod cut;
mod plans;
mod turns;
