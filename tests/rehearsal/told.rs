//! What partners were told, by the store's account and by what came out of their queues.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use clawback_domain::{event::EventType, order::StateName, pause::CommandKind};

use super::Books;

/// What was told of one subject: type and event id, however often it came.
pub(super) type Told<'a> = BTreeSet<(&'a str, String)>;

/// How the types of events begin that tell of these.
pub(super) const SELLBACKS: &str = "clawback.sellback.";
pub(super) const WINDOWS: &str = "clawback.buyback.";

impl Books {
    /// By subject. `kinds` is how the types begin.
    pub(super) fn told_by_store(&self, kinds: &str) -> BTreeMap<String, Told<'_>> {
        let mut told = BTreeMap::<String, Told<'_>>::new();
        let events = self.events.iter().map(|stored| &stored.event);
        for event in events.filter(|event| event.kind.as_str().starts_with(kinds)) {
            told.entry(event.subject.to_string()).or_default().insert((event.kind.as_str(), event.id.to_string()));
        }
        told
    }

    /// The same, as partners heard it.
    pub(super) fn told_by_queues(&self, kinds: &str) -> BTreeMap<String, Told<'_>> {
        let mut told = BTreeMap::<String, Told<'_>>::new();
        for event in &self.heard {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            if text("type").starts_with(kinds) {
                told.entry(text("subject").to_owned()).or_default().insert((text("type"), text("id").to_owned()));
            }
        }
        told
    }
}

/// One final event, the same in the store and in the queue however often it came; none while a person must decide.
pub(super) fn told_once(kind: CommandKind, state: StateName, stored: &Told<'_>, heard: &Told<'_>) -> Result<()> {
    ensure!(stored == heard, "the store told {stored:?}, the partner heard {heard:?}");
    let ids = |state: StateName| {
        let event = EventType::of_state(kind, state).map(EventType::as_str);
        stored.iter().filter(|(found, _)| Some(*found) == event).count()
    };
    let done = match kind {
        CommandKind::Purchase => StateName::Fulfilled,
        CommandKind::Sellback => StateName::Sold,
    };
    let told = (ids(done), ids(StateName::Failed), ids(StateName::Review));
    match state {
        StateName::Fulfilled | StateName::Sold => {
            ensure!(state == done, "a {} cannot be {state}", kind.as_str());
            ensure!((told.0, told.1) == (1, 0), "told {stored:?}");
        }
        StateName::Failed => ensure!((told.0, told.1) == (0, 1), "told {stored:?}"),
        StateName::Review => ensure!(told == (0, 0, 1), "told {stored:?}"),
        StateName::Accepted | StateName::Initiating | StateName::Selling | StateName::Pending | StateName::Reconciling => {}
    }
    Ok(())
}
