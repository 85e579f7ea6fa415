//! Virtual timers.

use std::{cmp::Reverse, collections::BinaryHeap, task::Waker, time::Duration};

/// Timers by place; a place is used again with the next generation, so that what the heap still holds of a dropped timer is void.
#[derive(Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Duration, u64, usize, u32)>>,
    set: u64,
    places: Vec<Timer>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Timer {
    generation: u32,
    fired: bool,
    waker: Option<Waker>,
}

impl Timers {
    pub fn set(&mut self, at: Duration) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Timer::default());
            self.places.len() - 1
        });
        let generation = self.places[place].generation;
        self.set += 1;
        self.heap.push(Reverse((at, self.set, place, generation)));
        place
    }

    /// Whether it has fired; if not, it will wake `waker`.
    pub fn poll(&mut self, place: usize, waker: &Waker) -> bool {
        let timer = &mut self.places[place];
        if !timer.fired {
            timer.waker = Some(waker.clone());
        }
        timer.fired
    }

    /// Its place is free again.
    pub fn forget(&mut self, place: usize) {
        let generation = self.places[place].generation.wrapping_add(1);
        self.places[place] = Timer { generation, ..Timer::default() };
        self.free.push(place);
    }

    /// When the next timer fires that somebody still waits for.
    pub fn next(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, _, place, generation))) = self.heap.peek() {
            if self.places[*place].generation == *generation {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Fires the next one; whom to wake.
    pub fn fire(&mut self) -> Option<Waker> {
        let Reverse((_, _, place, _)) = self.heap.pop()?;
        self.places[place].fired = true;
        self.places[place].waker.take()
    }
}
