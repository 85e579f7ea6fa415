//! How a command ends: done (0), failed (1), or wrongly asked for (2).

use std::{fmt, process::ExitCode};

use crate::config::ConfigError;

#[derive(Debug)]
pub enum Failure {
    /// It was tried and did not work.
    Failed(String),
    /// The flags, the environment or the configuration are wrong; nothing was tried.
    Usage(String),
    /// Who read our output has closed it (`| head`): no failure of ours.
    Closed,
}

impl Failure {
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Closed => ExitCode::SUCCESS,
            Failure::Failed(_) => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(message) | Failure::Usage(message) => f.write_str(message),
            Failure::Closed => f.write_str("the output was closed"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<clawback_store::StoreError> for Failure {
    fn from(error: clawback_store::StoreError) -> Self {
        Self::failed(error)
    }
}

impl From<clawback_broker::BrokerError> for Failure {
    fn from(error: clawback_broker::BrokerError) -> Self {
        Self::failed(error)
    }
}
