//! What a run came to, medians over rounds, and how they are told: a table for people, one JSON line per figure for machines.

use serde_json::{Value, json};

use crate::{fairness::Fairness, job::Outcome, meter::Cpu, pipeline::Flags};

/// The bounds: the ratios to the plain worker and to the ceiling, the share of inits under long polls, and a second.
const LEAST_TO_PLAIN: f64 = 1.5;
const LEAST_TO_CEILING: f64 = 0.5;
const LEAST_INITS: f64 = 0.9;
const MOST_DELAY_MS: f64 = 1_000.0;

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    purchases_per_second: f64,
    worker_us: f64,
    postgres_us: f64,
    rabbitmq_us: f64,
    upstream_us: f64,
    all_us: f64,
    rows_per_commit: f64,
    peak_mib: f64,
    p50_ms: f64,
    p99_ms: f64,
    inits_per_second: Option<f64>,
}

impl Figures {
    pub fn of(
        purchases: usize,
        outcome: Outcome,
        cpu: Cpu,
        rows_per_commit: f64,
        peak_mib: f64,
        inits_per_second: Option<f64>,
    ) -> Self {
        let each = |seconds: f64| seconds * 1e6 / purchases as f64;
        Self {
            purchases_per_second: purchases as f64 / outcome.seconds(),
            worker_us: each(cpu.worker),
            postgres_us: each(cpu.postgres),
            rabbitmq_us: each(cpu.rabbitmq),
            upstream_us: each(cpu.upstream),
            all_us: each(cpu.worker + cpu.postgres + cpu.rabbitmq + cpu.upstream),
            rows_per_commit,
            peak_mib,
            p50_ms: outcome.p50_ms,
            p99_ms: outcome.p99_ms,
            inits_per_second,
        }
    }
}

type Figure = (&'static str, &'static str, fn(&Figures) -> f64);

/// Name in JSON, heading in the table, value.
const FIGURES: [Figure; 10] = [
    ("purchases_per_second", "purchases/s", |f| f.purchases_per_second),
    ("worker_cpu_us", "worker µs", |f| f.worker_us),
    ("postgres_cpu_us", "postgres µs", |f| f.postgres_us),
    ("rabbitmq_cpu_us", "rabbitmq µs", |f| f.rabbitmq_us),
    ("upstream_cpu_us", "upstream µs", |f| f.upstream_us),
    ("all_cpu_us", "all µs", |f| f.all_us),
    ("rows_per_commit", "rows/commit", |f| f.rows_per_commit),
    ("peak_mib", "peak MiB", |f| f.peak_mib),
    ("p50_ms", "p50 ms", |f| f.p50_ms),
    ("p99_ms", "p99 ms", |f| f.p99_ms),
];

/// All runs, by variant in the order in which they first ran.
#[derive(Debug, Default)]
pub struct Report {
    runs: Vec<(&'static str, Vec<Figures>)>,
    inits: Option<f64>,
    fairness: Option<Fairness>,
}

impl Report {
    pub fn add(&mut self, variant: &'static str, figures: Figures) {
        match self.runs.iter_mut().find(|(name, _)| *name == variant) {
            Some((_, runs)) => runs.push(figures),
            None => self.runs.push((variant, vec![figures])),
        }
    }

    pub fn inits(&mut self, per_second: f64) {
        self.inits = Some(per_second);
    }

    pub fn fairness(&mut self, fairness: Fairness) {
        self.fairness = Some(fairness);
    }

    fn of(&self, variant: &str) -> &[Figures] {
        self.runs.iter().find(|(name, _)| *name == variant).map_or(&[], |(_, runs)| runs)
    }

    pub fn tell(&self, flags: &Flags) {
        println!("\n{} purchases of {} partners, upstream at 20 ms\n", flags.purchases, flags.partners);
        println!("| variant | runs |{}", FIGURES.map(|(_, heading, _)| format!(" {heading} |")).concat());
        println!("|---|---|{}", "---|".repeat(FIGURES.len()));
        for (variant, runs) in &self.runs {
            let cells = FIGURES.map(|(_, _, of)| format!(" {} |", shown(median(runs.iter().map(of)))));
            println!("| {variant} | {} |{}", runs.len(), cells.concat());
        }
        println!();
        for verdict in self.verdicts() {
            println!("{}", verdict.sentence());
        }
        println!();
        self.lines().iter().for_each(|line| println!("{line}"));
    }

    fn lines(&self) -> Vec<Value> {
        let of_variant = |(variant, runs): &(&str, Vec<Figures>)| {
            let line = |(figure, _, of): Figure| {
                let rounds: Vec<f64> = runs.iter().map(|run| rounded(of(run))).collect();
                json!({"variant": variant, "figure": figure, "value": rounded(median(runs.iter().map(of))), "rounds": rounds})
            };
            FIGURES.map(line)
        };
        let figures = self.runs.iter().flat_map(of_variant);
        figures.chain(self.verdicts().iter().map(Verdict::line)).collect()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let ratios = [("clawback_to_plain", "plain", LEAST_TO_PLAIN), ("clawback_to_ceiling", "ceiling", LEAST_TO_CEILING)];
        let ratio = |(figure, to, least)| self.ratio(to).map(|ratio| Verdict::at_least(figure, ratio, least));
        let mut verdicts: Vec<Verdict> = ratios.into_iter().filter_map(ratio).collect();
        let without = median(self.of("clawback").iter().filter_map(|run| run.inits_per_second));
        verdicts.extend(self.inits.map(|with| Verdict::at_least("inits_with_long_polls", with / without, LEAST_INITS)));
        if let Some(Fairness { waiting, slowest, median }) = self.fairness {
            let millis = slowest.as_secs_f64() * 1e3;
            let note = format!("{waiting} commands of another partner waiting; median {:.0} ms", median.as_secs_f64() * 1e3);
            verdicts.push(Verdict { note, ..Verdict::at_most("call_beside_a_backlog_ms", millis, MOST_DELAY_MS) });
        }
        verdicts
    }

    /// Of each round, for only what ran side by side compares. `None` when one of the two did not run.
    fn ratio(&self, to: &str) -> Option<f64> {
        let rounds = self.of("clawback").iter().zip(self.of(to));
        let ratio = median(rounds.map(|(ours, theirs)| ours.purchases_per_second / theirs.purchases_per_second));
        (!ratio.is_nan()).then_some(ratio)
    }
}

/// A figure with a bound.
struct Verdict {
    figure: &'static str,
    value: f64,
    bound: f64,
    met: bool,
    note: String,
}

impl Verdict {
    fn at_least(figure: &'static str, value: f64, bound: f64) -> Self {
        Self { figure, value, bound, met: value >= bound, note: format!("at least {bound}") }
    }

    fn at_most(figure: &'static str, value: f64, bound: f64) -> Self {
        Self { figure, value, bound, met: value <= bound, note: String::new() }
    }

    fn sentence(&self) -> String {
        let met = if self.met { "met" } else { "NOT met" };
        format!("{} {} (bound {}: {met}; {})", self.figure, shown(self.value), self.bound, self.note)
    }

    fn line(&self) -> Value {
        json!({"figure": self.figure, "value": rounded(self.value), "bound": self.bound, "met": self.met, "note": self.note})
    }
}

/// Of an even number the lower of the two in the middle; NaN of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Three digits are more than two runs agree in.
pub fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
