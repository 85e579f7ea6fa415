//! `clawback show ID`: everything that happened to a purchase or a sellback, and why it waits.

mod why;

use clawback_domain::{
    PartnerId, Time,
    answer::Answer,
    clock::until,
    item::Pull,
    order::AnyOrder,
    pause::CommandKind,
    resource::{AnyResource, evidence_of},
    timeline::Entry,
};
use clawback_store::{AttemptRecord, Store, StoreError};
use serde_json::{Value, json};

use super::find;
use crate::{
    config::Needs,
    context::Context,
    evidence,
    failure::Failure,
    kind::{price, what},
    output::{self, printable},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback show order-17")]
pub struct ShowFlags {
    /// The id or request_id of a purchase or sellback
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
}

/// # Errors
/// No such order; the store.
pub async fn run(context: &Context, flags: ShowFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let order = find::order(&*store, &flags.id, flags.partner.as_ref()).await?;
    let story = Story::read(&*store, order, clock.now()).await?;
    store.close().await;
    context.out.result(&story.object(), || story.text())
}

/// An order with all that is known of it.
pub struct Story {
    order: AnyOrder,
    pulls: Vec<Pull>,
    attempts: Vec<AttemptRecord>,
    timeline: Vec<Entry>,
    why: Option<String>,
}

impl Story {
    /// # Errors
    /// The store's.
    pub async fn read(store: &dyn Store, order: AnyOrder, now: Time) -> Result<Self, StoreError> {
        let (id, pauses) = (order.id(), store.pauses().await?);
        Ok(Self {
            pulls: store.pulls(id).await?,
            attempts: store.attempts(id).await?,
            timeline: store.timeline(id).await?,
            why: why::why(&order, &pauses, now),
            order,
        })
    }

    pub fn object(&self) -> Value {
        let mut object = serde_json::to_value(AnyResource::of(&self.order, &self.pulls)).expect("a resource has string keys");
        if let Some(fields) = object.as_object_mut() {
            fields.insert("partner".into(), self.order.partner().as_str().into());
            fields.insert("why".into(), json!(self.why));
            fields.insert("attempts".into(), self.attempts.iter().map(attempt_object).collect());
            fields.insert("timeline".into(), self.timeline.iter().map(entry_object).collect());
        }
        object
    }

    pub fn text(&self) -> String {
        let mut text = head(&self.order);
        if let Some(why) = &self.why {
            text.push_str(&format!("{}\n", printable(why)));
        }
        text.push('\n');
        text.push_str(&self.timeline_table());
        if !self.attempts.is_empty() {
            text.push('\n');
            text.push_str(&output::table(["call", "began", "answer"], self.attempts.iter().map(attempt_row)));
        }
        if let Some(known) = evidence_text(&self.order) {
            text.push('\n');
            text.push_str(&known);
        }
        if !self.pulls.is_empty() {
            text.push('\n');
            text.push_str(&output::table(["item", "name", "buyback"], self.pulls.iter().map(pull_row)));
        }
        text
    }

    fn timeline_table(&self) -> String {
        // Every order has an entry from its acceptance on.
        if self.timeline.is_empty() {
            return "Its timeline was pruned.\n".into();
        }
        let start = self.order.created_at();
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

fn head(order: &AnyOrder) -> String {
    let whose = match order.kind() {
        CommandKind::Purchase => "for",
        CommandKind::Sellback => "from",
    };
    let least = order.sellback().and_then(|sellback| sellback.command.min_price);
    let least = least.map(|least| format!("for at least {}\n", price(least))).unwrap_or_default();
    format!(
        "{} {}  {}\n{} {whose} {} of {}, request {}\n{least}trace {}\n",
        order.kind().as_str(),
        order.id(),
        order.state(),
        printable(&what(order)),
        printable(order.user_id().as_str()),
        order.partner(),
        printable(order.request_id().as_str()),
        order.trace().trace_id(),
    )
}

fn evidence_text(order: &AnyOrder) -> Option<String> {
    match order {
        AnyOrder::Purchase(purchase) => evidence_of(&purchase.state).map(evidence::text),
        AnyOrder::Sellback(sellback) => sellback.state.evidence().map(evidence::sale_text),
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
        Answer::Sold { amount: Some(amount) } => format!("sold for {}", price(*amount)),
        Answer::Sold { amount: None } => "sold, for an amount that could not be read".into(),
        Answer::Refused { message, status, .. } => format!("refused ({status}): {message}"),
        Answer::Unauthorized { message } => format!("unauthorized: {message}"),
        Answer::Busy { .. } => "busy".into(),
        Answer::NeverSent { why } => format!("never sent: {why}"),
        Answer::Unknown { why, .. } => format!("unknown: {why}"),
    }
}

fn pull_row(pull: &Pull) -> [String; 3] {
    let offered = pull.item.buyback_price.map_or_else(|| "?".into(), price);
    [pull.item.item_id.to_string(), pull.item.name.clone().unwrap_or_default(), offered]
}
