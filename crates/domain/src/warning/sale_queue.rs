//! In which order, and how fast, what is to be sold is handed over.
//!
//! Who has the least time left comes first. Sales are spread over the whole span from `at` to `stop_before`: the largest gap between two
//! of them is taken with which every one is still in time, never smaller than the rate allows. Where even that is too slow for all, those
//! that would come too late are named, and the others are not held up by them.

use std::time::Duration;

use super::sale::SaleRule;
use crate::{PullId, Time, clock::after};

/// What is to be sold, and when each sale is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queue {
    pub sales: Vec<(PullId, Time)>,
    /// These cannot be sold in time at this rate.
    pub too_late: Vec<PullId>,
}

/// A sale with the span in which it must begin.
struct Slot {
    pull: PullId,
    from: Time,
    until: Time,
}

/// Plans the sales of `pulls`, each with its expiry, from `now` on.
pub fn queue(rule: &SaleRule, pulls: &[(PullId, Time)], rate_per_second: u32, now: Time) -> Queue {
    let mut slots: Vec<Slot> = pulls.iter().map(|(pull, expiry)| slot(rule, *pull, *expiry, now)).collect();
    slots.sort_by_key(|slot| (slot.until, slot.pull));
    let least = Duration::from_secs(1) / rate_per_second.max(1);
    place(&slots, widest(&slots, least, rule.at()))
}

fn slot(rule: &SaleRule, pull: PullId, expiry: Time, now: Time) -> Slot {
    let (from, until) = rule.span(expiry);
    Slot { pull, from: from.max(now), until }
}

/// The widest gap, in whole microseconds, at which no more come too late than at the least gap.
fn widest(slots: &[Slot], least: Duration, most: Duration) -> Duration {
    let unavoidable = place(slots, least).too_late.len();
    let (mut good, mut bad) = (least.as_micros() as u64, most.max(least).as_micros() as u64 + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        let late = place(slots, Duration::from_micros(middle)).too_late.len();
        (good, bad) = if late <= unavoidable { (middle, bad) } else { (good, middle) };
    }
    Duration::from_micros(good)
}

/// One after the other with this gap, each with the whole of it before its end. Who comes too late takes no slot.
fn place(slots: &[Slot], gap: Duration) -> Queue {
    let mut queue = Queue::default();
    let mut free = Time::MIN_UTC;
    for slot in slots {
        let at = slot.from.max(free);
        if after(at, gap) <= slot.until {
            queue.sales.push((slot.pull, at));
            free = after(at, gap);
        } else {
            queue.too_late.push(slot.pull);
        }
    }
    queue
}
