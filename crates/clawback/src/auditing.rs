//! The audit as people and machines are shown it, for the verb and the operators' HTTP door alike.

mod shown;

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{OrderId, Time, clock::micros, pause::CommandKind};
use clawback_store::{
    Store, StoreError,
    audit::{Books, Scope},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{config::parse_duration, output};
use shown::{ShownDifference, ShownPartner, ShownSums};

/// How far back to audit, as a person says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(Duration),
    At(Time),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = parse_duration(text) {
            return Ok(Self::Ago(span));
        }
        let time = chrono::DateTime::parse_from_rfc3339(text);
        let time =
            time.map_err(|_| format!("must be a duration such as 24h, or a time such as 2026-03-01T12:00:00Z, not {text:?}"));
        Ok(Self::At(micros(time?.to_utc())))
    }
}

impl Since {
    /// A span longer than time itself begins at the beginning.
    pub fn at(self, now: Time) -> Option<Time> {
        match self {
            Self::At(time) => Some(time),
            Self::Ago(span) => chrono::TimeDelta::from_std(span).ok().and_then(|span| now.checked_sub_signed(span)),
        }
    }
}

/// What an audit says.
#[derive(Debug, Serialize)]
pub struct Report {
    pub sound: bool,
    at: Time,
    since: Option<Time>,
    #[serde(flatten)]
    total: ShownSums,
    /// Sessions that their purchases do not know, and items that no purchase explains.
    orphans: u64,
    /// How many purchases and sellbacks accepted then were pruned: they are in no sum.
    pruned: u64,
    partners: Vec<ShownPartner>,
    /// How many differences there are.
    found: u64,
    /// Of each kind the first thousand.
    differences: Vec<ShownDifference>,
}

/// # Errors
/// The store.
pub async fn audit(store: &dyn Store, now: Time, since: Option<Since>) -> Result<Report, StoreError> {
    let scope = Scope { since: since.and_then(|since| since.at(now)), now };
    let books = store.audit(scope).await?;
    let mut kinds = BTreeMap::new();
    for difference in &books.differences {
        if let Some(kind) = kind(store, OrderId(difference.subject)).await? {
            kinds.insert(difference.subject, kind);
        }
    }
    Ok(Report::of(&books, scope, &kinds))
}

/// `None` where neither a readable row nor an event tells it any more.
async fn kind(store: &dyn Store, id: OrderId) -> Result<Option<CommandKind>, StoreError> {
    match store.order(id).await {
        Ok(Some(order)) => return Ok(Some(order.kind())),
        Ok(None) | Err(StoreError::Corrupt(_)) => {}
        Err(error) => return Err(error),
    }
    let told = store.last_event(id.0).await?.map(|stored| stored.event.kind.as_str());
    Ok(told.and_then(|told| told.split('.').nth(1)).and_then(CommandKind::parse))
}

impl Report {
    fn of(books: &Books, scope: Scope, kinds: &BTreeMap<Uuid, CommandKind>) -> Self {
        Self {
            sound: books.are_sound(),
            at: scope.now,
            since: scope.since,
            total: books.total().into(),
            orphans: books.orphans(),
            pruned: books.pruned,
            partners: books
                .partners
                .iter()
                .map(|(partner, sums)| ShownPartner { partner: partner.clone(), sums: (*sums).into() })
                .collect(),
            found: books.found.values().sum(),
            differences: books
                .differences
                .iter()
                .map(|difference| ShownDifference::of(difference, kinds.get(&difference.subject).copied()))
                .collect(),
        }
    }

    /// A table of partners, what the items are worth, and each difference on a line.
    pub fn text(&self) -> String {
        let all = ("all", &self.total);
        let partners = self.partners.iter().map(|shown| (shown.partner.as_str(), &shown.sums));
        let header = [
            "partner",
            "accepted",
            "fulfilled",
            "failed",
            "review",
            "open",
            "difference",
            "attempts",
            "sessions",
            "pulls",
            "spent",
            "worth",
        ];
        let mut text = output::table(header, partners.chain([all]).map(row));
        text +=
            "\nSpent is by the prices as listed when each was called; worth is what the upstream offered for the pulls then.\n";
        if self.total.sellbacks.accepted > 0 {
            let all = ("all", &self.total);
            let partners = self.partners.iter().map(|shown| (shown.partner.as_str(), &shown.sums));
            let header = ["sellbacks of", "accepted", "sold", "failed", "review", "open", "difference", "brought"];
            text += &format!("\n{}\n", output::table(header, partners.chain([all]).map(sales_row)));
        }
        if self.pruned > 0 {
            text += &format!("Not among them: {} that were pruned.\n", self.pruned);
        }
        match self.found {
            0 => text += "no differences\n",
            found => text += &format!("differences: {found}\n"),
        }
        for difference in &self.differences {
            text += &format!("  {}\n", output::printable(&difference.message));
        }
        match self.found - self.differences.len() as u64 {
            0 => text,
            more => text + &format!("  and {more} more, of kinds that are listed above\n"),
        }
    }

    /// For whoever must know that it failed.
    pub fn verdict(&self) -> Result<(), String> {
        match self.sound {
            true => Ok(()),
            false => Err(format!("the books do not agree; differences: {}", self.found)),
        }
    }
}

fn row((name, sums): (&str, &ShownSums)) -> [String; 12] {
    let spent = amount(sums.spent.as_deref(), sums.paid - sums.paid_known);
    let worth = amount(sums.worth.as_deref(), sums.pulls - sums.priced);
    let numbers = [sums.accepted, sums.fulfilled, sums.failed, sums.review, sums.open].map(|number| number.to_string());
    let [accepted, fulfilled, failed, review, open] = numbers;
    let [attempts, sessions, pulls] = [sums.attempts, sums.sessions, sums.pulls].map(|number| number.to_string());
    let difference = sums.difference.to_string();
    [name.into(), accepted, fulfilled, failed, review, open, difference, attempts, sessions, pulls, spent, worth]
}

fn sales_row((name, sums): (&str, &ShownSums)) -> [String; 8] {
    let sales = &sums.sellbacks;
    let numbers = [sales.accepted, sales.sold, sales.failed, sales.review, sales.open].map(|number| number.to_string());
    let [accepted, sold, failed, review, open] = numbers;
    let brought = sums.sold.clone().unwrap_or_else(|| "too much".into());
    let brought = match sales.estimated {
        0 => brought,
        estimated => format!("{brought}, {estimated} estimated"),
    };
    [name.into(), accepted, sold, failed, review, open, sales.difference.to_string(), brought]
}

fn amount(known: Option<&str>, unknown: u64) -> String {
    match (known, unknown) {
        (None, _) => "too much".to_owned(),
        (Some(known), 0) => known.to_owned(),
        (Some(known), unknown) => format!("{known} and {unknown} unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        let now: Time = "2026-03-02T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Since>().map(|since| since.at(now));
        let yesterday: Time = "2026-03-01T12:00:00Z".parse().unwrap();
        for text in ["24h", "1d", "2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00"] {
            assert_eq!(at(text), Ok(Some(yesterday)), "{text}");
        }
        assert_eq!(at("99999999999d"), Ok(None), "from the beginning");
        for text in ["", "yesterday", "24", "2026-03-01"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
