//! A sellback in review.

use clawback_domain::{
    Time,
    order::Rules,
    reason::ReviewCode,
    sellback::{Review, Sellback},
};

use super::{Choice, command, looked_at_again, too_late};
use crate::kind::price;

/// What is in doubt, as it can be read to a customer.
pub fn doubt(code: ReviewCode) -> &'static str {
    match code {
        ReviewCode::UnknownOutcome => {
            "The upstream was asked to take the item back and its answer was lost, so nobody knows yet whether it was sold. It is \
             not asked again by itself: that could sell another copy."
        }
        ReviewCode::Ambiguous => {
            "The upstream's answer was lost, and what the inventory shows now can have come of this sale or of something else."
        }
        ReviewCode::PartialItems | ReviewCode::StillPending | ReviewCode::ItemMismatch => {
            "What the upstream says of this sale and what its inventory shows do not go together."
        }
    }
}

pub fn choices(sellback: &Sellback, review: &Review, rules: &Rules, now: Time) -> Vec<Choice> {
    let command = |what: &str| Some(command(sellback.id, what));
    let expected = review.sale.as_ref().and_then(|sale| sale.attempt.price);
    let unsaid = match expected {
        Some(expected) => format!("without an amount the price just before, {}, is told as an estimate", price(expected)),
        None => "without an amount none is told: no price was read before".into(),
    };
    let sold = Choice {
        choice: "sold",
        when: match &review.sale {
            Some(_) => format!("the item is gone and the upstream's records show the sale: it ends sold; {unsaid}"),
            None => "it was never called, so it cannot have been sold".into(),
        },
        command: command("--sold AMOUNT").filter(|_| review.sale.is_some()),
    };
    let failed = Choice {
        choice: "failed",
        when: "surely nothing was sold, and it is not wanted any more: it ends failed. The partner reads your reason".into(),
        command: command("--failed"),
    };
    let expires_at = sellback.expires_at(rules);
    let retry = Choice {
        choice: "retry",
        when: if now >= expires_at {
            too_late(expires_at, sellback.command.not_after)
        } else {
            "surely nothing was sold, and it is still wanted: it is called again. If it did sell, this may sell another copy"
                .into()
        },
        command: command("--retry").filter(|_| now < expires_at),
    };
    let when = looked_at_again("the inventory is read", sellback.due_at, "what it shows is kept here for whoever decides");
    vec![sold, failed, retry, Choice { choice: "wait", when, command: None }]
}
