//! The smallest run that still breaks the same promise: fewer commands, then fewer faults. Muting one fault leaves the draws of the
//! others where they were, so that halves, quarters and single faults can be left out one after another.

use std::collections::BTreeSet;

use crate::{
    chance::Fired,
    checks::promise,
    run::{Plan, Report, run},
};

/// Runs at most; each is a fraction of a second.
const MOST_RUNS: u32 = 400;

pub struct Shrunk {
    pub plan: Plan,
    pub report: Report,
    pub runs: u32,
}

/// `plan` has a violation of `promise`.
pub fn shrink(plan: Plan, report: Report) -> Shrunk {
    let broken = report.violations.first().map(promise).unwrap_or_default().to_owned();
    let mut shrunk = Shrunk { plan, report, runs: 0 };
    loop {
        let fewer = (shrunk.plan.commands / 2).max(1);
        if fewer == shrunk.plan.commands || !shrunk.accepts(Plan { commands: fewer, ..shrunk.plan.clone() }, &broken) {
            break;
        }
    }
    let mut size = shrunk.report.faults.len().div_ceil(2);
    while size > 0 && shrunk.runs < MOST_RUNS {
        let mut from = 0;
        while from < shrunk.report.faults.len() {
            let all = &shrunk.report.faults;
            let left: BTreeSet<Fired> = all.iter().take(from).chain(all.iter().skip(from + size)).cloned().collect();
            if !shrunk.accepts(Plan { only: Some(left), ..shrunk.plan.clone() }, &broken) {
                from += size;
            }
        }
        size /= 2;
    }
    shrunk
}

impl Shrunk {
    /// Whether the smaller plan breaks the same promise; then it is taken.
    fn accepts(&mut self, plan: Plan, broken: &str) -> bool {
        if self.runs >= MOST_RUNS {
            return false;
        }
        self.runs += 1;
        let report = run(&plan);
        let same = report.violations.iter().any(|violation| promise(violation) == broken);
        if same {
            (self.plan, self.report) = (plan, report);
        }
        same
    }
}

#[cfg(all(test, feature = "rehearsal"))]
mod tests {
    use clawback_domain::planted::Bug;

    use super::*;

    #[test]
    fn a_planted_bug_is_found_and_made_small() {
        let plan = |seed| Plan { seed, commands: 20, bug: Some(Bug::UnknownIsNeverSent), ..Plan::default() };
        let failing = (1..20).map(|seed| (plan(seed), run(&plan(seed)))).find(|(_, report)| !report.violations.is_empty());
        let (plan, report) = failing.expect("twenty seeds find it");
        let (faults, broken) = (report.faults.len(), promise(&report.violations[0]).to_owned());
        let small = shrink(plan, report);
        assert!(small.report.faults.len() < faults / 2, "{faults} faults became {}", small.report.faults.len());
        assert!(run(&small.plan).violations.iter().any(|violation| promise(violation) == broken), "the small run replays");
    }
}
