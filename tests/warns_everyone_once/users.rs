//! What users do: they buy twice, some want no warnings, some sell.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result};
use chrono::TimeDelta;
use clawback_domain::{
    OrderId, PartnerId, PullId, RequestId, Time, UserId,
    item::{Expiry, Pull},
    warning::UserSettings,
};
use clawback_store::{Store, Users as _};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{PARTNERS, days::Days, drawn};

/// What each of the two purchases of a user draws.
const EACH: [usize; 2] = [3, 2];
const BOUGHT: Duration = Duration::from_secs(300);
const SOLD: Duration = Duration::from_secs(120);
/// Of all pulls, one in so many is asked to be sold at each of three times.
const SOLD_OF: u64 = 30;
/// Of all users, one in so many wants no warnings. Odd: the partners take turns, and each has some.
const OPTED_OUT_OF: usize = 11;

pub struct Users {
    count: usize,
    seed: u64,
    batches: usize,
    /// By partner.
    orders: Vec<(PartnerId, OrderId)>,
    pub opted_out: BTreeSet<UserId>,
    sales: BTreeSet<PullId>,
}

impl Users {
    pub fn new(count: u64, seed: u64) -> Self {
        let count = usize::try_from(count).expect("so many users do not fit a test");
        Self { count, seed, batches: 0, orders: Vec::new(), opted_out: BTreeSet::new(), sales: BTreeSet::new() }
    }

    pub async fn opt_out(&mut self, days: &Days) -> Result<()> {
        let now = days.now().await?;
        let first = usize::try_from(drawn(self.seed, "opted out", 0, OPTED_OUT_OF as u64))?;
        for number in (first..self.count).step_by(OPTED_OUT_OF) {
            let (partner, user) = (PartnerId::new(&days.stage.partners[number % PARTNERS])?, UserId::new(name(number))?);
            let settings = UserSettings { warnings: false, ..UserSettings::default() };
            days.stage.store.set_user_settings(&partner, &user, settings, now).await?;
            self.opted_out.insert(user);
        }
        Ok(())
    }

    /// One purchase of each user; done when it is known when everything expires.
    pub async fn buy(&mut self, days: &mut Days) -> Result<()> {
        let (batch, mut commands) = (self.batches, BTreeMap::<usize, Vec<Value>>::new());
        self.batches += 1;
        for number in 0..self.count {
            let request = format!("buy-{batch}-{number}");
            let partner = PartnerId::new(&days.stage.partners[number % PARTNERS])?;
            let id = OrderId::of(&partner, &RequestId::new(&request)?);
            self.orders.push((partner, id));
            let command = json!({"request_id": request, "user_id": name(number), "pack_id": "rookie", "amount": EACH[batch]});
            commands.entry(number % PARTNERS).or_default().push(command);
        }
        publish(days, "purchase", commands).await?;
        days.stage.ended(self.orders.len(), BOUGHT).await?;
        days.pass_until_read().await
    }

    pub async fn pulls(&self, days: &Days) -> Result<Vec<Pull>> {
        let mut pulls = Vec::new();
        for (_, id) in &self.orders {
            pulls.extend(days.stage.store.pulls(*id).await?);
        }
        Ok(pulls)
    }

    /// At a drawn time between these some items are sold, with no moment of a lead time near: what is sold just before it may have been
    /// told of already.
    pub async fn sell(&mut self, days: &mut Days, from: Time, to: Time) -> Result<()> {
        let span = u64::try_from((to - from).num_minutes()).context("from before to")?;
        let minutes = drawn(self.seed, "sale", self.sales.len(), span);
        let mut then = from + TimeDelta::minutes(minutes.cast_signed());
        while days.is_busy(then, TimeDelta::minutes(20)).await? {
            then += TimeDelta::minutes(5);
        }
        days.pass(then).await?;
        let mut commands = BTreeMap::<usize, Vec<Value>>::new();
        for (number, pull) in self.pulls(days).await?.into_iter().enumerate() {
            let may = match pull.sight.expiry {
                Expiry::At(expiry) => expiry > then + TimeDelta::minutes(20),
                Expiry::Never => true,
                Expiry::NotRead => false,
            };
            if may && pull.sale.is_none() && drawn(self.seed, &format!("sold {minutes}"), number, SOLD_OF) == 0 {
                self.sales.insert(pull.id);
                let command = json!({"request_id": format!("sell-{}", pull.id), "user_id": pull.user_id, "pull_id": pull.id});
                let partner = days.stage.partners.iter().position(|name| *name == pull.partner.as_str());
                commands.entry(partner.context("a partner")?).or_default().push(command);
            }
        }
        publish(days, "sellback", commands).await?;
        days.stage.sold(self.sales.len(), SOLD).await
    }
}

fn name(number: usize) -> String {
    format!("user-{number}")
}

async fn publish(days: &Days, key: &str, commands: BTreeMap<usize, Vec<Value>>) -> Result<()> {
    let each = commands.into_iter().map(|(partner, commands)| async move {
        days.stage.partner(&days.stage.partners[partner]).await?.publish_all(key, commands).await
    });
    try_join_all(each).await.map(drop).context("the commands could not be published")
}
