//! Looking: an unknown outcome is settled by what the inventory shows, never by calling again.
//!
//! The inventory is read *before* the case: a purchase fulfilled between the two must not be claimed twice. What is concluded for good
//! fits only the case that it was concluded from; if something else was concluded in between, it is weighed again.

use std::sync::Arc;

use clawback_domain::{
    AttemptToken, UserId,
    answer::{Answer, InventoryAnswer},
    change::{Change, Ruling},
    evidence::{self, Case, Examined, Reading, Sightings, Survey, Verdict},
    item::HeldItem,
    planted::{Bug, planted},
    purchase::{Decision, Happened, Purchase, State, decide},
    rehearsal::{Point, reach},
};
use clawback_store::{Applied, Draft};

use crate::{lifecycle::Worker, tenant::Tenant, write::Advanced};

/// How often one reading is weighed anew because something was concluded about the user meanwhile; then it is made again.
const MOST_HEARINGS: u32 = 5;

/// The row or the case has moved on since the verdict was reached.
struct Outdated;

impl Worker {
    pub(crate) async fn look(self: &Arc<Self>, tenant: &Arc<Tenant>, mut purchase: Purchase) -> Option<Advanced<Purchase>> {
        // Whoever stored an answer too late for its transition may have died before it drew the next.
        if let Some(token) = in_doubt(&purchase)
            && let Some(answer) = self.stored_answer(purchase.id, token).await?
            && !matches!(answer, Answer::Unknown { .. })
        {
            return self.advance(tenant, purchase, Happened::Answered { token, answer }, None).await;
        }
        let mut early = if planted(Bug::CaseReadFirst) { self.case(tenant, &purchase).await } else { None };
        let Some(reading) = self.read_inventory(tenant, &purchase.command.user_id).await else {
            self.advance(tenant, purchase, Happened::HandedBack, None).await;
            return None;
        };
        reach(Point::LookedNotJudged);
        for _ in 0..MOST_HEARINGS {
            let case = match early.take() {
                Some(case) => case,
                None => self.case(tenant, &purchase).await?,
            };
            let Examined { verdict, evidence, survey } = evidence::examine(&purchase, &reading, &case, &tenant.rules())?;
            let found = found(&verdict);
            let (sightings, explained) = match survey {
                // First of all: if what another may have bought leaves now, nobody sees it again.
                Some(Survey { sightings, unexplained, explained }) if self.keep_unexplained(tenant, &unexplained).await => {
                    (Some(sightings), explained)
                }
                Some(_) => break,
                None => (None, Vec::new()),
            };
            let ruling = (verdict.is_ruling() && !planted(Bug::RulingsNotSerialised))
                .then_some(Ruling { case: Some(case.version), retried: false });
            match self.hear(tenant, &purchase, Happened::Looked { verdict, evidence }, ruling).await {
                Ok(advanced) => {
                    // Only now: the look must not be weighed against what it showed itself.
                    if let Some(sightings) = sightings {
                        self.keep_sightings(tenant, sightings).await;
                    }
                    // What the verdict gives is explained only if it stands.
                    if advanced.is_some() {
                        self.forget_explained(tenant, explained).await;
                        self.keep_times(tenant, &purchase, &reading, &found).await;
                    }
                    return advanced;
                }
                // If the row has moved on, somebody else has it in hand; else only the case has.
                Err(Outdated) => {
                    let version = purchase.version;
                    purchase = self.read_back(purchase.id).await.filter(|row: &Purchase| row.version == version)?;
                }
            }
        }
        self.advance(tenant, purchase, Happened::HandedBack, None).await;
        None
    }

    /// Reads a user's inventory. `None` when the worker stops: reading again is free.
    pub(crate) async fn read_inventory(&self, tenant: &Tenant, user: &UserId) -> Option<Reading> {
        let upstream = tenant.upstream();
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            reading = async {
                let _permit = tenant.poll_permit().await;
                let key = upstream.key_fingerprint();
                let began = self.doors.clock.now();
                let answer = upstream.inventory(user).await;
                if answer == InventoryAnswer::Unauthorized {
                    self.pauses.refused_key(&self.doors, tenant, key, "inventory").await;
                }
                Reading { answer, began, ended: self.doors.clock.now() }
            } => Some(reading),
        }
    }

    /// Everything that bears on the purchase. `None` when it cannot be read now: the turn covers it, `due_at` brings the row back.
    async fn case(&self, tenant: &Tenant, purchase: &Purchase) -> Option<Case> {
        match self.doors.store.case(&tenant.id, &purchase.command.user_id).await {
            Ok(case) => Some(case),
            Err(error) => {
                tracing::warn!(purchase.id = %purchase.id, %error, "what is known of the user could not be read");
                None
            }
        }
    }

    /// Writes a verdict, unless it is outdated. `None`: nothing follows from it.
    async fn hear(
        &self,
        tenant: &Tenant,
        purchase: &Purchase,
        happened: Happened,
        ruling: Option<Ruling>,
    ) -> Result<Option<Advanced<Purchase>>, Outdated> {
        let name = happened.name();
        let decision = decide(purchase, happened, self.doors.clock.now(), &tenant.rules());
        let Decision::Transition(transition) = decision else {
            tracing::debug!(purchase.id = %purchase.id, ?decision, "nothing follows from a look");
            return Ok(None);
        };
        let next = transition.next;
        let draft = Draft::new(Change { ruling, ..Change::of(purchase, *transition, name, None) });
        match self.apply(&draft).await {
            Ok(Applied::Committed) => {
                let order = self.committed(purchase, draft, name).await;
                Ok(order.map(|order| Advanced { order, next }))
            }
            Ok(Applied::Lost) => Err(Outdated),
            Err(error) => {
                self.not_stored(draft, name, &error).await;
                Ok(None)
            }
        }
    }

    /// When the recovered items were bought, so that a later look tells them from others of the same id.
    /// What an earlier look showed is not said to be seen by one that could not be read.
    async fn keep_times(&self, tenant: &Tenant, purchase: &Purchase, reading: &Reading, found: &[HeldItem]) {
        if !matches!(reading.answer, InventoryAnswer::Read(_)) {
            return;
        }
        let shown = |(position, held): (usize, &HeldItem)| (purchase.id, position as u32, Some(held.shown(true)));
        let pulls = found.iter().enumerate().map(shown).collect();
        let user_id = purchase.command.user_id.clone();
        self.keep_sightings(tenant, Sightings { partner: tenant.id.clone(), user_id, at: reading.began, pulls }).await;
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

fn found(verdict: &Verdict) -> Vec<HeldItem> {
    match verdict {
        Verdict::Recovered(items) => items.clone(),
        Verdict::Wait(_) | Verdict::Absent | Verdict::Unclear(..) => Vec::new(),
    }
}
