//! What happened in a campaign, beside the books.

use std::{collections::BTreeMap, time::Duration};

use crate::troubles::Struck;

#[derive(Debug, Default)]
pub struct Record {
    pub cycles: usize,
    pub seed: u64,
    pub kills: BTreeMap<String, usize>,
    /// Troubles that did not come to pass.
    pub missed: BTreeMap<String, usize>,
    /// Processes restarted by hand, because they could not get over a trouble by themselves.
    pub restarted_by_hand: BTreeMap<String, usize>,
    /// Shortest first, and from what.
    pub recoveries: Vec<(Duration, &'static str)>,
    /// What went wrong on the way.
    pub wrong: Vec<String>,
    pub seconds: u64,
}

impl Record {
    /// Counts what became of a trouble; what there is to say of it.
    pub fn count(&mut self, trouble: &str, struck: Struck) -> String {
        let again = |counts: &mut BTreeMap<String, usize>, by: usize| *counts.entry(trouble.to_owned()).or_default() += by;
        match struck {
            Struck::Hit => {
                again(&mut self.kills, 1);
                String::new()
            }
            Struck::Restarted(count) => {
                again(&mut self.kills, 1);
                again(&mut self.restarted_by_hand, count);
                format!(", {count} processes restarted by hand")
            }
            Struck::Missed(why) => {
                again(&mut self.missed, 1);
                format!(", MISSED: {why}")
            }
        }
    }
}
