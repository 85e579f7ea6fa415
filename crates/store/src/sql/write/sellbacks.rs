//! Sellbacks inserted and moved on, and the pulls that they give away. Statements of their own over the same table, so that purchases
//! carry none of it.

use clawback_domain::{Money, change::Change, command::Target, sellback::Sellback};

use super::{
    Written,
    purchases::{Column, in_order, then_moving},
};
use crate::sql::{
    json,
    statement::{Bulk, Cell, Kind, Rows},
};

const MOVING: [Column; 13] = [
    ("version", Kind::BigInt),
    ("due_at", Kind::Time),
    ("nudges", Kind::BigInt),
    ("attempts", Kind::BigInt),
    ("panics", Kind::BigInt),
    ("sequence", Kind::BigInt),
    ("updated_at", Kind::Time),
    ("state", Kind::Text),
    ("waiting_code", Kind::Text),
    ("selling", Kind::Text),
    ("sold_item", Kind::Text),
    ("sold_at", Kind::Time),
    ("detail", Kind::Text),
];

fn moving(sellback: &Sellback) -> Written<[Cell<'_>; MOVING.len()]> {
    let state = json::sale_columns(&sellback.state)?;
    Ok([
        Cell::number(sellback.version),
        Cell::Time(sellback.due_at),
        Cell::count(sellback.nudges),
        Cell::count(sellback.attempts),
        Cell::count(sellback.panics),
        Cell::number(sellback.sequence.cast_signed()),
        Cell::at(sellback.updated_at),
        Cell::text(state.name.as_str()),
        Cell::maybe(state.waiting.map(|code| code.as_str())),
        Cell::maybe(state.selling.map(|item| item.as_str())),
        Cell::maybe(state.sold.map(|item| item.as_str())),
        Cell::Time(state.sold.map(|_| sellback.updated_at)),
        Cell::owned(state.detail),
    ])
}

const GIVEN: [Column; 13] = [
    ("id", Kind::Uuid),
    ("digest", Kind::Bytes),
    ("created_at", Kind::Time),
    ("not_after", Kind::Time),
    ("partner", Kind::Text),
    ("request_id", Kind::Text),
    ("user_id", Kind::Text),
    ("item_id", Kind::Text),
    ("pull_id", Kind::Uuid),
    ("min_price", Kind::BigInt),
    ("metadata", Kind::Text),
    ("traceparent", Kind::Text),
    ("tracestate", Kind::Text),
];

/// Returns the ids that were not there before.
pub static SALE_INSERTIONS: Bulk = Bulk {
    columns: &then_moving::<13, 13, 26>(GIVEN, MOVING),
    then:
        "INSERT INTO orders (id, kind, digest, created_at, not_after, partner, request_id, user_id, item_id, pull_id, min_price,
            metadata, traceparent, tracestate, version, due_at, look_at, nudges, attempts, panics, sequence, updated_at, state,
            waiting_code, selling, sold_item, sold_at, detail)
        SELECT n_id, 'sellback', n_digest, n_created_at, n_not_after, n_partner, n_request_id, n_user_id, n_item_id, n_pull_id,
            n_min_price, n_metadata, n_traceparent, n_tracestate, n_version, n_due_at, n_due_at, n_nudges, n_attempts, n_panics,
            n_sequence, n_updated_at, n_state, n_waiting_code, n_selling, n_sold_item, n_sold_at, n_detail
        FROM v WHERE TRUE ON CONFLICT (id) DO NOTHING RETURNING id",
    returns: true,
};

pub fn sale_insertion_rows<'a>(sellbacks: impl Iterator<Item = &'a Sellback>) -> Written<Rows<'a>> {
    let mut rows = Rows::new(&SALE_INSERTIONS);
    for sellback in in_order(sellbacks) {
        let Sellback { command, trace, .. } = sellback;
        let (item, pull) = match &command.target {
            Target::Item(item) => (Some(item.as_str()), None),
            Target::Pull(pull) => (None, Some(pull.0)),
        };
        let given = [
            Cell::id(sellback.id.0),
            Cell::Bytes(&sellback.digest.0),
            Cell::at(sellback.created_at),
            Cell::Time(command.not_after),
            Cell::text(sellback.partner.as_str()),
            Cell::text(command.request_id.as_str()),
            Cell::text(command.user_id.as_str()),
            Cell::maybe(item),
            Cell::Uuid(pull),
            Cell::BigInt(command.min_price.map(Money::millionths)),
            Cell::maybe(command.metadata.as_ref().map(|metadata| metadata.as_str())),
            Cell::text(trace.traceparent()),
            Cell::maybe(trace.tracestate()),
        ];
        rows.push(given.into_iter().chain(moving(sellback)?));
    }
    Ok(rows)
}

/// Returns the ids whose row had the version before.
pub static SALE_CHANGES: Bulk = Bulk {
    columns: &then_moving::<1, 13, 14>([("id", Kind::Uuid)], MOVING),
    then: "UPDATE orders SET version = n_version, due_at = n_due_at,
            look_at = CASE WHEN n_due_at IS NULL THEN NULL WHEN n_due_at < look_at THEN n_due_at ELSE look_at END,
            nudges = n_nudges, attempts = n_attempts, panics = n_panics, sequence = n_sequence, updated_at = n_updated_at,
            state = n_state, waiting_code = n_waiting_code, selling = n_selling, sold_item = n_sold_item, sold_at = n_sold_at,
            detail = n_detail
        FROM v WHERE id = n_id AND version = n_version - 1 RETURNING id",
    returns: true,
};

pub fn sale_change_rows<'a>(sellbacks: impl Iterator<Item = &'a Sellback>) -> Written<Rows<'a>> {
    let mut rows = Rows::new(&SALE_CHANGES);
    for sellback in in_order(sellbacks) {
        rows.push([Cell::id(sellback.id.0)].into_iter().chain(moving(sellback)?));
    }
    Ok(rows)
}

/// A pull is given away once. A batch holds one of a user, for its ruling keeps others out: so no two transactions wait for each other.
pub static SALES: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("purchase", Kind::Uuid),
        ("position", Kind::BigInt),
        ("sold_by", Kind::Uuid),
        ("sold_at", Kind::Time),
    ],
    then: "UPDATE pulls SET sold_by = n_sold_by, sold_at = n_sold_at FROM v
        WHERE partner = n_partner AND user_id = n_user_id AND purchase = n_purchase AND position = n_position AND sold_by IS NULL",
    returns: false,
};

/// In order of user.
pub fn sold_rows<'a>(changes: impl Iterator<Item = &'a Change>) -> Rows<'a> {
    let mut sold: Vec<_> = changes.filter_map(|change| Some((change.after.sellback()?, change.sold()?))).collect();
    sold.sort_unstable_by_key(|(sellback, place)| (&sellback.partner, &sellback.command.user_id, *place));
    let mut rows = Rows::new(&SALES);
    for (sellback, place) in sold {
        rows.push([
            Cell::text(sellback.partner.as_str()),
            Cell::text(sellback.command.user_id.as_str()),
            Cell::id(place.purchase.0),
            Cell::count(place.position),
            Cell::id(sellback.id.0),
            Cell::at(sellback.updated_at),
        ]);
    }
    rows
}
