//! Pulls: the items drawn.
//!
//! One index finds those of a user and those of a purchase, whose partner and user its row tells; another those that share an item id,
//! by user: else a planner in search of that order goes through all pulls of a partner.

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
    item_id {text} NOT NULL,
    item {text} NOT NULL,
    PRIMARY KEY (partner, user_id, purchase, position)
);
CREATE INDEX pulls_of_item ON pulls (partner, item_id, user_id);
";

/// What looks have shown of each; `price` in millionths of a dollar. Of it only the expiry is indexed, so a look that tells no new one
/// touches no index where a page has room.
pub const SIGHTS: &str = "
ALTER TABLE pulls ADD COLUMN looked_at {time};
ALTER TABLE pulls ADD COLUMN seen_at {time};
ALTER TABLE pulls ADD COLUMN missing_since {time};
ALTER TABLE pulls ADD COLUMN purchased_at {time};
ALTER TABLE pulls ADD COLUMN price bigint;
";

/// The sellback that gave each away.
pub const SALES: &str = "
ALTER TABLE pulls ADD COLUMN sold_by {uuid};
ALTER TABLE pulls ADD COLUMN sold_at {time};
";

/// What was said and done of each for the sake of its expiry, and an index of what may still expire unsold. Nothing that is just drawn is in it:
/// no look has told its expiry yet. What was known before was read by the last look at the latest.
pub const TOLD: &str = "
ALTER TABLE pulls ADD COLUMN expiry_read_at {time};
ALTER TABLE pulls ADD COLUMN offered_at {time};
ALTER TABLE pulls ADD COLUMN closed_at {time};
UPDATE pulls SET expiry_read_at = looked_at WHERE expiry_known;
CREATE INDEX pulls_expiring ON pulls (partner, expires_at) WHERE expires_at IS NOT NULL AND sold_by IS NULL;
";

/// Which are shown by an item of another id.
pub const EXCHANGED: &str = "
ALTER TABLE pulls ADD COLUMN exchanged boolean NOT NULL DEFAULT FALSE;
";
