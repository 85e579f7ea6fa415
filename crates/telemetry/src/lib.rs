//! Logs, spans and metrics: how they are set up, and the one place where their names are defined.
//!
//! [`names`] follows OpenTelemetry's messaging conventions, so that exporting traces later renames nothing. [`logs`] writes to
//! stderr, always: stdout belongs to what a command was asked for. [`Metrics`] renders the Prometheus text; whoever serves it
//! brings the HTTP server.

pub mod logs;
mod metrics;
pub mod names;

pub use logs::{LogError, LogFormat};
pub use metrics::{Metrics, MetricsError};
