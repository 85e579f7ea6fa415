//! A checker per promise: after each commit what a commit can break, at rest what only the whole can.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use clawback_domain::{
    EventId, PurchaseId,
    answer::Answer,
    purchase::{Purchase, Review, State, StateName},
    reason::ReviewCode,
};
use clawback_store::memory::{Committed, Snapshot};
use parking_lot::Mutex;

use crate::workload::Commands;

/// What went wrong, beginning with the promise.
pub type Violation = String;

/// Sees every commit. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    violations: Vec<Violation>,
    finals: BTreeMap<PurchaseId, EventId>,
    /// A digest of everything seen, in order: two runs of a seed must agree on it.
    digest: u64,
    commits: u64,
}

impl Watch {
    pub fn saw(&self, committed: &Committed) {
        let mut seen = self.0.lock();
        seen.commits += 1;
        seen.digest = digest(seen.digest, &format!("{committed:?}"));
        if let Committed::Purchase { before, after, event, .. } = committed {
            let finals = &mut seen.finals;
            let problems = [
                rises(before.as_ref(), after),
                due_while_open(after),
                final_once(before.as_ref(), after, event.as_ref().map(|event| event.id), finals),
            ];
            seen.violations.extend(problems.into_iter().flatten());
        }
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.0.lock().violations.clone()
    }

    pub fn digest(&self) -> u64 {
        self.0.lock().digest
    }

    pub fn commits(&self) -> u64 {
        self.0.lock().commits
    }
}

fn digest(before: u64, text: &str) -> u64 {
    text.bytes().fold(before ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn rises(before: Option<&Purchase>, after: &Purchase) -> Option<Violation> {
    let before = before?;
    let rises = after.version == before.version + 1 && after.sequence >= before.sequence;
    (!rises).then(|| format!("versions rise: {} went from {} to {}", after.id, before.version, after.version))
}

fn due_while_open(after: &Purchase) -> Option<Violation> {
    let agrees = after.due_at.is_none() == after.state.name().is_final();
    (!agrees).then(|| format!("lose nothing: {} is {} and due {:?}", after.id, after.state.name(), after.due_at))
}

fn final_once(
    before: Option<&Purchase>,
    after: &Purchase,
    event: Option<EventId>,
    finals: &mut BTreeMap<PurchaseId, EventId>,
) -> Option<Violation> {
    if before.is_some_and(|before| before.state.name().is_final()) {
        return Some(format!("exactly one end: {} was final and changed to {}", after.id, after.state.name()));
    }
    if !after.state.name().is_final() {
        return None;
    }
    let Some(event) = event else { return Some(format!("say everything: {} ended without an event", after.id)) };
    finals.insert(after.id, event).map(|_| format!("exactly one end: {} ended twice", after.id))
}

/// What the upstream really did, by purchase.
pub type Bought = BTreeMap<PurchaseId, u32>;

/// Whether nothing more is owed: every command has ended or waits for a person, and every event is out. A review that a stored answer
/// settles is not left to a person: it is looked at again within the hour.
pub fn is_at_rest(snapshot: &Snapshot, commands: &Commands) -> bool {
    let rests = |row: &&Purchase| match &row.state {
        State::Review(review) => is_true(row, review, snapshot),
        state => state.name().is_final(),
    };
    let ended: BTreeSet<_> = snapshot.purchases.iter().filter(rests).map(|row| row.id).collect();
    commands.keys().all(|id| ended.contains(id)) && snapshot.events.iter().all(|event| event.sent_at.is_some())
}

/// What only the whole can break, once the system is at rest or should be.
pub fn at_rest(snapshot: &Snapshot, commands: &Commands, bought: &Bought, published: &BTreeSet<String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let rows: BTreeMap<_, _> = snapshot.purchases.iter().map(|row| (row.id, row)).collect();
    for id in commands.keys() {
        match rows.get(id) {
            None => violations.push(format!("lose nothing: {id} was published and has no row")),
            Some(row) => violations.extend(truth(row, bought.get(id).copied().unwrap_or(0), snapshot)),
        }
    }
    for (id, count) in bought {
        if *count > 1 {
            violations.push(format!("never buy twice: {id} was bought {count} times"));
        }
        if !commands.contains_key(id) {
            violations.push(format!("never buy twice: {id} was bought without a command"));
        }
    }
    for stored in &snapshot.events {
        if stored.sent_at.is_none() {
            violations.push(format!("say everything: event {} was never sent", stored.event.id));
        } else if !published.contains(&stored.event.id.to_string()) {
            violations.push(format!("say everything: event {} is marked sent and nobody got it", stored.event.id));
        }
    }
    violations.extend(folds(snapshot));
    violations
}

/// Every end is true, and a review is one that nobody could have known better.
fn truth(row: &Purchase, bought: u32, snapshot: &Snapshot) -> Option<Violation> {
    match (&row.state, bought) {
        (State::Fulfilled(_), 1) | (State::Failed { .. }, 0) => None,
        (State::Fulfilled(_), _) => Some(format!("every end is true: {} is fulfilled and bought {bought} times", row.id)),
        (State::Failed { failure, .. }, _) => {
            Some(format!("every end is true: {} failed ({}) and was bought", row.id, failure.code))
        }
        (State::Review(review), _) => (!is_true(row, review, snapshot)).then(|| {
            let brought = brought(row, snapshot).map_or("nothing", Answer::name);
            let Review { code, message, .. } = review;
            format!("only true reviews: {} is in review ({code}; its attempt brought {brought}): {message}", row.id)
        }),
        (State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_), _) => {
            Some(format!("nothing waits for ever: {} is still {}, due {:?}", row.id, row.state.name(), row.due_at))
        }
    }
}

/// Whether nobody could have known better.
fn is_true(row: &Purchase, review: &Review, snapshot: &Snapshot) -> bool {
    match review.code {
        ReviewCode::UnknownOutcome => brought(row, snapshot).is_none_or(|answer| matches!(answer, Answer::Unknown { .. })),
        // Where the upstream says that it failed and items that nobody explains are there, a person decides.
        ReviewCode::ItemMismatch => review.cancelled,
        ReviewCode::PartialItems | ReviewCode::Ambiguous | ReviewCode::StillPending => false,
    }
}

/// The answer of a purchase's last attempt.
fn brought<'a>(row: &Purchase, snapshot: &'a Snapshot) -> Option<&'a Answer> {
    let mut attempts = snapshot.attempts.iter().filter(|record| record.purchase == row.id);
    Some(&attempts.next_back()?.fact.as_ref()?.answer)
}

/// The stored timeline tells how each row came to its state, without a gap.
fn folds(snapshot: &Snapshot) -> Vec<Violation> {
    let mut told = BTreeMap::<PurchaseId, StateName>::new();
    let mut violations = Vec::new();
    for entry in &snapshot.entries {
        let before = told.insert(entry.purchase, entry.to);
        if before != entry.from {
            violations
                .push(format!("say everything: {} has a gap in its timeline at version {}", entry.purchase, entry.version));
        }
    }
    for row in &snapshot.purchases {
        if told.get(&row.id) != Some(&row.state.name()) {
            violations.push(format!("say everything: the timeline of {} does not lead to {}", row.id, row.state.name()));
        }
    }
    violations
}
