//! What the list of packs tells: prices, and which packs are out of stock.
//!
//! Prices are read every few minutes, for the books alone: nothing is held back because the list cannot be read.
//!
//! "Out of stock" is final for a pack until the list says otherwise. The one purchase that learnt it fails; others of that pack fail
//! without a call while the list, read again every few seconds, still says so. An unreadable list holds nobody back: the call itself
//! costs nothing when it is refused.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{Clock, Money, PackId, Time, answer::PacksAnswer, clock::until};
use clawback_phygitals::Upstream;
use parking_lot::RwLock;
use tokio::sync::Mutex;

/// How long an answer of the packs list is believed.
const FRESH: Duration = Duration::from_secs(15);

/// How often the list is read for its prices.
pub(crate) const LISTED_EVERY: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Packs {
    /// As last listed; by id and by slug.
    prices: RwLock<BTreeMap<String, Money>>,
    /// Packs that were refused, and when the list was last read for them. One reader at a time.
    sold_out: Mutex<BTreeMap<PackId, Option<Time>>>,
}

impl Packs {
    /// What one of the pack costs, as last listed.
    pub fn price(&self, pack: &PackId) -> Option<Money> {
        self.prices.read().get(pack.as_str()).copied()
    }

    /// Reads the list for its prices; an unreadable one changes nothing.
    pub async fn read_prices(&self, upstream: &dyn Upstream) {
        let PacksAnswer::Listed(packs) = upstream.packs().await else { return };
        let mut prices = BTreeMap::new();
        for pack in packs {
            let Some(price) = pack.mint_price else { continue };
            prices.extend(pack.slug.map(|slug| (slug, price)));
            prices.insert(pack.id.to_string(), price);
        }
        *self.prices.write() = prices;
    }

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
