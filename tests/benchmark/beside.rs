//! What the product did beside what a plain worker did with the same users on the same ground: a table, and one JSON line per figure.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::{
    ground::{Ground, Run},
    job::Outcome,
    meter::{Cpu, Meter, Watched},
    report::{rounded, shown},
    variant::{Process, Variant},
};

/// One variant's run of `count` of what a benchmark counts.
#[derive(Debug)]
pub struct Figures {
    pub variant: &'static str,
    pub count: usize,
    pub outcome: Outcome,
    pub cpu: Cpu,
    pub peak_mib: f64,
    /// What only this benchmark, or this variant, has to tell.
    pub more: Vec<(&'static str, f64)>,
}

/// Runs the plain variant to its end.
pub async fn plain(ground: &Ground, run: &Run, variant: Variant, count: usize, within: Duration) -> Result<Figures> {
    eprintln!("the ceiling");
    ground.checkpoint().await?;
    let mut told = run.told.clone();
    told.purchases = count;
    let mut process = Process::start(variant, &told)?;
    let meter = Meter::start(Watched::of(ground, run, vec![process.pid()?]));
    let outcome = process.outcome(within).await?;
    let cpu = meter.between(outcome.first, outcome.last).await;
    let peak_mib = meter.peak()?;
    process.stop().await?;
    ground.sweep().await?;
    Ok(Figures { variant: "ceiling", count, outcome, cpu, peak_mib, more: Vec::new() })
}

impl Figures {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.outcome.seconds()
    }

    fn figures(&self, what: &str) -> Vec<(String, f64)> {
        let each = |seconds: f64| seconds * 1e6 / self.count as f64;
        let Cpu { worker, postgres, rabbitmq, upstream } = self.cpu;
        let own = [
            (format!("{what}_per_second"), self.per_second()),
            ("worker_cpu_us".into(), each(worker)),
            ("postgres_cpu_us".into(), each(postgres)),
            ("rabbitmq_cpu_us".into(), each(rabbitmq)),
            ("upstream_cpu_us".into(), each(upstream)),
            ("all_cpu_us".into(), each(worker + postgres + rabbitmq + upstream)),
            ("peak_mib".into(), self.peak_mib),
            ("seconds".into(), self.outcome.seconds()),
        ];
        own.into_iter().chain(self.more.iter().map(|(figure, value)| ((*figure).to_owned(), *value))).collect()
    }
}

/// `what` is counted. CPU is that of one of them, in microseconds.
pub fn tell(bench: &str, what: &str, title: &str, product: &Figures, ceiling: &Figures) -> Result<()> {
    println!("\n{title}\n");
    println!("| variant | {what}/s | worker µs | postgres µs | rabbitmq µs | upstream µs | all µs | peak MiB | seconds |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for figures in [product, ceiling] {
        let cells: String = figures.figures(what).iter().take(8).map(|(_, value)| format!(" {} |", shown(*value))).collect();
        println!("| {} |{cells}", figures.variant);
    }
    println!();
    for (figure, value) in &product.more {
        println!("{figure} {}", shown(*value));
    }
    let share = product.per_second() / ceiling.per_second();
    println!("clawback_to_ceiling {}\n", shown(share));
    for figures in [product, ceiling] {
        for (figure, value) in figures.figures(what) {
            tell_one(bench, figures.variant, &figure, value)?;
        }
    }
    tell_one(bench, "clawback", "clawback_to_ceiling", share)
}

fn tell_one(bench: &str, variant: &str, figure: &str, value: f64) -> Result<()> {
    let line = json!({"bench": bench, "variant": variant, "figure": figure, "value": rounded(value)});
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}
