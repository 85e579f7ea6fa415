//! Seeded chance: SplitMix64, whose numbers are the same on every machine and in every version of every library.

use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Each `stream` of one seed draws its own numbers, so that another fault rate leaves the items that are drawn alone.
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
        Self(stream.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)))
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `rate` of all cases; never at 0, always at 1.
    pub(crate) fn hits(&mut self, rate: f64) -> bool {
        ((self.draw() >> 11) as f64) < rate * (1u64 << 53) as f64
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let bits = (u128::from(self.draw()) << 64) | u128::from(self.draw());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    pub(crate) fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| alphabet[self.below(alphabet.len() as u64) as usize] as char).collect()
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_stream_always_draw_the_same() {
        let draws = |seed, stream| (0..4).map(|_| Chance::new(seed, stream).draw()).collect::<Vec<_>>();
        assert_eq!(draws(1, "items"), draws(1, "items"));
        assert_ne!(draws(1, "items"), draws(1, "faults"));
        assert_ne!(draws(1, "items"), draws(2, "items"));
    }

    #[test]
    fn rates_are_kept_and_the_ends_are_exact() {
        let mut chance = Chance::new(7, "test");
        assert!((0..1000).all(|_| !chance.hits(0.0)));
        assert!((0..1000).all(|_| chance.hits(1.0)));
        let hits = (0..10_000).filter(|_| chance.hits(0.2)).count();
        assert!((1800..2200).contains(&hits), "{hits}");
    }

    #[test]
    fn below_stays_below_and_reaches_the_ends() {
        let mut chance = Chance::new(7, "test");
        let seen: std::collections::BTreeSet<_> = (0..200).map(|_| chance.below(5)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(chance.below(0), 0);
    }
}
