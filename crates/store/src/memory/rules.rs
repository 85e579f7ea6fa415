//! The invariants of a write. Breaking one is our own mistake, and it is found here, at the write that makes it, rather than by
//! whoever stumbles over the row later. SQL keeps some of them with constraints; all of them refuse the write.

use clawback_domain::{
    event::Event,
    item::{Pull, Sight},
    order::{AnyOrder, Attempt, StateName},
    planted::{Bug, planted},
    purchase::Purchase,
    timeline::Entry,
    user::User,
};

use super::{events::Log, facts::Attempts, listing::Shelf};
use crate::StoreError;

type Rule = Result<(), StoreError>;

fn must(holds: bool, otherwise: &str) -> Rule {
    if holds { Ok(()) } else { Err(StoreError::Refused(otherwise.into())) }
}

/// A row that is not final must be found again; a final one must never be.
pub(super) fn due(order: &AnyOrder) -> Rule {
    must(order.due_at().is_none() == order.state().is_final(), "an order has a due time exactly while it is not final")
}

/// A user is found again while a look at their inventory is wanted.
pub(super) fn due_user(user: &User) -> Rule {
    must(user.sync_wanted == user.synced || user.due_at.is_some(), "a user has a due time while a look is wanted")
}

/// What no change may touch. That the version rises by one is the guard that let the change through.
pub(super) fn transition(before: &AnyOrder, after: &AnyOrder) -> Rule {
    must(!before.state().is_final(), "a final order never changes")?;
    let same = before.kind() == after.kind()
        && before.partner() == after.partner()
        && before.digest() == after.digest()
        && before.created_at() == after.created_at()
        && before.request_id() == after.request_id();
    must(same, "an order keeps its partner, its command and its birth")?;
    must(after.attempts() >= before.attempts(), "attempts are never uncounted")?;
    let (Some(before), Some(after)) = (before.purchase(), after.purchase()) else { return Ok(()) };
    must(
        before.state.session().is_none_or(|session| Some(session) == after.state.session() || resolved(before, after)),
        "a session is never forgotten",
    )
}

/// Of one item id one sale is unsettled at a time.
pub(super) fn selling(after: &AnyOrder, shelf: &Shelf) -> Rule {
    let item = after.sellback().and_then(|sellback| sellback.state.sale()).map(|sale| &sale.item_id);
    let other = item.and_then(|item| shelf.seller(after.partner(), item)).filter(|other| *other != after.id());
    must(other.is_none() || planted(Bug::SalesOverlap), "another sellback of this item is not settled")
}

/// A person's word may replace a session, or call again without it.
fn resolved(before: &Purchase, after: &Purchase) -> bool {
    before.state.name() == StateName::Review && matches!(after.state.name(), StateName::Pending | StateName::Accepted)
}

/// The timeline folds to the row: one entry a version, none beyond it.
pub(super) fn entries(order: &AnyOrder, entries: &[Entry]) -> Rule {
    must(entries.iter().all(|entry| entry.order == order.id()), "an entry tells of its own order")?;
    must(entries.is_sorted_by(|a, b| a.version < b.version), "there is one entry for a version")?;
    let Some(last) = entries.last() else { return Ok(()) };
    must(last.version == order.version() && last.to == order.state(), "the last entry tells how the order stands")
}

/// The door opens only with an attempt row behind it.
pub(super) fn attempt(after: &AnyOrder, begun: Option<&Attempt>, attempts: &Attempts) -> Rule {
    if let Some(begun) = begun {
        must(attempts.order(begun.token).is_none(), "a token is drawn for one attempt")?;
        let numbered = attempts.of(after.id()).iter().all(|row| row.attempt.number < begun.number);
        must(numbered && begun.number == after.attempts(), "attempts are numbered in order")?;
    }
    match after.attempt() {
        Some(current) => must(
            begun == Some(current) || attempts.order(current.token) == Some(after.id()),
            "an order is called only with its attempt stored",
        ),
        None => must(begun.is_none(), "an attempt begins with its order's call"),
    }
}

/// Items are drawn once, by what was fulfilled.
pub(super) fn pulls(after: &AnyOrder, pulls: &[Pull], shelf: &Shelf) -> Rule {
    must(pulls.is_empty() || after.state() == StateName::Fulfilled, "only a fulfilled purchase has pulls")?;
    must(pulls.iter().all(|pull| pull.purchase == after.id() && pull.partner == *after.partner()), "a pull is its purchase's")?;
    must(pulls.is_sorted_by(|a, b| a.position < b.position), "pulls stand in order")?;
    must(pulls.iter().all(|pull| pull.sight == Sight::default()), "a pull is drawn before any look shows it")?;
    must(!pulls.iter().any(|pull| shelf.has_pull(pull)), "a pull is drawn once")
}

/// What is announced is announced in the same write, once.
pub(super) fn event(before: &AnyOrder, after: &AnyOrder, event: Option<&Event>, log: &Log) -> Rule {
    let announced = after.state().is_announced() && after.state() != before.state();
    must(!announced || event.is_some(), "what the partner must know is told in the same write")?;
    let expected = before.sequence() + u64::from(event.is_some());
    must(after.sequence() == expected, "the sequence counts the events")?;
    let Some(event) = event else { return Ok(()) };
    must(
        event.subject == after.id().0 && event.sequence == after.sequence() && event.partner == *after.partner(),
        "an event is its order's",
    )?;
    new_event(event, log)
}

pub(super) fn new_event(event: &Event, log: &Log) -> Rule {
    must(!log.has(event), "a subject has one event of a sequence")
}
