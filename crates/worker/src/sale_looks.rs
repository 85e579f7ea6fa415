//! Looks at what is sold: the inventories of all who hold the item, before its call and, where nobody knows what that came to, after.
//!
//! Every look tells more than was asked: what it shows of all pulls of its users is kept, as that of a look for a purchase is.

use clawback_domain::{
    UserId,
    answer::{Answer, InventoryAnswer},
    evidence::Reading,
    rehearsal::{Point, reach},
    sellback::{self, After, Happened, Sale, SaleCase, Sellback, State},
};
use clawback_store::StoreError;

use crate::{lifecycle::Worker, tenant::Tenant, write::Advanced};

impl Worker {
    /// One after another. `None` when the worker stops.
    pub(crate) async fn read_inventories(
        &self,
        tenant: &Tenant,
        users: impl Iterator<Item = &UserId>,
    ) -> Option<Vec<(UserId, Reading)>> {
        let mut readings: Vec<(UserId, Reading)> = Vec::new();
        for user in users {
            if readings.iter().all(|(read, _)| read != user) {
                readings.push((user.clone(), self.read_inventory(tenant, user).await?));
            }
        }
        Some(readings)
    }

    pub(crate) async fn keep_sights(&self, tenant: &Tenant, readings: &[(UserId, Reading)]) {
        for (user, reading) in readings {
            self.take_stock(tenant, user, reading).await;
        }
    }

    /// Looks whether what is in doubt is still there.
    pub(crate) async fn look_for_sale(&self, tenant: &Tenant, row: Sellback) -> Option<Advanced<Sellback>> {
        let (sale, doubt) = match &row.state {
            State::Reconciling(doubt) => (&doubt.sale, Some(doubt)),
            State::Review(review) => (review.sale.as_ref()?, None),
            State::Accepted { .. } | State::Selling(_) | State::Sold(_) | State::Failed { .. } => return None,
        };
        let token = sale.attempt.token;
        // Whoever stored an answer too late for its transition may have died before it drew the next.
        if let Some(answer) = self.stored_answer(row.id, token).await?
            && !matches!(answer, Answer::Unknown { .. } | Answer::Busy { .. })
        {
            return self.advance(tenant, row, Happened::Answered { token, answer }, None).await;
        }
        let users = std::iter::once(&row.command.user_id).chain(sale.before.holders());
        let Some(readings) = self.read_inventories(tenant, users).await else {
            self.advance(tenant, row, Happened::HandedBack, None).await;
            return None;
        };
        reach(Point::LookedNotJudged);
        let case = self.doors.store.sale_case(&tenant.id, &row.command.user_id, &row.command.target).await.ok()?;
        let suspicious = self.is_suspicious(tenant, sale, &case, &readings).await.ok()?;
        let rules = tenant.rules();
        let look = After { readings: &readings, suspicious, sold: &case.sold };
        let weighed = match (doubt, row.state.evidence()) {
            (Some(doubt), _) => doubt.weigh(look, &rules),
            (None, known) => sellback::weigh(sale, known, (review_words(&row), None), look, &rules),
        };
        let happened = Happened::Looked { verdict: weighed.verdict, evidence: weighed.evidence };
        let advanced = self.advance(tenant, row, happened, None).await;
        // Only now: the look must not be weighed against what it showed itself.
        self.keep_sights(tenant, &readings).await;
        advanced
    }

    /// Whether the look at the seller's inventory fails to show what it had to show beside the item.
    async fn is_suspicious(
        &self,
        tenant: &Tenant,
        sale: &Sale,
        case: &SaleCase,
        readings: &[(UserId, Reading)],
    ) -> Result<bool, StoreError> {
        let Some((user, Reading { answer: InventoryAnswer::Read(inventory), .. })) = readings.first() else {
            return Ok(false);
        };
        let pulls = self.doors.store.pulls_of_user(&tenant.id, user).await?;
        Ok(sellback::lacks_others(inventory, &pulls, &sale.item_id, &case.selling))
    }
}

fn review_words(row: &Sellback) -> &str {
    match &row.state {
        State::Review(review) => &review.message,
        State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) | State::Sold(_) | State::Failed { .. } => "",
    }
}
