//! Packs that are out of stock: what the upstream refused, for as long as its packs list agrees.
//!
//! "Out of stock" is final for a pack until the list says otherwise. The one purchase that learnt it fails; others of that pack fail
//! without a call while the list, read again every few seconds, still says so. An unreadable list holds nobody back: the call itself
//! costs nothing when it is refused.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{Clock, PackId, Time, answer::PacksAnswer, clock::until};
use clawback_phygitals::Upstream;
use tokio::sync::Mutex;

/// How long an answer of the packs list is believed.
const FRESH: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(crate) struct Packs {
    /// Packs that were refused, and when the list was last read for them. One reader at a time.
    sold_out: Mutex<BTreeMap<PackId, Option<Time>>>,
}

impl Packs {
    /// `buy/init` said that the pack is out of stock.
    pub async fn refused(&self, pack: &PackId) {
        self.sold_out.lock().await.insert(pack.clone(), None);
    }

    /// Whether the pack is known to be out of stock.
    pub async fn is_sold_out(&self, pack: &PackId, upstream: &dyn Upstream, clock: &dyn Clock) -> bool {
        let mut sold_out = self.sold_out.lock().await;
        let now = clock.now();
        match sold_out.get(pack) {
            None => return false,
            Some(Some(read)) if until(*read, now) < FRESH => return true,
            Some(_) => {}
        }
        let listed = match upstream.packs().await {
            PacksAnswer::Listed(packs) => packs.into_iter().find(|listed| listed.id == *pack),
            PacksAnswer::Unauthorized | PacksAnswer::Unreadable { .. } => None,
        };
        let still = listed.is_some_and(|listed| !listed.in_stock || !listed.enabled);
        if still {
            sold_out.insert(pack.clone(), Some(clock.now()));
        } else {
            sold_out.remove(pack);
        }
        still
    }
}
