//! Sellbacks: what partners ask to be sold, and what must have become of each of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use clawback_domain::{
    Money, OrderId, PartnerId, RequestId, SellbackId,
    item::Pull,
    pause::CommandKind,
    sellback::{Sellback, State},
};
use serde_json::{Value, json};

use super::{
    Books,
    audit::shown,
    told::{SELLBACKS, told_once},
};
use crate::ledger::Sold;

/// Of so many commands one is published twice.
const TWICE_OF: usize = 10;

/// One sale, as its partner asks for it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub partner: String,
    pub id: SellbackId,
    pub request: String,
    /// Of the upstream.
    pub item: String,
    command: Value,
    /// How often its command is published.
    times: usize,
}

impl Asked {
    /// Every other one names the pull, the rest the item.
    pub fn of(number: usize, pull: &Pull) -> Result<Self> {
        let (request, item) = (format!("sell-{number}"), pull.item.item_id.to_string());
        let mut command = json!({"request_id": request, "user_id": pull.user_id});
        match number % 2 {
            0 => command["pull_id"] = json!(pull.id),
            _ => command["item_id"] = json!(item),
        }
        let partner = pull.partner.to_string();
        let id = OrderId::of(&PartnerId::new(&partner)?, &RequestId::new(&request)?);
        let times = 1 + usize::from(number.is_multiple_of(TWICE_OF));
        Ok(Self { partner, id, request, item, command, times })
    }

    /// The command's body, as often as it is published.
    pub fn commands(&self) -> impl Iterator<Item = Value> {
        std::iter::repeat_n(self.command.clone(), self.times)
    }
}

/// What an audit of sellbacks counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sales {
    pub sold: usize,
    /// Of those that were sold: the amount is not the upstream's own word.
    pub estimated: usize,
    pub failed: usize,
    pub reviews: usize,
    /// No row, or no end and no person who looks into it.
    pub lost: usize,
}

impl Books {
    /// Holds every sellback against what was asked for and what was really sold.
    ///
    /// # Errors
    /// What is wrong.
    pub fn audit_sales(&self, asked: &[Asked]) -> Result<Sales> {
        let (sales, wrong) = self.sale_findings(asked);
        ensure!(wrong.is_empty(), "the audit of sales found {}", shown(&wrong));
        Ok(sales)
    }

    /// The same with everything that is wrong, a sentence each.
    pub fn sale_findings(&self, asked: &[Asked]) -> (Sales, Vec<String>) {
        let mut made = BTreeMap::<&str, Vec<&Sold>>::new();
        for sale in &self.ledger.sellbacks {
            made.entry(&sale.item_id).or_default().push(sale);
        }
        let (mut stored, mut heard) = (self.told_by_store(SELLBACKS), self.told_by_queues(SELLBACKS));
        let (mut sales, mut wrong) = (Sales::default(), Vec::new());
        for one in asked {
            let Some(row) = self.sellbacks.get(&one.id) else {
                sales.lost += 1;
                wrong.push(format!("{}: lost, there is no row", one.request));
                continue;
            };
            let id = one.id.to_string();
            let (stored, heard) = (stored.remove(&id).unwrap_or_default(), heard.remove(&id).unwrap_or_default());
            let made = made.remove(one.item.as_str()).unwrap_or_default();
            let findings = [
                told_once(CommandKind::Sellback, row.state.name(), &stored, &heard),
                sales.ended(row, &made).with_context(|| format!("{:?}", row.state)),
            ];
            let findings = findings.into_iter().filter_map(Result::err);
            wrong.extend(findings.map(|error| format!("{} ({id}, {}): {error:#}", one.request, row.state.name())));
        }
        wrong.extend(made.values().flatten().map(|sale| format!("sold without a command: {sale:?}")));
        let is_asked = |id: &SellbackId| asked.iter().any(|one| one.id == *id);
        wrong.extend(self.sellbacks.keys().filter(|id| !is_asked(id)).map(|id| format!("nobody asked for sellback {id}")));
        let foreign = stored.into_iter().chain(heard);
        wrong.extend(foreign.map(|(subject, told)| format!("told of {subject}, which nobody asked for: {told:?}")));
        (sales, wrong)
    }
}

impl Sales {
    /// Counts the end of one sellback, and holds it against the ledger.
    fn ended(&mut self, row: &Sellback, made: &[&Sold]) -> Result<()> {
        ensure!(made.len() <= 1, "sold {} times: {made:?}", made.len());
        match &row.state {
            State::Sold(sold) => {
                self.sold += 1;
                self.estimated += usize::from(sold.estimated);
                let [made] = made else { bail!("the ledger knows nothing of it") };
                let amount = Money::parse_usd(&made.amount.to_string()).context("an amount")?;
                ensure!(sold.estimated || sold.amount == Some(amount), "the ledger says {amount}");
                Ok(())
            }
            State::Failed { .. } => {
                self.failed += 1;
                ensure!(made.is_empty(), "it was sold: {made:?}");
                Ok(())
            }
            State::Review(_) => {
                self.reviews += 1;
                Ok(())
            }
            State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) => {
                self.lost += 1;
                bail!("it has not ended")
            }
        }
    }
}

#[cfg(test)]
mod tests;
