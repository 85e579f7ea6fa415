//! The contract for machines: JSON Schemas of everything partners send and receive, and the AsyncAPI document of the queues.
//!
//! Both are generated from the types that read commands and write events, so they cannot say anything else than the code does;
//! snapshots show in a review what a change of a type does to the contract.

use std::collections::BTreeMap;

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Value, json};

use crate::{
    command::{CLOUDEVENTS_JSON, Problem, PurchaseCommand},
    event::{CloudEvent, EventType, FailedData, FulfilledData, RejectedData, ReviewData},
    resource::Resource,
};

/// Of the contract, not of the software: it rises only when the contract changes.
const CONTRACT_VERSION: &str = "1.0.0";

/// Every schema by its name, JSON Schema 2020-12. `$id` is `urn:clawback:schema:<name>:<version>`; for the `data` of an event that is
/// its `dataschema`.
pub fn schemas() -> BTreeMap<String, Value> {
    BTreeMap::from([
        named::<PurchaseCommand>("clawback.command.purchase", Contract::Deserialize),
        named::<CloudEvent<'static, Value>>("clawback.event", Contract::Serialize),
        named::<FulfilledData<'static>>(EventType::PurchaseFulfilled.as_str(), Contract::Serialize),
        named::<FailedData<'static>>(EventType::PurchaseFailed.as_str(), Contract::Serialize),
        named::<ReviewData<'static>>(EventType::PurchaseReview.as_str(), Contract::Serialize),
        named::<RejectedData<'static>>(EventType::CommandRejected.as_str(), Contract::Serialize),
        named::<Resource<'static>>("clawback.resource.purchase", Contract::Serialize),
        named::<Problem>("clawback.problem", Contract::Serialize),
    ])
}

fn named<T: JsonSchema>(name: &str, contract: Contract) -> (String, Value) {
    let mut schema = settings(SchemaSettings::draft2020_12(), contract).into_generator().into_root_schema_for::<T>();
    schema.insert("$id".into(), format!("urn:clawback:schema:{name}:1").into());
    schema.insert("title".into(), name.into());
    (name.to_owned(), schema.into())
}

fn settings(mut settings: SchemaSettings, contract: Contract) -> SchemaSettings {
    settings.contract = contract;
    settings
}

/// The AsyncAPI 3.0 document of what a partner may publish and consume on RabbitMQ. Our own queues (commands as we consume them,
/// steps, dead letters) are nobody else's to read and not in it.
pub fn asyncapi() -> Value {
    let mut components = Components::new();
    let command = components.command();
    let events = [
        components.event::<FulfilledData<'static>>(EventType::PurchaseFulfilled),
        components.event::<FailedData<'static>>(EventType::PurchaseFailed),
        components.event::<ReviewData<'static>>(EventType::PurchaseReview),
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
        "channels": channels(command, &events),
        "operations": operations(command, &events),
        "components": components.finish(),
    })
}

fn channels(command: &str, events: &[&str]) -> Value {
    let partner = json!({ "description": "The partner's name, [a-z0-9][a-z0-9-]{0,62}." });
    let told: serde_json::Map<_, _> = events.iter().map(|name| ((*name).to_owned(), reference("messages", name))).collect();
    json!({
        "purchases": {
            "address": "clawback.commands.{partner}:purchase",
            "description": "The exchange clawback.commands.{partner} with routing key purchase. Publish persistent and mandatory, \
                            await the confirm, and repeat with the same request_id when in doubt.",
            "parameters": { "partner": partner },
            "messages": { command: reference("messages", command) },
            "bindings": { "amqp": {
                "is": "routingKey",
                "exchange": { "name": "clawback.commands.{partner}", "type": "direct", "durable": true, "autoDelete": false },
                "bindingVersion": "0.3.0",
            } },
        },
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
fn operations(command: &str, events: &[&str]) -> Value {
    let within = |channel: &str, name: &str| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") });
    let all = |channel: &str| events.iter().map(|name| within(channel, name)).collect::<Vec<_>>();
    json!({
        "takePurchase": {
            "action": "receive",
            "channel": { "$ref": "#/channels/purchases" },
            "messages": [within("purchases", command)],
        },
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

    fn command(&mut self) -> &'static str {
        let payload = self.read.subschema_for::<PurchaseCommand>();
        let message = json!({
            "name": "clawback.command.purchase",
            "title": "Buy items of a pack for a user",
            "contentType": "application/json",
            "description": format!("Or as the data of a CloudEvent, {CLOUDEVENTS_JSON}. At most 64 KiB of UTF-8."),
            "correlationId": { "location": "$message.payload#/request_id" },
            "headers": { "type": "object", "properties": {
                "traceparent": { "type": "string", "description": "W3C Trace Context; continued." },
                "tracestate": { "type": "string" },
            } },
            "payload": payload,
        });
        self.add("purchase", message)
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
