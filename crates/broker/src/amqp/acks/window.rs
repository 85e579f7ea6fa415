//! Which acks are due: the bookkeeping of one channel's tags, without the channel.

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub tag: u64,
    /// Stands for every unacked tag below it as well.
    pub multiple: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Open,
    /// Waits to be acked.
    Done,
    /// The broker knows.
    Told,
}

/// The tags from the lowest that is not settled on.
pub(super) struct Window {
    base: u64,
    slots: VecDeque<Slot>,
    /// How many slots from the first on are settled.
    front: usize,
    /// How many are done and not told.
    done: usize,
    run: usize,
}

impl Window {
    pub fn new(run: usize) -> Self {
        Self { base: 1, slots: VecDeque::new(), front: 0, done: 0, run }
    }

    pub fn waits(&self) -> bool {
        self.done > 0
    }

    /// The ack that is due at once, if there is one.
    pub fn done(&mut self, tag: u64) -> Option<Ack> {
        self.settle(tag, Slot::Done);
        if self.front >= self.run { self.take_front() } else { None }
    }

    pub fn given_back(&mut self, tag: u64) {
        self.settle(tag, Slot::Told);
    }

    pub fn take_all(&mut self) -> Vec<Ack> {
        let mut acks: Vec<_> = self.take_front().into_iter().collect();
        if self.done > 0 {
            for (slot, tag) in self.slots.iter_mut().zip(self.base..) {
                if *slot == Slot::Done {
                    *slot = Slot::Told;
                    acks.push(Ack { tag, multiple: false });
                }
            }
            self.done = 0;
        }
        acks
    }

    fn settle(&mut self, tag: u64, settled: Slot) {
        let Some(index) = tag.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else { return };
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::Open);
        }
        self.slots[index] = settled;
        self.done += usize::from(settled == Slot::Done);
        while self.slots.get(self.front).is_some_and(|slot| *slot != Slot::Open) {
            self.front += 1;
        }
    }

    /// The ack for what is done in the settled run at the front. Its tag must be one that the broker does not know of yet: acking a
    /// known one closes the channel.
    pub fn take_front(&mut self) -> Option<Ack> {
        let (mut last, mut count) = (None, 0);
        for (slot, tag) in self.slots.drain(..self.front).zip(self.base..) {
            if slot == Slot::Done {
                last = Some(tag);
                count += 1;
            }
        }
        self.base += self.front as u64;
        self.front = 0;
        self.done -= count;
        last.map(|tag| Ack { tag, multiple: count > 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tag: u64) -> Ack {
        Ack { tag, multiple: false }
    }

    fn up_to(tag: u64) -> Ack {
        Ack { tag, multiple: true }
    }

    #[test]
    fn a_run_is_acked_as_one() {
        let mut window = Window::new(3);
        assert_eq!(window.done(2), None);
        assert_eq!(window.done(1), None);
        assert_eq!(window.done(3), Some(up_to(3)));
        assert!(!window.waits());
        assert_eq!(window.done(4), None);
        assert_eq!(window.take_all(), [one(4)]);
        assert_eq!(window.take_all(), []);
    }

    #[test]
    fn what_is_done_behind_a_slow_neighbour_is_acked_by_itself() {
        let mut window = Window::new(100);
        for tag in [1, 2, 4, 5, 7] {
            assert_eq!(window.done(tag), None);
        }
        assert_eq!(window.take_all(), [up_to(2), one(4), one(5), one(7)]);
        assert_eq!(window.done(3), None);
        assert_eq!(window.take_all(), [one(3)], "4 and 5 are known already: 5 must not be acked again");
        assert_eq!(window.done(6), None);
        assert_eq!(window.done(8), None);
        assert_eq!(window.take_all(), [up_to(8)]);
    }

    #[test]
    fn what_was_given_back_is_no_tag_to_ack() {
        let mut window = Window::new(2);
        window.given_back(1);
        assert!(!window.waits());
        assert_eq!(window.done(2), Some(one(2)), "1 is settled, so the run is of two");
        assert_eq!(window.done(3), None);
        window.given_back(4);
        assert_eq!(window.take_all(), [one(3)]);
        assert_eq!(window.done(5), None);
        assert_eq!(window.done(6), Some(up_to(6)));
    }

    #[test]
    fn without_a_run_each_is_acked_at_once() {
        let mut window = Window::new(1);
        for tag in 1..10 {
            assert_eq!(window.done(tag), Some(one(tag)));
        }
    }
}
