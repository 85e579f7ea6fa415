//! Everything that is drawn in a campaign, from one seed.

use std::time::Duration;

/// SplitMix64: a campaign draws a few thousand numbers, and nobody guards a secret with them.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to one less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound as u64).expect("less than a usize")
    }

    pub fn span(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.below(1001) as f64 / 1000.0)
    }

    fn shuffle<T>(&mut self, cards: &mut [T]) {
        for place in (1..cards.len()).rev() {
            cards.swap(place, self.below(place + 1));
        }
    }
}

/// Cards are drawn until none is left, then shuffled again: of as many draws as there are cards each comes once.
pub struct Deck<T> {
    cards: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    /// Of at least one card.
    pub fn new(cards: Vec<T>) -> Self {
        assert!(!cards.is_empty(), "a deck without cards");
        Self { cards, left: Vec::new() }
    }

    pub fn draw(&mut self, chance: &mut Chance) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.cards);
            chance.shuffle(&mut self.left);
        }
        self.left.pop().expect("it was just filled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_comes_once_a_round_and_rounds_differ() {
        let (mut deck, mut chance) = (Deck::new((0..30).collect()), Chance::new(7));
        let rounds: Vec<Vec<usize>> = (0..3).map(|_| (0..30).map(|_| deck.draw(&mut chance)).collect()).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..30).collect::<Vec<_>>());
        }
        assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
    }

    #[test]
    fn a_seed_draws_the_same_again() {
        let drawn = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| chance.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
