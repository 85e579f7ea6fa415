//! Attempts: one `buy/init` or `buyback` call each, with the fact of what it brought back.

pub const TABLE: &str = "
CREATE TABLE attempts (
    token {uuid} NOT NULL PRIMARY KEY,
    order_id {uuid} NOT NULL,
    number bigint NOT NULL,
    started_at {time} NOT NULL,
    send_by {time} NOT NULL,
    deadline {time} NOT NULL,
    answered_at {time},
    outcome {text},
    answer {text},
    CONSTRAINT answered_whole CHECK ((answered_at IS NULL) = (answer IS NULL))
){half full};
CREATE UNIQUE INDEX attempts_of_order ON attempts (order_id, number);
";

/// What each spends if it buys, or brings if it sells, in millionths of a dollar; null where nothing told.
pub const PRICE: &str = "ALTER TABLE attempts ADD COLUMN price bigint;";
