//! The audit: what was ordered, what the store believes, what partners were told and what was really bought must be one story.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use chrono::TimeDelta;
use clawback_domain::{PurchaseId, Time, answer::Answer, event::EventType, pause::CommandKind, purchase::State};
use clawback_store::AttemptRecord;
use serde_json::Value;

use super::{
    Books, Order, Row,
    told::{SELLBACKS, Told, WINDOWS, told_once},
};
use crate::ledger::Bought;

/// Between a call's last check and its effect: the upstream shares a busy machine.
pub const UNDER_WAY: TimeDelta = TimeDelta::seconds(2);

/// How many findings there are, and enough of them to see a pattern.
pub(super) fn shown(wrong: &[String]) -> String {
    const SHOWN: usize = 12;
    let first = wrong.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
    format!("{} wrong:\n  {first}", wrong.len())
}

/// What an audit without findings counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub fulfilled: usize,
    pub failed: usize,
    pub reviews: usize,
}

impl Books {
    /// Holds everything against what was ordered: each order has one end, the right one, and it is told once; nothing was bought
    /// that was not ordered, and nothing twice.
    ///
    /// # Errors
    /// What is wrong.
    pub fn audit(&self, orders: &[Order]) -> Result<Tally> {
        let (tally, mut wrong) = self.findings(orders);
        wrong.extend(self.sale_findings(&[]).1);
        wrong.extend(
            self.told_by_store(WINDOWS).into_iter().map(|(user, told)| format!("no window shut, {user} told {told:?}")),
        );
        ensure!(wrong.is_empty(), "the audit found {}", shown(&wrong));
        Ok(tally)
    }

    /// The same with everything that is wrong, a sentence each. What was sold, and told of that or of windows that shut, is not looked at.
    pub fn findings(&self, orders: &[Order]) -> (Tally, Vec<String>) {
        let ordered: BTreeMap<PurchaseId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
        let mut bought = BTreeMap::<&str, Vec<&Bought>>::new();
        for purchase in &self.ledger.purchases {
            bought.entry(purchase.purchase_id().unwrap_or_default()).or_default().push(purchase);
        }
        let (stored, heard) = (self.told_by_store(ALL), self.told_by_queues(ALL));
        let mut wrong = Vec::new();
        let mut tally = Tally::default();
        for order in orders {
            let id = order.id.to_string();
            let Some(row) = self.rows.get(&order.id) else {
                wrong.push(format!("{}: lost, there is no row", order.request));
                continue;
            };
            let empty = Told::new();
            let bought = bought.remove(id.as_str()).unwrap_or_default();
            let (stored, heard) = (stored.get(&id).unwrap_or(&empty), heard.get(&id).unwrap_or(&empty));
            let findings = [
                told_once(CommandKind::Purchase, row.name(), stored, heard),
                tried_again_only_without_effect(row),
                sent_in_time(row, &bought),
                tally.ended(order, row, &bought).and_then(|()| self.event_has_the_items(row)),
                self.items_were_bought(row, &bought),
            ];
            let findings = findings.into_iter().filter_map(Result::err);
            wrong.extend(findings.map(|error| format!("{} ({id}, {}): {error:#}", order.request, row.name())));
        }
        wrong.extend(bought.values().flatten().map(|bought| format!("bought without a command: {bought:?}")));
        wrong.extend(self.rows.keys().filter(|id| !ordered.contains_key(id)).map(|id| format!("nobody ordered {id}")));
        wrong.extend(self.foreign_events(&ordered));
        (tally, wrong)
    }

    /// A fulfilled purchase has the items that were bought for it. One recovered from the inventory may have exchanged them with an
    /// equal one: nobody can tell whose are whose, as long as all were bought in one instant.
    fn items_were_bought(&self, row: &Row, bought: &[&Bought]) -> Result<()> {
        let State::Fulfilled(fulfilled) = &row.purchase.state else { return Ok(()) };
        let [own] = bought else { return Ok(()) };
        if own.item_ids() == row.item_ids() {
            return Ok(());
        }
        ensure!(fulfilled.recovered, "the ledger has {:?}, the store {:?}", own.item_ids(), row.item_ids());
        let equal = |other: &&Bought| {
            (&other.user_id, &other.pack_id, other.amount) == (&own.user_id, &own.pack_id, own.amount)
                && other.purchase_id().and_then(|id| self.rows.get(&id.parse().ok()?)).is_some_and(|found| found.is_equal(row))
        };
        let mut at_once = BTreeMap::<&str, Vec<&str>>::new();
        for other in self.ledger.purchases.iter().filter(equal) {
            at_once.entry(&other.purchased_at).or_default().extend(other.item_ids());
        }
        let holds = |items: &mut Vec<&str>| {
            let mut take =
                |item: &&str| items.iter().position(|one| one == item).map(|place| items.swap_remove(place)).is_some();
            row.item_ids().iter().all(&mut take)
        };
        ensure!(at_once.values_mut().any(holds), "recovered with {:?}, which no equal one bought", row.item_ids());
        let holders = self.rows.values().filter(|other| other.is_equal(row) && other.item_ids() == row.item_ids()).count();
        ensure!(holders == 1, "{holders} purchases have the items {:?}", row.item_ids());
        Ok(())
    }

    /// What the partner reads must be what was bought.
    fn event_has_the_items(&self, row: &Row) -> Result<()> {
        let id = row.purchase.id.to_string();
        let events = self.heard.iter().filter(|event| event["subject"] == id.as_str() && event["type"] == FULFILLED);
        for event in events {
            let items = event["data"]["items"].as_array().context("a fulfilled event without items")?;
            let told = sorted(items.iter().map(|item| item["item_id"].as_str().unwrap_or_default()));
            ensure!(told == row.item_ids(), "the event tells of {told:?}, the store of {:?}", row.item_ids());
        }
        Ok(())
    }

    /// Events about nothing that was ordered: rejections of good commands, for example.
    fn foreign_events(&self, ordered: &BTreeMap<PurchaseId, &Order>) -> Vec<String> {
        let known: BTreeSet<String> = ordered.keys().map(ToString::to_string).collect();
        let is_foreign = |kind: &str, subject: &str| {
            !known.contains(subject) && ![SELLBACKS, WINDOWS].iter().any(|others| kind.starts_with(others))
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let heard = self.heard.iter().filter(|event| is_foreign(&text(&event["type"]), &text(&event["subject"])));
        let stored = self.events.iter().map(|stored| &stored.event);
        let stored = stored.filter(|event| is_foreign(event.kind.as_str(), &event.subject.to_string()));
        heard.map(|event| format!("heard {event}")).chain(stored.map(|event| format!("stored {}", event.body))).collect()
    }
}

const FULFILLED: &str = EventType::PurchaseFulfilled.as_str();
/// How the types of all events begin.
const ALL: &str = "";

impl Tally {
    /// Counts the end of one purchase, and holds it against the ledger.
    fn ended(&mut self, order: &Order, row: &Row, bought: &[&Bought]) -> Result<()> {
        ensure!(bought.len() <= 1, "bought {} times: {bought:?}", bought.len());
        match &row.purchase.state {
            State::Fulfilled(_) => {
                self.fulfilled += 1;
                ensure!(!order.doomed, "the upstream cannot have sold this");
                let [bought] = bought else { bail!("the ledger knows nothing of it") };
                is_what_was_bought(order, row, bought)
            }
            State::Failed { failure, .. } => {
                self.failed += 1;
                ensure!(bought.is_empty(), "failed ({failure:?}), but it was bought: {bought:?}");
                ensure!(order.doomed, "nothing stood in its way, yet it failed: {failure:?}");
                Ok(())
            }
            State::Review(_) => {
                self.reviews += 1;
                Ok(())
            }
            State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_) => {
                bail!("it has not ended: {:?}", row.purchase.state)
            }
        }
    }
}

fn is_what_was_bought(order: &Order, row: &Row, bought: &Bought) -> Result<()> {
    let same = (order.user.as_str(), order.pack, order.amount) == (&bought.user_id, &bought.pack_id, bought.amount);
    ensure!(same, "ordered {order:?}, bought {bought:?}");
    let State::Fulfilled(fulfilled) = &row.purchase.state else { return Ok(()) };
    let session = fulfilled.session.as_ref().map(ToString::to_string);
    // The inventory names no sessions.
    let known = session.is_none() && fulfilled.recovered || session.as_deref() == Some(&bought.session_id);
    ensure!(known, "session {session:?} in the store, {bought:?}");
    Ok(())
}

/// Another attempt follows only one that surely had no effect.
fn tried_again_only_without_effect(row: &Row) -> Result<()> {
    let Some((_, earlier)) = row.attempts.split_last() else { return Ok(()) };
    for record in earlier {
        let harmless = record.fact.as_ref().is_some_and(|fact| match &fact.answer {
            Answer::NeverSent { .. } | Answer::Busy { .. } | Answer::Unauthorized { .. } => true,
            Answer::Done { .. } | Answer::Sold { .. } | Answer::Refused { .. } | Answer::Unknown { .. } => false,
        });
        ensure!(harmless, "attempt {} was followed by another, but it came to {:?}", record.attempt.number, record.fact);
    }
    Ok(())
}

/// No call goes out before its attempt is stored, nor after the moment until which it might be sent.
fn sent_in_time(row: &Row, bought: &[&Bought]) -> Result<()> {
    for bought in bought {
        let reference = bought.client_ref.as_deref();
        let of = |record: &&AttemptRecord| reference == Some(&row.purchase.reference(&record.attempt));
        let Some(record) = row.attempts.iter().find(of) else { bail!("the store has no such attempt: {bought:?}") };
        let (at, attempt) = (bought.purchased_at.parse::<Time>()?, record.attempt);
        // The ledger cuts off below milliseconds.
        let begun = attempt.started_at - TimeDelta::milliseconds(1);
        ensure!(at >= begun && at <= attempt.send_by + UNDER_WAY, "bought at {at}, not while it might be sent: {attempt:?}");
    }
    Ok(())
}

fn sorted<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests;
