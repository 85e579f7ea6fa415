//! Errors as `application/problem+json` (RFC 9457), with the same `errors` as a rejected command's event.

use std::panic::AssertUnwindSafe;

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use clawback_store::StoreError;
use futures_util::FutureExt;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    errors: Vec<ProblemError>,
    /// Seconds after which trying again makes sense.
    #[serde(skip)]
    retry_after: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemError {
    pub code: String,
    pub message: String,
    pub pointer: String,
    pub hint: Option<String>,
}

impl From<clawback_domain::command::Problem> for ProblemError {
    fn from(problem: clawback_domain::command::Problem) -> Self {
        Self { code: problem.code.to_string(), message: problem.message, pointer: problem.pointer, hint: problem.hint }
    }
}

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = ProblemError { code: code.into(), message: detail.clone(), pointer: String::new(), hint: None };
        Self::of(status, detail, vec![error])
    }

    pub fn of(status: StatusCode, detail: impl Into<String>, errors: Vec<ProblemError>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors,
            retry_after: None,
        }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub fn too_many(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u32;
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "this partner asks too often; wait, then go on");
        Self { retry_after: Some(seconds), ..problem }
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { retry_after: Some(1), ..problem }
    }
}

/// What the store says is for the log; a partner learns whether trying again makes sense.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => {
                tracing::warn!(%error, "a request met a store that is away");
                Self::unavailable("the store is not available; try again with the same request_id")
            }
            StoreError::Refused(_) | StoreError::Corrupt(_) => {
                tracing::error!(%error, "a request met a store that refuses");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be handled")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A handler that panics answers 500; the process lives.
pub async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(path, "a handler panicked");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be handled").into_response()
        }
    }
}

pub async fn unknown_path() -> Problem {
    Problem::not_found("there is nothing at this path")
}

pub async fn unknown_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_and_not_a_broken_connection() {
        let panics = || async { panic!("planted") as () };
        let router = Router::new().route("/", get(panics)).layer(axum::middleware::from_fn(catch_panics));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errors"][0]["code"], "internal");
    }
}
