//! Many commands from a file: all of it is checked before anything is sent.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clawback_domain::{
    PartnerId,
    command::{MOST_BYTES, PurchaseCommand, parse_purchase},
};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::{
    door::{Door, Handed},
    resume::Progress,
};
use crate::{config::Needs, context::Context, failure::Failure, verbs::who::WhoFlags};

#[derive(Debug, clap::Args)]
pub struct FileFlags {
    /// One command a line (.ndjson), or a table with a header (.csv); each needs its request_id
    #[arg(long, required = true)]
    file: Option<PathBuf>,
    /// Who asks [default: the only partner]
    #[arg(long)]
    partner: Option<PartnerId>,
    /// Commands per second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Begin anew, though an earlier run was interrupted
    #[arg(long)]
    restart: bool,
    /// Check all of it, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

/// Handed in at once: enough to fill a pipelined connection and a group commit.
const AT_ONCE: usize = 256;

/// Problems shown of a file; a wrong column makes every line wrong.
const MOST_PROBLEMS: usize = 20;

/// How often the mark is written: at most so many commands are sent again after a crash.
const MARK_EVERY: u64 = 1000;

pub async fn run(context: &Context, flags: FileFlags) -> Result<(), Failure> {
    let path = flags.file.clone().ok_or_else(|| Failure::usage("say which file with --file"))?;
    let setup = context.setup(Needs::NOTHING)?;
    let partner = context.partner(&setup, flags.partner.as_ref())?;
    let total = check(&path)?;
    if flags.dry_run {
        return context
            .out
            .result(&json!({ "commands": total, "dry_run": true }), || format!("{total} commands are all right"));
    }
    let mut progress = Progress::of(&path, &partner.id, flags.restart)?;
    let already = progress.done();
    let bar = bar(context, total, already);
    let door = Door::open(context, &setup, partner, flags.who).await?;
    let sent = send(&door, commands(&path)?, flags.rate, &mut progress, &bar).await;
    door.close().await;
    bar.finish_and_clear();
    let counts = sent?;
    progress.forget();
    let count = |handed: Handed| counts.get(&handed).copied().unwrap_or_default();
    let object = json!({
        "commands": total, "sent_before": already, "published": count(Handed::Published),
        "accepted": count(Handed::Accepted), "repeats": count(Handed::Repeat), "conflicts": count(Handed::Conflict),
    });
    context.out.result(&object, || {
        let parts: Vec<_> = counts.iter().map(|(handed, count)| format!("{count} {}", handed.as_str())).collect();
        format!("{total} commands: {}", if parts.is_empty() { "all sent before".into() } else { parts.join(", ") })
    })?;
    match count(Handed::Conflict) {
        0 => Ok(()),
        conflicts => Err(Failure::failed(format!("{conflicts} request ids were used for other commands"))),
    }
}

/// Hands in what is not handed in yet, many at once, and keeps the mark at the last without a gap.
async fn send(
    door: &Door,
    commands: impl Iterator<Item = Result<PurchaseCommand, String>>,
    rate: Option<u32>,
    progress: &mut Progress,
    bar: &ProgressBar,
) -> Result<BTreeMap<Handed, u64>, Failure> {
    let mut counts = BTreeMap::new();
    let start = tokio::time::Instant::now();
    let spacing = rate.map(|rate| Duration::from_secs(1) / rate);
    let left = commands.skip(progress.done() as usize).zip(0_u32..);
    let handing = stream::iter(left).map(|(command, index)| async move {
        let command = command.map_err(Failure::failed)?;
        if let Some(spacing) = spacing {
            tokio::time::sleep_until(start + spacing * index).await;
        }
        door.hand(command).await
    });
    // In order: the mark must not pass a command that is still on its way.
    let mut handing = std::pin::pin!(handing.buffered(AT_ONCE));
    let mut done = progress.done();
    while let Some(handed) = handing.next().await {
        match handed {
            Ok(handed) => *counts.entry(handed).or_insert(0) += 1,
            Err(failure) => {
                progress.set(done)?;
                return Err(failure);
            }
        }
        done += 1;
        bar.inc(1);
        if done.is_multiple_of(MARK_EVERY) {
            progress.set(done)?;
        }
    }
    Ok(counts)
}

fn bar(context: &Context, total: u64, already: u64) -> ProgressBar {
    if !context.out.is_live() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} commands  {per_sec}  {eta} left");
    let bar = ProgressBar::new(total).with_style(style.expect("the template is constant"));
    bar.set_position(already);
    bar
}

/// The number of commands.
///
/// # Errors
/// The first problems, each with its line.
fn check(path: &Path) -> Result<u64, Failure> {
    let (mut total, mut problems, mut more) = (0, Vec::new(), 0);
    for command in commands(path)? {
        total += 1;
        match command {
            Ok(_) => {}
            Err(problem) if problems.len() < MOST_PROBLEMS => problems.push(problem),
            Err(_) => more += 1,
        }
    }
    if problems.is_empty() {
        return Ok(total);
    }
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(Failure::failed(format!("nothing was sent; {} has problems:\n{}", path.display(), problems.join("\n"))))
}

type Commands = Box<dyn Iterator<Item = Result<PurchaseCommand, String>>>;

fn commands(path: &Path) -> Result<Commands, Failure> {
    let open = || File::open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ndjson" | "jsonl") => Ok(Box::new(lines(open()?))),
        Some("csv") => table(open()?),
        _ => Err(Failure::usage(format!("{} is neither .ndjson nor .csv", path.display()))),
    }
}

/// Empty lines are skipped.
fn lines(file: File) -> impl Iterator<Item = Result<PurchaseCommand, String>> {
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
            let command = line.and_then(|line| parse_purchase(None, &line).map_err(|error| error.to_string()));
            return Some(command.map_err(|why| format!("line {number}: {why}")));
        }
    })
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
        let text = row(&header, &record).map_err(|why| format!("line {line}: {why}"))?;
        parse_purchase(None, text.as_bytes()).map_err(|error| format!("line {line}: {error}"))
    })))
}

/// A row as the JSON that a partner would have sent.
fn row(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<String, String> {
    let mut fields = Map::new();
    for (name, cell) in header.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let value = match name {
            "amount" => cell.parse::<serde_json::Number>().map_or_else(|_| Value::from(cell), Value::Number),
            "metadata" => serde_json::from_str(cell).map_err(|error| format!("metadata is not JSON: {error}"))?,
            _ => Value::from(cell),
        };
        fields.insert(name.to_owned(), value);
    }
    Ok(Value::Object(fields).to_string())
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
