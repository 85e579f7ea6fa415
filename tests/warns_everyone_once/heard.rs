//! What partners heard of their users' pulls, out of their event queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use clawback_domain::{Time, warning::Lead};
use clawback_store::Store;
use clawback_tests::wait::until;
use serde_json::Value;

use super::days::Days;

/// In hours, as the partners have configured them.
const LEADS: [u32; 4] = [72, 24, 6, 1];
/// A digest of fifteen minutes, and half a minute for its look; a crowd needs seconds.
pub const EARLIEST: TimeDelta = TimeDelta::minutes(17);

/// One event's word on one pull.
#[derive(Debug, Clone)]
pub struct Telling {
    pub event: String,
    pub at: Time,
    pub late: bool,
    pub verified: bool,
}

/// Everything that partners heard of pulls. An event that came twice counts once.
#[derive(Default)]
pub struct Heard {
    pub events: usize,
    pub expiring: BTreeMap<(String, Lead), Vec<Telling>>,
    pub expired: BTreeMap<String, Vec<Telling>>,
}

impl Heard {
    pub async fn read(days: &Days) -> Result<Self> {
        until("every event is sent", Duration::from_secs(60), || async {
            let unsent = days.stage.store.events(None, 0, 1_000_000).await?;
            let unsent = unsent.iter().filter(|event| event.sent_at.is_none()).count();
            ensure!(unsent == 0, "{unsent} are not");
            Ok(())
        })
        .await?;
        let (mut heard, mut seen) = (Self::default(), BTreeSet::new());
        for name in &days.stage.partners {
            for event in days.stage.partner(name).await?.take_events().await? {
                if seen.insert(text(&event["id"])) {
                    heard.take(&event)?;
                }
            }
        }
        Ok(heard)
    }

    fn take(&mut self, event: &Value) -> Result<()> {
        let (kind, data) = (text(&event["type"]), &event["data"]);
        if !kind.starts_with("clawback.buyback.") {
            return Ok(());
        }
        self.events += 1;
        let is = |field: &str| data[field].as_bool().unwrap_or_default();
        let telling = Telling {
            event: text(&event["id"]),
            at: text(&event["time"]).parse()?,
            late: is("late"),
            verified: is("verified"),
        };
        let mut nearest = None;
        for item in data["items"].as_array().context("an event of items has some")? {
            let pull = text(&item["pull_id"]);
            let tellings = match kind.as_str() {
                "clawback.buyback.expired" => self.expired.entry(pull).or_default(),
                _ => {
                    let lead = reached(text(&item["expires_at"]).parse()?, telling.at)?;
                    nearest = Some(nearest.map_or(lead, |nearest| lead.min(nearest)));
                    self.expiring.entry((pull, lead)).or_default()
                }
            };
            tellings.push(telling.clone());
        }
        let named = data["lead"].as_str().map(str::to_owned);
        ensure!(nearest.map(|lead| lead.to_string()) == named, "its items' nearest lead time is {nearest:?}: {event}");
        Ok(())
    }
}

/// A digest names the nearest lead time among its items. That of an item is the nearest which was reached, or soon to be.
fn reached(expiry: Time, told_at: Time) -> Result<Lead> {
    leads().into_iter().rev().find(|lead| lead.before(expiry) - EARLIEST <= told_at).context("told before any lead time")
}

/// Longest first.
pub fn leads() -> [Lead; 4] {
    LEADS.map(|hours| Lead::seconds(hours * 3600))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
