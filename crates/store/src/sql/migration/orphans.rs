//! Orphans: items in inventories that no purchase explains.
//!
//! The id is UUIDv5 of (partner, user_id, item_id, purchased_at), so its primary key *is* the uniqueness of these four, one of which
//! may be unknown.

pub const TABLE: &str = "
CREATE TABLE orphans (
    id {uuid} NOT NULL PRIMARY KEY,
    found_at {time} NOT NULL,
    purchased_at {time},
    count bigint NOT NULL,
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    item_id {text} NOT NULL,
    pack {text},
    candidates {text} NOT NULL
);
CREATE INDEX orphans_by_age ON orphans (found_at, id);
CREATE INDEX orphans_of_user ON orphans (partner, user_id);
";
