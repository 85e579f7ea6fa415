//! A purchase in review.

use clawback_domain::{
    Time,
    order::Rules,
    purchase::{Purchase, Review},
    reason::ReviewCode,
};

use super::{Choice, command, looked_at_again, quoted, too_late};

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

pub fn choices(purchase: &Purchase, review: &Review, rules: &Rules, now: Time) -> Vec<Choice> {
    let command = |what: &str| Some(command(purchase.id, what));
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
            None if expired => too_late(purchase.expires_at(rules), purchase.command.not_after),
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

fn waiting(purchase: &Purchase, review: &Review) -> String {
    let what = if review.session.is_some() && !review.cancelled { "the upstream is asked" } else { "the inventory is read" };
    looked_at_again(what, purchase.due_at, "evidence may still settle it")
}
