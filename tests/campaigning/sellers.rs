//! What becomes of what was bought: of every few items one is sold back, and some users say once more what they want.
//!
//! A user's turn comes a minute after a fulfilment by itself. Who says what they want has it at once, and reads the inventory amid
//! whatever happens in that cycle.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use chrono::Utc;
use clawback_domain::{PartnerId, PurchaseId, UserId, item::Pull, warning::UserSettings};
use clawback_store::{Store, Users as _};
use clawback_tests::{
    rehearsal::{Asked, Order, Stage},
    wait::until,
};

/// Of so many items one is sold.
const SOLD_OF: usize = 3;
/// The user of one item of so many says what they want.
const HEARD_OF: usize = 2;
/// The store works, or nothing does.
const WORKS: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Sellers {
    asked: Vec<Asked>,
    /// Purchases whose items were dealt with.
    seen: BTreeSet<PurchaseId>,
    items: usize,
}

impl Sellers {
    /// Everything that was ever asked to be sold.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// What is to be sold of what these orders have brought since the last time.
    pub async fn ask(&mut self, stage: &Stage, orders: &[Order]) -> Result<Vec<Asked>> {
        let first = self.asked.len();
        for order in orders.iter().filter(|order| !order.doomed) {
            if self.seen.contains(&order.id) {
                continue;
            }
            let pulls = until("what was bought is read", WORKS, || stage.store.pulls(order.id)).await?;
            if !pulls.is_empty() {
                self.seen.insert(order.id);
            }
            for pull in pulls {
                self.deal_with(stage, &pull).await?;
            }
        }
        Ok(self.asked[first..].to_vec())
    }

    async fn deal_with(&mut self, stage: &Stage, pull: &Pull) -> Result<()> {
        if self.items.is_multiple_of(SOLD_OF) {
            self.asked.push(Asked::of(self.asked.len(), pull)?);
        }
        if self.items.is_multiple_of(HEARD_OF) {
            speaks(stage, &pull.partner, &pull.user_id).await?;
        }
        self.items += 1;
        Ok(())
    }
}

/// Every user of these orders says what they want: nobody's turn is a minute away.
pub async fn all_speak(stage: &Stage, orders: &[Order]) -> Result<()> {
    let users: BTreeSet<_> = orders.iter().map(|order| (order.partner.as_str(), order.user.as_str())).collect();
    for (partner, user) in users {
        speaks(stage, &PartnerId::new(partner)?, &UserId::new(user)?).await?;
    }
    Ok(())
}

async fn speaks(stage: &Stage, partner: &PartnerId, user: &UserId) -> Result<()> {
    let say = || stage.store.set_user_settings(partner, user, UserSettings::default(), Utc::now());
    until("a user's word is kept", WORKS, say).await.with_context(|| user.to_string())
}
