//! What is configured: lead times, the digest, quiet hours, and what a user chose.

use std::{collections::BTreeMap, time::Duration};

use chrono_tz::Tz;

use super::{
    quiet::Quiet,
    row::{Lead, Row, sooner},
    words,
};
use crate::{PackId, Time};

/// Lead times, longest first: in the order in which they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leads(Vec<Lead>);

/// A pull has at most this many warnings.
pub const MOST_LEADS: usize = 16;

const SHORTEST: Duration = Duration::from_secs(60);
/// The upstream's window is seven days: a longer lead time would lie before it opens.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Warnings that are a day apart are not one warning any more.
const LONGEST_DIGEST: Duration = Duration::from_secs(86_400);

/// Why a rule is none: a sentence that can stand behind the key's name ("must name at least one lead time").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("must name at least one lead time")]
    NoLeads,
    #[error("must be at most {MOST_LEADS} lead times, not {0}")]
    TooManyLeads(usize),
    #[error("must not name the lead time {0} twice")]
    SameLead(Lead),
    #[error("each lead time must be 1m to 7d in whole seconds, not {}", words::span(*.0))]
    LeadOutOfRange(Duration),
    #[error("must be at most 24h, not {}", words::span(*.0))]
    DigestTooLong(Duration),
    #[error("must be a time of day such as \"22:00\", not {0:?}")]
    NotATimeOfDay(String),
    #[error("must be an IANA time zone, not {given:?}; did you mean {nearest}?")]
    UnknownZone { given: String, nearest: &'static str },
    #[error("`stop_before` ({}) must be shorter than `at` ({})", words::span(*.stop_before), words::span(*.at))]
    StopsBeforeItBegins { at: Duration, stop_before: Duration },
    #[error("`min_share` must be a share from 0 to 1")]
    NotAShare,
    #[error("`min_price` must not be negative")]
    NegativePrice,
}

impl Leads {
    /// # Errors
    /// None, too many, one twice, or one that is not 1 minute to 7 days in whole seconds.
    pub fn new(spans: &[Duration]) -> Result<Self, RuleError> {
        match spans.len() {
            0 => return Err(RuleError::NoLeads),
            count if count > MOST_LEADS => return Err(RuleError::TooManyLeads(count)),
            _ => {}
        }
        let mut leads = spans.iter().map(|span| lead(*span)).collect::<Result<Vec<_>, _>>()?;
        leads.sort_unstable_by(|a, b| b.cmp(a));
        match leads.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(RuleError::SameLead(pair[0])),
            None => Ok(Self(leads)),
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Lead> + '_ {
        self.0.iter().copied()
    }

    pub fn contains(&self, lead: Lead) -> bool {
        self.0.contains(&lead)
    }
}

fn lead(span: Duration) -> Result<Lead, RuleError> {
    let whole = span.subsec_nanos() == 0 && (SHORTEST..=LONGEST).contains(&span);
    whole
        .then_some(())
        .and_then(|()| u32::try_from(span.as_secs()).ok())
        .map(Lead::seconds)
        .ok_or(RuleError::LeadOutOfRange(span))
}

impl Default for Leads {
    fn default() -> Self {
        Self([72, 24, 1].map(|hours| Lead::seconds(hours * 3600)).to_vec())
    }
}

/// A partner's warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarningRules {
    leads: Leads,
    packs: BTreeMap<PackId, Leads>,
    digest: Duration,
    quiet: Option<Quiet>,
}

impl WarningRules {
    /// # Errors
    /// A digest of more than a day.
    pub fn new(leads: Leads, digest: Duration, quiet: Option<Quiet>) -> Result<Self, RuleError> {
        if digest > LONGEST_DIGEST {
            return Err(RuleError::DigestTooLong(digest));
        }
        Ok(Self { leads, packs: BTreeMap::new(), digest, quiet })
    }

    /// The same rules, with lead times of its own for `pack`.
    pub fn with_pack(mut self, pack: PackId, leads: Leads) -> Self {
        self.packs.insert(pack, leads);
        self
    }

    /// The lead times of what was drawn from `pack`.
    pub fn leads(&self, pack: &PackId) -> &Leads {
        self.packs.get(pack).unwrap_or(&self.leads)
    }

    pub fn default_leads(&self) -> &Leads {
        &self.leads
    }

    pub fn packs(&self) -> impl Iterator<Item = (&PackId, &Leads)> {
        self.packs.iter()
    }

    /// What is due within this goes into one warning.
    pub fn digest(&self) -> Duration {
        self.digest
    }

    pub fn quiet(&self) -> Option<&Quiet> {
        self.quiet.as_ref()
    }

    /// How early a warning may ever go out: by the digest, or in the largest crowds by as much as its lead time.
    pub(super) fn earliest(&self, row: &Row, due: Time) -> Time {
        sooner(due, self.digest.max(row.lead.span()))
    }
}

/// The built-in ones: 72, 24 and 1 hours, a digest of 15 minutes, no quiet hours.
impl Default for WarningRules {
    fn default() -> Self {
        Self { leads: Leads::default(), packs: BTreeMap::new(), digest: Duration::from_secs(900), quiet: None }
    }
}

/// What a user chose. Who chose nothing is warned, and what is his may be sold where the partner's rules say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserSettings {
    pub warnings: bool,
    pub auto_sell: bool,
    /// Where the user lives: replaces the zone of the quiet hours.
    pub zone: Option<Tz>,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self { warnings: true, auto_sell: true, zone: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(minutes: &[u64], expected: Result<&str, &str>) {
        let spans: Vec<_> = minutes.iter().map(|minutes| Duration::from_secs(minutes * 60)).collect();
        let shown = Leads::new(&spans).map(|leads| leads.iter().map(|lead| lead.to_string()).collect::<Vec<_>>().join(" "));
        assert_eq!(shown.as_deref().map_err(ToString::to_string), expected.map_err(str::to_owned));
    }

    #[test]
    fn lead_times_are_sorted_unique_and_bounded() {
        check(&[60, 4320, 1440], Ok("72h 24h 1h"));
        check(&[1, 10080], Ok("168h 1m"));
        check(&[], Err("must name at least one lead time"));
        check(&[60, 1440, 60], Err("must not name the lead time 1h twice"));
        check(&[0], Err("each lead time must be 1m to 7d in whole seconds, not 0s"));
        check(&[10081], Err("each lead time must be 1m to 7d in whole seconds, not 10081m"));
        check(&(1..=16).collect::<Vec<_>>(), Ok("16m 15m 14m 13m 12m 11m 10m 9m 8m 7m 6m 5m 4m 3m 2m 1m"));
        check(&(1..=17).collect::<Vec<_>>(), Err("must be at most 16 lead times, not 17"));
        assert!(Leads::new(&[Duration::from_millis(60_500)]).is_err());
    }

    #[test]
    fn a_pack_has_the_partners_lead_times_unless_it_has_its_own() {
        let own = Leads::new(&[Duration::from_secs(43_200)]).unwrap();
        let (gold, tin) = (PackId::new("gold").unwrap(), PackId::new("tin").unwrap());
        let rules = WarningRules::default().with_pack(gold.clone(), own.clone());
        assert_eq!((rules.leads(&gold), rules.leads(&tin)), (&own, &Leads::default()));
    }

    #[test]
    fn a_digest_is_at_most_a_day() {
        let digest =
            |seconds| WarningRules::new(Leads::default(), Duration::from_secs(seconds), None).map(|rules| rules.digest());
        assert_eq!(digest(86_400), Ok(Duration::from_secs(86_400)));
        assert_eq!(digest(86_401).unwrap_err().to_string(), "must be at most 24h, not 86401s");
    }
}
