//! Steps: the internal message "look at this row".
//!
//! A step may be lost, doubled or late. It names the version it was made for; whoever finds another version in the row ends there.

use crate::{Broker, Message, Properties, PublishError, Routing, topology};
use clawback_domain::{OrderId, PartnerId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub order: OrderId,
    pub version: i64,
}

impl Step {
    /// `None` for what is not a step: it can be dropped, the row's `due_at` makes another.
    pub fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    fn message(self, partner: &PartnerId) -> Message {
        Message {
            exchange: topology::STEPS.into(),
            routing_key: partner.to_string(),
            body: serde_json::to_vec(&self).expect("a step has only strings and numbers").into(),
            properties: Properties {
                message_id: Some(format!("{}.{}", self.order, self.version)),
                content_type: Some("application/json".into()),
                ..Properties::default()
            },
        }
    }
}

/// Hands a row over to the workers of its partner.
///
/// # Errors
/// A step that was not confirmed is no loss: the scheduler finds the row due and steps it again.
pub async fn hand_over(broker: &dyn Broker, partner: &PartnerId, step: Step) -> Result<Routing, PublishError> {
    broker.publish(step.message(partner)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back() {
        let step = Step { order: OrderId(uuid::Uuid::from_u128(7)), version: 3 };
        let message = step.message(&PartnerId::new("acme").unwrap());
        assert_eq!(Step::decode(&message.body), Some(step));
        assert_eq!(Step::decode(b"{}"), None);
    }
}
