//! Dead letters: a message that could not be handled is published to the dead exchange with its reason, then acked; from the dead
//! queue it goes into the store together with its event. It is lost at no line in between.

use std::collections::BTreeMap;

use clawback_broker::{Message, Properties, PublishError, Routing, topology};
use clawback_domain::{
    DeadLetterId, PartnerId, RequestId, UserId,
    command::{Problem, Rejected},
    event,
    planted::{Bug, planted},
    reason::RejectionCode,
    rehearsal::{Point, reach},
    trace::TraceContext,
};
use clawback_store::{DeadLetter, DeadLetterState, StoreError};
use sha2::{Digest, Sha256};

use crate::{
    consume::{InHand, Origin},
    lifecycle::Worker,
    tell,
    tenant::Tenant,
};

const QUEUE: &str = "x-clawback-queue";
const EXCHANGE: &str = "x-clawback-exchange";
const ROUTING_KEY: &str = "x-clawback-routing-key";
const MESSAGE_ID: &str = "x-clawback-message-id";
const PROBLEMS: &str = "x-clawback-problems";
const REQUEST_ID: &str = "x-clawback-request-id";
const USER_ID: &str = "x-clawback-user-id";

/// Headers of a rejected message that are kept with its dead letter: at most so many bytes in all.
const MOST_HEADER_BYTES: usize = 4096;

impl Worker {
    /// Dead-letters a delivery: a confirmed publish, then the ack. Waits for a broker that is away; the delivery waits with it.
    pub(crate) async fn reject(&self, tenant: &Tenant, hand: &InHand, rejected: Rejected) {
        tracing::info!(
            partner = %tenant.id, queue = hand.origin.queue, problems = rejected.problems.len(),
            reason = reason(&rejected.problems), "a message was rejected"
        );
        tell::rejected(&tenant.id, reason(&rejected.problems));
        let message = letter_message(&tenant.id, &hand.origin, &rejected);
        if planted(Bug::RejectedUnconfirmed) {
            hand.ack().await;
        }
        let mut failures = 0;
        loop {
            match self.doors.broker.publish(message.clone()).await {
                Ok(Routing::Routed) => break,
                // No dead queue, or it does not take the message: straight into the store instead.
                Ok(Routing::Unrouted) | Err(PublishError::NoExchange(_) | PublishError::TooLarge) => {
                    let (letter, rejected) = self.letter(&tenant.id, &message);
                    return self.record(hand, letter, rejected).await;
                }
                Err(error) => {
                    tracing::warn!(partner = %tenant.id, %error, "a dead letter was not confirmed; trying again");
                    if self.stopping.is_cancelled() {
                        return hand.requeue().await;
                    }
                    self.back_off(&mut failures).await;
                }
            }
        }
        // A crash here: the message comes again, and its dead letter has the same id.
        reach(Point::DeadLetteredNotAcked);
        hand.ack().await;
    }

    /// Takes a dead letter from its queue into the store.
    pub(crate) async fn bury(&self, tenant: &Tenant, hand: &InHand) {
        let origin = &hand.origin;
        let message = Message {
            exchange: origin.exchange.clone(),
            routing_key: origin.routing_key.clone(),
            body: origin.body.clone(),
            properties: origin.properties.clone(),
        };
        let (letter, rejected) = self.letter(&tenant.id, &message);
        self.record(hand, letter, rejected).await;
    }

    /// A message that no queue was bound for: its exchange still names the partner.
    pub(crate) async fn bury_unrouted(&self, hand: &InHand) {
        let Some(partner) = topology::partner_of_exchange(&hand.origin.exchange) else {
            tracing::warn!(exchange = hand.origin.exchange, "an unrouted message of no partner; dropped");
            return hand.ack().await;
        };
        let rejected = Rejected::one(RejectionCode::UnknownCommand, "the routing key names no command: purchase, sellback");
        let message = letter_message(&partner, &hand.origin, &rejected);
        let (letter, rejected) = self.letter(&partner, &message);
        self.record(hand, letter, rejected).await;
    }

    fn letter(&self, partner: &PartnerId, message: &Message) -> (DeadLetter, Rejected) {
        let headers = &message.properties.headers;
        // Only what the partner's own queues can have brought; anything else was not written by us.
        let ours = headers.get(QUEUE).filter(|queue| queue.ends_with(&format!(".{partner}")) || *queue == topology::UNROUTED);
        let queue = ours.cloned().unwrap_or_else(|| topology::dead_queue(partner));
        let problems = ours.and(headers.get(PROBLEMS)).and_then(|text| serde_json::from_str::<Vec<Problem>>(text).ok());
        let problems = problems.filter(|problems| !problems.is_empty()).unwrap_or_else(|| {
            vec![Problem::new(RejectionCode::InvalidField, "the broker gave the message up: it was delivered too often")]
        });
        let message_id = match ours {
            Some(_) => headers.get(MESSAGE_ID).cloned(),
            None => message.properties.message_id.clone(),
        };
        let received_at = self.doors.clock.now();
        let letter = DeadLetter {
            id: letter_id(&queue, message_id.as_deref(), &message.body),
            partner: partner.clone(),
            exchange: headers.get(EXCHANGE).cloned().unwrap_or_default(),
            routing_key: headers.get(ROUTING_KEY).cloned().unwrap_or_default(),
            reason: reason(&problems),
            problems: serde_json::to_string(&problems).expect("problems are plain text"),
            body: message.body.to_vec(),
            content_type: message.properties.content_type.clone(),
            message_id,
            headers: kept_headers(headers),
            received_at,
            state: DeadLetterState::Kept,
            settled_by: None,
            queue,
        };
        let rejected = Rejected {
            problems,
            request_id: headers.get(REQUEST_ID).and_then(|text| RequestId::new(text).ok()),
            user_id: headers.get(USER_ID).and_then(|text| UserId::new(text).ok()),
        };
        (letter, rejected)
    }

    /// Stores a dead letter with its event, then acks. A second time nothing is written and no event goes out.
    async fn record(&self, hand: &InHand, letter: DeadLetter, rejected: Rejected) {
        let header = |name: &str| letter.headers.get(name).map(String::as_str);
        let trace = header("traceparent").and_then(|parent| TraceContext::parse(parent, header("tracestate")));
        let event = event::rejected(&letter.partner, letter.id, &rejected, letter.received_at, trace.as_ref());
        let mut tries = 0;
        let first = loop {
            match self.doors.store.bury(letter.clone(), event.clone()).await {
                Ok(first) => break first,
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    if self.stopping.is_cancelled() {
                        return hand.requeue().await;
                    }
                    self.store_is_away(&mut tries, &error).await;
                }
                Err(error) => {
                    tracing::error!(dead_letter.id = %letter.id, %error, "the store refuses a dead letter; it stays in its queue");
                    return hand.requeue_later(&*self.doors.clock).await;
                }
            }
        };
        reach(Point::DeadLetterStoredNotAcked);
        hand.ack().await;
        if first {
            tell::buried(&letter.partner);
            self.announce(event).await;
        }
    }
}

/// The codes, most telling first.
fn reason(problems: &[Problem]) -> String {
    problems.first().map_or_else(String::new, |problem| problem.code.to_string())
}

fn letter_id(queue: &str, message_id: Option<&str>, body: &[u8]) -> DeadLetterId {
    match message_id {
        Some(id) => DeadLetterId::of(queue, id.as_bytes()),
        None => DeadLetterId::of(queue, &Sha256::digest(body)),
    }
}

fn letter_message(partner: &PartnerId, origin: &Origin, rejected: &Rejected) -> Message {
    let id = letter_id(&origin.queue, origin.properties.message_id.as_deref(), &origin.body);
    let mut headers = kept_headers(&origin.properties.headers);
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            headers.insert(name.into(), value);
        }
    };
    set(QUEUE, Some(origin.queue.clone()));
    set(EXCHANGE, Some(origin.exchange.clone()));
    set(ROUTING_KEY, Some(origin.routing_key.clone()));
    set(MESSAGE_ID, origin.properties.message_id.clone());
    set(PROBLEMS, serde_json::to_string(&rejected.problems).ok());
    set(REQUEST_ID, rejected.request_id.as_ref().map(ToString::to_string));
    set(USER_ID, rejected.user_id.as_ref().map(ToString::to_string));
    Message {
        exchange: topology::DEAD.into(),
        routing_key: partner.to_string(),
        body: origin.body.clone(),
        properties: Properties {
            message_id: Some(id.to_string()),
            content_type: origin.properties.content_type.clone(),
            timestamp: origin.properties.timestamp,
            headers,
            ..Properties::default()
        },
    }
}

/// The publisher's headers, bounded, without any that only we may set.
fn kept_headers(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut left = MOST_HEADER_BYTES;
    headers
        .iter()
        .filter(|(name, _)| !name.starts_with("x-clawback-"))
        .take_while(|(name, value)| {
            let size = name.len() + value.len();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
