//! The timeline of each order: one entry a version.

pub const TABLE: &str = "
CREATE TABLE timeline (
    order_id {uuid} NOT NULL,
    version bigint NOT NULL,
    at {time} NOT NULL,
    what {text} NOT NULL,
    was {text},
    became {text} NOT NULL,
    note {text} NOT NULL,
    person {text},
    PRIMARY KEY (order_id, version)
);
";
