//! A partner's endpoint: one signed delivery of one event, and what became of it.
//!
//! [`Receiver`] is the door; [`Https`] puts the partner's server behind it, [`Recorder`] a list in memory. Both pass one conformance
//! suite. What goes over the wire is what *Standard Webhooks* says, so that a partner verifies it with any of its libraries.
//!
//! A delivery is tried once. Whether and when it is tried again, and what an endpoint that is gone means for its partner, is the
//! caller's to decide, from the [`Outcome`]. Nothing here can make a delivery happen once only: receivers tell repeats by their
//! `webhook-id`, which is the event's id and never changes.

mod endpoint;
mod outcome;
mod secret;

mod https;
mod recorder;

mod address;
mod resolve;
mod retry_after;
mod signature;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use https::{Https, SetupError, Timeouts};
pub use outcome::Outcome;
pub use recorder::{Recorded, Recorder};
pub use resolve::{Resolver, System, look_up};
pub use secret::{InvalidSecret, InvalidSecrets, SigningSecret, SigningSecrets};
pub use signature::Signed;

use std::sync::Arc;

use async_trait::async_trait;
use clawback_domain::{EventId, Time};

/// Where deliveries go.
///
/// A call ends by itself (it has its time-outs) and fails in no other way than by its outcome. Dropping its future closes the
/// request; the endpoint may have had it by then.
#[async_trait]
pub trait Receiver: Send + Sync + 'static {
    /// Tries once to deliver.
    async fn deliver(&self, endpoint: &Endpoint, delivery: Delivery) -> Outcome;
}

/// One attempt to deliver one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The `webhook-id`: the same for every attempt.
    pub id: EventId,
    /// The whole structured CloudEvent. It is signed and sent byte by byte as it is.
    pub body: Arc<str>,
    /// The `webhook-timestamp`: when this attempt is made, not when the event happened. Receivers refuse what is minutes old.
    pub timestamp: Time,
}
