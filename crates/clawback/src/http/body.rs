//! A request's body, bounded in size and time.

use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use bytes::Bytes;
use clawback_domain::command::MOST_BYTES;

use super::problem::Problem;

/// 64 KiB arrive at once or not at all.
const WITHIN: Duration = Duration::from_secs(10);

/// # Errors
/// 413 when it is larger than a command may be, 408 when it is too slow, 400 when it breaks off.
pub async fn read(body: Body) -> Result<Bytes, Problem> {
    let reading = axum::body::to_bytes(body, MOST_BYTES);
    match tokio::time::timeout(WITHIN, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => {
            let detail = format!("the body is larger than {} KiB", MOST_BYTES / 1024);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the body took longer than {WITHIN:?}"))),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
