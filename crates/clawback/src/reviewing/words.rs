//! A review in words: for the operator who decides, and for the support person who reads them to a customer.

mod purchase;
mod sellback;

use clawback_domain::{
    OrderId, Time,
    order::{AnyOrder, Rules},
    pause::CommandKind,
    purchase::State,
    reason::ReviewCode,
    sellback::State as SaleState,
};
use serde::Serialize;

use super::word::{Said, Word};

/// What is in doubt, as it can be read to a customer.
pub fn doubt(kind: CommandKind, code: ReviewCode) -> &'static str {
    match kind {
        CommandKind::Purchase => purchase::doubt(code),
        CommandKind::Sellback => sellback::doubt(code),
    }
}

/// A way out of the review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// `fulfilled_with`, `session`, `sold`, `failed`, `retry` or `wait`.
    pub choice: &'static str,
    /// When it is the right one, and what it does.
    pub when: String,
    /// `None`: there is nothing to do, or it cannot be done.
    pub command: Option<String>,
}

/// None for what is not in review.
pub fn choices(order: &AnyOrder, rules: &Rules, now: Time) -> Vec<Choice> {
    match order {
        AnyOrder::Purchase(row) => match &row.state {
            State::Review(review) => purchase::choices(row, review, rules, now),
            State::Accepted { .. }
            | State::Initiating(_)
            | State::Pending(_)
            | State::Reconciling(_)
            | State::Fulfilled(_)
            | State::Failed { .. } => Vec::new(),
        },
        AnyOrder::Sellback(row) => match &row.state {
            SaleState::Review(review) => sellback::choices(row, review, rules, now),
            SaleState::Accepted { .. }
            | SaleState::Selling(_)
            | SaleState::Reconciling(_)
            | SaleState::Sold(_)
            | SaleState::Failed { .. } => Vec::new(),
        },
    }
}

fn command(id: OrderId, what: &str) -> String {
    format!("clawback review resolve {id} {what} --reason \"…\"")
}

/// The upstream chose these texts, and a person copies them into a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn looked_at_again(what: &str, due_at: Option<Time>, then: &str) -> String {
    match due_at {
        Some(due) => format!("{what} again by {}; {then}", show(due)),
        None => format!("{what} again; {then}"),
    }
}

/// Until when it may be called.
pub fn expires_at(order: &AnyOrder, rules: &Rules) -> Time {
    match order {
        AnyOrder::Purchase(row) => row.expires_at(rules),
        AnyOrder::Sellback(row) => row.expires_at(rules),
    }
}

/// Why a call now is out of the question.
pub fn too_late(expires_at: Time, not_after: Option<Time>) -> String {
    let limit = if not_after.is_some() { "the command's not_after" } else { "the partner's max_wait" };
    let end = "a retry would end it as expired, whatever its call came to";
    format!("it must not be called after {} ({limit}): {end}", show(expires_at))
}

/// The machine's words, with the numbers behind them.
pub fn does_not_fit(why: &str, order: &AnyOrder, word: &Word) -> String {
    match (&word.said, order.purchase()) {
        (Said::FulfilledWith(items), Some(purchase)) => {
            format!("{why}: {} bought, {} named", purchase.command.amount, items.len())
        }
        (Said::FulfilledWith(_), None) | (Said::Session(_) | Said::Sold(_) | Said::Failed | Said::Retry, _) => why.into(),
    }
}

fn show(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_upstream_named_is_safe_to_copy_into_a_shell() {
        for (text, expected) in
            [("item-9", "item-9"), ("-x", "'-x'"), ("$(reboot)", "'$(reboot)'"), ("it's", r"'it'\''s'"), ("a b", "'a b'")]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
