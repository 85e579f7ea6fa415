//! Purchases: the row that is the lease.
//!
//! What never changes stands first, what changes last: an update's log record then holds only the tail. Pages are filled by half,
//! so that the two updates of a purchase's life find room beside it and touch no index. For the same reason `due_at` is not
//! indexed: `look_at`, never later than `due_at`, is what the scheduler looks through, and it is moved back lazily.
//!
//! The id is UUIDv5 of (partner, request_id), so its primary key *is* the uniqueness of that pair; a second index would cost every
//! insert and final update for nothing. Whoever looks for a pair computes the id.

pub const TABLE: &str = "
CREATE TABLE purchases (
    id {uuid} NOT NULL PRIMARY KEY,
    amount bigint NOT NULL,
    digest {bytes} NOT NULL,
    created_at {time} NOT NULL,
    not_after {time},
    partner {text} NOT NULL,
    request_id {text} NOT NULL,
    user_id {text} NOT NULL,
    pack_id {text} NOT NULL,
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
    detail {text},
    CONSTRAINT final_exactly_when_never_due CHECK ((state IN ('fulfilled', 'failed')) = (due_at IS NULL)),
    CONSTRAINT looked_at_exactly_while_due CHECK ((look_at IS NULL) = (due_at IS NULL)),
    CONSTRAINT looked_at_no_later_than_due CHECK (look_at <= due_at)
){half full};
CREATE INDEX purchases_to_look_at ON purchases (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX purchases_by_age ON purchases (created_at);
";

/// A user's purchases that are not final. Its condition is that of `purchases_to_look_at`, so that the updates which touch no index
/// still touch none.
pub const OPEN_OF_USER: &str = "
CREATE INDEX purchases_open_of_user ON purchases (partner, user_id) WHERE look_at IS NOT NULL;
";
