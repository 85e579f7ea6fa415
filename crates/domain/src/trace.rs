//! W3C Trace Context as text: read from a command, carried by the purchase, written into every event.

use std::{fmt, sync::Arc};

use uuid::Uuid;

/// A valid `traceparent`, and the `tracestate` that came with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceContext {
    parent: Arc<str>,
    state: Option<Arc<str>>,
}

/// The longest `tracestate` that is carried on; the specification asks for at least 512 characters.
const LONGEST_STATE: usize = 512;

impl TraceContext {
    /// `None` when `parent` is not a valid `traceparent` (version 00–fe, non-zero ids): a broken header starts a new trace, it never
    /// rejects a command.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        };
        let zero = |text: &str| text.bytes().all(|c| c == b'0');
        let valid = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !valid || zero(trace) || zero(span) || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let state = state
            .filter(|text| !text.is_empty() && text.len() <= LONGEST_STATE && text.bytes().all(|c| (b' '..=b'~').contains(&c)));
        Some(Self { parent: Arc::from(format!("00-{trace}-{span}-{flags}")), state: state.map(Arc::from) })
    }

    /// A new trace from drawn bits, sampled.
    pub fn start(drawn: Uuid, span: u64) -> Self {
        Self { parent: Arc::from(format!("00-{}-{:016x}-01", drawn.simple(), span.max(1))), state: None }
    }

    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The 32 hexadecimal digits that name the trace.
    pub fn trace_id(&self) -> &str {
        &self.parent[3..35]
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_parent_is_carried_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(good, Some("a=b")).unwrap().trace_id(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceContext::parse(bad, None), None, "{bad}");
        }
        assert_eq!(TraceContext::parse(good, Some(&"x".repeat(513))).unwrap().tracestate(), None);
    }
}
