//! What must have become of one lead time of one pull, by the ledger's account alone.

use chrono::TimeDelta;
use clawback_domain::{
    Time,
    warning::{Lead, Skipped},
};

use super::days::Night;

/// Within so long of a purchase its inventory was read.
const READ: TimeDelta = TimeDelta::minutes(10);

/// One pull.
#[derive(Debug)]
pub struct Life {
    pub bought_at: Time,
    /// `None`: its window never shuts.
    pub expiry: Option<Time>,
    pub sold_at: Option<Time>,
    pub opted_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    OnTime,
    Late,
    Not(Skipped),
}

impl Life {
    /// `leads` are the lead times there are.
    pub fn fate(&self, lead: Lead, leads: &[Lead], night: &Night) -> Fate {
        let Some(expiry) = self.expiry else { return Fate::Not(Skipped::NoExpiry) };
        let moment = lead.before(expiry);
        let slept = |moment: Time| night.from < moment && moment <= night.until;
        if moment <= self.bought_at + READ {
            Fate::Not(Skipped::PastWhenRead)
        } else if self.sold_at.is_some_and(|sold| sold < moment) {
            Fate::Not(Skipped::Sold)
        } else if self.opted_out {
            Fate::Not(Skipped::OptedOut)
        } else if !slept(moment) {
            Fate::OnTime
        } else if expiry <= night.until {
            Fate::Not(Skipped::Expired)
        } else if leads.iter().any(|nearer| *nearer < lead && nearer.before(expiry) <= night.until) {
            Fate::Not(Skipped::Superseded)
        } else {
            Fate::Late
        }
    }

    /// Whether it is to be told that its window closed unsold.
    pub fn closes(&self) -> Option<Time> {
        self.expiry.filter(|_| self.sold_at.is_none())
    }
}
