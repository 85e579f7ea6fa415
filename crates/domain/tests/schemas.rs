//! What the published schemas say, and that they say it of what is really sent.

use clawback_domain::{
    event::{EventType, data_schema},
    schema::{asyncapi, schemas},
};
use serde_json::Value;

#[test]
fn a_change_of_a_schema_is_seen() {
    for (name, schema) in schemas() {
        insta::assert_snapshot!(format!("schema.{name}"), format!("{schema:#}"));
    }
}

#[test]
fn a_change_of_the_asyncapi_document_is_seen() {
    insta::assert_snapshot!("asyncapi", format!("{:#}", asyncapi()));
}

#[test]
fn every_event_that_is_sent_names_a_schema_that_exists() {
    let schemas = schemas();
    let sent = [
        EventType::PurchaseFulfilled,
        EventType::PurchaseFailed,
        EventType::PurchaseReview,
        EventType::SellbackCompleted,
        EventType::SellbackFailed,
        EventType::SellbackReview,
        EventType::CommandRejected,
    ];
    for kind in sent {
        assert_eq!(schemas[kind.as_str()]["$id"], data_schema(kind).as_str());
        let message = &asyncapi()["components"]["messages"][kind.as_str().trim_start_matches("clawback.")];
        assert_eq!(message["name"], kind.as_str());
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, part: &Value) -> usize {
        let mut found = 0;
        if let Some(Value::String(target)) = part.get("$ref") {
            let pointer = target.strip_prefix('#').expect("references stay within the document");
            assert!(document.pointer(pointer).is_some(), "{target}");
            found += 1;
        }
        match part {
            Value::Array(parts) => found + parts.iter().map(|part| check(document, part)).sum::<usize>(),
            Value::Object(parts) => found + parts.values().map(|part| check(document, part)).sum::<usize>(),
            _ => found,
        }
    }
    assert!(check(&asyncapi(), &asyncapi()) > 20);
    for (name, schema) in schemas() {
        let references = check(&schema, &schema);
        let plain = name.starts_with("clawback.command.") || ["clawback.event", "clawback.settings"].contains(&name.as_str());
        assert!(references > 0 || plain, "{name}");
    }
}
