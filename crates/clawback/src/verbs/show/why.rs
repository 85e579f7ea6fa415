//! Why an order is not final yet, in a sentence.

use std::time::Duration;

use clawback_domain::{
    Time,
    clock::until,
    order::{AnyOrder, Attempt},
    pause::Pause,
    purchase::{self, Purchase},
    reason::{ReviewCode, WaitCode, Waiting},
    sellback::{self, Sellback},
};

use crate::config::show_duration;

/// `None` when it is final.
pub fn why(order: &AnyOrder, pauses: &[Pause], now: Time) -> Option<String> {
    let not_taken = || not_taken(order, pauses, now);
    match order {
        AnyOrder::Purchase(row) => of_purchase(row, now, not_taken),
        AnyOrder::Sellback(row) => of_sellback(row, now, not_taken),
    }
}

fn of_purchase(purchase: &Purchase, now: Time, not_taken: impl FnOnce() -> String) -> Option<String> {
    use purchase::State;
    let due = due(purchase.due_at, now);
    match &purchase.state {
        State::Accepted { waiting: Some(waiting) } => Some(waits(waiting)),
        State::Accepted { waiting: None } => Some(not_taken()),
        State::Initiating(attempt) => Some(under_way(attempt)),
        State::Pending(pending) => {
            let asked = show_duration(until(pending.since, now));
            Some(format!("the upstream has not settled it yet: asked {} times in {asked}{due}", pending.polls))
        }
        State::Reconciling(doubt) => Some(in_doubt("bought", &doubt.why, doubt.looks, &due)),
        State::Review(review) => Some(in_review(review.code, &review.message)),
        State::Fulfilled(_) | State::Failed { .. } => None,
    }
}

fn of_sellback(sellback: &Sellback, now: Time, not_taken: impl FnOnce() -> String) -> Option<String> {
    use sellback::State;
    match &sellback.state {
        State::Accepted { waiting: Some(waiting), .. } => Some(waits(waiting)),
        State::Accepted { waiting: None, .. } => Some(not_taken()),
        State::Selling(sale) => Some(under_way(&sale.attempt)),
        State::Reconciling(doubt) => Some(in_doubt("sold", &doubt.why, doubt.looks, &due(sellback.due_at, now))),
        State::Review(review) => Some(in_review(review.code, &review.message)),
        State::Sold(_) | State::Failed { .. } => None,
    }
}

fn waits(waiting: &Waiting) -> String {
    let until = waiting.until.map(|until| format!("; tried again at {}", moment(until))).unwrap_or_default();
    let meaning = meaning(waiting.code).map(|meaning| format!(". {meaning}")).unwrap_or_default();
    format!("it waits ({}): {}{until}{meaning}", waiting.code, waiting.message)
}

/// What the code alone does not tell.
fn meaning(code: WaitCode) -> Option<&'static str> {
    match code {
        WaitCode::ItemBusy => Some("Two sales of one item at a time could not be told apart, so the other ends first"),
        WaitCode::NotShown => {
            Some("An inventory may be behind; if another look, minutes later, does not show it either, it ends failed")
        }
        WaitCode::NotRead => Some("Nothing is sold unseen: what the user holds, and its price, are read just before the call"),
        WaitCode::Paused
        | WaitCode::PackPaused
        | WaitCode::Unauthorized
        | WaitCode::Permit
        | WaitCode::Busy
        | WaitCode::NotSent => None,
    }
}

fn under_way(attempt: &Attempt) -> String {
    format!("call {} is under way; it has ended, however it ended, at {}", attempt.number, moment(attempt.deadline))
}

fn in_doubt(done: &str, why: &str, looks: u32, due: &str) -> String {
    format!("nobody knows whether it was {done} ({why}); the inventory is read, {looks} times so far{due}")
}

fn in_review(code: ReviewCode, message: &str) -> String {
    format!("a person must decide, or time ({code}): {message}")
}

/// Longer than any step takes when workers are there.
const SOON: Duration = Duration::from_secs(10);

fn not_taken(order: &AnyOrder, pauses: &[Pause], now: Time) -> String {
    let (partner, kind) = (order.partner(), order.kind());
    let stops_pack = |pause: &Pause| {
        order.purchase().is_some_and(|purchase| pause.scope.stops_pack(partner, &purchase.command.pack_id, kind))
    };
    if let Some(pause) = pauses.iter().find(|pause| pause.scope.stops_partner(partner, kind) || stops_pack(pause)) {
        return format!("it waits: {} is paused by {}: {}", crate::pausing::describe(&pause.scope), pause.by, pause.reason);
    }
    if until(order.created_at(), now) > SOON {
        return "no worker has taken it yet: is `clawback up`, or a `worker` and a `scheduler`, running?".into();
    }
    "it was just accepted; a worker takes it next".into()
}

fn due(due_at: Option<Time>, now: Time) -> String {
    match due_at {
        Some(due) if due > now => format!("; looked at again by {} at the latest", due.format("%H:%M:%S")),
        Some(_) => "; it is due now".into(),
        None => String::new(),
    }
}

fn moment(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use clawback_domain::{PartnerId, command::parse_sellback, trace::TraceContext};

    use super::*;

    #[test]
    fn what_keeps_a_sellback_waiting_is_told_in_sentences() {
        let body = br#"{"request_id":"s","user_id":"u","item_id":"i"}"#;
        let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
        let partner = PartnerId::new("acme").unwrap();
        let accepted = Sellback::accept(partner, parse_sellback(None, body).unwrap(), Time::UNIX_EPOCH, trace);
        let told = |code| {
            let waiting = Waiting { code, message: "it is so".into(), until: Some(Time::UNIX_EPOCH) };
            let state = sellback::State::Accepted { waiting: Some(waiting), unsettled: None };
            why(&Sellback { state, ..accepted.clone() }.into(), &[], Time::UNIX_EPOCH).unwrap()
        };
        for (code, about) in [
            (WaitCode::ItemBusy, "the other ends first"),
            (WaitCode::NotShown, "another look, minutes later"),
            (WaitCode::NotRead, "Nothing is sold unseen"),
        ] {
            let said = told(code);
            assert!(said.starts_with(&format!("it waits ({code}): it is so; tried again at 1970-01-01 00:00:00Z. ")), "{said}");
            assert!(said.contains(about), "{said}");
        }
        assert_eq!(told(WaitCode::Permit), "it waits (permit): it is so; tried again at 1970-01-01 00:00:00Z");
        let failed = why(&accepted.into(), &[], Time::UNIX_EPOCH).unwrap();
        assert_eq!(failed, "it was just accepted; a worker takes it next");
    }
}
