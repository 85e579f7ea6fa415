//! Pauses, and those that were lifted, by whom and why. An empty text is *all of them*.

pub const TABLE: &str = "
CREATE TABLE pauses (
    id {serial},
    partner {text} NOT NULL,
    pack {text} NOT NULL,
    kind {text} NOT NULL,
    by {text} NOT NULL,
    reason {text} NOT NULL,
    since {time} NOT NULL,
    refused_key {text},
    resumed_at {time},
    resumed_by {text},
    resumed_reason {text}
);
CREATE UNIQUE INDEX pauses_in_force ON pauses (partner, pack, kind) WHERE resumed_at IS NULL;
";
