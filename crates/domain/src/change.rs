//! What a decision writes: one transition with everything that must stand or fall with it.

use crate::{
    AttemptToken, PullId, PurchaseId, Time,
    answer::Answer,
    event::{self, Event, Subject},
    item::{Item, Pull, Sight},
    purchase::{Attempt, HappenedName, Next, Purchase, State, Transition},
    timeline::Entry,
};

/// The first write of a purchase: the row, and if it is called at once its attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    pub purchase: Purchase,
    pub attempt: Option<Attempt>,
    pub entries: Vec<Entry>,
}

impl Insertion {
    pub fn of(accepted: Purchase) -> Self {
        let entry = Entry {
            purchase: accepted.id,
            version: accepted.version,
            at: accepted.created_at,
            what: "accepted".into(),
            from: None,
            to: accepted.state.name(),
            note: "stored; not called yet".into(),
            by: None,
        };
        Self { purchase: accepted, attempt: None, entries: vec![entry] }
    }

    /// The row as `transition` leaves it; for a transition without an event.
    pub fn then(mut self, transition: Transition, what: HappenedName) -> Self {
        self.entries.extend(entry(&self.purchase, &transition, what));
        self.attempt = begun(&transition);
        self.purchase = transition.after;
        self
    }
}

/// A write to a purchase that exists. It fits only if the row still has the version before `after.version`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub after: Purchase,
    /// The attempt that this change begins.
    pub attempt: Option<Attempt>,
    /// Written whether the change fits or not, and first.
    pub fact: Option<Fact>,
    pub pulls: Vec<Pull>,
    pub event: Option<Event>,
    pub entry: Option<Entry>,
    pub ruling: Option<Ruling>,
}

/// That a change says what one of its user's doubtful purchases bought, which raises the version of the user's
/// [`Case`](crate::evidence::Case) by one: no item may be given to two purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// The version that it was concluded from; then it fits only if nothing else was said in between. `None`: it was not concluded but
    /// told by the upstream, and stands.
    pub case: Option<i64>,
    /// A person had a doubtful purchase called again: the case keeps the time.
    pub retried: bool,
}

/// An attempt with what it brought, if anything.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    pub purchase: PurchaseId,
    pub attempt: Attempt,
    pub fact: Option<Fact>,
}

/// What an attempt's call brought back. Written by the owner of the token, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub token: AttemptToken,
    pub answer: Answer,
    pub at: Time,
}

impl Change {
    pub fn of(before: &Purchase, transition: Transition, what: HappenedName, fact: Option<Fact>) -> Self {
        let entry = entry(before, &transition, what);
        let attempt = begun(&transition);
        let Transition { after, items, .. } = transition;
        let pulls = pulls(&after, items);
        let announced = after.sequence > before.sequence;
        let event = announced.then(|| announcement(&after, &pulls)).flatten();
        let told = before.state.is_in_doubt() && !after.state.is_in_doubt();
        let ruling = told.then_some(Ruling { case: None, retried: false });
        Self { after, attempt, fact, pulls, event, entry, ruling }
    }
}

impl Change {
    /// Both as one write: the row goes from where this change found it to where `next` leaves it, under one version. `next` was
    /// computed from [`Change::after`].
    pub fn join(&mut self, next: Change) {
        let Change { after, attempt, fact, pulls, event, entry, ruling } = next;
        let version = self.after.version;
        self.after = Purchase { version, ..after };
        self.attempt = attempt.or(self.attempt);
        self.fact = self.fact.take().or(fact);
        self.ruling = self.ruling.take().or(ruling);
        self.pulls.extend(pulls);
        self.event = self.event.take().or(event);
        self.entry = match (self.entry.take(), entry) {
            (Some(first), Some(last)) => {
                Some(Entry { from: first.from, version, note: format!("{}; {}", first.note, last.note), ..last })
            }
            (first, last) => first.or(last.map(|last| Entry { version, ..last })),
        };
    }
}

fn begun(transition: &Transition) -> Option<Attempt> {
    match transition.next {
        Next::Call(attempt) => Some(attempt),
        Next::Rest | Next::TryAfter(_) | Next::PollAfter(_) | Next::LookAfter(_) => None,
    }
}

/// Turns and polls that change nothing are not told: they would drown what a support person looks for.
fn entry(before: &Purchase, transition: &Transition, what: HappenedName) -> Option<Entry> {
    let (from, to) = (before.state.name(), transition.after.state.name());
    let quiet = matches!(what, HappenedName::TurnTaken | HappenedName::Polled | HappenedName::Looked);
    if from == to && quiet {
        return None;
    }
    Some(Entry {
        purchase: before.id,
        version: transition.after.version,
        at: transition.after.updated_at,
        what: what.to_string(),
        from: Some(from),
        to,
        note: transition.note.clone(),
        by: transition.by.clone(),
    })
}

fn pulls(purchase: &Purchase, items: Vec<Item>) -> Vec<Pull> {
    let pull = |(position, item)| {
        let position = position as u32;
        Pull {
            id: PullId::of(purchase.id, position),
            purchase: purchase.id,
            position,
            partner: purchase.partner.clone(),
            user_id: purchase.command.user_id.clone(),
            pack_id: purchase.command.pack_id.clone(),
            item,
            created_at: purchase.updated_at,
            sight: Sight::default(),
        }
    };
    items.into_iter().enumerate().map(pull).collect()
}

/// The event that entering this state is told with.
fn announcement(after: &Purchase, pulls: &[Pull]) -> Option<Event> {
    let subject = Subject {
        partner: &after.partner,
        purchase_id: after.id,
        command: &after.command,
        sequence: after.sequence,
        time: after.updated_at,
        trace: Some(&after.trace),
    };
    match &after.state {
        State::Fulfilled(fulfilled) => Some(event::fulfilled(
            &subject,
            &event::Fulfilled {
                session_id: fulfilled.session.as_ref(),
                public_id: fulfilled.public_id.as_ref(),
                tx_hash: fulfilled.tx_hash.as_ref(),
                pulls,
                recovered: fulfilled.recovered,
                evidence: fulfilled.evidence.as_deref(),
            },
        )),
        State::Failed { failure, evidence, .. } => Some(event::failed(&subject, failure, evidence.as_deref())),
        State::Review(review) => Some(event::review(&subject, review.code, &review.message, review.evidence.as_deref())),
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_) => None,
    }
}
