//! The relay: events go out once their commit stands, with a confirm, and are marked sent.
//!
//! The hot path publishes from memory what it has just committed. The lanes look into the store for what a crash, a closed broker or
//! an unsent predecessor left behind. Either may publish an event a second time; its id never changes.

use std::time::Duration;

use clawback_broker::{Message, Properties, PublishError, Routing, topology};
use clawback_domain::{
    event::Event,
    planted::{Bug, planted},
    rehearsal::{Point, reach},
};
use clawback_store::Sent;
use futures_util::future::join_all;

use crate::{lifecycle::Worker, tell};

/// Events taken in one look into the store.
const LANES: u32 = 256;
/// Between two looks that found nothing more.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a lane keeps an event to itself.
const AGAIN: Duration = Duration::from_secs(30);

impl Worker {
    /// Publishes an event whose commit stands. Per subject events go out in order: with an unsent predecessor both are left to the
    /// lanes.
    pub(crate) async fn announce(&self, event: Event) {
        if let Some(tenant) = self.tenant(&event.partner) {
            tenant.news.notify_one();
        }
        if event.sequence > 1 {
            match self.doors.store.predecessors_sent(event.subject, event.sequence).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        self.send(&event).await;
    }

    /// Publishes and marks; what fails here is found by the lanes.
    async fn send(&self, event: &Event) {
        let mut published = self.publish(event).await;
        if planted(Bug::UnconfirmedIsSent) {
            published = Ok(published.unwrap_or(Routing::Routed));
        }
        match published {
            Ok(routing) => {
                // A crash here: it goes out again, with the same id.
                tell::sent(event, routing == Routing::Unrouted);
                reach(Point::PublishedNotMarked);
                if planted(Bug::NeverMarked) {
                    return;
                }
                let sent = Sent { event: event.id, at: self.doors.clock.now(), unrouted: routing == Routing::Unrouted };
                if let Err(error) = self.doors.store.mark_sent(vec![sent]).await {
                    tracing::debug!(event.id = %event.id, %error, "sent, but not marked so");
                }
            }
            Err(error) => tracing::debug!(event.id = %event.id, %error, "not sent; the lanes will"),
        }
    }

    pub(crate) async fn publish(&self, event: &Event) -> Result<Routing, PublishError> {
        self.doors.broker.publish(message(event)).await
    }

    /// The lanes: looks into the store until the worker stops.
    pub(crate) async fn relay(&self) {
        loop {
            let now = self.doors.clock.now();
            let mut found = match self.doors.store.claim_unsent(now, LANES, AGAIN).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::debug!(%error, "the relay cannot look into the store");
                    Vec::new()
                }
            };
            if planted(Bug::UnsentForgotten) {
                found.clear();
            }
            let full = found.len() as u32 == LANES;
            join_all(found.iter().map(|stored| self.send(&stored.event))).await;
            if !full {
                self.doors.clock.sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// An event as it travels: the same bytes and the same id whenever it is sent.
pub fn message(event: &Event) -> Message {
    let mut headers = std::collections::BTreeMap::new();
    if let Some(trace) = &event.trace {
        headers.insert("traceparent".to_owned(), trace.traceparent().to_owned());
        if let Some(state) = trace.tracestate() {
            headers.insert("tracestate".to_owned(), state.to_owned());
        }
    }
    Message {
        exchange: topology::EVENTS.into(),
        routing_key: topology::event_routing_key(&event.partner, event.kind.as_str()),
        body: bytes::Bytes::copy_from_slice(event.body.as_bytes()),
        properties: Properties {
            message_id: Some(event.id.to_string()),
            correlation_id: event.request_id.as_ref().map(ToString::to_string),
            content_type: Some("application/cloudevents+json".into()),
            timestamp: Some(event.time),
            headers,
        },
    }
}
