//! `/v1/events`: what happened, for who would rather ask than be told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use clawback_domain::{PartnerId, reason::RejectionCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    api::Api,
    problem::{Problem, ProblemError},
};

const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 500;

/// Requests of one partner a second, and how many of them at once after a silence: enough to catch up with any backlog, and too few for a
/// loop without a pause to cost anybody else.
const RATE: f64 = 10.0;
const BURST: f64 = 30.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Page {
    /// Each the CloudEvent it is, byte by byte.
    events: Vec<Box<RawValue>>,
    /// Where to go on, whether there was anything or not.
    next: String,
    /// Whether there may be more at once.
    more: bool,
}

/// `GET /v1/events?after=…&limit=…`, in the order in which they were stored, from the beginning without `after`. Later ones never appear
/// before a cursor that was handed out.
pub async fn list(
    State(api): State<Api>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partner = api.partner(&headers)?;
    if let Some(wait) = api.asked.wait(&partner.id, Instant::now()) {
        return Err(Problem::too_many(wait));
    }
    let Query(wanted) = wanted.map_err(|error| invalid("", error.body_text()))?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid("limit", format!("must be 1–{LARGEST_PAGE}, not {limit}")));
    }
    let read = |text: &String| cursor(text).ok_or_else(|| invalid("after", "must be the `next` of a page before".into()));
    let after = wanted.after.as_ref().map(read).transpose()?.unwrap_or(0);
    let found = api.store.events(Some(&partner.id), after, limit).await?;
    let next = found.last().map_or(after, |stored| stored.position);
    let more = found.len() as u32 == limit;
    let body = |text: &str| RawValue::from_string(text.to_owned()).expect("a stored event is JSON");
    let events = found.iter().map(|stored| body(&stored.event.body)).collect();
    Ok(Json(Page { events, next: format!("{next:016x}"), more }).into_response())
}

/// `None` for what is not a cursor of ours.
fn cursor(text: &str) -> Option<i64> {
    let ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    ours.then(|| i64::from_str_radix(text, 16).ok()).flatten()
}

/// How much each partner has asked lately: a bucket that fills with [`RATE`] up to [`BURST`].
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<BTreeMap<PartnerId, Bucket>>>);

struct Bucket {
    /// Requests.
    left: f64,
    at: Instant,
}

impl Asked {
    /// Counts a request; how long to wait when it is one too many.
    fn wait(&self, partner: &PartnerId, now: Instant) -> Option<Duration> {
        let mut buckets = self.0.lock();
        let bucket = buckets.entry(partner.clone()).or_insert(Bucket { left: BURST, at: now });
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * RATE;
        *bucket = Bucket { left: (bucket.left + filled).min(BURST), at: now };
        if bucket.left < 1.0 {
            return Some(Duration::from_secs_f64((1.0 - bucket.left) / RATE));
        }
        bucket.left -= 1.0;
        None
    }
}

/// Its pointer is the parameter's name, for there is no JSON to point into.
fn invalid(parameter: &str, message: String) -> Problem {
    let error = ProblemError {
        code: RejectionCode::InvalidField.to_string(),
        message: message.clone(),
        pointer: parameter.into(),
        hint: None,
    };
    Problem::of(StatusCode::BAD_REQUEST, message, vec![error])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_that_asks_too_often_is_told_how_long_to_wait_and_others_are_not() {
        let (acme, beta) = (PartnerId::new("acme").unwrap(), PartnerId::new("beta").unwrap());
        let (asked, start) = (Asked::default(), Instant::now());
        let taken = (0..100).take_while(|_| asked.wait(&acme, start).is_none()).count();
        assert_eq!(taken, BURST as usize);
        assert_eq!(asked.wait(&beta, start), None);
        let wait = asked.wait(&acme, start).expect("it has no request left");
        assert_eq!(asked.wait(&acme, start + wait), None);
        assert!(asked.wait(&acme, start + wait).is_some());
    }

    #[test]
    fn a_cursor_reads_back_and_rubbish_is_none() {
        assert_eq!(cursor(&format!("{:016x}", 123_456_789_i64)), Some(123_456_789));
        for rubbish in ["", "1", "zzzzzzzzzzzzzzzz", "ffffffffffffffff", "-000000000000001", "00000000000000001"] {
            assert_eq!(cursor(rubbish), None, "{rubbish}");
        }
    }
}
