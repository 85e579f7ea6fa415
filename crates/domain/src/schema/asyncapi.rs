//! The AsyncAPI document of the queues.

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Value, json};

use super::settings;
use crate::{
    command::{CLOUDEVENTS_JSON, PurchaseCommand, SellbackCommand},
    event::{
        CloudEvent, EventType, ExpiredData, ExpiringData, FailedData, FulfilledData, NotSoldData, RejectedData, ReviewData,
        SaleReviewData, SoldData,
    },
};

/// Of the contract, not of the software: it rises only when the contract changes.
const CONTRACT_VERSION: &str = "1.0.0";

/// The AsyncAPI 3.0 document of what a partner may publish and consume on RabbitMQ. Our own queues (commands as we consume them,
/// steps, dead letters) are nobody else's to read and not in it.
pub fn asyncapi() -> Value {
    let mut components = Components::new();
    components.command::<PurchaseCommand>(&PURCHASE);
    components.command::<SellbackCommand>(&SELLBACK);
    let events = [
        components.event::<FulfilledData<'static>>(EventType::PurchaseFulfilled),
        components.event::<FailedData<'static>>(EventType::PurchaseFailed),
        components.event::<ReviewData<'static>>(EventType::PurchaseReview),
        components.event::<SoldData<'static>>(EventType::SellbackCompleted),
        components.event::<NotSoldData<'static>>(EventType::SellbackFailed),
        components.event::<SaleReviewData<'static>>(EventType::SellbackReview),
        components.event::<ExpiringData<'static>>(EventType::BuybackExpiring),
        components.event::<ExpiredData<'static>>(EventType::BuybackExpired),
        components.event::<RejectedData<'static>>(EventType::CommandRejected),
    ];
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Clawback",
            "version": CONTRACT_VERSION,
            "description": "Commands are taken at least once and carried out at most once per request_id. Events are repeated with \
                            the same id; fields are only ever added, and consumers ignore those they do not know.",
        },
        "defaultContentType": "application/json",
        "channels": channels(&events),
        "operations": operations(&events),
        "components": components.finish(),
    })
}

/// A kind of command in the AsyncAPI document.
struct Taken {
    /// Of its message, and the routing key.
    name: &'static str,
    channel: &'static str,
    operation: &'static str,
    title: &'static str,
}

const PURCHASE: Taken =
    Taken { name: "purchase", channel: "purchases", operation: "takePurchase", title: "Buy items of a pack for a user" };

const SELLBACK: Taken =
    Taken { name: "sellback", channel: "sellbacks", operation: "takeSellback", title: "Sell an item of a user back" };

impl Taken {
    fn channel(&self) -> Value {
        json!({
            "address": format!("clawback.commands.{{partner}}:{}", self.name),
            "description": format!(
                "The exchange clawback.commands.{{partner}} with routing key {}. Publish persistent and mandatory, await the \
                 confirm, and repeat with the same request_id when in doubt.",
                self.name
            ),
            "parameters": { "partner": partner() },
            "messages": { self.name: reference("messages", self.name) },
            "bindings": { "amqp": {
                "is": "routingKey",
                "exchange": { "name": "clawback.commands.{partner}", "type": "direct", "durable": true, "autoDelete": false },
                "bindingVersion": "0.3.0",
            } },
        })
    }

    fn operation(&self) -> Value {
        json!({
            "action": "receive",
            "channel": { "$ref": format!("#/channels/{}", self.channel) },
            "messages": [within(self.channel, self.name)],
        })
    }
}

fn partner() -> Value {
    json!({ "description": "The partner's name, [a-z0-9][a-z0-9-]{0,62}." })
}

fn within(channel: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })
}

fn channels(events: &[&str]) -> Value {
    let partner = partner();
    let told: serde_json::Map<_, _> = events.iter().map(|name| ((*name).to_owned(), reference("messages", name))).collect();
    json!({
        PURCHASE.channel: PURCHASE.channel(),
        SELLBACK.channel: SELLBACK.channel(),
        "events": {
            "address": "clawback.events:{partner}.{type}",
            "description": "The exchange clawback.events; the routing key is the partner and the event's type without clawback.",
            "parameters": { "partner": partner, "type": { "description": "For example purchase.fulfilled." } },
            "messages": told,
            "bindings": { "amqp": {
                "is": "routingKey",
                "exchange": { "name": "clawback.events", "type": "topic", "durable": true, "autoDelete": false },
                "bindingVersion": "0.3.0",
            } },
        },
        "eventQueue": {
            "address": "clawback.events.{partner}",
            "description": "The partner's own quorum queue of all its events, where its configuration asks for one; bounded, the \
                            oldest are dropped first and can be replayed.",
            "parameters": { "partner": partner },
            "messages": told,
            "bindings": { "amqp": {
                "is": "queue",
                "queue": { "name": "clawback.events.{partner}", "durable": true, "exclusive": false, "autoDelete": false },
                "bindingVersion": "0.3.0",
            } },
        },
    })
}

/// From Clawback's side: it receives commands and sends events.
fn operations(events: &[&str]) -> Value {
    let all = |channel: &str| events.iter().map(|name| within(channel, name)).collect::<Vec<_>>();
    json!({
        PURCHASE.operation: PURCHASE.operation(),
        SELLBACK.operation: SELLBACK.operation(),
        "publishEvent": {
            "action": "send",
            "channel": { "$ref": "#/channels/events" },
            "messages": all("events"),
        },
        "queueEvent": {
            "action": "send",
            "channel": { "$ref": "#/channels/eventQueue" },
            "messages": all("eventQueue"),
        },
    })
}

/// The shared parts of the AsyncAPI document. Its schemas are draft 7, the only draft that every AsyncAPI tool reads.
struct Components {
    read: SchemaGenerator,
    written: SchemaGenerator,
    messages: serde_json::Map<String, Value>,
}

impl Components {
    fn new() -> Self {
        let generator = |contract| {
            let mut settings = settings(SchemaSettings::draft07(), contract);
            settings.definitions_path = "/components/schemas".into();
            settings.into_generator()
        };
        let (read, written) = (generator(Contract::Deserialize), generator(Contract::Serialize));
        Self { read, written, messages: serde_json::Map::new() }
    }

    fn command<C: JsonSchema>(&mut self, taken: &Taken) {
        let payload = self.read.subschema_for::<C>();
        let message = json!({
            "name": format!("clawback.command.{}", taken.name),
            "title": taken.title,
            "contentType": "application/json",
            "description": format!("Or as the data of a CloudEvent, {CLOUDEVENTS_JSON}. At most 64 KiB of UTF-8."),
            "correlationId": { "location": "$message.payload#/request_id" },
            "headers": { "type": "object", "properties": {
                "traceparent": { "type": "string", "description": "W3C Trace Context; continued." },
                "tracestate": { "type": "string" },
            } },
            "payload": payload,
        });
        self.add(taken.name, message);
    }

    fn event<D: JsonSchema>(&mut self, kind: EventType) -> &'static str {
        let payload: Schema = self.written.subschema_for::<CloudEvent<'static, D>>();
        let name = kind.as_str().trim_start_matches("clawback.");
        let message = json!({
            "name": kind.as_str(),
            "contentType": CLOUDEVENTS_JSON,
            "correlationId": { "location": "$message.payload#/data/request_id" },
            "payload": { "allOf": [payload, { "properties": { "type": { "const": kind.as_str() } } }] },
        });
        self.add(name, message)
    }

    fn add(&mut self, name: &'static str, message: Value) -> &'static str {
        self.messages.insert(name.to_owned(), message);
        name
    }

    fn finish(mut self) -> Value {
        let mut schemas = self.read.take_definitions(true);
        schemas.extend(self.written.take_definitions(true));
        json!({ "schemas": schemas, "messages": self.messages })
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
