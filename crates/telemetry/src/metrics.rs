//! The Prometheus side: a recorder for the process, rendered on request.

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::names::{self, Kind};

/// From a group commit (a millisecond) to a purchase that settles within the poll deadline (half an hour).
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0];

/// Up to the largest group that the store commits.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct MetricsError(String);

/// What `/metrics` renders. Clones render the same recorder.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of this process.
    ///
    /// # Errors
    /// When one is installed already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = builder()?.install_recorder().map_err(|error| MetricsError(error.to_string()))?;
        describe();
        Ok(Self(handle))
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds recorded samples into their buckets. Call it every few seconds: between scrapes samples pile up in memory.
    pub fn fold(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, MetricsError> {
    let mut builder = PrometheusBuilder::new();
    for (name, kind, _) in names::METRICS {
        let buckets = match kind {
            Kind::Seconds => SECONDS,
            Kind::Count => ROWS,
            Kind::Counter | Kind::Gauge => continue,
        };
        builder = builder
            .set_buckets_for_metric(Matcher::Full((*name).into()), buckets)
            .map_err(|error| MetricsError(error.to_string()))?;
    }
    Ok(builder)
}

fn describe() {
    for (name, kind, help) in names::METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Seconds => metrics::describe_histogram!(*name, Unit::Seconds, *help),
            Kind::Count => metrics::describe_histogram!(*name, Unit::Count, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_buckets_and_names_that_prometheus_takes() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!(names::COMMIT_DURATION, "outcome" => "committed").record(0.003);
            metrics::counter!(names::ORPHANS, "partner" => "acme").increment(1);
        });
        let text = recorder.handle().render();
        assert!(text.contains("clawback_store_commit_duration_bucket{outcome=\"committed\",le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("clawback_orphans{partner=\"acme\"} 1"), "{text}");
    }
}
