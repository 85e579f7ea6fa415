//! Sums and differences as they are written.

use clawback_domain::{PartnerId, pause::CommandKind};
use clawback_store::audit::{Difference, Finding, SaleSums, Sums};
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Serialize)]
pub struct ShownPartner {
    pub partner: PartnerId,
    #[serde(flatten)]
    pub sums: ShownSums,
}

#[derive(Debug, Serialize)]
pub struct ShownSums {
    pub accepted: u64,
    pub fulfilled: u64,
    pub failed: u64,
    pub review: u64,
    pub open: u64,
    pub difference: i64,
    pub attempts: u64,
    pub sessions: u64,
    pub pulls: u64,
    /// What was paid, by the prices as listed when each was called: of `paid_known` purchases out of `paid`.
    pub spent: Option<String>,
    pub paid: u64,
    pub paid_known: u64,
    /// What sellbacks brought, with what was estimated.
    pub sold: Option<String>,
    /// What the upstream offered for the pulls when they were drawn, as far as it told: of `priced` of them.
    pub worth: Option<String>,
    pub priced: u64,
    pub currency: &'static str,
    pub sellbacks: ShownSales,
}

#[derive(Debug, Serialize)]
pub struct ShownSales {
    pub accepted: u64,
    pub sold: u64,
    /// Of those sold, how many amounts the upstream did not tell.
    pub estimated: u64,
    pub failed: u64,
    pub review: u64,
    pub open: u64,
    pub difference: i64,
}

#[derive(Debug, Serialize)]
pub struct ShownDifference {
    pub kind: &'static str,
    /// Also of an order of which nothing tells any more whether it was a sellback.
    pub purchase_id: Option<Uuid>,
    pub sellback_id: Option<Uuid>,
    pub dead_letter_id: Option<Uuid>,
    pub partner: Option<PartnerId>,
    /// The whole sentence.
    pub message: String,
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
            sold: sums.sellbacks.brought().map(|brought| brought.to_string()),
            worth: sums.worth().map(|worth| worth.to_string()),
            priced: sums.priced,
            currency: clawback_domain::Currency::default().code(),
            sellbacks: sums.sellbacks.into(),
        }
    }
}

impl From<SaleSums> for ShownSales {
    fn from(sums: SaleSums) -> Self {
        let SaleSums { accepted, sold, estimated, failed, review, open, brought: _ } = sums;
        Self { accepted, sold, estimated, failed, review, open, difference: sums.difference() }
    }
}

impl ShownDifference {
    pub fn of(difference: &Difference, kind: Option<CommandKind>) -> Self {
        let Difference { subject, partner, finding } = difference;
        let is_letter = matches!(finding, Finding::Unsent { kind, .. } if kind == "clawback.command.rejected");
        let named = (!subject.is_nil()).then_some(*subject);
        let is_sellback = kind == Some(CommandKind::Sellback);
        let what = match (named, kind) {
            (None, _) => "no purchase".to_owned(),
            (Some(subject), _) if is_letter => format!("dead letter {subject}"),
            (Some(subject), Some(kind)) => format!("{} {subject}", kind.as_str()),
            (Some(subject), None) => format!("order {subject}"),
        };
        let whose = partner.as_ref().map(|partner| format!(" of {partner}")).unwrap_or_default();
        Self {
            kind: finding.code(),
            purchase_id: named.filter(|_| !is_letter && !is_sellback),
            sellback_id: named.filter(|_| !is_letter && is_sellback),
            dead_letter_id: named.filter(|_| is_letter),
            partner: partner.clone(),
            message: format!("{what}{whose} {finding}"),
        }
    }
}
