//! Attempts and their facts: written by token only, whatever the order's state, and once.

use std::collections::BTreeMap;

use clawback_domain::{AttemptToken, OrderId, SessionId, Time, answer::Answer, change::Fact, order::Attempt};

use super::{Committed, Tables, text};
use crate::{AttemptRecord, StoreError};

#[derive(Default)]
pub(super) struct Attempts {
    /// In order of number.
    rows: BTreeMap<OrderId, Vec<AttemptRecord>>,
    tokens: BTreeMap<AttemptToken, (OrderId, usize)>,
}

impl Attempts {
    pub(super) fn of(&self, id: OrderId) -> &[AttemptRecord] {
        self.rows.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.rows.values().flatten()
    }

    /// The order whose attempt `token` is.
    pub(super) fn order(&self, token: AttemptToken) -> Option<OrderId> {
        self.tokens.get(&token).map(|(order, _)| *order)
    }

    pub(super) fn begin(&mut self, order: OrderId, attempt: Attempt) {
        let rows = self.rows.entry(order).or_default();
        self.tokens.insert(attempt.token, (order, rows.len()));
        rows.push(AttemptRecord { order, attempt, fact: None });
    }

    pub(super) fn forget(&mut self, order: OrderId) {
        for row in self.rows.remove(&order).unwrap_or_default() {
            self.tokens.remove(&row.attempt.token);
        }
    }

    /// The attempt of `token`, if it has no fact yet.
    fn unanswered(&mut self, token: AttemptToken) -> Option<&mut AttemptRecord> {
        let (order, place) = self.tokens.get(&token)?;
        self.rows.get_mut(order)?.get_mut(*place).filter(|row| row.fact.is_none())
    }
}

impl Tables {
    pub(super) fn record_fact(&mut self, fact: Fact) -> Result<(), StoreError> {
        text::check_fact(&fact)?;
        self.write_fact(fact);
        Ok(())
    }

    /// A session alone reads back as an answer without items.
    pub(super) fn record_bare_session(&mut self, token: AttemptToken, session: SessionId, at: Time) -> Result<(), StoreError> {
        self.record_fact(Fact { token, answer: Answer::Done { session, nfts: Vec::new() }, at })
    }

    /// Of a token that nobody has, nothing is written: there is no row to write it to.
    pub(super) fn write_fact(&mut self, fact: Fact) {
        let Some(row) = self.attempts.unanswered(fact.token) else { return };
        row.fact = Some(fact.clone());
        let order = row.order;
        self.commits.push(Committed::Fact { order, fact });
    }
}
