//! What was told of buyback windows, held against what the upstream shows and has sold, when everything rests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use chrono::TimeDelta;
use clawback_domain::{
    Time,
    command::Target,
    event::EventType,
    item::{Expiry, Pull},
    warning::{RowState, Skipped},
};
use clawback_store::{StoredEvent, Warning};
use serde_json::Value;

use super::{
    Books, UNDER_WAY,
    told::{Told, WINDOWS},
};
use crate::sandbox::Held;

/// A look is kept before its turn plans anything. If the worker dies between the two, the user comes due again after a minute and a half;
/// then a trouble may still be under way.
const TURN_LOST: TimeDelta = TimeDelta::seconds(120);

/// What an audit of warnings counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warned {
    /// Lead times of pulls that were told.
    pub sent: usize,
    /// Of these: later than they should have been.
    pub late: usize,
    /// Lead times that a nearer one or the expiry overtook, of pulls that nobody asked to sell; also pulls of which nothing was planned in time.
    pub overtaken: usize,
    /// Windows that shut unsold.
    pub closed: usize,
}

/// The events that tell of one pull.
type Tellings<'a> = BTreeMap<String, Vec<&'a StoredEvent>>;

impl Books {
    /// Holds what was told of windows against the inventories: `held` is all that any user holds, read `at` that time. A sentence for
    /// everything that is wrong.
    pub fn warning_findings(&self, held: &[Held], at: Time) -> (Warned, Vec<String>) {
        let mut wrong = Vec::new();
        let (stored, heard) = (all(self.told_by_store(WINDOWS)), all(self.told_by_queues(WINDOWS)));
        wrong.extend(stored.difference(&heard).map(|told| format!("stored, and no partner heard it: {told:?}")));
        wrong.extend(heard.difference(&stored).map(|told| format!("heard, and it is not stored: {told:?}")));
        let mut expiring = self.tellings(EventType::BuybackExpiring);
        let mut expired = self.tellings(EventType::BuybackExpired);
        let mut rows = BTreeMap::<_, Vec<&Warning>>::new();
        self.warnings.iter().for_each(|warning| rows.entry(warning.row.pull).or_default().push(warning));
        let mut warned = Warned::default();
        for pull in self.rows.values().flat_map(|row| &row.pulls) {
            let id = pull.id.to_string();
            let rows = rows.remove(&pull.id).unwrap_or_default();
            let (expiring, expired) = (expiring.remove(&id).unwrap_or_default(), expired.remove(&id).unwrap_or_default());
            // Item ids are unique here: the upstream is in its production mode.
            let held = held.iter().find(|held| held.item_id == pull.item.item_id.as_str());
            let shut_at = held.and_then(|held| held.expires_at).filter(|shut_at| *shut_at <= at);
            let findings = [
                each_row_is_told_once(&rows, &expiring),
                self.was_not_known_to_be_sold(pull, &expiring),
                warned.closed(shut_at, self.is_in_doubt(pull), &expired),
                warned.nobody_is_forgotten(pull, &rows, shut_at.filter(|_| !self.was_asked_for(pull))),
                nothing_is_planned_for_ever(&rows, at),
                held.map_or(Ok(()), |held| is_read(pull, held)),
            ];
            warned.count(&rows);
            let findings = findings.into_iter().filter_map(Result::err);
            wrong.extend(findings.map(|error| format!("pull {id} of {}: {error:#}", pull.user_id)));
        }
        let strange: BTreeSet<_> = expiring.keys().chain(expired.keys()).collect();
        wrong.extend(strange.into_iter().map(|pull| format!("told of pull {pull:?}, which nobody drew")));
        (warned, wrong)
    }

    /// By pull, in the order in which they were stored.
    fn tellings(&self, kind: EventType) -> Tellings<'_> {
        let mut tellings = Tellings::new();
        for stored in self.events.iter().filter(|stored| stored.event.kind == kind) {
            let body: Value = serde_json::from_str(&stored.event.body).unwrap_or_default();
            for item in body["data"]["items"].as_array().into_iter().flatten() {
                tellings.entry(item["pull_id"].as_str().unwrap_or_default().to_owned()).or_default().push(stored);
            }
        }
        tellings
    }

    /// While a sale is under way nobody knows: what was stored after its end must not be warned of.
    fn was_not_known_to_be_sold(&self, pull: &Pull, expiring: &[&StoredEvent]) -> Result<()> {
        let item = pull.item.item_id.as_str();
        let Some(sale) = self.ledger.sellbacks.iter().find(|sale| sale.item_id == item) else { return Ok(()) };
        let sold_at = sale.sold_at.parse::<Time>().context("the ledger's times are times")?;
        let known = pull.sale.and_then(|sale| {
            let is_end = |stored: &&StoredEvent| stored.event.kind == EventType::SellbackCompleted;
            self.events.iter().filter(is_end).find(|stored| stored.event.subject == sale.by.0)
        });
        let after = |told: &&&StoredEvent| {
            told.event.time > sold_at + UNDER_WAY && known.is_some_and(|known| known.position < told.position)
        };
        let told = expiring.iter().find(after);
        ensure!(told.is_none(), "sold at {sold_at}, and warned of when that was known: {told:?}");
        Ok(())
    }

    fn was_asked_for(&self, pull: &Pull) -> bool {
        self.sellbacks.values().any(|sellback| is_target(&sellback.command.target, pull))
    }

    /// Whether somebody must still decide whether it was sold.
    fn is_in_doubt(&self, pull: &Pull) -> bool {
        let open = self.sellbacks.values().filter(|sellback| !sellback.state.name().is_final());
        open.into_iter().any(|sellback| is_target(&sellback.command.target, pull))
    }
}

/// Whatever the subject: partners are told the user's name.
fn all(told: BTreeMap<String, Told<'_>>) -> Told<'_> {
    told.into_values().flatten().collect()
}

fn is_target(target: &Target, pull: &Pull) -> bool {
    match target {
        Target::Item(item) => *item == pull.item.item_id,
        Target::Pull(id) => *id == pull.id,
    }
}

/// Each row that is sent has an event of its own, and each event that tells of the pull its row.
fn each_row_is_told_once(rows: &[&Warning], told: &[&StoredEvent]) -> Result<()> {
    let sent = rows.iter().filter(|row| row.row.state == RowState::Sent);
    let mut sent: Vec<_> = sent.map(|row| row.event.map(|event| event.to_string()).unwrap_or_default()).collect();
    let mut told_by: Vec<_> = told.iter().map(|stored| stored.event.id.to_string()).collect();
    sent.sort_unstable();
    told_by.sort_unstable();
    ensure!(sent == told_by, "its rows were sent with {sent:?}, it is told of in {told_by:?}");
    ensure!(sent.windows(2).all(|pair| pair[0] != pair[1]), "one event tells of two lead times: {sent:?}");
    let after =
        |row: &&&Warning| told.iter().any(|stored| Some(stored.event.id) == row.event && stored.event.time >= row.row.expiry);
    let late = rows.iter().find(after);
    ensure!(late.is_none(), "warned of when its window had shut: {late:?}");
    Ok(())
}

/// Whoever bought it, a look has told until when it can be sold.
fn is_read(pull: &Pull, held: &Held) -> Result<()> {
    let expiry = held.expires_at.map_or(Expiry::Never, Expiry::At);
    ensure!(pull.sight.expiry == expiry, "the inventory says {expiry:?}, the store {:?}", pull.sight.expiry);
    Ok(())
}

fn nothing_is_planned_for_ever(rows: &[&Warning], at: Time) -> Result<()> {
    let planned = rows.iter().find(|row| row.row.is_planned() && row.row.expiry <= at);
    ensure!(planned.is_none(), "planned for ever: {planned:?}");
    Ok(())
}

impl Warned {
    fn count(&mut self, rows: &[&Warning]) {
        let sent = rows.iter().filter(|row| row.row.state == RowState::Sent);
        self.sent += sent.clone().count();
        self.late += sent.filter(|row| row.late).count();
    }

    /// What shut unsold is told once, and not before; nothing else is.
    fn closed(&mut self, shut_at: Option<Time>, in_doubt: bool, told: &[&StoredEvent]) -> Result<()> {
        let Some(shut_at) = shut_at else {
            ensure!(told.is_empty(), "told to have shut, and it is sold, or open: {told:?}");
            return Ok(());
        };
        self.closed += 1;
        let right = told.len() == 1 || told.is_empty() && in_doubt;
        ensure!(right, "its window shut at {shut_at}, which was told {} times", told.len());
        ensure!(told.iter().all(|stored| stored.event.time >= shut_at), "it shut at {shut_at}, and was told before: {told:?}");
        Ok(())
    }

    /// What was read before its lead time, and is its user's still, was warned of, unless a trouble lasted until the next or the end.
    fn nobody_is_forgotten(&mut self, pull: &Pull, rows: &[&Warning], shut_at: Option<Time>) -> Result<()> {
        let Some(shut_at) = shut_at else { return Ok(()) };
        let read_at = pull.sight.expiry_read_at.context("its expiry was never read")?;
        if rows.is_empty() && read_at < shut_at {
            ensure!(shut_at - read_at < TURN_LOST, "read at {read_at}, shut at {shut_at}, and nothing was planned");
            self.overtaken += 1;
        }
        for row in rows {
            match row.row.state {
                RowState::Sent => {}
                RowState::Skipped(Skipped::PastWhenRead) if read_at >= row.row.moment() => {}
                RowState::Skipped(Skipped::Superseded | Skipped::Expired) => self.overtaken += 1,
                RowState::Skipped(_) | RowState::Planned => bail!("held until {shut_at}, and forgotten: {row:?}"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
