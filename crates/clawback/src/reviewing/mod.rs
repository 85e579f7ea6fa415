//! Purchases in review, and a person's word about them, for the verbs and the operators' HTTP door alike.
//!
//! What follows from a word is the machine's decision. Kept from it is what a person surely does not mean: a word about another
//! doubt than the one that was looked at, and a call that would come too late and end the purchase as expired, bought or not.

mod shown;
mod words;

use clawback_domain::{
    Clock, ItemId, PackId, PartnerId, PurchaseId, RequestId, SessionId, Time, UserId,
    change::{Change, Ruling},
    item::Item,
    purchase::{Decision, Happened, HappenedName, Purchase, Resolution, Review, Rules, State, StateName, Transition, decide},
    reason::ReviewCode,
    timeline::Entry,
};
use clawback_store::{Applied, Filter, Store, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

pub use shown::Shown;

/// A purchase in review as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedReview {
    pub purchase_id: PurchaseId,
    pub partner: PartnerId,
    pub request_id: RequestId,
    pub user_id: UserId,
    pub pack_id: PackId,
    pub amount: u32,
    pub session_id: Option<SessionId>,
    pub code: ReviewCode,
    pub message: String,
    pub since: Time,
    /// How many readings of the inventory are kept as evidence.
    pub looks: usize,
}

impl ListedReview {
    fn of(purchase: &Purchase) -> Option<Self> {
        let State::Review(review) = &purchase.state else { return None };
        let command = &*purchase.command;
        Some(Self {
            purchase_id: purchase.id,
            partner: purchase.partner.clone(),
            request_id: command.request_id.clone(),
            user_id: command.user_id.clone(),
            pack_id: command.pack_id.clone(),
            amount: command.amount,
            session_id: review.session.clone(),
            code: review.code,
            message: review.message.clone(),
            since: review.since,
            looks: review.evidence.as_ref().map_or(0, |evidence| evidence.looks.len()),
        })
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Listed {
    pub reviews: Vec<ListedReview>,
    /// How many there are, listed or not.
    pub total: usize,
}

/// Rows read at once: each carries its evidence.
const PAGE: u32 = 500;

/// The `limit` purchases that have been in review for the longest time. The store pages by when a purchase was accepted; no review
/// is older than its purchase, so reading ends where all that follow were accepted after the last one to be listed.
///
/// # Errors
/// The store's.
pub async fn list(store: &dyn Store, partner: Option<&PartnerId>, limit: u32) -> Result<Listed, StoreError> {
    let mut listed = Listed { reviews: Vec::new(), total: count(store, partner).await? };
    let oldest_first = Filter {
        partner: partner.cloned(),
        state: Some(StateName::Review),
        oldest_first: true,
        limit: PAGE,
        ..Filter::default()
    };
    let mut after = None;
    loop {
        let page = store.purchases(Filter { after, ..oldest_first.clone() }).await?;
        listed.reviews.extend(page.iter().filter_map(ListedReview::of));
        listed.reviews.sort_by_key(|review| (review.since, review.purchase_id));
        listed.reviews.truncate(limit as usize);
        let youngest = listed.reviews.last().filter(|_| listed.reviews.len() == limit as usize).map(|review| review.since);
        match page.last() {
            Some(last) if page.len() == PAGE as usize && youngest.is_none_or(|youngest| last.created_at <= youngest) => {
                after = Some((last.created_at, last.id));
            }
            Some(_) | None => return Ok(listed),
        }
    }
}

async fn count(store: &dyn Store, partner: Option<&PartnerId>) -> Result<usize, StoreError> {
    let counts = store.counts().await?.into_iter();
    let wanted =
        |(of, state): &(PartnerId, StateName)| *state == StateName::Review && partner.is_none_or(|partner| partner == of);
    Ok(counts.filter(|(key, _)| wanted(key)).map(|(_, count)| count as usize).sum())
}

/// How a review shall end, as a person says it: exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub fulfilled_with: Option<Vec<ItemId>>,
    pub session: Option<SessionId>,
    pub failed: bool,
    pub retry: bool,
}

impl Wanted {
    /// # Errors
    /// None of them, or several.
    pub fn resolution(self) -> Result<Resolution, String> {
        match (self.fulfilled_with, self.session, self.failed, self.retry) {
            (Some(items), None, false, false) => Ok(Resolution::FulfilledWith(items.into_iter().map(Item::bare).collect())),
            (None, Some(session), false, false) => Ok(Resolution::Session(session)),
            (None, None, true, false) => Ok(Resolution::Failed),
            (None, None, false, true) => Ok(Resolution::Retry),
            (..) => Err("say exactly one of fulfilled_with, session, failed and retry".into()),
        }
    }
}

/// What a person says about a review.
#[derive(Debug, Clone)]
pub struct Word {
    pub resolution: Resolution,
    pub by: String,
    pub why: String,
}

#[derive(Debug)]
pub enum Resolved {
    Done(Box<Purchase>),
    /// It is not in the review that was looked at: somebody settled it, or the upstream. As it stands, and why not.
    Conflict(Box<Purchase>, String),
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
    seen: &Purchase,
    word: &Word,
) -> Result<Resolved, StoreError> {
    let mut purchase = seen.clone();
    let mut perhaps_written = Vec::new();
    for _ in 0..TRIES {
        let transition = match check(seen, &purchase, word, rules, clock.now()) {
            Ok(transition) => transition,
            Err(resolved) => return Ok(resolved),
        };
        // A person's word gives or denies items as a verdict does: no two are given the same.
        let case = store.case(&purchase.partner, &purchase.command.user_id).await?;
        let ruling = Some(Ruling { case: Some(case.version), retried: word.resolution == Resolution::Retry });
        let change = Change { ruling, ..Change::of(&purchase, transition, HappenedName::Resolved, None) };
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
        purchase = store.purchase(seen.id).await?.unwrap_or(purchase);
    }
    Err(StoreError::Unavailable("the purchase is being moved all the time".into()))
}

/// What `word` leads to, without writing it; otherwise why not.
///
/// # Errors
/// A conflict, or a refusal.
pub fn check(seen: &Purchase, purchase: &Purchase, word: &Word, rules: &Rules, now: Time) -> Result<Transition, Resolved> {
    let conflict = |why: &str| Resolved::Conflict(Box::new(purchase.clone()), why.into());
    let review = review(purchase);
    if review.is_some() && review.map(|review| review.since) != self::review(seen).map(|review| review.since) {
        return Err(conflict("it has left review and come back since it was looked at: look again"));
    }
    if review.is_some() && word.resolution == Resolution::Retry && now >= purchase.expires_at(rules) {
        return Err(Resolved::Refused(words::too_late(purchase, rules)));
    }
    let happened = Happened::Resolved { resolution: word.resolution.clone(), by: word.by.clone(), why: word.why.clone() };
    match decide(purchase, happened, now, rules) {
        Decision::Transition(transition) => Ok(left_to_the_workers(*transition, word, now)),
        Decision::Illegal(why) if review.is_some() => Err(Resolved::Refused(words::does_not_fit(why, purchase, word))),
        Decision::Illegal(why) => Err(conflict(why)),
        Decision::Repeat | Decision::Orphan(_) => Err(conflict("it does not take a person's word")),
    }
}

/// Nobody holds the row here: what comes next is for whoever finds it due, at once, not for a timer that nobody has set. And the
/// timeline tells whose word a session was.
fn left_to_the_workers(mut transition: Transition, word: &Word, now: Time) -> Transition {
    transition.after.due_at = transition.after.due_at.map(|due| due.min(now));
    if let Resolution::Session(session) = &word.resolution {
        transition.note = match word.why.as_str() {
            "" => format!("a person named session {session}"),
            why => format!("a person named session {session}: {why}"),
        };
    }
    transition
}

fn review(purchase: &Purchase) -> Option<&Review> {
    match &purchase.state {
        State::Review(review) => Some(review),
        State::Accepted { .. }
        | State::Initiating(_)
        | State::Pending(_)
        | State::Reconciling(_)
        | State::Fulfilled(_)
        | State::Failed { .. } => None,
    }
}

/// The one of these writes that stands after all. The row may have moved on since; its timeline still tells.
async fn written(store: &dyn Store, perhaps: &[(Purchase, Option<Entry>)]) -> Result<Option<Purchase>, StoreError> {
    let Some((first, _)) = perhaps.first() else { return Ok(None) };
    let timeline = store.timeline(first.id).await?;
    let stands = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| timeline.contains(entry));
    Ok(perhaps.iter().find(|(_, entry)| stands(entry)).map(|(after, _)| after.clone()))
}

/// What a resolution is answered with.
pub fn object(purchase: &Purchase) -> Value {
    json!({ "purchase_id": purchase.id, "state": purchase.state.name() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawback_domain::{clock::after, command::parse_purchase, trace::TraceContext};

    use super::*;

    fn in_review(since: Time) -> Purchase {
        let body = br#"{"request_id":"r","user_id":"u","pack_id":"p","amount":2}"#;
        let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
        let accepted =
            Purchase::accept(PartnerId::new("acme").unwrap(), parse_purchase(None, body).unwrap(), Time::UNIX_EPOCH, trace);
        let review = Review {
            code: ReviewCode::UnknownOutcome,
            message: "reset".into(),
            session: None,
            cancelled: false,
            attempt: None,
            evidence: None,
            since,
        };
        Purchase { state: State::Review(review), due_at: Some(after(since, Duration::from_secs(3600))), ..accepted }
    }

    fn word(resolution: Resolution) -> Word {
        Word { resolution, by: "jo".into(), why: "seen".into() }
    }

    /// How `word` ends, an hour after the review began.
    fn said(seen: &Purchase, purchase: &Purchase, word: &Word) -> Result<Transition, String> {
        let now = after(Time::UNIX_EPOCH, Duration::from_secs(7200));
        check(seen, purchase, word, &Rules::default(), now).map_err(|resolved| match resolved {
            Resolved::Conflict(_, why) => format!("conflict: {why}"),
            Resolved::Refused(why) => format!("refused: {why}"),
            Resolved::Done(_) => unreachable!("nothing was written"),
        })
    }

    #[test]
    fn what_leads_on_is_due_at_once_and_tells_who_and_why() {
        let purchase = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(3600)));
        let now = after(Time::UNIX_EPOCH, Duration::from_secs(7200));
        let session = Resolution::Session(SessionId::new("s-1").unwrap());
        for (resolution, state) in [(session, StateName::Pending), (Resolution::Retry, StateName::Accepted)] {
            let transition = said(&purchase, &purchase, &word(resolution)).unwrap();
            assert_eq!((transition.after.state.name(), transition.after.due_at), (state, Some(now)));
            assert!(transition.note.contains("seen"), "{}", transition.note);
            assert_eq!(transition.by.as_deref(), Some("jo"));
        }
        let transition = said(&purchase, &purchase, &word(Resolution::Failed)).unwrap();
        assert_eq!((transition.after.state.name(), transition.after.due_at), (StateName::Failed, None));
    }

    #[test]
    fn a_word_is_about_the_review_that_was_looked_at() {
        let seen = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(60)));
        let again = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(3600)));
        let why = said(&seen, &again, &word(Resolution::Retry)).unwrap_err();
        assert!(why.starts_with("conflict: it has left review and come back"), "{why}");
        let looked = Purchase { version: 9, ..seen.clone() };
        assert!(said(&seen, &looked, &word(Resolution::Retry)).is_ok(), "another look is still the same doubt");
        let gone = Purchase { state: State::Accepted { waiting: None }, ..seen.clone() };
        assert_eq!(said(&seen, &gone, &word(Resolution::Retry)).unwrap_err(), "conflict: it is not in review");
    }

    #[test]
    fn what_must_not_be_called_any_more_is_not_called_again() {
        let purchase = in_review(after(Time::UNIX_EPOCH, Duration::from_secs(60)));
        let mut command = (*purchase.command).clone();
        command.not_after = Some(after(Time::UNIX_EPOCH, Duration::from_secs(7200)));
        let expired = Purchase { command: command.into(), ..purchase };
        let why = said(&expired, &expired, &word(Resolution::Retry)).unwrap_err();
        assert!(why.starts_with("refused: it must not be called after 1970-01-01 02:00:00Z"), "{why}");
        assert!(said(&expired, &expired, &word(Resolution::Failed)).is_ok());
    }

    #[test]
    fn a_person_says_exactly_one_thing() {
        let items = || Some(vec![ItemId::new("i").unwrap()]);
        assert!(Wanted { fulfilled_with: items(), ..Wanted::default() }.resolution().is_ok());
        assert!(Wanted { failed: true, ..Wanted::default() }.resolution().is_ok());
        assert!(Wanted::default().resolution().is_err());
        assert!(Wanted { failed: true, retry: true, ..Wanted::default() }.resolution().is_err());
        assert!(Wanted { fulfilled_with: items(), failed: true, ..Wanted::default() }.resolution().is_err());
    }
}
