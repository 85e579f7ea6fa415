//! What happened, readable: one line for each thing that matters, with time and process.

use std::time::Duration;

use crate::executor::{Process, WORLD};

#[derive(Debug, Clone, Copy, Default)]
pub struct Trace {
    pub on: bool,
}

impl Trace {
    /// Prints `  12.345678  3 commit   …`; nothing, and at no cost, when it is off.
    pub fn line(self, at: Duration, process: Process, what: &str, how: impl FnOnce() -> String) {
        if self.on {
            let who = if process == WORLD { "world".into() } else { format!("process {process}") };
            eprintln!("{:12.6}  {who:<11} {what:<9} {}", at.as_secs_f64(), how());
        }
    }
}
