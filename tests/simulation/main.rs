//! The simulation: the real worker and the real scheduler behind doubles, on one thread, in virtual time, everything drawn from a seed.
//!
//! `simulate --seeds N [--from S] [--commands C]` runs N seeds and ends with one JSON line; a seed that breaks a promise is named with the
//! command that runs it alone.

mod chance;
mod checks;
mod executor;
mod run;
mod store;
mod workload;
mod world;

use std::{process::ExitCode, sync::Mutex, time::Instant};

use run::{Report, run};

const USAGE: &str = "usage: simulate [--seeds N] [--from S] [--commands C] [--twice]";

struct Options {
    seeds: u64,
    from: u64,
    commands: u64,
    /// Runs every seed twice and compares.
    twice: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let reports = run_all(&options);
    let broken: Vec<_> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    for report in &broken {
        tell(report, options.commands);
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{}",
        serde_json::json!({
            "seeds": reports.len(),
            "violations": broken.len(),
            "unknown": sum(|report| report.reviews as u64),
            "recovered": sum(|report| report.recovered as u64),
            "avoidable_reviews": null,
            "commits": sum(|report| report.commits),
            "polls": sum(|report| report.polls),
            "seconds": started.elapsed().as_secs_f64(),
        })
    );
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seeds: 100, from: 1, commands: 40, twice: false };
    while let Some(flag) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or(format!("{flag} takes a number"))?;
            text.parse::<u64>().map_err(|_| format!("{flag} takes a number, not {text}"))
        };
        match flag.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--commands" => options.commands = number()?,
            "--twice" => options.twice = true,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(options)
}

/// Runs the seeds on as many threads as there are cores; progress goes to stderr.
fn run_all(options: &Options) -> Vec<Report> {
    let next = Mutex::new(options.from..options.from + options.seeds);
    let reports = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().expect("no seed panics under the lock").next() } {
                    let mut report = run(seed, options.commands);
                    if options.twice && run(seed, options.commands).digest != report.digest {
                        report.violations.push("the same seed ran differently the second time".into());
                    }
                    let mut reports = reports.lock().expect("no seed panics under the lock");
                    reports.push(report);
                    if reports.len() % 500 == 0 {
                        eprintln!("{} of {} seeds", reports.len(), options.seeds);
                    }
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("no seed panics under the lock");
    reports.sort_by_key(|report| report.seed);
    reports
}

fn tell(report: &Report, commands: u64) {
    eprintln!(
        "seed {} breaks a promise; run it alone: tests/simulate --from {} --seeds 1 --commands {commands}",
        report.seed, report.seed
    );
    for violation in report.violations.iter().take(10) {
        eprintln!("  {violation}");
    }
    eprintln!("  faults: {:?}", report.faults);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_seeds_keep_every_promise() {
        let reports = run_all(&Options { seeds: 50, from: 1, commands: 40, twice: false });
        let broken: Vec<_> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
        for report in &broken {
            tell(report, 40);
        }
        assert!(broken.is_empty(), "{} of 50 seeds broke a promise", broken.len());
        let faults: u64 = reports.iter().flat_map(|report| report.faults.values()).sum();
        assert!(faults > 500, "only {faults} faults happened: the world is too kind to prove anything");
    }

    #[test]
    fn the_same_seed_runs_the_same_twice() {
        for seed in [3, 17] {
            let (first, second) = (run(seed, 20), run(seed, 20));
            assert_eq!((first.digest, first.commits, first.polls), (second.digest, second.commits, second.polls));
        }
    }
}
