//! The contract for machines: JSON Schemas of everything partners send and receive, and the AsyncAPI document of the queues.
//!
//! Both are generated from the types that read commands and write events, so they cannot say anything else than the code does;
//! snapshots show in a review what a change of a type does to the contract.

mod asyncapi;

use std::collections::BTreeMap;

use schemars::{
    JsonSchema, Schema,
    generate::{Contract, SchemaSettings},
};
use serde_json::Value;

use crate::{
    command::{Problem, PurchaseCommand, SellbackCommand, SettingsChange},
    event::{
        CloudEvent, EventType, ExpiredData, ExpiringData, FailedData, FulfilledData, NotSoldData, RejectedData, ReviewData,
        SaleReviewData, SoldData,
    },
    resource::{Resource, SellbackResource},
};

pub use asyncapi::asyncapi;

/// Every schema by its name, JSON Schema 2020-12. `$id` is `urn:clawback:schema:<name>:<version>`; for the `data` of an event that is
/// its `dataschema`.
pub fn schemas() -> BTreeMap<String, Value> {
    BTreeMap::from([
        named::<PurchaseCommand>("clawback.command.purchase", Contract::Deserialize),
        named::<SellbackCommand>("clawback.command.sellback", Contract::Deserialize),
        named::<CloudEvent<'static, Value>>("clawback.event", Contract::Serialize),
        named::<FulfilledData<'static>>(EventType::PurchaseFulfilled.as_str(), Contract::Serialize),
        named::<FailedData<'static>>(EventType::PurchaseFailed.as_str(), Contract::Serialize),
        named::<ReviewData<'static>>(EventType::PurchaseReview.as_str(), Contract::Serialize),
        named::<SoldData<'static>>(EventType::SellbackCompleted.as_str(), Contract::Serialize),
        named::<NotSoldData<'static>>(EventType::SellbackFailed.as_str(), Contract::Serialize),
        named::<SaleReviewData<'static>>(EventType::SellbackReview.as_str(), Contract::Serialize),
        named::<ExpiringData<'static>>(EventType::BuybackExpiring.as_str(), Contract::Serialize),
        named::<ExpiredData<'static>>(EventType::BuybackExpired.as_str(), Contract::Serialize),
        named::<RejectedData<'static>>(EventType::CommandRejected.as_str(), Contract::Serialize),
        named::<Resource<'static>>("clawback.resource.purchase", Contract::Serialize),
        named::<SellbackResource<'static>>("clawback.resource.sellback", Contract::Serialize),
        named::<SettingsChange>("clawback.settings", Contract::Deserialize),
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

/// Writes alternatives that stand beside other properties as plain properties, of which exactly one is there: no draft of JSON Schema
/// refuses unknown properties across a `oneOf` in a way that the others understand.
pub(crate) fn exactly_one(schema: &mut Schema) {
    let Some(Value::Array(mut alternatives)) = schema.remove("oneOf") else { return };
    schema.remove("unevaluatedProperties");
    for alternative in &mut alternatives {
        let about = alternative["description"].clone();
        let named = alternative["properties"].as_object().cloned().unwrap_or_default();
        for (name, mut property) in named {
            property["description"] = about.clone();
            schema.ensure_object()["properties"][name] = property;
        }
        *alternative = serde_json::json!({ "required": alternative["required"] });
    }
    schema.insert("oneOf".into(), alternatives.into());
    schema.insert("additionalProperties".into(), false.into());
}
