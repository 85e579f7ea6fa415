//! What became of it all: our store held against the sandbox's own ledger.

use std::collections::BTreeMap;

use clawback_domain::{
    Clock, PartnerId, PurchaseId,
    purchase::{State, StateName},
};
use clawback_sandbox::Ledger;
use clawback_store::Store;
use serde_json::{Value, json};

use super::{plant::Plant, progress::Took, sums::Sums, workload::Workload};
use crate::{failure::Failure, verbs::show::Story};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub purchases: u64,
    pub fulfilled: u64,
    /// Of these found in the inventory, for the answer of their call was lost.
    pub recovered: u64,
    pub failed: u64,
    pub review: u64,
    /// Neither ended nor in review.
    pub open: u64,
}

pub struct Counted {
    pub by_partner: BTreeMap<PartnerId, Tally>,
    pub events: usize,
    /// Bought or sold upstream, and we do not say so; or said to be, and not so.
    pub lost: u64,
    pub bought_twice: u64,
    /// Purchases in review that the ledger has: several may have bought what is there.
    pub bought_in_review: u64,
    pub took: Took,
    pub sums: Sums,
}

impl Counted {
    /// # Errors
    /// The store's.
    pub async fn count(plant: &Plant, workload: &Workload, took: Took, sums: Sums) -> Result<Self, Failure> {
        let ledger = plant.upstream.lock().ledger();
        let mut bought = times_bought(&ledger);
        let mut counted = Self {
            by_partner: BTreeMap::new(),
            events: plant.events.count(),
            lost: sums.lost,
            bought_twice: bought.values().filter(|times| **times > 1).count() as u64,
            bought_in_review: 0,
            took,
            sums,
        };
        for asked in &workload.asked {
            let purchase = plant.store.purchase(asked.purchase).await?;
            let is_bought = bought.remove(&Some(asked.purchase)).is_some();
            counted.add(&asked.partner, purchase.as_ref().map(|purchase| &purchase.state), is_bought);
        }
        // What is left was bought for no purchase of ours.
        counted.lost += bought.values().sum::<u64>();
        Ok(counted)
    }

    fn add(&mut self, partner: &PartnerId, state: Option<&State>, is_bought: bool) {
        let tally = self.by_partner.entry(partner.clone()).or_default();
        tally.purchases += 1;
        tally.recovered += u64::from(state.is_some_and(is_recovered));
        match state {
            Some(State::Fulfilled(_)) => tally.fulfilled += 1,
            Some(State::Failed { .. }) => tally.failed += 1,
            Some(State::Review(_)) => tally.review += 1,
            Some(State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_)) | None => {
                tally.open += 1;
            }
        }
        let agrees = match state {
            Some(State::Fulfilled(_)) => is_bought,
            Some(State::Failed { .. } | State::Accepted { .. }) => !is_bought,
            Some(State::Initiating(_) | State::Pending(_) | State::Reconciling(_) | State::Review(_)) => true,
            None => false,
        };
        self.lost += u64::from(!agrees);
        self.bought_in_review += u64::from(matches!(state, Some(State::Review(_))) && is_bought);
    }

    pub fn total(&self) -> Tally {
        self.by_partner.values().fold(Tally::default(), |sum, tally| Tally {
            purchases: sum.purchases + tally.purchases,
            fulfilled: sum.fulfilled + tally.fulfilled,
            recovered: sum.recovered + tally.recovered,
            failed: sum.failed + tally.failed,
            review: sum.review + tally.review,
            open: sum.open + tally.open,
        })
    }

    pub fn object(&self) -> Value {
        let total = self.total();
        let seconds = self.took.all.as_secs_f64();
        let sums = &self.sums;
        json!({
            "purchases": total.purchases, "fulfilled": total.fulfilled, "recovered": total.recovered, "failed": total.failed, "review": total.review,
            "open": total.open, "sellbacks": sums.sellbacks(), "sold_automatically": sums.automatically.count, "sold": sums.sold().to_string(),
            "warned_items": sums.warned_items, "warnings": sums.warnings, "late": sums.late, "closed": sums.closed, "events": self.events,
            "lost": self.lost, "bought_twice": self.bought_twice, "sold_twice": sums.sold_twice, "warned_twice": sums.warned_twice,
            "warned_wrongly": sums.warned_wrongly, "forgotten": sums.forgotten, "sellbacks_open": sums.open,
            "sold_elsewhere": sums.elsewhere.as_ref().map(|gone| &gone.item), "seconds": round(seconds),
            "purchases_per_second": round(total.purchases as f64 / seconds.max(0.001)),
        })
    }

    /// # Errors
    /// Anything was lost, bought or sold twice, warned of twice, wrongly or not at all, or is still open.
    pub fn verdict(&self) -> Result<(), Failure> {
        let sums = &self.sums;
        let wrong = [
            (self.lost, "lost"),
            (self.bought_twice, "bought twice"),
            (sums.sold_twice, "sold twice"),
            (sums.warned_twice, "warned of twice"),
            (sums.warned_wrongly, "warned of though they were gone"),
            (sums.forgotten, "not warned of"),
            (self.total().open + sums.open, "still open"),
        ];
        let wrong: Vec<_> =
            wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Failure::failed(wrong.join(", "))) }
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// How often each purchase of ours was really bought; under `None` what has no reference of ours.
fn times_bought(ledger: &Ledger) -> BTreeMap<Option<PurchaseId>, u64> {
    let mut times = BTreeMap::new();
    for bought in &ledger.purchases {
        let purchase = bought.client_ref.as_deref().and_then(|text| text.rsplit_once('.')).and_then(|(id, _)| id.parse().ok());
        *times.entry(purchase).or_insert(0) += 1;
    }
    times
}

fn is_recovered(state: &State) -> bool {
    matches!(state, State::Fulfilled(fulfilled) if fulfilled.recovered)
}

/// The fulfilled purchase to which most happened; one that was recovered before all others.
///
/// # Errors
/// The store's.
pub async fn a_story(store: &dyn Store, workload: &Workload, clock: &dyn Clock) -> Result<Option<Story>, Failure> {
    let mut longest = None;
    for asked in &workload.asked {
        let Some(purchase) = store.purchase(asked.purchase).await? else { continue };
        let happened = (is_recovered(&purchase.state), purchase.attempts, purchase.version);
        let longer = longest.as_ref().is_none_or(|(most, _)| *most < happened);
        if purchase.state.name() == StateName::Fulfilled && longer {
            longest = Some((happened, purchase));
        }
    }
    match longest {
        Some((_, purchase)) => Ok(Some(Story::read(store, purchase.into(), clock.now()).await?)),
        None => Ok(None),
    }
}
