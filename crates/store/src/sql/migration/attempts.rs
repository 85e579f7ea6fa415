//! Attempts: one `buy/init` call each, with the fact of what it brought back.

pub const TABLE: &str = "
CREATE TABLE attempts (
    token {uuid} NOT NULL PRIMARY KEY,
    purchase {uuid} NOT NULL,
    number bigint NOT NULL,
    started_at {time} NOT NULL,
    send_by {time} NOT NULL,
    deadline {time} NOT NULL,
    answered_at {time},
    outcome {text},
    answer {text},
    CONSTRAINT answered_whole CHECK ((answered_at IS NULL) = (answer IS NULL))
){half full};
CREATE UNIQUE INDEX attempts_of_purchase ON attempts (purchase, number);
";

/// What each spends if it buys, in millionths of a dollar; null where no list of packs told.
pub const PRICE: &str = "ALTER TABLE attempts ADD COLUMN price bigint;";
