//! The CloudEvents 1.0 envelope, structured JSON.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventType;
use crate::{EventId, Time};

pub const SPEC_VERSION: &str = "1.0";

/// `application/cloudevents+json` around the `data` of each event type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CloudEvent_{D}")]
pub struct CloudEvent<'a, D> {
    #[schemars(extend("const" = SPEC_VERSION))]
    pub specversion: Cow<'a, str>,
    /// Never changes when the event is sent again. Also the AMQP `message_id` and the `webhook-id`.
    pub id: EventId,
    /// `/clawback/<partner>`.
    pub source: Cow<'a, str>,
    /// Others may come; consumers ignore those they do not know.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub kind: EventType,
    /// The id of what it is about: a purchase, sellback, user or dead letter.
    pub subject: Cow<'a, str>,
    /// When it happened.
    pub time: Time,
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: Cow<'a, str>,
    /// Names the schema of `data` and its version.
    pub dataschema: Cow<'a, str>,
    /// Rises per subject.
    #[schemars(regex(pattern = "^[0-9]{20}$"))]
    pub sequence: Cow<'a, str>,
    /// The command's trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<Cow<'a, str>>,
    pub data: D,
}

/// The name of the schema of a type's `data`. Fields are only ever added; a breaking change is a new type ending in `.v2`.
pub fn data_schema(kind: EventType) -> String {
    format!("urn:clawback:schema:{kind}:1")
}
