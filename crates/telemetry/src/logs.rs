//! Structured logs through `tracing`: for people on a terminal, as JSON lines elsewhere.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people when stdout is a terminal, else JSON: who collects the output of a service collects lines.
    #[default]
    Auto,
    Human,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("RUST_LOG is not a log filter: {0}")]
    Filter(String),
    #[error("logs are set up already: {0}")]
    Twice(String),
}

/// Libraries that log at `info` what is a detail for us, and at `error` what our broker has an answer to. What `RUST_LOG` says of
/// them wins.
const QUIET: &str = "lapin=off,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,hyper=warn,reqwest=warn,rustls=warn";

/// Sets up logging for the process. `level` holds where `filter` (the value of `RUST_LOG`) says nothing.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn start(format: LogFormat, filter: Option<&str>, level: &str) -> Result<(), LogError> {
    let filter = read_filter(filter, level)?;
    let json = match format {
        LogFormat::Auto => !io::stdout().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)).try_init()
    };
    started.map_err(|error| LogError::Twice(error.to_string()))
}

fn read_filter(filter: Option<&str>, level: &str) -> Result<EnvFilter, LogError> {
    let wanted = filter.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(level);
    EnvFilter::try_new(format!("{QUIET},{wanted}")).map_err(|error| LogError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_or_named_as_the_culprit() {
        for filter in [None, Some(""), Some("debug"), Some("clawback_worker=trace,warn"), Some("lapin=debug")] {
            assert!(read_filter(filter, "info").is_ok(), "{filter:?}");
        }
        let error = read_filter(Some("clawback=loud"), "info").unwrap_err();
        assert!(error.to_string().starts_with("RUST_LOG is not a log filter"), "{error}");
    }
}
