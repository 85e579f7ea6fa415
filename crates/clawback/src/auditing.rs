//! The audit as people and machines are shown it, for the verb and the operators' HTTP door alike.

use std::time::Duration;

use clawback_domain::{Money, PartnerId, Time, clock::micros};
use clawback_store::{
    Store, StoreError,
    audit::{Books, Difference, Finding, Scope, Sums},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{config::parse_duration, output};

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
    fn at(self, now: Time) -> Option<Time> {
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
    partners: Vec<ShownPartner>,
    /// How many differences there are.
    found: u64,
    /// Of each kind the first thousand.
    differences: Vec<ShownDifference>,
}

#[derive(Debug, Serialize)]
struct ShownPartner {
    partner: PartnerId,
    #[serde(flatten)]
    sums: ShownSums,
}

#[derive(Debug, Serialize)]
struct ShownSums {
    accepted: u64,
    fulfilled: u64,
    failed: u64,
    review: u64,
    open: u64,
    difference: i64,
    attempts: u64,
    sessions: u64,
    pulls: u64,
    /// What was paid, by the prices as listed when each was called: of `paid_known` purchases out of `paid`.
    spent: Option<String>,
    paid: u64,
    paid_known: u64,
    /// What sellbacks brought: nothing yet, for none are taken.
    sold: Option<String>,
    /// What the upstream offered for the pulls when they were drawn, as far as it told: of `priced` of them.
    worth: Option<String>,
    priced: u64,
    currency: &'static str,
}

#[derive(Debug, Serialize)]
struct ShownDifference {
    kind: &'static str,
    purchase_id: Option<Uuid>,
    dead_letter_id: Option<Uuid>,
    partner: Option<PartnerId>,
    /// The whole sentence.
    message: String,
}

/// # Errors
/// The store.
pub async fn audit(store: &dyn Store, now: Time, since: Option<Since>) -> Result<Report, StoreError> {
    let scope = Scope { since: since.and_then(|since| since.at(now)), now };
    Ok(Report::of(&store.audit(scope).await?, scope))
}

impl Report {
    fn of(books: &Books, scope: Scope) -> Self {
        Self {
            sound: books.are_sound(),
            at: scope.now,
            since: scope.since,
            total: books.total().into(),
            orphans: books.orphans(),
            partners: books
                .partners
                .iter()
                .map(|(partner, sums)| ShownPartner { partner: partner.clone(), sums: (*sums).into() })
                .collect(),
            found: books.found.values().sum(),
            differences: books.differences.iter().map(ShownDifference::from).collect(),
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

fn amount(known: Option<&str>, unknown: u64) -> String {
    match (known, unknown) {
        (None, _) => "too much".to_owned(),
        (Some(known), 0) => known.to_owned(),
        (Some(known), unknown) => format!("{known} and {unknown} unknown"),
    }
}

impl From<Sums> for ShownSums {
    fn from(sums: Sums) -> Self {
        Self {
            accepted: sums.accepted,
            fulfilled: sums.fulfilled,
            failed: sums.failed,
            review: sums.review,
            open: sums.open,
            difference: sums.difference(),
            attempts: sums.attempts,
            sessions: sums.sessions,
            pulls: sums.pulls,
            spent: sums.spent().map(|spent| spent.to_string()),
            paid: sums.paid,
            paid_known: sums.paid_known,
            sold: Some(Money::usd(0).to_string()),
            worth: sums.worth().map(|worth| worth.to_string()),
            priced: sums.priced,
            currency: clawback_domain::Currency::default().code(),
        }
    }
}

impl From<&Difference> for ShownDifference {
    fn from(difference: &Difference) -> Self {
        let Difference { subject, partner, finding } = difference;
        let is_letter = matches!(finding, Finding::Unsent { kind, .. } if kind == "clawback.command.rejected");
        let named = (!subject.is_nil()).then_some(*subject);
        let what = match named {
            None => "no purchase".to_owned(),
            Some(subject) if is_letter => format!("dead letter {subject}"),
            Some(subject) => format!("purchase {subject}"),
        };
        let whose = partner.as_ref().map(|partner| format!(" of {partner}")).unwrap_or_default();
        Self {
            kind: finding.code(),
            purchase_id: named.filter(|_| !is_letter),
            dead_letter_id: named.filter(|_| is_letter),
            partner: partner.clone(),
            message: format!("{what}{whose} {finding}"),
        }
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
