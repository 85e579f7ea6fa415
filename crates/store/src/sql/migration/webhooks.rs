//! Webhooks: how each endpoint stands, and what is to be delivered to it. Those that wait are found by when they are due, those before
//! them by their subject, those that were given up by their partner; and the events that follow a webhook's place by their own.

pub const TABLE: &str = "
CREATE TABLE webhooks (
    partner {text} PRIMARY KEY,
    position bigint NOT NULL,
    disabled_at {time},
    disabled_why {text},
    failures bigint NOT NULL DEFAULT 0,
    held_until {time},
    acted_at {time},
    act {text}
){roomy};
CREATE TABLE deliveries (
    position bigint PRIMARY KEY,
    event {uuid} NOT NULL,
    partner {text} NOT NULL,
    subject {uuid} NOT NULL,
    sequence bigint NOT NULL,
    time {time} NOT NULL,
    due_at {time},
    tries bigint NOT NULL DEFAULT 0,
    last_error {text},
    given_up_at {time},
    CONSTRAINT given_up_exactly_when_never_due CHECK ((given_up_at IS NULL) = (due_at IS NOT NULL))
);
CREATE INDEX deliveries_due ON deliveries (partner, due_at) WHERE given_up_at IS NULL;
CREATE INDEX deliveries_of_subject ON deliveries (subject, sequence) WHERE given_up_at IS NULL;
CREATE INDEX deliveries_given_up ON deliveries (partner, position) WHERE given_up_at IS NOT NULL;
CREATE INDEX events_of_partner ON events (partner, position);
";
