//! Orders, purchases and sellbacks: the row that is the lease.
//!
//! What never changes stands first, what changes last: an update's log record then holds only the tail. Pages are filled by half,
//! so that the two updates of a purchase's life find room beside it and touch no index. For the same reason `due_at` is not
//! indexed: `look_at`, never later than `due_at`, is what the scheduler looks through, and it is moved back lazily.
//!
//! `selling` is the item id whose sale was begun and is not settled: of one item id there is one such sale at a time. A column of its
//! own, for an index whose condition named the state would make every change of a state touch it.
//!
//! The id is UUIDv5 of (partner, request_id), so its primary key *is* the uniqueness of that pair; a second index would cost every
//! insert and final update for nothing. Whoever looks for a pair computes the id.

pub const TABLE: &str = "
CREATE TABLE orders (
    id {uuid} NOT NULL PRIMARY KEY,
    kind {text} NOT NULL DEFAULT 'purchase',
    amount bigint,
    digest {bytes} NOT NULL,
    created_at {time} NOT NULL,
    not_after {time},
    partner {text} NOT NULL,
    request_id {text} NOT NULL,
    user_id {text} NOT NULL,
    pack_id {text},
    item_id {text},
    pull_id {uuid},
    min_price bigint,
    metadata {text},
    traceparent {text} NOT NULL,
    tracestate {text},
    version bigint NOT NULL,
    due_at {time},
    look_at {time},
    nudges bigint NOT NULL,
    attempts bigint NOT NULL,
    panics bigint NOT NULL,
    sequence bigint NOT NULL,
    updated_at {time} NOT NULL,
    state {text} NOT NULL,
    waiting_code {text},
    session_id {text},
    selling {text},
    detail {text},
    CONSTRAINT asks_for_one_thing CHECK (CASE kind
        WHEN 'purchase' THEN amount IS NOT NULL AND pack_id IS NOT NULL AND item_id IS NULL AND pull_id IS NULL
        WHEN 'sellback' THEN amount IS NULL AND pack_id IS NULL AND (item_id IS NULL) <> (pull_id IS NULL)
        ELSE FALSE END),
    CONSTRAINT final_exactly_when_never_due CHECK ((state IN ('fulfilled', 'sold', 'failed')) = (due_at IS NULL)),
    CONSTRAINT looked_at_exactly_while_due CHECK ((look_at IS NULL) = (due_at IS NULL)),
    CONSTRAINT looked_at_no_later_than_due CHECK (look_at <= due_at)
){half full};
CREATE INDEX orders_to_look_at ON orders (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX orders_by_age ON orders (created_at);
CREATE UNIQUE INDEX orders_selling ON orders (partner, selling) WHERE selling IS NOT NULL;
";

/// A user's orders that are not final. Its condition is that of `orders_to_look_at`, so that the updates which touch no index
/// still touch none.
pub const OPEN_OF_USER: &str = "
CREATE INDEX orders_open_of_user ON orders (partner, user_id) WHERE look_at IS NOT NULL;
";
