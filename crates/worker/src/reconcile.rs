//! Looking: an unknown outcome is settled by what the inventory shows, never by calling again.
//!
//! The inventory is read *before* the pulls that explain it: a purchase fulfilled between the two must not look like an orphan's.

use std::sync::Arc;

use clawback_domain::{
    AttemptToken, Time,
    answer::{Answer, InventoryAnswer},
    evidence::{self, Evidence, Look, Verdict},
    purchase::{Happened, Purchase, State},
};

use crate::{lifecycle::Worker, tenant::Tenant, write::Advanced};

/// How many looks a review keeps; older ones are dropped, the first stays.
const MOST_LOOKS: usize = 20;

impl Worker {
    pub(crate) async fn look(self: &Arc<Self>, tenant: &Arc<Tenant>, purchase: Purchase) -> Option<Advanced> {
        // Whoever stored an answer too late for its transition may have died before it drew the next.
        if let Some(token) = in_doubt(&purchase)
            && let Some(answer) = self.stored_answer(&purchase, token).await?
            && !matches!(answer, Answer::Unknown { .. })
        {
            return self.advance(tenant, purchase, Happened::Answered { token, answer }, None).await;
        }
        let upstream = tenant.upstream();
        let key = upstream.key_fingerprint();
        let answer = tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                self.advance(tenant, purchase, Happened::HandedBack, None).await;
                return None;
            }
            answer = upstream.inventory(&purchase.command.user_id) => answer,
        };
        if answer == InventoryAnswer::Unauthorized {
            self.pauses.refused_key(&self.doors, tenant, key, "inventory").await;
        }
        let known = match self.doors.store.pulls_of_user(&tenant.id, &purchase.command.user_id).await {
            Ok(known) => known,
            // The turn covers it: `due_at` brings the row back.
            Err(error) => {
                tracing::warn!(purchase.id = %purchase.id, %error, "known pulls could not be read");
                return None;
            }
        };
        let now = self.doors.clock.now();
        let look = evidence::look(&answer, &known, &purchase.command.pack_id, began(&purchase), now);
        let (verdict, evidence) = judge(&purchase, look)?;
        self.advance(tenant, purchase, Happened::Looked { verdict, evidence }, None).await
    }
}

/// The attempt whose answer would end the doubt.
fn in_doubt(purchase: &Purchase) -> Option<AttemptToken> {
    match &purchase.state {
        State::Reconciling(doubt) => Some(doubt.attempt.token),
        State::Review(review) if review.session.is_none() => review.attempt,
        _ => None,
    }
}

/// Since when items may be this purchase's.
fn began(purchase: &Purchase) -> Time {
    match &purchase.state {
        State::Reconciling(doubt) => doubt.attempt.started_at,
        State::Accepted { .. }
        | State::Initiating(_)
        | State::Pending(_)
        | State::Review(_)
        | State::Fulfilled(_)
        | State::Failed { .. } => purchase.created_at,
    }
}

fn judge(purchase: &Purchase, look: Look) -> Option<(Verdict, Evidence)> {
    let cancelled = "the upstream says that the transaction failed";
    let (doubt, verdict, earlier) = match &purchase.state {
        State::Pending(pending) if pending.cancelled => (cancelled.into(), evidence::judge_cancelled(&look), None),
        State::Reconciling(doubt) => (doubt.why.clone(), evidence::judge_unknown(&doubt.why, &look), None),
        State::Review(review) if review.cancelled => {
            (cancelled.into(), evidence::judge_cancelled(&look), review.evidence.as_ref())
        }
        State::Review(review) => {
            (review.message.clone(), evidence::judge_unknown(&review.message, &look), review.evidence.as_ref())
        }
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Fulfilled(_) | State::Failed { .. } => {
            return None;
        }
    };
    let mut looks = earlier.map(|evidence| evidence.looks.clone()).unwrap_or_default();
    if looks.len() >= MOST_LOOKS {
        looks.remove(1);
    }
    looks.push(look);
    let words = match &verdict {
        Verdict::Wait(why) => format!("nothing can be said yet: {why}"),
        Verdict::Recovered(items) => format!("{} items are this purchase's", items.len()),
        Verdict::Absent => "it surely bought nothing".into(),
        Verdict::Unclear(_, why) => why.clone(),
    };
    let doubt = earlier.map_or(doubt, |evidence| evidence.doubt.clone());
    Some((verdict, Evidence { doubt, looks, verdict: words }))
}
