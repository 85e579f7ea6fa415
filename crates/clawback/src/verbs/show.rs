//! `clawback show ID`: everything that happened to a purchase, and why it waits.

use clawback_domain::{
    Clock, PartnerId, Time,
    answer::Answer,
    clock::until,
    item::Pull,
    pause::{CommandKind, Pause},
    purchase::{Purchase, State},
    resource::{Resource, evidence_of},
    timeline::Entry,
};
use clawback_store::{AttemptRecord, Store, StoreError};
use serde_json::{Value, json};

use super::find;
use crate::{
    clock::SystemClock,
    config::{Needs, show_duration},
    context::Context,
    evidence,
    failure::Failure,
    output::{self, printable},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback show order-17")]
pub struct ShowFlags {
    /// A purchase's id or request_id
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
}

/// # Errors
/// No such purchase; the store.
pub async fn run(context: &Context, flags: ShowFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = SystemClock::default();
    clock.measure(&*store).await?;
    let purchase = find::purchase(&*store, &flags.id, flags.partner.as_ref()).await?;
    let story = Story::read(&*store, purchase, clock.now()).await?;
    store.close().await;
    context.out.result(&story.object(), || story.text())
}

/// A purchase with all that is known of it.
pub struct Story {
    purchase: Purchase,
    pulls: Vec<Pull>,
    attempts: Vec<AttemptRecord>,
    timeline: Vec<Entry>,
    why: Option<String>,
}

impl Story {
    /// # Errors
    /// The store's.
    pub async fn read(store: &dyn Store, purchase: Purchase, now: Time) -> Result<Self, StoreError> {
        let pauses = store.pauses().await?;
        Ok(Self {
            pulls: store.pulls(purchase.id).await?,
            attempts: store.attempts(purchase.id).await?,
            timeline: store.timeline(purchase.id).await?,
            why: why(&purchase, &pauses, now),
            purchase,
        })
    }

    pub fn object(&self) -> Value {
        let mut object = serde_json::to_value(Resource::of(&self.purchase, &self.pulls)).expect("a resource has string keys");
        if let Some(fields) = object.as_object_mut() {
            fields.insert("partner".into(), self.purchase.partner.as_str().into());
            fields.insert("why".into(), json!(self.why));
            fields.insert("attempts".into(), self.attempts.iter().map(attempt_object).collect());
            fields.insert("timeline".into(), self.timeline.iter().map(entry_object).collect());
        }
        object
    }

    pub fn text(&self) -> String {
        let purchase = &self.purchase;
        let command = &purchase.command;
        let mut text = format!(
            "purchase {}  {}\n{} × {} for {} of {}, request {}\ntrace {}\n",
            purchase.id,
            purchase.state.name(),
            command.amount,
            printable(command.pack_id.as_str()),
            printable(command.user_id.as_str()),
            purchase.partner,
            printable(command.request_id.as_str()),
            purchase.trace.trace_id(),
        );
        if let Some(why) = &self.why {
            text.push_str(&format!("{}\n", printable(why)));
        }
        text.push('\n');
        text.push_str(&self.timeline_table());
        if !self.attempts.is_empty() {
            text.push('\n');
            text.push_str(&output::table(["call", "began", "answer"], self.attempts.iter().map(attempt_row)));
        }
        if let Some(known) = evidence_of(&self.purchase.state) {
            text.push('\n');
            text.push_str(&evidence::text(known));
        }
        if !self.pulls.is_empty() {
            text.push('\n');
            text.push_str(&output::table(["item", "name", "buyback"], self.pulls.iter().map(pull_row)));
        }
        text
    }

    fn timeline_table(&self) -> String {
        let start = self.purchase.created_at;
        let row = |entry: &Entry| {
            let state = match entry.from {
                Some(from) if from != entry.to => format!("{from} → {}", entry.to),
                _ => entry.to.to_string(),
            };
            let note = match &entry.by {
                Some(by) => format!("{} (by {by})", entry.note),
                None => entry.note.clone(),
            };
            [entry.at.format("%H:%M:%S%.3f").to_string(), since(start, entry.at), state, note]
        };
        output::table(["at", "after", "state", "what happened"], self.timeline.iter().map(row))
    }
}

fn since(start: Time, at: Time) -> String {
    let millis = until(start, at).as_millis();
    if millis < 10_000 { format!("{millis} ms") } else { format!("{:.1} s", millis as f64 / 1000.0) }
}

fn entry_object(entry: &Entry) -> Value {
    json!({
        "at": entry.at, "version": entry.version, "what": entry.what, "from": entry.from, "to": entry.to,
        "note": entry.note, "by": entry.by,
    })
}

fn attempt_object(record: &AttemptRecord) -> Value {
    let attempt = &record.attempt;
    json!({
        "number": attempt.number, "started_at": attempt.started_at, "send_by": attempt.send_by, "deadline": attempt.deadline,
        "answer": record.fact.as_ref().map(|fact| fact.answer.name()),
        "answered_at": record.fact.as_ref().map(|fact| fact.at),
    })
}

fn attempt_row(record: &AttemptRecord) -> [String; 3] {
    let attempt = &record.attempt;
    let answer = match &record.fact {
        Some(fact) => format!("{} after {}", describe(&fact.answer), since(attempt.started_at, fact.at)),
        None => format!("none was stored; deadline {}", attempt.deadline.format("%H:%M:%S")),
    };
    [attempt.number.to_string(), attempt.started_at.format("%H:%M:%S%.3f").to_string(), answer]
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Done { session, .. } => format!("session {session}"),
        Answer::Refused { message, status, .. } => format!("refused ({status}): {message}"),
        Answer::Unauthorized { message } => format!("unauthorized: {message}"),
        Answer::Busy { .. } => "busy".into(),
        Answer::NeverSent { why } => format!("never sent: {why}"),
        Answer::Unknown { why, .. } => format!("unknown: {why}"),
    }
}

fn pull_row(pull: &Pull) -> [String; 3] {
    let price = pull.item.buyback_price.map_or_else(|| "?".into(), |price| format!("{price} {}", price.currency().code()));
    [pull.item.item_id.to_string(), pull.item.name.clone().unwrap_or_default(), price]
}

/// Why it is not final yet, in a sentence; `None` when it is.
fn why(purchase: &Purchase, pauses: &[Pause], now: Time) -> Option<String> {
    let at = |time: Time| time.format("%Y-%m-%d %H:%M:%SZ").to_string();
    match &purchase.state {
        State::Accepted { waiting: Some(waiting) } => {
            let until = waiting.until.map(|until| format!("; tried again at {}", at(until))).unwrap_or_default();
            Some(format!("it waits ({}): {}{until}", waiting.code, waiting.message))
        }
        State::Accepted { waiting: None } => Some(not_taken(purchase, pauses, now)),
        State::Initiating(attempt) => {
            Some(format!("call {} is under way; it has ended, however it ended, at {}", attempt.number, at(attempt.deadline)))
        }
        State::Pending(pending) => {
            let asked = show_duration(until(pending.since, now));
            Some(format!("the upstream has not settled it yet: asked {} times in {asked}{}", pending.polls, due(purchase, now)))
        }
        State::Reconciling(doubt) => Some(format!(
            "nobody knows whether it was bought ({}); the inventory is read, {} times so far{}",
            doubt.why,
            doubt.looks,
            due(purchase, now)
        )),
        State::Review(review) => Some(format!("a person must decide, or time ({}): {}", review.code, review.message)),
        State::Fulfilled(_) | State::Failed { .. } => None,
    }
}

/// Longer than any step takes when workers are there.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

fn not_taken(purchase: &Purchase, pauses: &[Pause], now: Time) -> String {
    let stops = |pause: &&Pause| {
        pause.scope.stops_partner(&purchase.partner, CommandKind::Purchase)
            || pause.scope.stops_pack(&purchase.partner, &purchase.command.pack_id, CommandKind::Purchase)
    };
    if let Some(pause) = pauses.iter().find(stops) {
        return format!("it waits: {} is paused by {}: {}", crate::pausing::describe(&pause.scope), pause.by, pause.reason);
    }
    if until(purchase.created_at, now) > SOON {
        return "no worker has taken it yet: is `clawback up`, or a `worker` and a `scheduler`, running?".into();
    }
    "it was just accepted; a worker takes it next".into()
}

fn due(purchase: &Purchase, now: Time) -> String {
    match purchase.due_at {
        Some(due) if due > now => format!("; looked at again by {} at the latest", due.format("%H:%M:%S")),
        Some(_) => "; it is due now".into(),
        None => String::new(),
    }
}
