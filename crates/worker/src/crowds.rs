//! How many users are due together, as last counted.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{Clock, PartnerId, Time, clock::after};
use clawback_store::Store;
use parking_lot::Mutex;

/// How long a count stands. A crowd forms over days; who begins by an old count begins a little late in it.
const STANDS: Duration = Duration::from_secs(60);
/// Moments are rounded to this, outwards, so that those who are due at about one moment share a count.
const ROUNDED: i64 = 60;
const MOST_COUNTS: usize = 1024;

/// Between two minutes, as unix time.
type Span = (i64, i64);

#[derive(Default)]
pub(crate) struct Crowds(Mutex<BTreeMap<Span, (u64, Time)>>);

impl Crowds {
    /// Users of `partner` with a warning whose lead time is reached in `from..until`, or about that. 0 when it cannot be counted.
    pub async fn users(&self, store: &dyn Store, clock: &dyn Clock, partner: &PartnerId, from: Time, until: Time) -> u64 {
        let span = (from.timestamp().div_euclid(ROUNDED), until.timestamp().div_euclid(ROUNDED) + 1);
        let now = clock.now();
        if let Some((users, at)) = self.0.lock().get(&span)
            && after(*at, STANDS) > now
        {
            return *users;
        }
        let [from, until] = [span.0, span.1].map(|minute| Time::from_timestamp(minute * ROUNDED, 0).unwrap_or(now));
        match store.crowd(partner, from, until).await {
            Ok(users) => {
                let mut counts = self.0.lock();
                if counts.len() >= MOST_COUNTS {
                    counts.clear();
                }
                counts.insert(span, (users, now));
                users
            }
            Err(error) => {
                tracing::debug!(%partner, %error, "the users who are due together could not be counted");
                0
            }
        }
    }
}
