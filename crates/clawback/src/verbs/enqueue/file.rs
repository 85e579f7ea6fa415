//! Many commands from a file: all of it is checked before anything is sent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clawback_domain::PartnerId;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    door::{Door, Handed},
    lines::commands,
    resume::Progress,
};
use crate::{accepting::Command, config::Needs, context::Context, failure::Failure, verbs::who::WhoFlags};

#[derive(Debug, clap::Args)]
pub struct FileFlags {
    /// One command a line (.ndjson), or a table with a header (.csv); each needs its request_id, and `command` says whether it is
    /// a purchase (without it, too) or a sellback
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
    commands: impl Iterator<Item = Result<Command, String>>,
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
