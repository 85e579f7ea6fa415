//! Purchases inserted and moved on. Both statements carry what moves in a purchase's life, in the same order.

use clawback_domain::{order::Order, purchase::Purchase};

use super::Written;
use crate::sql::{
    json,
    statement::{Bulk, Cell, Kind, Rows},
};

pub(super) type Column = (&'static str, Kind);

const MOVING: [Column; 11] = [
    ("version", Kind::BigInt),
    ("due_at", Kind::Time),
    ("nudges", Kind::BigInt),
    ("attempts", Kind::BigInt),
    ("panics", Kind::BigInt),
    ("sequence", Kind::BigInt),
    ("updated_at", Kind::Time),
    ("state", Kind::Text),
    ("waiting_code", Kind::Text),
    ("session_id", Kind::Text),
    ("detail", Kind::Text),
];

fn moving(purchase: &Purchase) -> Written<[Cell<'_>; MOVING.len()]> {
    let state = json::state_columns(&purchase.state)?;
    Ok([
        Cell::number(purchase.version),
        Cell::Time(purchase.due_at),
        Cell::count(purchase.nudges),
        Cell::count(purchase.attempts),
        Cell::count(purchase.panics),
        Cell::number(purchase.sequence.cast_signed()),
        Cell::at(purchase.updated_at),
        Cell::text(state.name.as_str()),
        Cell::maybe(state.waiting.map(|code| code.as_str())),
        Cell::maybe(state.session.map(|session| session.as_str())),
        Cell::owned(state.detail),
    ])
}

const GIVEN: [Column; 12] = [
    ("id", Kind::Uuid),
    ("amount", Kind::BigInt),
    ("digest", Kind::Bytes),
    ("created_at", Kind::Time),
    ("not_after", Kind::Time),
    ("partner", Kind::Text),
    ("request_id", Kind::Text),
    ("user_id", Kind::Text),
    ("pack_id", Kind::Text),
    ("metadata", Kind::Text),
    ("traceparent", Kind::Text),
    ("tracestate", Kind::Text),
];

fn given(purchase: &Purchase) -> [Cell<'_>; GIVEN.len()] {
    let Purchase { command, trace, .. } = purchase;
    [
        Cell::id(purchase.id.0),
        Cell::count(command.amount),
        Cell::Bytes(&purchase.digest.0),
        Cell::at(purchase.created_at),
        Cell::Time(command.not_after),
        Cell::text(purchase.partner.as_str()),
        Cell::text(command.request_id.as_str()),
        Cell::text(command.user_id.as_str()),
        Cell::text(command.pack_id.as_str()),
        Cell::maybe(command.metadata.as_ref().map(|metadata| metadata.as_str())),
        Cell::text(trace.traceparent()),
        Cell::maybe(trace.tracestate()),
    ]
}

/// Returns the ids that were not there before. Within a batch each id has one caller, so an id here is that caller's.
pub static INSERTIONS: Bulk = Bulk {
    columns: &then_moving::<12, 11, 23>(GIVEN, MOVING),
    then: "INSERT INTO orders (id, amount, digest, created_at, not_after, partner, request_id, user_id, pack_id, metadata,
            traceparent, tracestate, version, due_at, look_at, nudges, attempts, panics, sequence, updated_at, state,
            waiting_code, session_id, detail)
        SELECT n_id, n_amount, n_digest, n_created_at, n_not_after, n_partner, n_request_id, n_user_id, n_pack_id, n_metadata,
            n_traceparent, n_tracestate, n_version, n_due_at, n_due_at, n_nudges, n_attempts, n_panics, n_sequence,
            n_updated_at, n_state, n_waiting_code, n_session_id, n_detail
        FROM v WHERE TRUE ON CONFLICT (id) DO NOTHING RETURNING id",
    returns: true,
};

pub fn insertion_rows<'a>(purchases: impl Iterator<Item = &'a Purchase>) -> Written<Rows<'a>> {
    let mut rows = Rows::new(&INSERTIONS);
    for purchase in in_order(purchases) {
        rows.push(given(purchase).into_iter().chain(moving(purchase)?));
    }
    Ok(rows)
}

/// Returns the ids whose row had the version before. `look_at` moves only when the row becomes due earlier, or never again: moves that
/// make it due later touch no index.
pub static CHANGES: Bulk = Bulk {
    columns: &then_moving::<1, 11, 12>([("id", Kind::Uuid)], MOVING),
    then: "UPDATE orders SET version = n_version, due_at = n_due_at,
            look_at = CASE WHEN n_due_at IS NULL THEN NULL WHEN n_due_at < look_at THEN n_due_at ELSE look_at END,
            nudges = n_nudges, attempts = n_attempts, panics = n_panics, sequence = n_sequence, updated_at = n_updated_at,
            state = n_state, waiting_code = n_waiting_code, session_id = n_session_id, detail = n_detail
        FROM v WHERE id = n_id AND version = n_version - 1 RETURNING id",
    returns: true,
};

pub fn change_rows<'a>(purchases: impl Iterator<Item = &'a Purchase>) -> Written<Rows<'a>> {
    let mut rows = Rows::new(&CHANGES);
    for purchase in in_order(purchases) {
        rows.push([Cell::id(purchase.id.0)].into_iter().chain(moving(purchase)?));
    }
    Ok(rows)
}

pub(super) fn in_order<'a, C: 'a, S: 'a>(orders: impl Iterator<Item = &'a Order<C, S>>) -> Vec<&'a Order<C, S>> {
    let mut orders: Vec<_> = orders.collect();
    orders.sort_unstable_by_key(|order| order.id);
    orders
}

/// `first`, and behind it what moves.
pub(super) const fn then_moving<const FIRST: usize, const MOVES: usize, const ALL: usize>(
    first: [Column; FIRST],
    moving: [Column; MOVES],
) -> [Column; ALL] {
    assert!(ALL == FIRST + MOVES);
    let mut all = [moving[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < FIRST { first[at] } else { moving[at - FIRST] };
        at += 1;
    }
    all
}
