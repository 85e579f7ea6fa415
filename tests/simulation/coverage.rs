//! Which crash points were reached and which arrows of the two machines were walked; the list that must be full.
//!
//! The arrows are those of the drawings in `crates/decisions`, which tests keep equal to the code.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{order::AnyOrder, pause::CommandKind, purchase::StateName, rehearsal::Point, timeline::Entry};
use clawback_store::memory::Snapshot;

const DRAWINGS: [(CommandKind, &str); 2] = [
    (CommandKind::Purchase, include_str!("../../crates/decisions/purchase-machine.md")),
    (CommandKind::Sellback, include_str!("../../crates/decisions/sellback-machine.md")),
];

/// Of which machine, from, to, and what happened.
type Arrow = (CommandKind, String, String, String);

#[derive(Debug, Clone, Default)]
pub struct Coverage {
    points: BTreeSet<Point>,
    arrows: BTreeSet<Arrow>,
}

impl Coverage {
    #[cfg(feature = "rehearsal")]
    pub fn reach(&mut self, point: Point) {
        self.points.insert(point);
    }

    pub fn walk(&mut self, snapshot: &Snapshot) {
        let kinds: BTreeMap<_, _> = snapshot.orders.iter().map(|order| (order.id(), AnyOrder::kind(order))).collect();
        for Entry { order, from, to, what, .. } in &snapshot.entries {
            let (Some(from), Some(kind)) = (from, kinds.get(order)) else { continue };
            let mut walked = |from: StateName, to: StateName, what: &str| {
                self.arrows.insert((*kind, from.to_string(), to.to_string(), what.to_owned()));
            };
            match (from, to) {
                // A status that came before its session's commit was taken: two arrows in one.
                (StateName::Initiating, StateName::Fulfilled) => {
                    walked(StateName::Initiating, StateName::Pending, "answered");
                    walked(StateName::Pending, StateName::Fulfilled, "polled");
                }
                (from, to) => walked(*from, *to, what),
            }
        }
    }

    pub fn join(&mut self, other: &Self) {
        self.points.extend(&other.points);
        self.arrows.extend(other.arrows.iter().cloned());
    }

    /// What was never reached, in words. Points only where they can be: with the feature `rehearsal`.
    pub fn missing(&self) -> Vec<String> {
        let points = Point::ALL.iter().filter(|point| cfg!(feature = "rehearsal") && !self.points.contains(point));
        let arrows = drawn().into_iter().filter(|arrow| !self.arrows.contains(arrow));
        let arrows = arrows.map(|(kind, from, to, what)| format!("{} {from} -> {to}: {what}", kind.as_str()));
        points.map(ToString::to_string).chain(arrows).collect()
    }
}

fn drawn() -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for (kind, drawing) in DRAWINGS {
        for line in drawing.lines() {
            let Some((from, rest)) = line.trim().split_once(" --> ") else { continue };
            let Some((to, whats)) = rest.split_once(": ") else { continue };
            arrows.extend(whats.split(", ").map(|what| (kind, from.to_owned(), to.to_owned(), what.to_owned())));
        }
    }
    arrows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow() -> Arrow {
        (CommandKind::Purchase, "accepted".into(), "failed".into(), "sold_out".into())
    }

    #[test]
    fn the_drawing_is_read() {
        let arrows = drawn();
        assert!(arrows.len() > 40, "{arrows:?}");
        assert!(arrows.contains(&arrow()));
    }

    #[test]
    fn what_is_walked_is_no_longer_missing() {
        let before = Coverage::default().missing();
        let mut coverage = Coverage::default();
        coverage.arrows.insert(arrow());
        assert_eq!(coverage.missing().len() + 1, before.len());
    }
}
