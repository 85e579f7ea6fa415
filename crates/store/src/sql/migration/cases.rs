//! Cases: how far the rulings about each user have come. There is no row before the first.

pub const TABLE: &str = "
CREATE TABLE cases (
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    version bigint NOT NULL,
    purchase {uuid} NOT NULL,
    retried_at {time},
    PRIMARY KEY (partner, user_id)
){half full};
";
