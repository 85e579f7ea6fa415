//! One review with all that speaks for and against: the doubt, the evidence, the timeline, and what can be done.

use clawback_domain::{
    Time,
    order::{AnyOrder, Rules, StateName},
    purchase, sellback,
};
use clawback_store::{Store, StoreError};
use serde_json::{Value, json};

use super::{
    ListedReview,
    words::{self, Choice},
};
use crate::{evidence, output::printable, verbs::show::Story};

pub struct Shown {
    story: Story,
    state: StateName,
    review: Option<Doubt>,
}

/// There is something to decide.
struct Doubt {
    listed: ListedReview,
    /// As it can be read to a customer.
    words: &'static str,
    /// What each look showed.
    looks: Vec<(Time, String)>,
    choices: Vec<Choice>,
}

impl Doubt {
    fn of(order: &AnyOrder, rules: &Rules, now: Time) -> Option<Self> {
        let listed = ListedReview::of(order)?;
        let (words, choices) = (words::doubt(order.kind(), listed.code), words::choices(order, rules, now));
        Some(Self { listed, words, looks: looks(order), choices })
    }
}

fn looks(order: &AnyOrder) -> Vec<(Time, String)> {
    match order {
        AnyOrder::Purchase(row) => {
            let purchase::State::Review(review) = &row.state else { return Vec::new() };
            let looks = review.evidence.iter().flat_map(|evidence| &evidence.looks);
            looks.map(|look| (look.at, evidence::look(look))).collect()
        }
        AnyOrder::Sellback(row) => {
            let sellback::State::Review(review) = &row.state else { return Vec::new() };
            let last = review.evidence.iter().filter_map(|evidence| evidence.last.as_ref());
            last.map(|look| (look.at, evidence::sale_look(look))).collect()
        }
    }
}

impl Shown {
    /// # Errors
    /// The store's.
    pub async fn read(store: &dyn Store, order: AnyOrder, rules: &Rules, now: Time) -> Result<Self, StoreError> {
        Ok(Self { state: order.state(), review: Doubt::of(&order, rules, now), story: Story::read(store, order, now).await? })
    }

    /// What `show` tells, and `review`, which is null when there is nothing to decide.
    pub fn object(&self) -> Value {
        let mut object = self.story.object();
        object["review"] = match &self.review {
            None => Value::Null,
            Some(Doubt { listed, words, looks, choices }) => {
                let looks: Vec<_> = looks.iter().map(|(at, showed)| json!({ "at": at, "showed": showed })).collect();
                json!({
                    "code": listed.code, "message": listed.message, "since": listed.since, "doubt": words, "looks": looks,
                    "choices": choices,
                })
            }
        };
        object
    }

    pub fn text(&self) -> String {
        let mut text = self.story.text();
        let Some(Doubt { listed, words, choices, .. }) = &self.review else {
            text.push_str(&format!("\nit is {}, not in review: there is nothing to decide\n", self.state));
            return text;
        };
        let since = listed.since.format("%Y-%m-%d %H:%M:%SZ");
        text.push_str(&format!("\nin doubt since {since} ({})\n  {words}\n", listed.code));
        text.push_str("\nwhat can be done\n");
        for Choice { choice, when, command } in choices {
            text.push_str(&format!("  {choice}: {}\n", printable(when)));
            if let Some(command) = command {
                text.push_str(&format!("      {}\n", printable(command)));
            }
        }
        text
    }
}
