//! The command line.

use std::collections::BTreeSet;

use clawback_domain::planted::Bug;

use crate::chance::Fired;

pub const USAGE: &str = "\
usage: simulate [--seeds N] [--from S] [--commands C] [--twice] [--coverage] [--avoidable] [--shrink]
       simulate --from S --seeds 1 --trace [--only SITE#COUNT,…] [--bug NAME]
       simulate --planted [--seeds N] [--from S] [--commands C] [--bug NAME]";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub seeds: u64,
    pub from: u64,
    pub commands: u64,
    /// Runs every seed twice and compares.
    pub twice: bool,
    /// Fails if a crash point or an arrow of the machine was never reached.
    pub coverage: bool,
    /// Names each avoidable review.
    pub avoidable: bool,
    /// Makes each failing seed small.
    pub shrink: bool,
    /// Prints every step.
    pub trace: bool,
    /// Only these faults happen.
    pub only: Option<BTreeSet<Fired>>,
    /// Looks for each planted bug instead of real ones.
    pub planted: bool,
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seeds: 100,
            from: 1,
            commands: 40,
            twice: false,
            coverage: false,
            avoidable: false,
            shrink: false,
            trace: false,
            only: None,
            planted: false,
            bug: None,
        }
    }
}

impl Options {
    /// # Errors
    /// What cannot be understood.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut seeds = None;
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{flag} takes a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{flag} takes a number, not {text}"));
            match flag.as_str() {
                "--seeds" => seeds = Some(number(value()?)?),
                "--from" => options.from = number(value()?)?,
                "--commands" => options.commands = number(value()?)?,
                "--only" => options.only = Some(value()?.split(',').map(str::parse).collect::<Result<_, _>>()?),
                "--bug" => options.bug = Some(value().and_then(|name| Bug::parse(&name).ok_or(format!("no bug {name}")))?),
                "--twice" => options.twice = true,
                "--coverage" => options.coverage = true,
                "--avoidable" => options.avoidable = true,
                "--shrink" => options.shrink = true,
                "--trace" => options.trace = true,
                "--planted" => options.planted = true,
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        // A bug that only rare races betray takes many; the search ends where it is found.
        let usual = if options.planted { SEEDS_OF_A_BUG } else { options.seeds };
        Ok(Self { seeds: seeds.unwrap_or(usual), ..options })
    }
}

/// How many seeds are searched for a planted bug.
const SEEDS_OF_A_BUG: u64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_last_word_counts_and_nonsense_is_refused() {
        let options = parsed("--commands 200 --from 7 --seeds 3 --commands 50").unwrap();
        assert_eq!((options.from, options.seeds, options.commands), (7, 3, 50));
        assert_eq!((parsed("--planted").unwrap().seeds, parsed("--planted --seeds 9").unwrap().seeds), (SEEDS_OF_A_BUG, 9));
        assert_eq!(parsed("--only panic#2,trouble#1").unwrap().only.map(|only| only.len()), Some(2));
        assert_eq!(parsed("--seeds many").unwrap_err(), "--seeds takes a number, not many");
        assert_eq!(parsed("--bug Nothing").unwrap_err(), "no bug Nothing");
        assert_eq!(parsed("--fast").unwrap_err(), "unknown flag --fast");
    }
}
