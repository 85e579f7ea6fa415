//! Properties and errors, theirs and ours.

use std::collections::BTreeMap;

use chrono::DateTime;
use lapin::{
    BasicProperties, ErrorKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::{BrokerError, Properties, PublishError};

/// Headers of a delivery that are kept, by number and by bytes: a trace and a few words of the broker's, not a second body.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Properties must fit one frame, 128 KiB unless negotiated smaller.
const MAX_SENT_HEADER_BYTES: usize = 64 * 1024;

/// RabbitMQ keeps it on disk.
const PERSISTENT: u8 = 2;

pub(super) fn short(text: String) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| PublishError::TooLarge)
}

/// # Errors
/// [`PublishError::TooLarge`] where AMQP has no room for it: 255 bytes for a property, a frame for all headers.
pub(super) fn sent(properties: Properties) -> Result<BasicProperties, PublishError> {
    let mut sent = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Some(text) = properties.message_id {
        sent = sent.with_message_id(short(text)?);
    }
    if let Some(text) = properties.correlation_id {
        sent = sent.with_correlation_id(short(text)?);
    }
    if let Some(text) = properties.content_type {
        sent = sent.with_content_type(short(text)?);
    }
    if let Some(time) = properties.timestamp {
        sent = sent.with_timestamp(u64::try_from(time.timestamp()).unwrap_or_default());
    }
    if !properties.headers.is_empty() {
        sent = sent.with_headers(sent_headers(properties.headers)?);
    }
    Ok(sent)
}

fn sent_headers(headers: BTreeMap<String, String>) -> Result<FieldTable, PublishError> {
    if headers.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() > MAX_SENT_HEADER_BYTES {
        return Err(PublishError::TooLarge);
    }
    let mut table = FieldTable::default();
    for (name, text) in headers {
        table.insert(short(name)?, AMQPValue::LongString(text.into()));
    }
    Ok(table)
}

pub(super) fn received(properties: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
    Properties {
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        content_type: text(properties.content_type()),
        timestamp: seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        headers: properties.headers().as_ref().map(received_headers).unwrap_or_default(),
    }
}

fn received_headers(table: &FieldTable) -> BTreeMap<String, String> {
    let mut bytes = 0;
    let readable = table.inner().iter().filter_map(|(name, value)| Some((name.as_str(), text(value)?)));
    let kept = readable.take_while(|(name, text)| {
        bytes += name.len() + text.len();
        bytes <= MAX_HEADER_BYTES
    });
    kept.take(MAX_HEADERS).map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(LongString::as_bytes(text)).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// What the broker said, when it was the broker that said it.
pub(super) fn soft(error: &lapin::Error) -> Option<(&AMQPSoftError, &str)> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(soft) => Some((soft, error.get_message().as_str())),
        AMQPErrorKind::Hard(_) => None,
    }
}

pub(super) fn broker_error(error: &lapin::Error) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(said) => BrokerError::Refused(said.get_message().to_string()),
        _ => BrokerError::Unreachable(error.to_string()),
    }
}

/// Why a publish to `exchange` of `bytes` was not confirmed. The channel dies of one publish and takes all others along; what the
/// broker says tells which it was.
pub(super) fn publish_error(error: &lapin::Error, exchange: &str, bytes: usize) -> PublishError {
    match soft(error) {
        Some((AMQPSoftError::NOTFOUND | AMQPSoftError::ACCESSREFUSED, text)) if names_exchange(text, exchange) => {
            PublishError::NoExchange(exchange.to_owned())
        }
        Some((AMQPSoftError::PRECONDITIONFAILED, text)) if max_size(text).is_some_and(|max| bytes > max) => {
            PublishError::TooLarge
        }
        _ => PublishError::Unconfirmed(error.to_string()),
    }
}

fn names_exchange(text: &str, exchange: &str) -> bool {
    text.contains(&format!("exchange '{exchange}'"))
}

/// `message size 17 is larger than configured max size 16`, and `… larger than max size 16` in other versions.
fn max_size(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("max size ")?;
    rest.split(|each: char| !each.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn said(kind: AMQPSoftError, text: &str) -> lapin::Error {
        ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into())).into()
    }

    #[test]
    fn a_dead_channel_tells_each_publish_its_own_reason() {
        let missing = said(AMQPSoftError::NOTFOUND, "NOT_FOUND - no exchange 'clawback.commands.a' in vhost '/'");
        assert!(matches!(publish_error(&missing, "clawback.commands.a", 1), PublishError::NoExchange(_)));
        assert!(matches!(publish_error(&missing, "clawback.commands", 1), PublishError::Unconfirmed(_)));
        let refused =
            said(AMQPSoftError::ACCESSREFUSED, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'acme'");
        assert!(matches!(publish_error(&refused, "x", 1), PublishError::NoExchange(_)));
        let large = said(
            AMQPSoftError::PRECONDITIONFAILED,
            "PRECONDITION_FAILED - message size 20 is larger than configured max size 10",
        );
        assert!(matches!(publish_error(&large, "x", 20), PublishError::TooLarge));
        assert!(matches!(publish_error(&large, "x", 10), PublishError::Unconfirmed(_)));
    }

    #[test]
    fn headers_that_are_no_text_and_those_beyond_the_bounds_are_left_out() {
        let mut table = FieldTable::default();
        table.insert("traceparent".into(), AMQPValue::LongString("00-ab".into()));
        table.insert("bytes".into(), AMQPValue::LongString(vec![0xff, 0xfe].into()));
        table.insert("number".into(), AMQPValue::LongInt(1));
        table.insert("x-death".into(), AMQPValue::FieldTable(FieldTable::default()));
        assert_eq!(received_headers(&table), BTreeMap::from([("traceparent".to_owned(), "00-ab".to_owned())]));
        table.insert("z-huge".into(), AMQPValue::LongString(vec![b'a'; MAX_HEADER_BYTES].into()));
        for number in 0..200 {
            table.insert(format!("n{number}").into(), AMQPValue::LongString("x".into()));
        }
        let kept = received_headers(&table);
        assert!(kept.len() <= MAX_HEADERS && !kept.contains_key("z-huge"));
    }

    #[test]
    fn what_amqp_has_no_room_for_is_too_large_and_no_panic() {
        let long = "x".repeat(256);
        let properties = Properties { message_id: Some(long), ..Properties::default() };
        assert!(matches!(sent(properties), Err(PublishError::TooLarge)));
        let headers = BTreeMap::from([("x".to_owned(), "y".repeat(MAX_SENT_HEADER_BYTES))]);
        assert!(matches!(sent(Properties { headers, ..Properties::default() }), Err(PublishError::TooLarge)));
    }

    #[test]
    fn a_timestamp_beyond_the_calendar_is_left_out() {
        let received = |seconds| received(&BasicProperties::default().with_timestamp(seconds)).timestamp;
        assert_eq!(received(u64::MAX), None);
        assert!(received(1_700_000_000).is_some());
    }
}
