//! What became of the items in a week: what was told and sold, held against the sandbox's own ledger.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    Clock, ItemId, Money, PullId, Time,
    sellback::State,
    warning::{RowState, Skipped},
};
use clawback_sandbox::Ledger;
use clawback_store::{Filter, Warning, WarningFilter};

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
        let filter = WarningFilter { until: Some(plant.clock.now()), limit: u32::MAX, ..WarningFilter::default() };
        let left = self.elsewhere.as_ref().map(|gone| gone.pull);
        let came = plant.store.warnings(filter).await?;
        let forgotten = |warning: &&Warning| Some(warning.row.pull) != left && is_forgotten(warning.row.state);
        self.forgotten = came.iter().filter(forgotten).count() as u64;
        Ok(())
    }

    pub fn sellbacks(&self) -> u64 {
        self.by_hand.count + self.automatically.count
    }

    pub fn sold(&self) -> Money {
        sum([self.by_hand.amount, self.automatically.amount])
    }
}

/// Of a warning whose moment has passed. What keeps it from going out otherwise is no fault.
fn is_forgotten(state: RowState) -> bool {
    match state {
        RowState::Planned | RowState::Skipped(Skipped::Superseded | Skipped::Expired) => true,
        RowState::Sent
        | RowState::Skipped(
            Skipped::PastWhenRead
            | Skipped::NoExpiry
            | Skipped::Gone
            | Skipped::Sold
            | Skipped::OptedOut
            | Skipped::LeadRemoved,
        ) => false,
    }
}

impl Sales {
    const NONE: Self = Self { count: 0, amount: Money::usd(0) };
}

pub fn sum(amounts: impl IntoIterator<Item = Money>) -> Money {
    Money::usd(amounts.into_iter().map(Money::millionths).sum())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawback_domain::{PartnerId, PurchaseId, RequestId, UserId, clock::after};
    use clawback_sandbox::ledger::LedgerSellback;

    use super::*;
    use crate::demo::events::Warned;

    fn at(minute: u64) -> Time {
        after(Time::UNIX_EPOCH, Duration::from_secs(minute * 60))
    }

    /// One item is warned of at these minutes and lead times: how often twice, and how often wrongly.
    fn check(warned: &[(u64, &str)], sold_at: Option<u64>, gone_at: Option<u64>, expected: (u64, u64)) {
        let partner = PartnerId::new("toybox").unwrap();
        let pull = PullId::of(PurchaseId::of(&partner, &RequestId::new("order-1").unwrap()), 0);
        let (item, user) = (ItemId::new("card").unwrap(), UserId::new("kim").unwrap());
        let warned = warned.iter().map(|(minute, lead)| Warned {
            at: at(*minute),
            lead: (*lead).into(),
            late: false,
            items: vec![(pull, item.clone())],
        });
        let heard = Heard { warnings: warned.collect(), ..Heard::default() };
        let sold = sold_at.map(|minute| LedgerSellback {
            user_id: user.to_string(),
            item_id: item.to_string(),
            amount: Money::usd(1),
            sold_at: at(minute),
        });
        let ledger = Ledger { purchases: Vec::new(), sellbacks: sold.into_iter().collect() };
        let (name, item) = (item.to_string(), item.clone());
        let gone = gone_at.map(|minute| Elsewhere { partner, user, pull, item, name, at: at(minute) });
        let sums = Sums::of_warnings(&heard, &ledger, gone);
        assert_eq!((sums.warned_twice, sums.warned_wrongly), expected, "{sold_at:?} {gone_at:?}");
        assert_eq!(sums.of_elsewhere, if gone_at.is_some() { expected.1 } else { 0 });
    }

    #[test]
    fn what_is_warned_of_twice_or_wrongly_is_counted() {
        check(&[(1, "24h"), (9, "1h")], Some(9), None, (0, 0));
        check(&[(1, "24h"), (9, "24h")], None, None, (1, 0));
        check(&[(1, "24h"), (9, "1h")], Some(5), None, (0, 1));
        check(&[(1, "24h"), (9, "1h")], None, Some(9), (0, 0));
        check(&[(1, "24h"), (9, "1h")], None, Some(0), (0, 2));
    }
}
