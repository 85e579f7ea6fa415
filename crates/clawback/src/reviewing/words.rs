//! A review in words: for the operator who decides, and for the support person who reads them to a customer.

use clawback_domain::{
    Time,
    purchase::{Purchase, Resolution, Review, Rules},
    reason::ReviewCode,
};
use serde::Serialize;

use super::Word;

/// What is in doubt, as it can be read to a customer.
pub fn doubt(code: ReviewCode) -> &'static str {
    match code {
        ReviewCode::UnknownOutcome => {
            "The upstream was asked to buy and its answer was lost, so nobody knows yet whether it bought. It is not asked again \
             by itself: that could buy twice."
        }
        ReviewCode::PartialItems => "The upstream says that it bought, but names fewer items than were ordered.",
        ReviewCode::Ambiguous => "The inventory shows new items, and more than one purchase may have brought them.",
        ReviewCode::StillPending => {
            "The upstream took the order and has not settled it in time. It goes on being asked; most orders settle by \
             themselves."
        }
        ReviewCode::ItemMismatch => "What the upstream says of this purchase and what its inventory shows do not go together.",
    }
}

/// A way out of the review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// `fulfilled_with`, `session`, `failed`, `retry` or `wait`.
    pub choice: &'static str,
    /// When it is the right one, and what it does.
    pub when: String,
    /// `None`: there is nothing to do, or it cannot be done.
    pub command: Option<String>,
}

pub fn choices(purchase: &Purchase, review: &Review, rules: &Rules, now: Time) -> Vec<Choice> {
    let command = |what: &str| Some(format!("clawback review resolve {} {what} --reason \"…\"", purchase.id));
    let amount = purchase.command.amount;
    let fulfilled = Choice {
        choice: "fulfilled_with",
        when: format!("its items are in the user's inventory and no other purchase's: name {amount}; it ends fulfilled"),
        command: command(&format!("--fulfilled-with {}", items(review, amount))),
    };
    let session = Choice {
        choice: "session",
        when: match &review.session {
            Some(session) => format!("the upstream names another session than {session}: that one is followed to its end"),
            None => "the upstream's support names the session of this order: it is followed to its end".into(),
        },
        command: command("--session SESSION"),
    };
    let failed = Choice {
        choice: "failed",
        when: "surely nothing was bought, and it is not wanted any more: it ends failed. The partner reads your reason".into(),
        command: command("--failed"),
    };
    // With a session something was bought, unless the upstream said that it failed.
    let live = review.session.as_ref().filter(|_| !review.cancelled);
    let expired = now >= purchase.expires_at(rules);
    let retry = Choice {
        choice: "retry",
        when: match live {
            Some(session) => format!("it cannot be called again: session {session} stands for a purchase that was made"),
            None if expired => too_late(purchase, rules),
            None => {
                "surely nothing was bought, and it is still wanted: it is called again. If it did buy, this buys twice".into()
            }
        },
        command: command("--retry").filter(|_| live.is_none() && !expired),
    };
    let wait = Choice { choice: "wait", when: waiting(purchase, review), command: None };
    vec![fulfilled, session, failed, retry, wait]
}

/// As many items as the last good look could not explain, if they are as many as were bought; otherwise a blank to fill in.
fn items(review: &Review, amount: u32) -> String {
    let looks = review.evidence.as_ref().map(|evidence| evidence.looks.as_slice()).unwrap_or_default();
    match looks.iter().rev().find(|look| look.good) {
        Some(look) if look.unexplained.len() == amount as usize => {
            look.unexplained.iter().map(|item| quoted(item.as_str())).collect::<Vec<_>>().join(" ")
        }
        Some(_) | None => "ITEM…".into(),
    }
}

/// The upstream chose these texts, and a person copies them into a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn waiting(purchase: &Purchase, review: &Review) -> String {
    let what = if review.session.is_some() && !review.cancelled { "the upstream is asked" } else { "the inventory is read" };
    match purchase.due_at {
        Some(due) => format!("{what} again by {}; evidence may still settle it", show(due)),
        None => format!("{what} again; evidence may still settle it"),
    }
}

/// Why a call now is out of the question.
pub fn too_late(purchase: &Purchase, rules: &Rules) -> String {
    let limit = if purchase.command.not_after.is_some() { "the command's not_after" } else { "the partner's max_wait" };
    format!(
        "it must not be called after {} ({limit}): a retry would end it as expired, bought or not",
        show(purchase.expires_at(rules))
    )
}

/// The machine's words, with the numbers behind them.
pub fn does_not_fit(why: &str, purchase: &Purchase, word: &Word) -> String {
    match &word.resolution {
        Resolution::FulfilledWith(items) => {
            format!("{why}: {} bought, {} named", purchase.command.amount, items.len())
        }
        Resolution::Session(_) | Resolution::Failed | Resolution::Retry => why.into(),
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
