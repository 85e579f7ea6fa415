//! What error messages show of a log file.

use std::{fs, path::Path};

/// Enough to see why something did not start.
const LINES: usize = 20;

/// The last lines of a file; empty if it cannot be read.
pub fn tail(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
