//! Warnings before a buyback window shuts, what is said when it has shut, and selling before it does.
//!
//! Pure rules: they are given what looks have told, the rows there are, and `now`. A warning is a row per pull and lead time and is
//! sent at most once, ever; what must hold besides:
//!
//! | rule | where |
//! |---|---|
//! | Lead times past when the expiry is first read are skipped, except the nearest if none remains | [`plan()`] |
//! | An expiry that changed moves what was not sent; what was sent is never sent again | [`plan()`] |
//! | A gone pull's rows wait, and are planned again when it is seen again; what does not expire is skipped | [`plan()`] |
//! | An expiry not read yet plans nothing, and the pull stays due for a look | [`plan()`] |
//! | A warning due in quiet hours is held until they end, if the item has not expired by then; the user's zone wins | [`window`] |
//! | A warning goes out by its due moment, and early by no more than the digest, unless a crowd needs more | [`spread`] |
//! | A digest takes what is due within `digest` of its first row, at most 500 items an event | [`decide`], [`digests`] |
//! | Of several missed lead times of a pull the nearest is sent, late and saying so; none after expiry | [`decide`] |
//! | What a good look did not show is not warned of; only who had no good look in time is warned unverified | [`decide`] |
//! | That a window closed unsold is said once, of what the last good look before showed | [`closed()`] |
//! | An automatic sale needs a fresh look and both minima, and ends `stop_before` the expiry | [`sale()`] |
//!
//! *Late* is what is sent more than twice the patience after it was due; the patience, in which a digest waits for a good look, is a tenth
//! of the lead time and at most three minutes ([`Lead::tolerance`]).
//!
//! A user's next digest, from rows to event: [`next_window`], [`begins_at`], a look, [`plan()`] (the look may have told another expiry),
//! [`decide`], [`digests`].

mod closed;
mod digest;
mod due;
mod plan;
mod quiet;
mod row;
mod rules;
mod sale;
mod sale_queue;
mod sentences;
pub mod spread;
mod turn;
mod words;
mod zone;

pub use closed::{Closed, Unsaid, closed};
pub use digest::{Composing, Decision, Digest, MOST_ITEMS, decide, digests};
pub use due::{Window, due_moment, next_window, window};
pub use plan::{Change, Plan, plan};
pub use quiet::{Quiet, time_of_day};
pub use row::{FRESH, Lead, Row, RowState, Sale, Skipped, Watched};
pub use rules::{Leads, MOST_LEADS, RuleError, UserSettings, WarningRules};
pub use sale::{SaleRule, Unsold, Verdict, foresee, sale};
pub use sale_queue::{Queue, queue};
pub use sentences::{describe_sale, describe_warnings, preview_sale, preview_warnings};
pub use spread::{Crowd, begins_at};
pub use turn::{Digested, Offer, RETRY, Turn, Wanted, Watch};
pub use zone::zone;
