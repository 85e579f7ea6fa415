//! Items in inventories that no purchase surely explains.
//!
//! The id is UUIDv5 of (partner, user_id, item_id, purchased_at), so its primary key *is* the uniqueness of these four, one of which
//! may be unknown.

pub const TABLE: &str = "
CREATE TABLE unexplained (
    id {uuid} NOT NULL PRIMARY KEY,
    found_at {time} NOT NULL,
    purchased_at {time},
    count bigint NOT NULL,
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    item_id {text} NOT NULL,
    claw_id {text},
    claw_slug {text},
    claimed boolean NOT NULL,
    candidates {text} NOT NULL
);
CREATE INDEX orphans_by_age ON unexplained (found_at, id) WHERE NOT claimed;
CREATE INDEX unexplained_of_user ON unexplained (partner, user_id);
";
