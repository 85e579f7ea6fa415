//! Finding and ending processes by an entry of their environment.
//!
//! A private RabbitMQ leaves processes behind that are nobody's child any more (its epmd makes itself a daemon). All of them carry
//! the `HOME` they were started with, a folder nobody else knows: that is how they are found, and why no other process is hit.

use std::{fs, time::Duration};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until_true;

/// The kernel needs moments to end a killed process; more means that something is badly wrong.
const DEATH: Duration = Duration::from_secs(10);

/// Every process that was started with `NAME=value` in its environment, except this one. Empty where there is no `/proc`.
/// A process is not found yet in the moment after its start when the kernel has not laid out its environment.
pub fn with_environment(entry: &str) -> Vec<Pid> {
    let Ok(proc) = fs::read_dir("/proc") else { return Vec::new() };
    proc.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id().cast_signed() && environment_has(pid, entry))
        .filter_map(Pid::from_raw)
        .collect()
}

fn environment_has(pid: i32, entry: &str) -> bool {
    // A process may end while we look, or belong to someone else: then it is not ours.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|&byte| byte == 0).any(|found| found == entry.as_bytes())
}

/// `kill -9` to each. That one has ended already is fine. Tells how many were there.
pub fn kill_all_with(entry: &str) -> usize {
    let found = with_environment(entry);
    for &pid in &found {
        let _ = kill_process(pid, Signal::KILL);
    }
    found.len()
}

/// Completes when no process with this entry is left.
pub async fn gone(entry: &str) -> Result<()> {
    until_true(&format!("no process with {entry} is left"), DEATH, || with_environment(entry).is_empty()).await
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn a_process_is_found_by_its_environment_and_ended() {
        let mark = format!("CLAWBACK_TEST_MARK={}", uuid::Uuid::new_v4());
        let (name, value) = mark.split_once('=').unwrap();
        let mut child = Command::new("cat").env(name, value).stdin(Stdio::piped()).spawn().unwrap();
        until_true("the child is found", DEATH, || with_environment(&mark) == [Pid::from_child(&child)]).await.unwrap();
        assert_eq!(kill_all_with(&mark), 1);
        assert!(!child.wait().unwrap().success());
        assert!(with_environment(&mark).is_empty());
    }
}
