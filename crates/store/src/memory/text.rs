//! No text with a NUL: PostgreSQL stores none, neither as text nor inside JSON, so no store takes one.
//!
//! Commands refuse it and the client replaces it in what the upstream sent, so this finds our own mistakes. Ids cannot hold one.

use clawback_domain::{
    answer::Answer,
    change::{Change, Fact, Insertion},
    event::Event,
    evidence::Evidence,
    item::Item,
    order::AnyOrder,
    pause::Pause,
    purchase::{Purchase, State},
    sellback::{self, Sellback},
    timeline::Entry,
};
use serde_json::Value;

use crate::{DeadLetter, StoreError};

type Clean = Result<(), StoreError>;

pub(super) fn check(text: &str) -> Clean {
    if text.contains('\0') { Err(StoreError::Refused("a text holds a NUL".into())) } else { Ok(()) }
}

fn check_all<'a>(texts: impl IntoIterator<Item = &'a String>) -> Clean {
    texts.into_iter().try_for_each(|text| check(text))
}

pub(super) fn check_insertion(insertion: &Insertion) -> Clean {
    check_order(&insertion.order)?;
    insertion.entries.iter().try_for_each(check_entry)
}

pub(super) fn check_change(change: &Change) -> Clean {
    check_order(&change.after)?;
    change.fact.iter().try_for_each(check_fact)?;
    change.pulls.iter().try_for_each(|pull| check_item(&pull.item))?;
    change.event.iter().try_for_each(check_event)?;
    change.entry.iter().try_for_each(check_entry)
}

pub(super) fn check_fact(fact: &Fact) -> Clean {
    match &fact.answer {
        Answer::Done { nfts, .. } => nfts.iter().try_for_each(check_item),
        Answer::Refused { message, .. } | Answer::Unauthorized { message } => check(message),
        Answer::NeverSent { why } | Answer::Unknown { why, .. } => check(why),
        Answer::Sold { .. } | Answer::Busy { .. } => Ok(()),
    }
}

pub(super) fn check_event(event: &Event) -> Clean {
    check(&event.body)
}

pub(super) fn check_letter(letter: &DeadLetter) -> Clean {
    check_all([&letter.queue, &letter.exchange, &letter.routing_key, &letter.reason, &letter.problems])?;
    check_all([&letter.content_type, &letter.message_id, &letter.settled_by].into_iter().flatten())?;
    letter.headers.iter().try_for_each(|(name, value)| check_all([name, value]))
}

pub(super) fn check_pause(pause: &Pause) -> Clean {
    check_all([&pause.by, &pause.reason].into_iter().chain(&pause.refused_key))
}

fn check_order(order: &AnyOrder) -> Clean {
    match order {
        AnyOrder::Purchase(purchase) => check_purchase(purchase),
        AnyOrder::Sellback(sellback) => check_sellback(sellback),
    }
}

fn check_sellback(sellback: &Sellback) -> Clean {
    use sellback::State;
    sellback.state.evidence().map_or(Ok(()), |evidence| check_all([&evidence.doubt, &evidence.verdict]))?;
    match &sellback.state {
        State::Accepted { waiting, .. } => check_all(waiting.as_ref().map(|waiting| &waiting.message)),
        State::Reconciling(doubt) => check(&doubt.why),
        State::Review(review) => check(&review.message),
        State::Failed { failure, .. } => check(&failure.message),
        State::Selling(_) | State::Sold(_) => Ok(()),
    }
}

fn check_purchase(purchase: &Purchase) -> Clean {
    match &purchase.state {
        State::Accepted { waiting } => check_all(waiting.as_ref().map(|waiting| &waiting.message)),
        State::Initiating(_) | State::Pending(_) => Ok(()),
        State::Reconciling(doubt) => check(&doubt.why),
        State::Review(review) => {
            check(&review.message)?;
            review.evidence.as_deref().map_or(Ok(()), check_evidence)
        }
        State::Fulfilled(fulfilled) => fulfilled.evidence.as_deref().map_or(Ok(()), check_evidence),
        State::Failed { failure, evidence, .. } => {
            check(&failure.message)?;
            evidence.as_deref().map_or(Ok(()), check_evidence)
        }
    }
}

fn check_evidence(evidence: &Evidence) -> Clean {
    check_all([&evidence.doubt, &evidence.verdict])?;
    check_all(evidence.looks.iter().map(|look| &look.note))
}

fn check_entry(entry: &Entry) -> Clean {
    check_all([&entry.what, &entry.note].into_iter().chain(&entry.by))
}

fn check_item(item: &Item) -> Clean {
    let texts = [
        &item.name,
        &item.image,
        &item.back_image,
        &item.kind,
        &item.mint_address,
        &item.collection_address,
        &item.token_standard,
    ];
    check_all(texts.into_iter().flatten())?;
    item.other.iter().try_for_each(check_member)?;
    item.attributes.iter().try_for_each(|attribute| {
        check(&attribute.trait_type)?;
        check_value(&attribute.value)
    })
}

fn check_member((name, value): (&String, &Value)) -> Clean {
    check(name)?;
    check_value(value)
}

fn check_value(value: &Value) -> Clean {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check(text),
        Value::Array(values) => values.iter().try_for_each(check_value),
        Value::Object(members) => members.iter().try_for_each(check_member),
    }
}
