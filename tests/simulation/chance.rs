//! Named draws: everything that is left to chance in a run comes from its seed and the name of the place that asks.
//!
//! A draw is a hash of (seed, site, n-th time this site asked), so that muting one fault leaves the others where they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

/// One fault that happened: the place, and its how-manieth question it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    pub site: String,
    pub count: u64,
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.site, self.count)
    }
}

impl FromStr for Fired {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.trim().rsplit_once('#').and_then(|(site, count)| Some((site, count.parse().ok()?)));
        let (site, count) = parsed.ok_or(format!("{text:?} is no fault: SITE#COUNT"))?;
        Ok(Self { site: site.to_owned(), count })
    }
}

#[derive(Clone)]
pub struct Chance(Arc<Inner>);

struct Inner {
    seed: u64,
    asked: Mutex<BTreeMap<u64, u64>>,
    fired: Mutex<Vec<Fired>>,
    /// Only these may happen; `None`: all.
    only: Option<BTreeSet<Fired>>,
}

impl Chance {
    pub fn new(seed: u64, only: Option<BTreeSet<Fired>>) -> Self {
        Self(Arc::new(Inner { seed, asked: Mutex::default(), fired: Mutex::default(), only }))
    }

    /// 64 bits for the next question of `site`.
    pub fn draw(&self, site: &str) -> u64 {
        self.numbered(site).0
    }

    fn numbered(&self, site: &str) -> (u64, u64) {
        let name = self.named(site);
        let count = {
            let mut asked = self.0.asked.lock();
            let count = asked.entry(name).or_default();
            *count += 1;
            *count
        };
        (mix(name.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15))), count)
    }

    fn named(&self, site: &str) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325 ^ mix(self.0.seed);
        mix(site.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    pub fn below(&self, site: &str, bound: u64) -> u64 {
        self.draw(site) % bound.max(1)
    }

    pub fn span(&self, site: &str, from: Duration, to: Duration) -> Duration {
        from + Duration::from_micros(self.below(site, to.saturating_sub(from).as_micros() as u64))
    }

    /// Whether the fault `site` happens this time, at `rate` in a thousand. What happens is remembered.
    pub fn fires(&self, site: &str, rate: u64) -> bool {
        if rate == 0 {
            return false;
        }
        let (drawn, count) = self.numbered(site);
        if drawn % 1000 >= rate {
            return false;
        }
        let fired = Fired { site: site.to_owned(), count };
        if self.0.only.as_ref().is_some_and(|only| !only.contains(&fired)) {
            return false;
        }
        self.0.fired.lock().push(fired);
        true
    }

    /// A rate drawn once for this run: half of all faults are off, the others somewhere up to `most` in a thousand.
    pub fn rate(&self, site: &str, most: u64) -> u64 {
        let drawn = self.draw(&format!("rate of {site}"));
        if drawn & 1 == 0 { 0 } else { (drawn >> 1) % most.max(1) + 1 }
    }

    /// A stream of its own for what is drawn too often to be named.
    pub fn stream(&self, site: &str) -> Stream {
        Stream(self.named(site))
    }

    pub fn fired(&self) -> Vec<Fired> {
        self.0.fired.lock().clone()
    }
}

pub struct Stream(u64);

impl Stream {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * bound as u128) >> 64) as usize
    }
}

/// The finalizer of SplitMix64: FNV alone leaves the low bits of similar names alike.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_muted_fault_leaves_the_others_where_they_were() {
        let all = Chance::new(7, None);
        let hits: Vec<_> = (0..200).filter(|_| all.fires("commit lost", 100)).collect();
        let fired = all.fired();
        assert!(hits.len() > 5 && fired.len() == hits.len());

        let some: BTreeSet<_> = fired.iter().skip(2).cloned().collect();
        let muted = Chance::new(7, Some(some));
        let left: Vec<_> = (0..200).filter(|_| muted.fires("commit lost", 100)).collect();
        assert_eq!(left, hits[2..]);
    }

    #[test]
    fn a_fault_reads_back_as_it_is_printed() {
        let fired = Fired { site: "commit lost".into(), count: 17 };
        assert_eq!(fired.to_string().parse(), Ok(fired));
        assert!("commit lost".parse::<Fired>().is_err());
    }
}
