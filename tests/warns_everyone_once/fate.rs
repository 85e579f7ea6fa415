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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Time {
        Time::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    /// Bought in hour 0; the night lasts from hour 90 to 100. `expected`: of lead times of 72, 24, 6 and 1 hours.
    fn check(expiry: Option<i64>, sold: Option<i64>, opted_out: bool, expected: [Fate; 4]) {
        let leads = [72, 24, 6, 1].map(|hours| Lead::seconds(hours * 3600));
        let night = Night { from: at(90), until: at(100) };
        let life = Life { bought_at: at(0), expiry: expiry.map(at), sold_at: sold.map(at), opted_out };
        assert_eq!(leads.map(|lead| life.fate(lead, &leads, &night)), expected, "{life:?}");
    }

    #[test]
    fn each_lead_time_has_the_fate_that_the_promise_gives_it() {
        use Fate::{Late, Not, OnTime};
        let [sold, past, superseded, expired, opted_out, never] =
            [Skipped::Sold, Skipped::PastWhenRead, Skipped::Superseded, Skipped::Expired, Skipped::OptedOut, Skipped::NoExpiry]
                .map(Not);
        check(None, None, false, [never; 4]);
        check(Some(168), None, false, [Late, OnTime, OnTime, OnTime]);
        check(Some(200), None, false, [OnTime; 4]);
        check(Some(72), None, false, [past, OnTime, OnTime, OnTime]);
        check(Some(101), None, false, [OnTime, OnTime, superseded, Late]);
        check(Some(105), None, false, [OnTime, OnTime, Late, OnTime]);
        check(Some(96), None, false, [OnTime, OnTime, OnTime, expired]);
        check(Some(97), None, false, [OnTime, OnTime, expired, expired]);
        check(Some(200), Some(150), false, [OnTime, sold, sold, sold]);
        check(Some(200), None, true, [opted_out; 4]);
    }
}
