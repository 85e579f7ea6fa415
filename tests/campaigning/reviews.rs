//! Purchases that a person must look into at the end, and whether that could have been avoided.

use clawback_domain::{
    answer::Answer,
    evidence::{Rival, Standing},
    purchase::State,
};
use clawback_tests::rehearsal::Row;
use serde_json::{Value, json};

/// Purchases that a person must look into at the end.
///
/// What was not bought is *unavoidable*: nothing is there to be found, and nothing proves that nothing will come. So is what was bought
/// beside another doubt of its user and pack: the inventory does not tell whose it is. All others are *avoidable*.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reviews {
    not_bought: usize,
    /// Bought, and so may have been others that nobody knows of.
    ambiguous: usize,
    bought: usize,
    /// An answer is stored that settles it.
    answered: usize,
}

impl Reviews {
    pub fn count(&mut self, row: &Row, bought: bool) {
        let answer = row.attempts.last().and_then(|record| record.fact.as_ref()).map(|fact| &fact.answer);
        let kind = match (answer, bought) {
            (Some(Answer::Unknown { .. }) | None, false) => &mut self.not_bought,
            (Some(Answer::Unknown { .. }) | None, true) if has_rivals(row) => &mut self.ambiguous,
            (Some(Answer::Unknown { .. }) | None, true) => &mut self.bought,
            (Some(_), _) => &mut self.answered,
        };
        *kind += 1;
    }

    pub fn json(&self) -> Value {
        json!({
            "avoidable": self.bought + self.answered,
            "unavoidable": self.not_bought + self.ambiguous,
            "of": {
                "not_bought": self.not_bought, "ambiguous": self.ambiguous, "bought": self.bought, "answered": self.answered,
            },
        })
    }
}

/// Whether the last look was made beside other doubts.
fn has_rivals(row: &Row) -> bool {
    let State::Review(review) = &row.purchase.state else { return false };
    let doubtful = |rival: &Rival| matches!(rival.standing, Standing::Unknown | Standing::InReview);
    review.evidence.as_ref().is_some_and(|evidence| evidence.rivals.iter().any(doubtful))
}
