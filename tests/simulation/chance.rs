//! Named draws: everything that is left to chance in a run comes from its seed and the name of the place that asks.
//!
//! A draw is a hash of (seed, site, n-th time this site asked), so that muting one fault leaves the others where they were.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

#[derive(Clone)]
pub struct Chance(Arc<Inner>);

struct Inner {
    seed: u64,
    asked: Mutex<BTreeMap<String, u64>>,
    fired: Mutex<Vec<String>>,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Inner { seed, asked: Mutex::default(), fired: Mutex::default() }))
    }

    /// 64 bits for the next question of `site`.
    pub fn draw(&self, site: &str) -> u64 {
        let mut asked = self.0.asked.lock();
        let count = match asked.get_mut(site) {
            Some(count) => count,
            None => asked.entry(site.to_owned()).or_default(),
        };
        *count += 1;
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ self.0.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in site.bytes().chain(count.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        mix(hash)
    }

    pub fn below(&self, site: &str, bound: u64) -> u64 {
        self.draw(site) % bound.max(1)
    }

    pub fn span(&self, site: &str, from: Duration, to: Duration) -> Duration {
        from + Duration::from_micros(self.below(site, (to - from).as_micros() as u64))
    }

    /// Whether the fault `site` happens this time, at `rate` in a thousand. What happens is remembered.
    pub fn fires(&self, site: &str, rate: u64) -> bool {
        let fires = rate > 0 && self.below(site, 1000) < rate;
        if fires {
            self.0.fired.lock().push(site.to_owned());
        }
        fires
    }

    /// A rate drawn once for this run: half of all faults are off, the others somewhere up to `most` in a thousand.
    pub fn rate(&self, site: &str, most: u64) -> u64 {
        let drawn = self.draw(&format!("rate of {site}"));
        if drawn & 1 == 0 { 0 } else { (drawn >> 1) % most.max(1) + 1 }
    }

    /// How often each fault happened.
    pub fn fired(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for site in self.0.fired.lock().iter() {
            *counts.entry(site.clone()).or_default() += 1;
        }
        counts
    }
}

/// The finalizer of SplitMix64: FNV alone leaves the low bits of similar names alike.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
