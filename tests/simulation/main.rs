//! The simulation: the real worker and the real scheduler behind doubles, on one thread, in virtual time, everything drawn from a seed.
//!
//! `simulate --seeds N [--from S] [--commands C]` runs N seeds and ends with one JSON line; a seed that breaks a promise is named with the
//! command that replays it. `simulate --planted` shows that it would find the mistakes of [`Bug`](clawback_domain::planted::Bug).

mod executor;
mod run;
mod sales;
mod timers;

mod broker;
mod chance;
mod customers;
mod doors;
mod faults;
mod fleet;
mod hooks;
mod operators;
mod rehearsed;
mod store;
mod upstream;
mod workload;
mod world;

mod checks;
mod coverage;
mod observer;
mod rest;
mod trace;
mod warned;

mod options;
mod parallel;
mod shrink;
mod teeth;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use chance::Fired;
use coverage::Coverage;
use options::Options;
use run::{Plan, Report, run};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if options.planted {
        return teeth::look_for_all(&options);
    }
    let started = Instant::now();
    let reports = run_all(&options);
    let broken: Vec<_> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    for report in &broken {
        tell(report, &options);
    }
    if options.avoidable {
        for report in &reports {
            report.observed.avoidable.iter().for_each(|review| eprintln!("avoidable, seed {}: {review}", report.seed));
        }
    }
    let missing = missing(&reports);
    if options.coverage {
        missing.iter().for_each(|missing| eprintln!("never reached: {missing}"));
    }
    println!("{}", summary(&reports, broken.len(), &missing, started.elapsed().as_secs_f64()));
    let complete = missing.is_empty() || !options.coverage;
    if broken.is_empty() && complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan(options: &Options, seed: u64) -> Plan {
    Plan { seed, commands: options.commands, only: options.only.clone(), bug: options.bug, trace: options.trace }
}

/// Runs the seeds on as many threads as there are cores; progress goes to stderr.
fn run_all(options: &Options) -> Vec<Report> {
    let done = AtomicUsize::new(0);
    parallel::each(options.from..options.from + options.seeds, |seed| {
        let mut report = run(&plan(options, *seed));
        if options.twice && run(&plan(options, *seed)).digest != report.digest {
            report.violations.push("one seed, one run: the second time it ran differently".into());
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(500) {
            eprintln!("{done} of {} seeds", options.seeds);
        }
        report
    })
}

fn missing(reports: &[Report]) -> Vec<String> {
    let mut coverage = Coverage::default();
    reports.iter().for_each(|report| coverage.join(&report.coverage));
    coverage.missing()
}

fn summary(reports: &[Report], violations: usize, missing: &[String], seconds: f64) -> serde_json::Value {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    serde_json::json!({
        "seeds": reports.len(),
        "violations": violations,
        "unknown": sum(|report| report.unknown),
        "recovered": sum(|report| report.recovered),
        "reviews": sum(|report| report.reviews),
        "avoidable_reviews": sum(|report| report.observed.avoidable.len() as u64),
        "avoidable_by_watching": sum(|report| report.observed.by_watching),
        "faults": sum(|report| report.faults.len() as u64),
        "commits": sum(|report| report.commits),
        "polls": sum(|report| report.polls),
        "unreached": missing,
        "seconds": (seconds * 100.0).round() / 100.0,
        "seeds_per_second": (reports.len() as f64 / seconds * 100.0).round() / 100.0,
    })
}

fn tell(report: &Report, options: &Options) {
    let bug = options.bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
    let replay =
        |plan: &Plan| format!("tests/simulate --seeds 1 --from {} --commands {}{bug} --trace", plan.seed, plan.commands);
    let plan = Plan { trace: false, ..plan(options, report.seed) };
    eprintln!("seed {} breaks a promise; replay it: {}", report.seed, replay(&plan));
    for violation in report.violations.iter().take(10) {
        eprintln!("  {violation}");
    }
    eprintln!("  faults: {:?}", counted(&report.faults));
    if options.shrink {
        let small = shrink::shrink(plan, report.clone());
        let only: Vec<_> = small.report.faults.iter().map(ToString::to_string).collect();
        eprintln!("  in {} runs it became: {} --only '{}'", small.runs, replay(&small.plan), only.join(","));
        small.report.violations.iter().take(3).for_each(|violation| eprintln!("    {violation}"));
    }
}

/// How often each fault happened.
fn counted(faults: &[Fired]) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for fired in faults {
        *counts.entry(fired.site.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_seeds_keep_every_promise() {
        let options = Options { seeds: 50, ..Options::default() };
        let reports = run_all(&options);
        let broken: Vec<_> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
        broken.iter().for_each(|report| tell(report, &options));
        assert!(broken.is_empty(), "{} of 50 seeds broke a promise", broken.len());
        let faults: usize = reports.iter().map(|report| report.faults.len()).sum();
        assert!(faults > 500, "only {faults} faults happened: the world is too kind to prove anything");
    }

    #[test]
    fn the_same_seed_runs_the_same_twice() {
        for seed in [3, 17] {
            let plan = Plan { seed, commands: 20, ..Plan::default() };
            let (first, second) = (run(&plan), run(&plan));
            assert_eq!((first.digest, first.commits, first.polls), (second.digest, second.commits, second.polls));
        }
    }
}
