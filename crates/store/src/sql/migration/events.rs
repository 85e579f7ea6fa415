//! Events: the outbox and the log in one. They are found by id, by subject, by position, and unsent ones by the relay's look.

pub const TABLE: &str = "
CREATE TABLE events (
    position {serial},
    id {uuid} NOT NULL,
    subject {uuid} NOT NULL,
    sequence bigint NOT NULL,
    time {time} NOT NULL,
    look_at {time} NOT NULL,
    sent_at {time},
    unrouted boolean NOT NULL DEFAULT FALSE,
    kind {text} NOT NULL,
    partner {text} NOT NULL,
    request_id {text},
    traceparent {text},
    tracestate {text},
    body {text} NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (id);
CREATE UNIQUE INDEX events_of_subject ON events (subject, sequence);
CREATE INDEX events_to_look_at ON events (look_at) WHERE sent_at IS NULL;
";
