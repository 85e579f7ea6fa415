//! What a request says beside its body: how long to wait, its headers; and what is wrong with it.

use std::time::Duration;

use axum::{
    extract::{Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
};
use clawback_domain::{UserId, command::Rejected, reason::RejectionCode, trace::TraceContext};
use serde::Deserialize;

use super::problem::{Problem, ProblemError};
use crate::config::{parse_duration, show_duration};

/// The longest `?wait=`: proxies between us and the partner give up around a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    wait: Option<String>,
}

/// # Errors
/// What is no duration, or too long.
pub fn wait(wait: Result<Query<Wait>, QueryRejection>) -> Result<Option<Duration>, Problem> {
    let Query(Wait { wait }) = wait.map_err(|error| invalid("", error.body_text()))?;
    let Some(text) = wait else { return Ok(None) };
    match parse_duration(&text) {
        Ok(wait) if wait <= LONGEST_WAIT => Ok(Some(wait)),
        Ok(_) => Err(invalid("wait", format!("must be at most {}, not {text}", show_duration(LONGEST_WAIT)))),
        Err(message) => Err(invalid("wait", message)),
    }
}

/// The user that a path names.
///
/// # Errors
/// What is none.
pub fn user(text: String) -> Result<UserId, Problem> {
    UserId::new(text).map_err(|error| invalid("user_id", error.to_string()))
}

/// A parameter of query or path that is not understood. Its pointer is the parameter's name, for there is no JSON to point into.
pub fn invalid(parameter: &str, message: String) -> Problem {
    let error = ProblemError {
        code: RejectionCode::InvalidField.to_string(),
        message: message.clone(),
        pointer: parameter.into(),
        hint: None,
    };
    Problem::of(StatusCode::BAD_REQUEST, message, vec![error])
}

pub fn rejected(rejected: Rejected) -> Problem {
    let status = match rejected.problems.first().map(|problem| problem.code) {
        Some(RejectionCode::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(RejectionCode::InvalidJson) => StatusCode::BAD_REQUEST,
        Some(RejectionCode::InvalidEncoding) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(
            RejectionCode::InvalidField
            | RejectionCode::UnknownField
            | RejectionCode::MissingField
            | RejectionCode::RequestIdConflict
            | RejectionCode::UnknownCommand
            | RejectionCode::PartnerClosed,
        )
        | None => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = rejected.to_string();
    Problem::of(status, detail, rejected.problems.into_iter().map(Into::into).collect())
}

/// # Errors
/// A header that is not text.
pub fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    text.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_encoding", format!("the header {name} is not text")))
}

/// A broken `traceparent` starts a new trace; it never rejects a command.
pub fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::parse(text("traceparent")?, text("tracestate"))
}
