//! One endpoint behind each implementation, and what reached it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_webhook::{Delivery, Endpoint, Outcome, Receiver, Recorder, Signed, SigningSecrets};

use crate::support::{Server, Step, answer, https, secrets};

/// A status, and a `Retry-After` in seconds.
pub type Answer = (u16, Option<u64>);

#[derive(Debug, PartialEq, Eq)]
pub struct Arrived {
    pub signed: Signed,
    pub body: String,
}

#[async_trait]
pub trait Fixture: Sized + Send + Sync {
    /// The n-th delivery gets the n-th answer.
    async fn answering(answers: &[Answer]) -> Self;

    fn receiver(&self) -> Arc<dyn Receiver>;

    fn url(&self) -> String;

    /// In the order of arrival.
    fn arrived(&self) -> Vec<Arrived>;

    fn endpoint(&self) -> Endpoint {
        self.endpoint_with(secrets())
    }

    fn endpoint_with(&self, secrets: SigningSecrets) -> Endpoint {
        Endpoint::new(&self.url(), secrets, true).unwrap()
    }

    async fn deliver(&self, delivery: Delivery) -> Outcome {
        self.receiver().deliver(&self.endpoint(), delivery).await
    }
}

pub struct InMemory(Recorder);

#[async_trait]
impl Fixture for InMemory {
    async fn answering(answers: &[Answer]) -> Self {
        let fixture = Self(Recorder::new());
        let outcome = |&(status, wish): &Answer| Outcome::answered(status, wish.map(Duration::from_secs));
        fixture.0.script(fixture.endpoint().url(), answers.iter().map(outcome));
        fixture
    }

    fn receiver(&self) -> Arc<dyn Receiver> {
        Arc::new(self.0.clone())
    }

    fn url(&self) -> String {
        "https://acme.example/hooks".into()
    }

    fn arrived(&self) -> Vec<Arrived> {
        let recorded = self.0.recorded().into_iter();
        recorded.map(|one| Arrived { signed: one.signed, body: one.delivery.body.to_string() }).collect()
    }
}

pub struct OverHttp(Server);

#[async_trait]
impl Fixture for OverHttp {
    async fn answering(answers: &[Answer]) -> Self {
        let script = |&(status, wish): &Answer| {
            let wish = wish.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
            vec![Step::Request, answer(&format!("{status} "), &format!("Connection: close\r\n{wish}"), "")]
        };
        Self(Server::start(answers.iter().map(script).collect()).await)
    }

    fn receiver(&self) -> Arc<dyn Receiver> {
        Arc::new(https())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn arrived(&self) -> Vec<Arrived> {
        let requests = self.0.requests().into_iter();
        requests
            .map(|request| {
                let header = |name| request.header(name).unwrap().to_owned();
                let signed = Signed {
                    id: header("webhook-id"),
                    timestamp: header("webhook-timestamp"),
                    signature: header("webhook-signature"),
                };
                Arrived { signed, body: request.body }
            })
            .collect()
    }
}
