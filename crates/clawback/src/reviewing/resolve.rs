//! Writing what follows from a person's word.

use clawback_domain::{
    Clock, Time,
    change::{Change, Ruling},
    order::{AnyOrder, Decision, HappenedName, Machine, Rules},
    purchase, sellback,
    timeline::Entry,
};
use clawback_store::{Applied, Store, StoreError};
use serde_json::{Value, json};

use super::{
    word::{Said, Word},
    words,
};
use crate::kind::id_field;

#[derive(Debug)]
pub enum Resolved {
    Done(Box<AnyOrder>),
    /// It is not in the review that was looked at: somebody settled it, or the upstream. As it stands, and why not.
    Conflict(Box<AnyOrder>, String),
    /// It stays in review: what was said does not fit it.
    Refused(String),
}

/// A worker may move the row at the same moment; after so many lost races something is wrong.
const TRIES: u32 = 8;

/// Writes what follows from `word` about the review that `seen` is in.
///
/// # Errors
/// The store's.
pub async fn resolve(
    store: &dyn Store,
    clock: &dyn Clock,
    rules: &Rules,
    seen: &AnyOrder,
    word: &Word,
) -> Result<Resolved, StoreError> {
    let mut order = seen.clone();
    let mut perhaps_written = Vec::new();
    for _ in 0..TRIES {
        let change = match check(seen, &order, word, rules, clock.now()) {
            Ok(change) => change,
            Err(resolved) => return Ok(resolved),
        };
        let change = Change { ruling: ruling(store, &change, word).await?, ..change };
        let (after, entry) = (change.after.clone(), change.entry.clone());
        match store.apply(change).await {
            Ok(Applied::Committed) => return Ok(Resolved::Done(Box::new(after))),
            Ok(Applied::Lost) => {}
            Err(StoreError::Unknown(_)) => perhaps_written.push((after, entry)),
            Err(error) => return Err(error),
        }
        if let Some(after) = written(store, &perhaps_written).await? {
            return Ok(Resolved::Done(Box::new(after)));
        }
        // What is stored once is not removed.
        order = store.order(seen.id()).await?.unwrap_or(order);
    }
    Err(StoreError::Unavailable("the order is being moved all the time".into()))
}

/// A person's word gives or denies a purchase its items as a verdict does: no two are given the same.
async fn ruling(store: &dyn Store, change: &Change, word: &Word) -> Result<Option<Ruling>, StoreError> {
    let Some(purchase) = change.after.purchase() else { return Ok(change.ruling) };
    let case = store.case(&purchase.partner, &purchase.command.user_id).await?;
    Ok(Some(Ruling { case: Some(case.version), retried: word.said == Said::Retry }))
}

/// What `word` leads to, without writing it; otherwise why not.
///
/// # Errors
/// A conflict, or a refusal.
pub fn check(seen: &AnyOrder, order: &AnyOrder, word: &Word, rules: &Rules, now: Time) -> Result<Change, Resolved> {
    let since = in_review_since(order);
    if since.is_some() && since != in_review_since(seen) {
        let why = "it has left review and come back since it was looked at: look again";
        return Err(Resolved::Conflict(Box::new(order.clone()), why.into()));
    }
    if since.is_some() && word.said == Said::Retry && now >= words::expires_at(order, rules) {
        return Err(Resolved::Refused(words::too_late(words::expires_at(order, rules), order.not_after())));
    }
    let change = match order {
        AnyOrder::Purchase(row) => word.of_purchase().and_then(|happened| decided(row, happened, now, rules)),
        AnyOrder::Sellback(row) => word.of_sellback().and_then(|happened| decided(row, happened, now, rules)),
    };
    match change {
        Ok(change) => Ok(left_to_the_workers(change, word, now)),
        Err(why) if since.is_some() => Err(Resolved::Refused(words::does_not_fit(why, order, word))),
        Err(why) => Err(Resolved::Conflict(Box::new(order.clone()), why.into())),
    }
}

fn decided<O: Machine>(order: &O, happened: O::Happened, now: Time, rules: &Rules) -> Result<Change, &'static str> {
    match order.decide(happened, now, rules) {
        Decision::Transition(transition) => Ok(Change::of(order, *transition, HappenedName::Resolved, None)),
        Decision::Illegal(why) => Err(why),
        Decision::Repeat | Decision::Orphan(_) | Decision::TooLate(_) => Err("it does not take a person's word"),
    }
}

/// Nobody holds the row here: what comes next is for whoever finds it due, at once, not for a timer that nobody has set. And the
/// timeline tells whose word a session was.
fn left_to_the_workers(mut change: Change, word: &Word, now: Time) -> Change {
    let due_at = match &mut change.after {
        AnyOrder::Purchase(row) => &mut row.due_at,
        AnyOrder::Sellback(row) => &mut row.due_at,
    };
    *due_at = due_at.map(|due| due.min(now));
    if let (Said::Session(session), Some(entry)) = (&word.said, &mut change.entry) {
        entry.note = match word.why.as_str() {
            "" => format!("a person named session {session}"),
            why => format!("a person named session {session}: {why}"),
        };
    }
    change
}

fn in_review_since(order: &AnyOrder) -> Option<Time> {
    match order {
        AnyOrder::Purchase(row) => match &row.state {
            purchase::State::Review(review) => Some(review.since),
            purchase::State::Accepted { .. }
            | purchase::State::Initiating(_)
            | purchase::State::Pending(_)
            | purchase::State::Reconciling(_)
            | purchase::State::Fulfilled(_)
            | purchase::State::Failed { .. } => None,
        },
        AnyOrder::Sellback(row) => match &row.state {
            sellback::State::Review(review) => Some(review.since),
            sellback::State::Accepted { .. }
            | sellback::State::Selling(_)
            | sellback::State::Reconciling(_)
            | sellback::State::Sold(_)
            | sellback::State::Failed { .. } => None,
        },
    }
}

/// The one of these writes that stands after all. The row may have moved on since; its timeline still tells.
async fn written(store: &dyn Store, perhaps: &[(AnyOrder, Option<Entry>)]) -> Result<Option<AnyOrder>, StoreError> {
    let Some((first, _)) = perhaps.first() else { return Ok(None) };
    let timeline = store.timeline(first.id()).await?;
    let stands = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| timeline.contains(entry));
    Ok(perhaps.iter().find(|(_, entry)| stands(entry)).map(|(after, _)| after.clone()))
}

/// What a resolution is answered with.
pub fn object(order: &AnyOrder) -> Value {
    json!({ id_field(order.kind()): order.id(), "state": order.state() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawback_domain::{
        AttemptToken, ItemId, Money, PartnerId, SessionId,
        clock::after,
        command::{parse_purchase, parse_sellback},
        order::StateName,
        purchase::Purchase,
        reason::ReviewCode,
        sellback::{Holding, Sale, Sellback},
        trace::TraceContext,
    };

    use super::*;

    fn trace() -> TraceContext {
        TraceContext::start(uuid::Uuid::from_u128(1), 1)
    }

    fn acme() -> PartnerId {
        PartnerId::new("acme").unwrap()
    }

    fn in_review(since: Time) -> Purchase {
        let body = br#"{"request_id":"r","user_id":"u","pack_id":"p","amount":2}"#;
        let accepted = Purchase::accept(acme(), parse_purchase(None, body).unwrap(), Time::UNIX_EPOCH, trace());
        let review = purchase::Review {
            code: ReviewCode::UnknownOutcome,
            message: "reset".into(),
            session: None,
            cancelled: false,
            attempt: None,
            evidence: None,
            since,
        };
        Purchase { state: purchase::State::Review(review), due_at: Some(after(since, Duration::from_secs(3600))), ..accepted }
    }

    fn sale_in_review(since: Time) -> Sellback {
        let body = br#"{"request_id":"s","user_id":"u","item_id":"i"}"#;
        let accepted = Sellback::accept(acme(), parse_sellback(None, body).unwrap(), Time::UNIX_EPOCH, trace());
        let attempt = accepted.attempt(AttemptToken(uuid::Uuid::from_u128(1)), Time::UNIX_EPOCH, &Rules::default());
        let item_id = ItemId::new("i").unwrap();
        let review = sellback::Review {
            code: ReviewCode::UnknownOutcome,
            message: "reset".into(),
            sale: Some(Sale { attempt, item_id, pull: None, before: Holding::default(), known_sales: vec![], retried: false }),
            evidence: None,
            since,
        };
        Sellback { state: sellback::State::Review(review), due_at: Some(after(since, Duration::from_secs(3600))), ..accepted }
    }

    fn word(said: Said) -> Word {
        Word { said, by: "jo".into(), why: "seen".into() }
    }

    /// How `word` ends, two hours after the purchase was accepted.
    fn said(seen: impl Into<AnyOrder>, order: impl Into<AnyOrder>, word: &Word) -> Result<Change, String> {
        let now = after(Time::UNIX_EPOCH, Duration::from_secs(7200));
        check(&seen.into(), &order.into(), word, &Rules::default(), now).map_err(|resolved| match resolved {
            Resolved::Conflict(_, why) => format!("conflict: {why}"),
            Resolved::Refused(why) => format!("refused: {why}"),
            Resolved::Done(_) => unreachable!("nothing was written"),
        })
    }

    #[test]
    fn what_leads_on_is_due_at_once_and_tells_who_and_why() {
        let since = after(Time::UNIX_EPOCH, Duration::from_secs(3600));
        let orders: [AnyOrder; 2] = [in_review(since).into(), sale_in_review(since).into()];
        let [purchase, sellback] = &orders;
        let now = after(Time::UNIX_EPOCH, Duration::from_secs(7200));
        let session = Said::Session(SessionId::new("s-1").unwrap());
        for (order, how, state) in [
            (purchase, session, StateName::Pending),
            (purchase, Said::Retry, StateName::Accepted),
            (sellback, Said::Retry, StateName::Accepted),
        ] {
            let change = said(order.clone(), order.clone(), &word(how)).unwrap();
            assert_eq!((change.after.state(), change.after.due_at()), (state, Some(now)));
            let entry = change.entry.unwrap();
            assert!(entry.note.contains("seen"), "{}", entry.note);
            assert_eq!(entry.by.as_deref(), Some("jo"));
        }
        for (order, how, state) in [
            (purchase, Said::Failed, StateName::Failed),
            (sellback, Said::Failed, StateName::Failed),
            (sellback, Said::Sold(Some(Money::usd(1))), StateName::Sold),
        ] {
            let change = said(order.clone(), order.clone(), &word(how)).unwrap();
            assert_eq!((change.after.state(), change.after.due_at()), (state, None));
        }
    }

    #[test]
    fn a_word_is_about_the_review_that_was_looked_at() {
        let seen = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(60)));
        let again = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(3600)));
        let why = said(seen.clone(), again, &word(Said::Retry)).unwrap_err();
        assert!(why.starts_with("conflict: it has left review and come back"), "{why}");
        let looked = Purchase { version: 9, ..seen.clone() };
        assert!(said(seen.clone(), looked, &word(Said::Retry)).is_ok(), "another look is still the same doubt");
        let gone = Purchase { state: purchase::State::Accepted { waiting: None }, ..seen.clone() };
        assert_eq!(said(seen, gone, &word(Said::Retry)).unwrap_err(), "conflict: it is not in review");
    }

    #[test]
    fn what_is_said_of_the_other_kind_is_refused() {
        let since = after(Time::UNIX_EPOCH, Duration::from_secs(60));
        let purchase = in_review(since);
        let why = said(purchase.clone(), purchase, &word(Said::Sold(None))).unwrap_err();
        assert!(why.starts_with("refused: a purchase sells nothing"), "{why}");
        let sellback = sale_in_review(since);
        for how in [Said::FulfilledWith(vec![ItemId::new("i").unwrap()]), Said::Session(SessionId::new("s").unwrap())] {
            let why = said(sellback.clone(), sellback.clone(), &word(how)).unwrap_err();
            assert!(why.starts_with("refused: a sellback buys nothing"), "{why}");
        }
    }

    #[test]
    fn what_must_not_be_called_any_more_is_not_called_again() {
        let purchase = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(60)));
        let mut command = (*purchase.command).clone();
        command.not_after = Some(after(Time::UNIX_EPOCH, Duration::from_secs(7200)));
        let expired = Purchase { command: command.into(), ..purchase };
        let why = said(expired.clone(), expired.clone(), &word(Said::Retry)).unwrap_err();
        assert!(why.starts_with("refused: it must not be called after 1970-01-01 02:00:00Z"), "{why}");
        assert!(said(expired.clone(), expired, &word(Said::Failed)).is_ok());
    }
}
