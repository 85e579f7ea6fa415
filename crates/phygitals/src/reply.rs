//! One HTTP exchange: a status and a body that was read to its end, or up to where it broke or grew too long.

use std::{borrow::Cow, error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use crate::{retry_after, wire};
use clawback_domain::Time;

/// How much of an answer is quoted where a person may have to judge it. A session id fits in.
const EXCERPT: usize = 300;

/// What a call brought back, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// What was read of the body.
    pub body: Bytes,
    /// Why `body` is not the whole body.
    pub cut: Option<String>,
}

impl Reply {
    /// Reads the body until its end, `deadline`, or more than `most` bytes. What has arrived by then is kept.
    pub(crate) async fn read(response: Response, most: usize, deadline: Instant, now: Time) -> Self {
        let status = response.status().as_u16();
        let retry_after = (response.status() == StatusCode::TOO_MANY_REQUESTS)
            .then(|| response.headers().get(RETRY_AFTER)?.to_str().ok().and_then(|text| retry_after::parse(text, now)))
            .flatten();
        let (body, cut) = read_body(response, most, deadline).await;
        Self { status, retry_after, body, cut }
    }

    /// The body, if all of it arrived.
    pub(crate) fn whole(&self) -> Result<&[u8], String> {
        match &self.cut {
            None => Ok(&self.body),
            Some(why) => Err(why.clone()),
        }
    }

    /// The text of `{"error": text}`, if that is what the whole body is.
    pub(crate) fn error(&self) -> Option<Cow<'_, str>> {
        wire::error(self.whole().ok()?)
    }

    /// A sentence for logs and people: the status, why the answer is not taken, and its beginning.
    pub(crate) fn describe(&self, why: &str) -> String {
        let quoted = &self.body[..self.body.len().min(EXCERPT)];
        let quoted: String =
            String::from_utf8_lossy(quoted).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let separator = if why.is_empty() { "" } else { ": " };
        format!("HTTP {}{separator}{why} ({quoted:?}{})", self.status, if self.body.len() > EXCERPT { "…" } else { "" })
    }
}

async fn read_body(mut response: Response, most: usize, deadline: Instant) -> (Bytes, Option<String>) {
    let mut body = Collected::default();
    let cut = loop {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > most => {
                break Some(format!("the body is longer than {most} bytes"));
            }
            Ok(Ok(Some(chunk))) => body.push(chunk),
            Ok(Ok(None)) => break None,
            Ok(Err(error)) => break Some(reason(error)),
            Err(_) => break Some("the body did not end in time".into()),
        }
    };
    (body.join(), cut)
}

/// Most bodies arrive in one piece, which is then not copied.
#[derive(Default)]
struct Collected {
    only: Bytes,
    many: BytesMut,
}

impl Collected {
    fn len(&self) -> usize {
        self.only.len().max(self.many.len())
    }

    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.only = chunk;
            return;
        }
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.only);
        }
        self.many.extend_from_slice(&chunk);
    }

    fn join(self) -> Bytes {
        if self.many.is_empty() { self.only } else { self.many.freeze() }
    }
}

/// The whole chain of an error in one sentence, without the URL: it holds a user's id.
pub(crate) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
