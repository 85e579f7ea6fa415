//! Steps: the internal message "look at this row".
//!
//! A step may be lost, doubled or late. It names the version it was made for; whoever finds another version in the row ends there.

use std::fmt;

use crate::{Broker, Message, Properties, PublishError, Routing, topology};
use clawback_domain::{OrderId, PartnerId, UserId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    #[serde(flatten)]
    pub row: Row,
    pub version: i64,
}

/// Which row to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    Order(OrderId),
    User(UserId),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Row::Order(id) => id.fmt(f),
            Row::User(id) => id.fmt(f),
        }
    }
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
                message_id: Some(format!("{}.{}", self.row, self.version)),
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
        let order = Row::Order(OrderId(uuid::Uuid::from_u128(7)));
        let user = Row::User(UserId::new("user-1").unwrap());
        for row in [order, user] {
            let step = Step { row, version: 3 };
            let message = step.clone().message(&PartnerId::new("acme").unwrap());
            assert_eq!(Step::decode(&message.body), Some(step));
        }
        assert_eq!(Step::decode(b"{}"), None);
        // As earlier versions wrote it.
        let written = br#"{"order":"00000000-0000-0000-0000-000000000007","version":3}"#;
        assert_eq!(Step::decode(written).map(|step| step.version), Some(3));
    }
}
