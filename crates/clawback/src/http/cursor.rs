//! The opaque `after` / `next` of a list: the place of the last row of a page.

use clawback_domain::{OrderId, Time, order::AnyOrder};
use uuid::Uuid;

/// The cursor behind this row.
pub fn behind(order: &AnyOrder) -> String {
    format!("{:016x}{}", order.created_at().timestamp_micros(), order.id().0.simple())
}

/// `None` for what is not a cursor of ours.
pub fn read(text: &str) -> Option<(Time, OrderId)> {
    if text.len() != 48 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let micros = i64::from_str_radix(&text[..16], 16).ok()?;
    let id = Uuid::try_parse(&text[16..]).ok()?;
    Some((Time::from_timestamp_micros(micros)?, OrderId(id)))
}

#[cfg(test)]
mod tests {
    use clawback_domain::{PartnerId, command::parse_purchase, purchase::Purchase, trace::TraceContext};

    use super::*;

    #[test]
    fn a_cursor_reads_back_and_rubbish_is_none() {
        let body = br#"{"request_id":"r","user_id":"u","pack_id":"p","amount":1}"#;
        let now = Time::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let partner = PartnerId::new("acme").unwrap();
        let trace = TraceContext::start(Uuid::from_u128(1), 1);
        let order = Purchase::accept(partner, parse_purchase(None, body).unwrap(), now, trace).into();
        assert_eq!(read(&behind(&order)), Some((now, order.id())));
        for rubbish in ["", "x", &"z".repeat(48), &"f".repeat(48), &"ü".repeat(24)] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }
}
