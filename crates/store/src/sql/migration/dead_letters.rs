//! Messages that could not be handled, as they came.

pub const TABLE: &str = "
CREATE TABLE dead_letters (
    id {uuid} NOT NULL PRIMARY KEY,
    partner {text} NOT NULL,
    queue {text} NOT NULL,
    exchange {text} NOT NULL,
    routing_key {text} NOT NULL,
    reason {text} NOT NULL,
    problems {text} NOT NULL,
    body {bytes} NOT NULL,
    content_type {text},
    message_id {text},
    headers {text} NOT NULL,
    received_at {time} NOT NULL,
    state {text} NOT NULL,
    settled_by {text},
    settled_at {time}
);
CREATE INDEX dead_letters_by_age ON dead_letters (received_at, id);
";
