//! The commands of a file.
//!
//! A line or row may say in `command` whether it is a `purchase` or a `sellback`; without it, it is a purchase. The rest is the
//! command as a partner would have sent it, and is read as strictly.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use clawback_domain::{command::MOST_BYTES, pause::CommandKind};
use serde_json::{Map, Value};

use super::members::Members;
use crate::{accepting::Command, failure::Failure};

pub type Commands = Box<dyn Iterator<Item = Result<Command, String>>>;

/// By the file's extension.
///
/// # Errors
/// No such file, or another extension.
pub fn commands(path: &Path) -> Result<Commands, Failure> {
    let open = || File::open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ndjson" | "jsonl") => Ok(Box::new(lines(open()?))),
        Some("csv") => table(open()?),
        _ => Err(Failure::usage(format!("{} is neither .ndjson nor .csv", path.display()))),
    }
}

/// Empty lines are skipped.
fn lines(file: File) -> impl Iterator<Item = Result<Command, String>> {
    let mut reader = BufReader::new(file);
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            let line = read_line(&mut reader).transpose()?;
            let line = match line {
                Ok(line) if line.trim_ascii().is_empty() => continue,
                line => line,
            };
            let command = line.and_then(|line| read(&line));
            return Some(command.map_err(|why| format!("line {number}: {why}")));
        }
    })
}

fn read(line: &[u8]) -> Result<Command, String> {
    let (named, rest) = match Members::read(line) {
        Some(members) => members.without(KIND),
        None => (None, None),
    };
    let kind = match named {
        Some(value) => serde_json::from_str::<Option<String>>(value.get()).map_err(|_| not_a_kind(value.get()))?,
        None => None,
    };
    parse(kind.as_deref(), rest.as_deref().map_or(line, str::as_bytes))
}

/// The field that is ours and not the command's.
const KIND: &str = "command";

fn parse(kind: Option<&str>, message: &[u8]) -> Result<Command, String> {
    let kind = match kind {
        Some(name) => CommandKind::parse(name).ok_or_else(|| not_a_kind(name))?,
        None => CommandKind::Purchase,
    };
    Command::parse(kind, None, message).map_err(|error| error.to_string())
}

fn not_a_kind(text: &str) -> String {
    format!("/{KIND} must be purchase or sellback, not {text}")
}

/// One line, bounded: a file without line breaks must not be read into memory.
fn read_line(reader: &mut BufReader<File>) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let most = MOST_BYTES as u64 + 2;
    let read = reader.take(most).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == most && line.last() != Some(&b'\n') {
        reader.skip_until(b'\n').map_err(|error| error.to_string())?;
        return Err(format!("is longer than {MOST_BYTES} bytes"));
    }
    Ok(Some(line))
}

/// The header names the fields of a command; empty cells are left out.
fn table(file: File) -> Result<Commands, Failure> {
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().map_err(|error| Failure::failed(format!("the header: {error}")))?.clone();
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        row(&header, &record).map_err(|why| format!("line {line}: {why}"))
    })))
}

fn row(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Command, String> {
    let mut fields = Map::new();
    let mut kind = None;
    for (name, cell) in header.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let value = match name {
            KIND => {
                kind = Some(cell);
                continue;
            }
            "amount" => cell.parse::<serde_json::Number>().map_or_else(|_| Value::from(cell), Value::Number),
            "metadata" => serde_json::from_str(cell).map_err(|error| format!("metadata is not JSON: {error}"))?,
            _ => Value::from(cell),
        };
        fields.insert(name.to_owned(), value);
    }
    parse(kind, Value::Object(fields).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(name: &str, text: &str) -> Vec<Result<String, String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        commands(&path).unwrap().map(|command| command.map(|command| command.to_json())).collect()
    }

    #[test]
    fn both_formats_read_as_the_same_commands() {
        let lines = read("a.ndjson", "{\"request_id\":\"r1\",\"user_id\":\"u\",\"pack_id\":\"p\",\"amount\":2}\n\n");
        let table = read("a.csv", "request_id,user_id,pack_id,amount,not_after\nr1,u,p,2,\n");
        assert_eq!(lines, table);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].is_ok());
    }

    #[test]
    fn purchases_and_sellbacks_stand_in_one_file() {
        let lines = read(
            "a.ndjson",
            concat!(
                "{\"request_id\":\"b\",\"command\":\"purchase\",\"user_id\":\"u\",\"pack_id\":\"p\",\"amount\":2}\n",
                "{\"command\":\"sellback\",\"request_id\":\"s\",\"user_id\":\"u\",\"item_id\":\"i\",\"min_price\":\"8.50\"}\n",
                "{\"command\":\"sellback\",\"request_id\":\"m\",\"user_id\":\"u\",\"item_id\":\"i\",\"metadata\":{\"a\":1}}\n",
            ),
        );
        let table = read(
            "a.csv",
            "command,request_id,user_id,pack_id,amount,item_id,min_price,metadata\npurchase,b,u,p,2,,,\nsellback,s,u,,,i,8.50,\n\
             sellback,m,u,,,i,,\"{\"\"a\"\":1}\"\n",
        );
        assert_eq!(lines, table);
        assert!(lines.iter().all(Result::is_ok), "{lines:?}");
        assert!(lines[1].as_ref().unwrap().contains("\"item_id\":\"i\""), "{lines:?}");
    }

    #[test]
    fn a_kind_that_is_none_is_refused_and_a_field_said_twice_is_too() {
        let wrong = |line: &str| read("a.ndjson", line).remove(0).unwrap_err();
        let fields = "\"request_id\":\"s\",\"user_id\":\"u\",\"item_id\":\"i\"";
        for (command, about) in [
            ("\"gift\"", "/command must be purchase or sellback, not gift"),
            ("7", "/command must be purchase or sellback, not 7"),
            ("null", "/item_id is not a field"),
            ("\"sellback\",\"command\":\"sellback\"", "/command is not a field"),
            ("\"sellback\",\"user_id\":\"v\"", "/user_id occurs more than once"),
        ] {
            let why = wrong(&format!("{{\"command\":{command},{fields}}}\n"));
            assert!(why.contains(about), "{why}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_the_next_is_read() {
        let long = format!("\"{}\"\n", "x".repeat(3 * MOST_BYTES));
        let good = "{\"request_id\":\"r\",\"user_id\":\"u\",\"pack_id\":\"p\",\"amount\":1}";
        let lines = read("a.ndjson", &format!("{{\n{long}{good}"));
        assert!(lines[0].as_ref().unwrap_err().starts_with("line 1: "), "{lines:?}");
        assert_eq!(lines[1].as_ref().unwrap_err(), &format!("line 2: is longer than {MOST_BYTES} bytes"));
        assert!(lines[2].is_ok());
        let table = read("a.csv", "request_id,user_id,pack_id,amount\nr,u,p,many\n");
        assert!(table[0].as_ref().unwrap_err().starts_with("line 2: /amount"), "{table:?}");
    }
}
