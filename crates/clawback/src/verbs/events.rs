//! `clawback events tail | replay`

use std::time::{Duration, Instant};

use clap::Subcommand;
use clawback_domain::PartnerId;
use clawback_store::{Store, StoreError, StoredEvent};

use super::events_replay;
use crate::{config::Needs, context::Context, failure::Failure, output::printable};

#[derive(Debug, Subcommand)]
pub enum Events {
    /// Shows events as they are stored; with --json each as the CloudEvent it is
    #[command(after_help = "Example:\n  clawback events tail --partner acme --last 10")]
    Tail(TailFlags),
    /// Publishes stored events once more, with the ids they had
    #[command(after_help = "Example:\n  clawback events replay --since 24h --partner acme --dry-run")]
    Replay(events_replay::ReplayFlags),
}

#[derive(Debug, clap::Args)]
pub struct TailFlags {
    #[arg(long)]
    partner: Option<PartnerId>,
    /// Begin so many events back
    #[arg(long, default_value_t = 0, value_name = "N")]
    last: u32,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Between two looks when there was nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const PAGE: u32 = 500;

/// # Errors
/// The store; RabbitMQ, for a replay.
pub async fn run(context: &Context, events: Events) -> Result<(), Failure> {
    match events {
        Events::Tail(flags) => tail(context, flags).await,
        Events::Replay(flags) => events_replay::run(context, flags).await,
    }
}

async fn tail(context: &Context, flags: TailFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let mut cursor = Cursor::at(last_position(&*store).await?.saturating_sub(i64::from(flags.last)));
    let mut left = flags.count.unwrap_or(u64::MAX);
    while left > 0 {
        let fresh = cursor.look(&*store).await?;
        let is_idle = fresh.is_empty();
        for stored in fresh {
            if left > 0 && flags.partner.as_ref().is_none_or(|partner| *partner == stored.event.partner) {
                show(context, &stored)?;
                left -= 1;
            }
        }
        if is_idle {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    store.close().await;
    Ok(())
}

fn show(context: &Context, stored: &StoredEvent) -> Result<(), Failure> {
    let event = &stored.event;
    if context.out.json {
        return context.out.line(&event.body);
    }
    let request = event.request_id.as_ref().map_or("-", |request| request.as_str());
    let time = event.time.format("%H:%M:%S%.3f");
    let kind = event.kind.as_str();
    context.out.line(&format!("{time}  {:12}  {kind:29}  {}  {}", event.partner, event.subject, printable(request)))
}

/// A place in the order of events.
///
/// Positions are given before their commit, so a smaller one may appear after a larger one. Where one is missing the cursor waits
/// for it, for as long as a transaction can take; then it never comes.
struct Cursor {
    position: i64,
    /// Shown already, beyond a gap.
    ahead: std::collections::BTreeSet<i64>,
    gap_since: Option<Instant>,
}

/// Longer than a commit is given.
const GAP: Duration = Duration::from_secs(15);

impl Cursor {
    fn at(position: i64) -> Self {
        Self { position, ahead: Default::default(), gap_since: None }
    }

    async fn look(&mut self, store: &dyn Store) -> Result<Vec<StoredEvent>, StoreError> {
        let mut fresh = store.events(None, self.position, PAGE).await?;
        fresh.retain(|stored| self.ahead.insert(stored.position));
        self.advance(Instant::now());
        Ok(fresh)
    }

    fn advance(&mut self, now: Instant) {
        loop {
            let Some(&first) = self.ahead.first() else { return self.gap_since = None };
            let patient = now.duration_since(*self.gap_since.get_or_insert(now)) < GAP;
            // A full window of events beyond the gap: waiting longer would stop the tail.
            let crowded = self.ahead.len() >= PAGE as usize;
            if first > self.position + 1 && patient && !crowded {
                return;
            }
            self.ahead.pop_first();
            self.position = first;
            self.gap_since = None;
        }
    }
}

/// The position of the last event: the store pages forwards only, so it is searched for.
async fn last_position(store: &dyn Store) -> Result<i64, StoreError> {
    let (mut low, mut high) = (0_i64, 1_i64);
    while !store.events(None, high, 1).await?.is_empty() {
        (low, high) = (high, high.saturating_mul(4));
    }
    // There is none beyond `high`; `low` is the start, or something lies beyond it.
    while low < high {
        let middle = low + (high - low) / 2;
        match store.events(None, middle, 1).await?.first() {
            Some(stored) => low = stored.position,
            None => high = middle,
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_waits_for_a_missing_position_but_not_for_ever() {
        let mut cursor = Cursor::at(10);
        let start = Instant::now();
        cursor.ahead.extend([11, 13]);
        cursor.advance(start);
        assert_eq!(cursor.position, 11, "12 may still be committed");

        cursor.ahead.insert(12);
        cursor.advance(start);
        assert_eq!(cursor.position, 13);

        cursor.ahead.insert(15);
        cursor.advance(start);
        assert_eq!(cursor.position, 13);
        cursor.advance(start + GAP);
        assert_eq!(cursor.position, 15, "14 was rolled back");
    }
}
