//! The annotated reference: every key with its value in effect, as TOML that reads back.

use std::fmt::Write;

use super::reader::{Entry, Shown};

/// Aligns comments where most lines end.
const COLUMN: usize = 44;

/// How to begin, for a file without a partner.
const NO_PARTNER: &str = r#"
# [[partner]]                                # a tenant; every key of [defaults] may stand here too
# name = "acme"                              # part of queue names and routing keys
# api_key_file = "secrets/acme"              # or api_key_env = "ACME_KEY"; two partners never share a key
# token_file = "secrets/acme-http"           # bearer token of the HTTP API
"#;

pub fn print(entries: &[Entry]) -> String {
    let mut out = String::new();
    write_table(&mut out, "", entries);
    out
}

/// Plain keys first: in TOML what follows a table's header belongs to that table.
fn write_table(out: &mut String, path: &str, entries: &[Entry]) {
    for entry in entries {
        match &entry.shown {
            Shown::Value(value) => write_line(out, &format!("{} = {value}", entry.key), entry),
            Shown::Unset(example) => write_line(out, &format!("# {} = {example}", entry.key), entry),
            Shown::Table(_) | Shown::Tables(_) => {}
        }
    }
    for entry in entries {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        match &entry.shown {
            Shown::Value(_) | Shown::Unset(_) => {}
            Shown::Table(entries) => {
                out.push('\n');
                write_line(out, &format!("[{path}]"), entry);
                write_table(out, &path, entries);
            }
            Shown::Tables(tables) if tables.is_empty() && path == "partner" => out.push_str(NO_PARTNER),
            Shown::Tables(tables) => {
                for entries in tables {
                    out.push('\n');
                    write_line(out, &format!("[[{path}]]"), entry);
                    write_table(out, &path, entries);
                }
            }
        }
    }
}

fn write_line(out: &mut String, line: &str, entry: &Entry) {
    let origin = match (&entry.shown, &entry.origin) {
        (Shown::Value(_), Some(origin)) => format!(" [{origin}]"),
        _ => String::new(),
    };
    writeln!(out, "{line:COLUMN$} # {}{origin}", entry.doc).expect("a string takes every text");
}
