//! Which crash points were reached and which arrows of the purchase machine were walked; the list that must be full.
//!
//! The arrows are those of the drawing in `crates/decisions/purchase-machine.md`, which a test keeps equal to the code.

use std::collections::BTreeSet;

use clawback_domain::{purchase::StateName, rehearsal::Point, timeline::Entry};

const DRAWING: &str = include_str!("../../crates/decisions/purchase-machine.md");

/// From, to, and what happened.
type Arrow = (String, String, String);

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

    pub fn walk(&mut self, entries: &[Entry]) {
        for Entry { from, to, what, .. } in entries {
            let Some(from) = from else { continue };
            let mut walked = |from: StateName, to: StateName, what: &str| {
                self.arrows.insert((from.to_string(), to.to_string(), what.to_owned()));
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
        let arrows = arrows.map(|(from, to, what)| format!("{from} -> {to}: {what}"));
        points.map(ToString::to_string).chain(arrows).collect()
    }
}

fn drawn() -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for line in DRAWING.lines() {
        let Some((from, rest)) = line.trim().split_once(" --> ") else { continue };
        let Some((to, whats)) = rest.split_once(": ") else { continue };
        arrows.extend(whats.split(", ").map(|what| (from.to_owned(), to.to_owned(), what.to_owned())));
    }
    arrows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_is_read() {
        let arrows = drawn();
        assert!(arrows.len() > 20, "{arrows:?}");
        assert!(arrows.contains(&("accepted".into(), "failed".into(), "sold_out".into())));
    }

    #[test]
    fn what_is_walked_is_no_longer_missing() {
        let before = Coverage::default().missing();
        let mut coverage = Coverage::default();
        coverage.arrows.insert(("accepted".into(), "failed".into(), "sold_out".into()));
        assert_eq!(coverage.missing().len() + 1, before.len());
    }
}
