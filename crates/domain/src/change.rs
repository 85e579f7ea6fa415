//! What a decision writes: one transition with everything that must stand or fall with it.

use crate::{
    AttemptToken, OrderId, PullId, Time,
    answer::Answer,
    event::{self, Event, Subject},
    item::{Item, Pull, Sight, Told as PullTold},
    order::{AnyOrder, Attempt, HappenedName, Machine, Next, StateName, Transition},
    planted::{Bug, planted},
    purchase::{self, Purchase},
    sellback::{self, PullPlace, Sellback},
    timeline::Entry,
};

/// The first write of an order: the row, and if it is called at once its attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    pub order: AnyOrder,
    pub attempt: Option<Attempt>,
    pub entries: Vec<Entry>,
}

impl Insertion {
    pub fn of(accepted: impl Into<AnyOrder>) -> Self {
        let order = accepted.into();
        let entry = Entry {
            order: order.id(),
            version: order.version(),
            at: order.created_at(),
            what: "accepted".into(),
            from: None,
            to: order.state(),
            note: "stored; not called yet".into(),
            by: None,
        };
        Self { order, attempt: None, entries: vec![entry] }
    }

    /// The row as `transition` leaves it; for a transition without an event.
    pub fn then<O: Machine>(mut self, transition: Transition<O>, what: HappenedName) -> Self {
        self.attempt = begun(transition.next);
        let told = Told { note: transition.note, by: transition.by };
        let after = transition.after.into();
        self.entries.extend(entry(self.order.state(), &after, told, what));
        self.order = after;
        self
    }
}

/// A write to an order that exists. It fits only if the row still has the version before `after.version()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub after: AnyOrder,
    /// The attempt that this change begins.
    pub attempt: Option<Attempt>,
    /// Written whether the change fits or not, and first.
    pub fact: Option<Fact>,
    /// What was drawn.
    pub pulls: Vec<Pull>,
    pub event: Option<Event>,
    pub entry: Option<Entry>,
    pub ruling: Option<Ruling>,
}

/// That a change says what one of its user's doubtful purchases bought, or that one of its pulls was sold, which raises the version of the user's
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
    pub order: OrderId,
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
    pub fn of<O: Machine>(before: &O, transition: Transition<O>, what: HappenedName, fact: Option<Fact>) -> Self {
        let Transition { after, next, items, note, by } = transition;
        let ruling = before.concludes(&after).then_some(Ruling { case: None, retried: false });
        let after: AnyOrder = after.into();
        let entry = entry(before.state(), &after, Told { note, by }, what);
        let pulls = after.purchase().map(|purchase| pulls(purchase, items)).unwrap_or_default();
        let announced = after.sequence() > before.sequence();
        let event = announced.then(|| announcement(&after, &pulls)).flatten();
        Self { after, attempt: begun(next), fact, pulls, event, entry, ruling }
    }

    /// The pull that this change gives away.
    pub fn sold(&self) -> Option<PullPlace> {
        if planted(Bug::PullNotMarked) {
            return None;
        }
        self.after.sellback()?.state.sold()?.pull
    }

    /// Both as one write: the row goes from where this change found it to where `next` leaves it, under one version. `next` was
    /// computed from [`Change::after`].
    pub fn join(&mut self, next: Change) {
        let Change { after, attempt, fact, pulls, event, entry, ruling } = next;
        let version = self.after.version();
        self.after = after.at_version(version);
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

fn begun(next: Next) -> Option<Attempt> {
    match next {
        Next::Call(attempt) => Some(attempt),
        Next::Rest | Next::TryAfter(_) | Next::PollAfter(_) | Next::LookAfter(_) => None,
    }
}

/// What a transition says to people.
struct Told {
    note: String,
    by: Option<String>,
}

/// Turns and polls that change nothing are not told: they would drown what a support person looks for.
fn entry(from: StateName, after: &AnyOrder, told: Told, what: HappenedName) -> Option<Entry> {
    let to = after.state();
    let quiet = matches!(what, HappenedName::TurnTaken | HappenedName::Polled | HappenedName::Looked);
    if from == to && quiet {
        return None;
    }
    let Told { note, by } = told;
    let (order, version, at) = (after.id(), after.version(), after.updated_at());
    Some(Entry { order, version, at, what: what.to_string(), from: Some(from), to, note, by })
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
            sale: None,
            told: PullTold::default(),
        }
    };
    items.into_iter().enumerate().map(pull).collect()
}

/// The event that entering this state is told with.
fn announcement(after: &AnyOrder, pulls: &[Pull]) -> Option<Event> {
    match after {
        AnyOrder::Purchase(purchase) => announce_purchase(purchase, pulls),
        AnyOrder::Sellback(sellback) => announce_sellback(sellback),
    }
}

fn announce_purchase(after: &Purchase, pulls: &[Pull]) -> Option<Event> {
    use purchase::State;
    let subject = Subject::of_purchase(after);
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

fn announce_sellback(after: &Sellback) -> Option<Event> {
    use sellback::State;
    let subject = Subject::of_sellback(after);
    match &after.state {
        State::Sold(sold) => Some(event::sold(&subject, sold)),
        State::Failed { failure, evidence } => Some(event::not_sold(&subject, failure, evidence.as_deref())),
        State::Review(review) => Some(event::sale_review(&subject, review)),
        State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) => None,
    }
}
