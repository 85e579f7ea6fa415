//! `retention`: how long what is over is kept, for the installation.

use std::time::Duration;

use clawback_store::Retention;
use toml::Value;

use super::{
    duration,
    reader::{Reader, When, as_duration, quoted},
};

/// Less would take away what a partner's own repeats, replays and questions of last week ask for.
const LEAST: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub fn read(reader: &mut Reader<'_>) -> Retention {
    let doc = "how long what is over is kept; false keeps it for ever";
    reader.table("retention", doc, When::Unless, read_table).unwrap_or(Retention::FOR_EVER)
}

fn read_table(reader: &mut Reader<'_>) -> Retention {
    let built_in = Retention::default();
    let retention = Retention {
        events: span(reader, "events", "sent events of no purchase or sellback: rejections, warnings", built_in.events),
        timelines: span(reader, "timelines", "the timeline of what is fulfilled, sold or failed", built_in.timelines),
        orders: span(reader, "orders", "everything of it but its row, which stays for ever", built_in.orders),
        dead_letters: span(reader, "dead_letters", "redriven or discarded dead letters", built_in.dead_letters),
    };
    let is_shorter = match (retention.orders, retention.timelines) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(orders), Some(timelines)) => orders < timelines,
    };
    if is_shorter {
        let timelines = show(&retention.timelines);
        reader.problem("orders", format!("must not be shorter than timelines, {timelines}: a timeline goes before its order"));
    }
    retention
}

fn span(reader: &mut Reader<'_>, key: &str, doc: &'static str, default: Option<Duration>) -> Option<Duration> {
    reader.value(key, doc, default, as_span, show)
}

fn as_span(value: &Value) -> Result<Option<Duration>, String> {
    match value {
        Value::Boolean(false) => Ok(None),
        other => match as_duration(other)? {
            span if (LEAST..=MOST).contains(&span) => Ok(Some(span)),
            span => Err(format!(
                "must be {} to {}, or false, not {}",
                duration::show(LEAST),
                duration::show(MOST),
                duration::show(span)
            )),
        },
    }
}

fn show(span: &Option<Duration>) -> String {
    span.map_or_else(|| "false".into(), |span| quoted(&duration::show(span)))
}
