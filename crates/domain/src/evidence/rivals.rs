//! Who else may have bought what an inventory shows: the user's other purchases that are not final.

use std::time::Duration;

use super::{Case, Open};
use crate::{
    ItemId, PackId, PurchaseId, SessionId, Time,
    answer::Answer,
    change::AttemptRecord,
    clock::after,
    purchase::{Purchase, State},
    reason::codes,
};

codes!(
    /// What may still come of another purchase.
    Standing {
        /// Its call may still bring a session.
        UnderWay = "under_way",
        /// It has a session, and its items are not told yet.
        Pending = "pending",
        /// It has a session whose items were told when it was opened.
        Told = "told",
        /// It has a session, its items were never told, and a person must decide.
        InReview = "in_review",
        /// Nobody knows whether it bought.
        Unknown = "unknown",
    }
);

/// One other purchase, as it bears on ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other<'a> {
    pub purchase: PurchaseId,
    pub pack: &'a PackId,
    pub amount: u32,
    /// When the attempt that counts began, by our clock.
    pub begun_at: Time,
    /// Of [`Standing::Unknown`]: when its window ends. What is bought later is not its.
    pub until: Time,
    pub standing: Standing,
    /// Of [`Standing::Told`]: what it bought.
    pub items: &'a [crate::item::Item],
}

impl<'a> Other<'a> {
    pub fn item_ids(&self) -> impl Iterator<Item = &'a ItemId> {
        self.items.iter().map(|item| &item.item_id)
    }
}

/// Every open purchase of the case but `ours` that may have bought something.
pub(super) fn others<'a>(case: &'a Case, ours: Option<PurchaseId>, window: Duration, now: Time) -> Vec<Other<'a>> {
    case.open.iter().filter(|open| Some(open.purchase.id) != ours).filter_map(|open| other(open, window, now)).collect()
}

/// When the window of a doubt ends: from then on nothing of it appears.
pub(super) fn window_end(purchase: &Purchase, attempt: Option<&AttemptRecord>, window: Duration) -> Time {
    let (evidence, since) = match &purchase.state {
        State::Reconciling(doubt) => (doubt.evidence.as_deref(), doubt.since),
        State::Review(review) => (review.evidence.as_deref(), review.since),
        _ => (None, attempt.map_or(purchase.updated_at, |record| record.attempt.deadline)),
    };
    evidence.and_then(|evidence| evidence.window_ends_at).unwrap_or_else(|| after(since, window))
}

/// What the attempt in question of an open purchase may have bought; `None`: surely nothing.
fn other(open: &Open, window: Duration, now: Time) -> Option<Other<'_>> {
    let purchase = &open.purchase;
    let last = open.attempts.last();
    let (record, session) = match &purchase.state {
        // What was called before it came back here did nothing, or a person had it called again.
        State::Accepted { .. } | State::Fulfilled(_) | State::Failed { .. } => return None,
        State::Initiating(attempt) => (record(open, |record| record.attempt.token == attempt.token), None),
        State::Reconciling(doubt) => (record(open, |record| record.attempt.token == doubt.attempt.token), None),
        State::Pending(pending) => (opened(open, &pending.session).or(last), Some(&pending.session)),
        State::Review(review) => match (&review.session, review.attempt) {
            (Some(session), _) => (opened(open, session).or(last), Some(session)),
            (None, Some(token)) => (record(open, |record| record.attempt.token == token), None),
            (None, None) => (last, None),
        },
    };
    let in_review = matches!(purchase.state, State::Review(_));
    let (standing, items) = match (session, record.and_then(|record| record.fact.as_ref()).map(|fact| &fact.answer)) {
        (_, Some(Answer::Done { nfts, .. })) if nfts.len() == purchase.command.amount as usize => {
            (Standing::Told, nfts.as_slice())
        }
        // The upstream says that it failed: it yields to whoever explains what is there.
        _ if is_cancelled(&purchase.state) => return None,
        (Some(_), _) | (None, Some(Answer::Done { .. })) if in_review => (Standing::InReview, &[][..]),
        (Some(_), _) | (None, Some(Answer::Done { .. })) => (Standing::Pending, &[][..]),
        (None, Some(Answer::Unknown { .. })) => (Standing::Unknown, &[][..]),
        (
            None,
            Some(
                Answer::Sold { .. }
                | Answer::Refused { .. }
                | Answer::Unauthorized { .. }
                | Answer::Busy { .. }
                | Answer::NeverSent { .. },
            ),
        ) => return None,
        (None, None) if record.is_some_and(|record| now < record.attempt.deadline) => (Standing::UnderWay, &[][..]),
        (None, None) => (Standing::Unknown, &[][..]),
    };
    Some(Other {
        purchase: purchase.id,
        pack: &purchase.command.pack_id,
        amount: purchase.command.amount,
        begun_at: record.map_or(purchase.created_at, |record| record.attempt.started_at),
        until: window_end(purchase, record, window),
        standing,
        items,
    })
}

fn is_cancelled(state: &State) -> bool {
    match state {
        State::Pending(pending) => pending.cancelled,
        State::Review(review) => review.cancelled,
        State::Accepted { .. } | State::Initiating(_) | State::Reconciling(_) | State::Fulfilled(_) | State::Failed { .. } => {
            false
        }
    }
}

fn record(open: &Open, is: impl Fn(&AttemptRecord) -> bool) -> Option<&AttemptRecord> {
    open.attempts.iter().rev().find(|record| is(record))
}

/// The attempt that opened a session.
fn opened<'a>(open: &'a Open, session: &SessionId) -> Option<&'a AttemptRecord> {
    record(open, |record| match record.fact.as_ref().map(|fact| &fact.answer) {
        Some(Answer::Done { session: opened, .. }) => opened == session,
        _ => false,
    })
}
