//! Wishes for a look, raised by what was drawn: the users of a batch, each once however many purchases it holds of theirs.

use std::collections::BTreeMap;

use clawback_domain::{PartnerId, Time, UserId, change::Change, clock::after, user::SYNC_AFTER};

use crate::sql::statement::{Bulk, Cell, Kind, Rows};

/// A user who is not known becomes known. Who is due already is due no later.
pub static WISHES: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("sync_wanted", Kind::BigInt),
        ("wanted_at", Kind::Time),
        ("due_at", Kind::Time),
    ],
    then: "INSERT INTO users (partner, user_id, sync_wanted, wanted_at, due_at)
        SELECT n_partner, n_user_id, n_sync_wanted, n_wanted_at, n_due_at FROM v WHERE TRUE
        ON CONFLICT (partner, user_id) DO UPDATE SET sync_wanted = users.sync_wanted + excluded.sync_wanted,
            wanted_at = coalesce(users.wanted_at, excluded.wanted_at),
            due_at = CASE WHEN users.due_at < excluded.due_at THEN users.due_at ELSE excluded.due_at END",
    returns: false,
};

/// How many purchases of each user drew something, and when the first did.
#[derive(Default)]
pub struct Wishes<'a>(BTreeMap<(&'a PartnerId, &'a UserId), (i64, Time)>);

impl<'a> Wishes<'a> {
    pub fn add(&mut self, change: &'a Change) {
        if change.pulls.is_empty() {
            return;
        }
        let at = change.after.updated_at();
        let (count, first) = self.0.entry((change.after.partner(), change.after.user_id())).or_insert((0, at));
        *count += 1;
        *first = at.min(*first);
    }

    /// In order of user.
    pub fn rows(&self) -> Rows<'a> {
        let mut rows = Rows::new(&WISHES);
        for ((partner, user), (count, first)) in &self.0 {
            rows.push([
                Cell::text(partner.as_str()),
                Cell::text(user.as_str()),
                Cell::number(*count),
                Cell::at(*first),
                Cell::at(after(*first, SYNC_AFTER)),
            ]);
        }
        rows
    }
}
