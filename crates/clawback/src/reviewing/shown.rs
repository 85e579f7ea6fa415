//! One review with all that speaks for and against: the doubt, the evidence, the timeline, and what can be done.

use clawback_domain::{
    Time,
    evidence::Evidence,
    purchase::{Purchase, Rules, StateName},
};
use clawback_store::{Store, StoreError};
use serde_json::{Value, json};

use super::{
    ListedReview, review,
    words::{self, Choice},
};
use crate::{evidence, output::printable, verbs::show::Story};

pub struct Shown {
    story: Story,
    state: StateName,
    review: Option<ListedReview>,
    evidence: Option<Evidence>,
    choices: Vec<Choice>,
}

impl Shown {
    /// # Errors
    /// The store's.
    pub async fn read(store: &dyn Store, purchase: Purchase, rules: &Rules, now: Time) -> Result<Self, StoreError> {
        let choices = review(&purchase).map(|review| words::choices(&purchase, review, rules, now));
        Ok(Self {
            state: purchase.state.name(),
            review: ListedReview::of(&purchase),
            evidence: review(&purchase).and_then(|review| review.evidence.as_deref().cloned()),
            choices: choices.unwrap_or_default(),
            story: Story::read(store, purchase, now).await?,
        })
    }

    /// What `show` tells, and `review`, which is null when there is nothing to decide.
    pub fn object(&self) -> Value {
        let mut object = self.story.object();
        let looks = self.evidence.iter().flat_map(|evidence| &evidence.looks);
        let looks: Vec<_> = looks.map(|look| json!({ "at": look.at, "showed": evidence::look(look) })).collect();
        object["review"] = match &self.review {
            None => Value::Null,
            Some(review) => json!({
                "code": review.code, "message": review.message, "since": review.since,
                "doubt": words::doubt(review.code), "looks": looks, "choices": self.choices,
            }),
        };
        object
    }

    pub fn text(&self) -> String {
        let mut text = self.story.text();
        let Some(review) = &self.review else {
            text.push_str(&format!("\nit is {}, not in review: there is nothing to decide\n", self.state));
            return text;
        };
        let since = review.since.format("%Y-%m-%d %H:%M:%SZ");
        text.push_str(&format!("\nin doubt since {since} ({})\n  {}\n", review.code, words::doubt(review.code)));
        text.push_str("\nwhat can be done\n");
        for Choice { choice, when, command } in &self.choices {
            text.push_str(&format!("  {choice}: {}\n", printable(when)));
            if let Some(command) = command {
                text.push_str(&format!("      {}\n", printable(command)));
            }
        }
        text
    }
}
