//! What a command says: its result on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// One result: an object on one line, or text for people.
    ///
    /// # Errors
    /// stdout is closed or full.
    pub fn result(&self, object: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { self.line(&to_json(object)) } else { self.line(text().trim_end()) }
    }

    /// # Errors
    /// stdout is closed or full.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::failed(format!("stdout cannot be written to: {error}")),
        })
    }

    /// A message beside the result.
    pub fn say(&self, message: &str) {
        // Who closed stderr does not want to know.
        let _ = writeln!(io::stderr().lock(), "{message}");
    }

    /// Whether a person watches: progress may be drawn.
    pub fn is_live(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }
}

pub fn to_json(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("our own types have string keys and no failing serializer")
}

/// Columns of a terminal that a table is fitted into; in a narrower one its lines break.
const NARROWEST: u16 = 60;

/// A table without lines, as wide as the terminal at most.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    // Below this a column is a word a line, which nobody can read; terminals that do not know their width say 0.
    if table.width().is_some_and(|width| width >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell)));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Texts come from partners and from the upstream: none of them may steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidirectional(c) { '\u{fffd}' } else { c }).collect()
}

/// Marks that reorder what stands around them.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert!(!table(["x"], [["\u{7}".into()]]).contains('\u{7}'));
    }
}
