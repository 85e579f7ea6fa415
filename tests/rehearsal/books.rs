//! What can be read when all is over: of the store, of the partners' event queues, and of the upstream's ledger.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use clawback_domain::{
    PurchaseId, SellbackId,
    answer::Answer,
    item::Pull,
    purchase::{Purchase, State, StateName},
    sellback::Sellback,
};
use clawback_store::{AttemptRecord, Filter, Store, StoredEvent, Users as _, Warning, WarningFilter};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::Stage;
use crate::{Ledger, wait::until};

/// What is not sent from memory is found by the relay's look some seconds later; after an outage its claims have backed off.
const SENT: Duration = Duration::from_secs(60);
const PAGE: u32 = 1000;
/// Rows whose attempts and pulls are read at once: the store's pool has eight connections.
const READERS: usize = 8;

/// One purchase as the store has it.
#[derive(Debug)]
pub struct Row {
    pub purchase: Purchase,
    pub attempts: Vec<AttemptRecord>,
    pub pulls: Vec<Pull>,
}

#[derive(Debug, Default)]
pub struct Books {
    pub rows: BTreeMap<PurchaseId, Row>,
    pub sellbacks: BTreeMap<SellbackId, Sellback>,
    pub warnings: Vec<Warning>,
    pub ledger: Ledger,
    pub events: Vec<StoredEvent>,
    /// What came out of the partners' event queues.
    pub heard: Vec<Value>,
}

impl Row {
    pub fn name(&self) -> StateName {
        self.purchase.state.name()
    }

    /// Fulfilled by what an inventory showed, or by a person.
    pub fn is_recovered(&self) -> bool {
        matches!(&self.purchase.state, State::Fulfilled(fulfilled) if fulfilled.recovered)
    }

    /// Asked for the same: in an inventory nobody can tell their items apart.
    pub(super) fn is_equal(&self, other: &Self) -> bool {
        let asked = |row: &Self| {
            let command = &row.purchase.command;
            (row.purchase.partner.clone(), command.user_id.clone(), command.pack_id.clone(), command.amount)
        };
        asked(self) == asked(other)
    }

    /// Attempts that have no answer, or one that tells nothing.
    pub fn unclear_attempts(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.attempts.iter().filter(|record| match &record.fact {
            None => true,
            Some(fact) => matches!(fact.answer, Answer::Unknown { .. }),
        })
    }

    /// Of its pulls, sorted.
    pub fn item_ids(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.pulls.iter().map(|pull| pull.item.item_id.as_str()).collect();
        ids.sort_unstable();
        ids
    }
}

impl Books {
    /// Waits until every event is sent, then reads everything. The event queues are empty afterwards.
    pub async fn read(stage: &Stage) -> Result<Self> {
        let events = until("every event is sent", SENT, || sent_events(stage)).await?;
        let mut heard = Vec::new();
        for name in &stage.partners {
            heard.extend(stage.partner(name).await?.take_events().await?);
        }
        Ok(Self { events, heard, ..Self::snapshot(stage).await? })
    }

    /// What stands in the store now, without waiting for anything and without the queues.
    pub async fn snapshot(stage: &Stage) -> Result<Self> {
        let ledger = stage.upstream().ledger().await?;
        let warnings = stage.store.warnings(WarningFilter { limit: u32::MAX, ..WarningFilter::default() }).await?;
        Ok(Self { rows: rows(stage).await?, sellbacks: sellbacks(stage).await?, warnings, ledger, ..Self::default() })
    }

    pub fn in_review(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| row.name() == StateName::Review)
    }

    /// How many were found in the inventory.
    pub fn recovered(&self) -> usize {
        let recovered = |row: &&Row| matches!(&row.purchase.state, State::Fulfilled(fulfilled) if fulfilled.recovered);
        self.rows.values().filter(recovered).count()
    }

    /// Attempts of all purchases that have no answer, or one that tells nothing.
    pub fn unclear_attempts(&self) -> usize {
        self.rows.values().map(|row| row.unclear_attempts().count()).sum()
    }
}

async fn sent_events(stage: &Stage) -> Result<Vec<StoredEvent>> {
    let mut events = Vec::<StoredEvent>::new();
    loop {
        let position = events.last().map_or(0, |last| last.position);
        let page = stage.store.events(None, position, PAGE).await?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let unsent = events.iter().filter(|event| event.sent_at.is_none() || event.unrouted).count();
    ensure!(unsent == 0, "{unsent} of {} are not, or found no queue", events.len());
    Ok(events)
}

async fn sellbacks(stage: &Stage) -> Result<BTreeMap<SellbackId, Sellback>> {
    let mut sellbacks = Vec::<Sellback>::new();
    loop {
        let after = sellbacks.last().map(|last| (last.created_at, last.id));
        let page = stage.store.sellbacks(Filter { after, limit: PAGE, ..Filter::default() }).await?;
        if page.is_empty() {
            return Ok(sellbacks.into_iter().map(|sellback| (sellback.id, sellback)).collect());
        }
        sellbacks.extend(page);
    }
}

async fn rows(stage: &Stage) -> Result<BTreeMap<PurchaseId, Row>> {
    let mut purchases = Vec::<Purchase>::new();
    loop {
        let after = purchases.last().map(|last| (last.created_at, last.id));
        let page = stage.store.purchases(Filter { after, limit: PAGE, ..Filter::default() }).await?;
        if page.is_empty() {
            break;
        }
        purchases.extend(page);
    }
    let read = purchases.into_iter().map(|purchase| async move {
        let (attempts, pulls) = (stage.store.attempts(purchase.id).await?, stage.store.pulls(purchase.id).await?);
        anyhow::Ok((purchase.id, Row { purchase, attempts, pulls }))
    });
    stream::iter(read).buffer_unordered(READERS).try_collect().await
}
