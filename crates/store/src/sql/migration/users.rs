//! Users of partners, and their warnings.
//!
//! A user's row is changed by every turn and every purchase of theirs, and so is its place among those that are due. A warning is written
//! once, sent once, and kept: neither of its indexes tells the state, so that sending touches none where its page has room. `moment` is that
//! of the lead time, `expires_at - lead`; it is kept because crowds are counted and warnings are listed by it.

pub const TABLE: &str = "
CREATE TABLE users (
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    warnings boolean NOT NULL DEFAULT TRUE,
    auto_sell boolean NOT NULL DEFAULT TRUE,
    zone {text},
    sync_wanted bigint NOT NULL,
    synced bigint NOT NULL DEFAULT 0,
    wanted_at {time},
    version bigint NOT NULL DEFAULT 0,
    nudges bigint NOT NULL DEFAULT 0,
    sequence bigint NOT NULL DEFAULT 0,
    due_at {time},
    PRIMARY KEY (partner, user_id),
    CONSTRAINT due_while_a_look_is_wanted CHECK (sync_wanted = synced OR due_at IS NOT NULL)
){roomy};
CREATE INDEX users_due ON users (due_at) WHERE due_at IS NOT NULL;
";

pub const WARNINGS: &str = "
CREATE TABLE warnings (
    pull_id {uuid} NOT NULL,
    lead bigint NOT NULL,
    partner {text} NOT NULL,
    user_id {text} NOT NULL,
    expires_at {time} NOT NULL,
    moment {time} NOT NULL,
    updated_at {time} NOT NULL,
    event {uuid},
    late boolean NOT NULL DEFAULT FALSE,
    verified boolean NOT NULL DEFAULT FALSE,
    state {text} NOT NULL,
    PRIMARY KEY (pull_id, lead)
){roomy};
CREATE INDEX warnings_of_user ON warnings (partner, user_id);
CREATE INDEX warnings_by_moment ON warnings (partner, moment, user_id);
";

/// Whoever drew something before users were known is due since their last purchase: they are claimed in batches, longest overdue first.
pub const KNOWN: &str = "
INSERT INTO users (partner, user_id, sync_wanted, wanted_at, due_at)
    SELECT partner, user_id, 1, max(created_at), max(created_at) FROM pulls GROUP BY partner, user_id;
";
