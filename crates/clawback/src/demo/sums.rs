//! What became of the items in a week: what was told and sold, held against the sandbox's own ledger.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{Clock, ItemId, Money, PullId, Time, sellback::State};
use clawback_sandbox::Ledger;
use clawback_store::{Filter, WarningFilter, WarningState};

use super::{
    days::Elsewhere,
    events::{Heard, is_automatic},
    plant::Plant,
};
use crate::failure::Failure;

#[derive(Debug, Clone, Copy)]
pub struct Sales {
    pub count: u64,
    pub amount: Money,
}

pub struct Sums {
    pub warned_items: u64,
    /// An event each.
    pub warnings: u64,
    pub late: u64,
    /// More than once of the same lead time.
    pub warned_twice: u64,
    /// Items in warnings that were sold by then, by us or elsewhere.
    pub warned_wrongly: u64,
    /// Of these the one that was sold elsewhere.
    pub of_elsewhere: u64,
    /// Warnings whose moment has passed, of items that are there, and that did not go out.
    pub forgotten: u64,
    pub by_hand: Sales,
    pub automatically: Sales,
    /// Sellbacks neither ended nor in review.
    pub open: u64,
    /// Windows that shut unsold.
    pub closed: u64,
    /// Sold upstream, and we do not say so; or said to be sold, and not so.
    pub lost: u64,
    pub sold_twice: u64,
    pub elsewhere: Option<Elsewhere>,
}

impl Sums {
    /// # Errors
    /// The store's.
    pub async fn count(plant: &Plant, elsewhere: Option<Elsewhere>) -> Result<Self, Failure> {
        let ledger = plant.upstream.lock().ledger();
        let mut sums = plant.events.look(|heard| Self::of_warnings(heard, &ledger, elsewhere));
        sums.count_sales(plant, &ledger).await?;
        sums.count_forgotten(plant).await?;
        Ok(sums)
    }

    fn of_warnings(heard: &Heard, ledger: &Ledger, elsewhere: Option<Elsewhere>) -> Self {
        let sold: BTreeMap<&str, Time> = ledger.sellbacks.iter().map(|sold| (sold.item_id.as_str(), sold.sold_at)).collect();
        let is_sold = |item: &ItemId, at: Time| sold.get(item.as_str()).is_some_and(|sold_at| *sold_at < at);
        let mut times = BTreeMap::<(PullId, &str), u64>::new();
        let (mut items, mut wrongly, mut of_elsewhere) = (BTreeSet::new(), 0, 0);
        for warned in &heard.warnings {
            for (pull, item) in &warned.items {
                *times.entry((*pull, &warned.lead)).or_default() += 1;
                items.insert(*pull);
                let left = elsewhere.as_ref().is_some_and(|gone| gone.pull == *pull && gone.at < warned.at);
                of_elsewhere += u64::from(left);
                wrongly += u64::from(left || is_sold(item, warned.at));
            }
        }
        Self {
            warned_items: items.len() as u64,
            warnings: heard.warnings.len() as u64,
            late: heard.warnings.iter().filter(|warned| warned.late).count() as u64,
            warned_twice: times.values().filter(|times| **times > 1).count() as u64,
            warned_wrongly: wrongly,
            of_elsewhere,
            forgotten: 0,
            by_hand: Sales::NONE,
            automatically: Sales::NONE,
            open: 0,
            closed: heard.closed.len() as u64,
            lost: 0,
            sold_twice: 0,
            elsewhere,
        }
    }

    /// In production an item id is drawn once, so it names a sale.
    async fn count_sales(&mut self, plant: &Plant, ledger: &Ledger) -> Result<(), Failure> {
        let mut really = BTreeMap::<&str, u64>::new();
        ledger.sellbacks.iter().for_each(|sold| *really.entry(&sold.item_id).or_default() += 1);
        self.sold_twice = really.values().filter(|times| **times > 1).count() as u64;
        for sellback in plant.store.sellbacks(Filter { limit: u32::MAX, ..Filter::default() }).await? {
            match &sellback.state {
                State::Sold(sold) => {
                    self.lost += u64::from(really.remove(sold.item_id.as_str()).is_none());
                    let sales =
                        if is_automatic(&sellback.command.request_id) { &mut self.automatically } else { &mut self.by_hand };
                    sales.count += 1;
                    sales.amount = sum(sold.amount.into_iter().chain([sales.amount]));
                }
                State::Review(review) => {
                    // A person is asked, whatever it came to.
                    if let Some(sale) = &review.sale {
                        really.remove(sale.item_id.as_str());
                    }
                }
                State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) => self.open += 1,
                State::Failed { .. } => {}
            }
        }
        self.lost += really.len() as u64;
        Ok(())
    }

    async fn count_forgotten(&mut self, plant: &Plant) -> Result<(), Failure> {
        let filter = WarningFilter {
            state: Some(WarningState::Planned),
            until: Some(plant.clock.now()),
            limit: u32::MAX,
            ..WarningFilter::default()
        };
        let left = self.elsewhere.as_ref().map(|gone| gone.pull);
        let planned = plant.store.warnings(filter).await?;
        self.forgotten = planned.iter().filter(|warning| Some(warning.row.pull) != left).count() as u64;
        Ok(())
    }

    pub fn sellbacks(&self) -> u64 {
        self.by_hand.count + self.automatically.count
    }

    pub fn sold(&self) -> Money {
        sum([self.by_hand.amount, self.automatically.amount])
    }
}

impl Sales {
    const NONE: Self = Self { count: 0, amount: Money::usd(0) };
}

pub fn sum(amounts: impl IntoIterator<Item = Money>) -> Money {
    Money::usd(amounts.into_iter().map(Money::millionths).sum())
}
