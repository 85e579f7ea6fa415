//! Pulls: the items drawn.
//!
//! One index finds those of a user and those of a purchase, whose partner and user its row tells.

pub const TABLE: &str = "
CREATE TABLE pulls (
    id {uuid} NOT NULL,
    purchase {uuid} NOT NULL,
    position bigint NOT NULL,
    created_at {time} NOT NULL,
    expires_at {time},
    expiry_known boolean NOT NULL,
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    pack_id {text} NOT NULL,
    item {text} NOT NULL,
    PRIMARY KEY (partner, user_id, purchase, position)
);
";
