//! The end of a turn: one transaction of its own, since whether its user's row still fits is known only within it.
//!
//! Whoever else changes the same rows takes them in this order too: the lock of who writes several pulls of one user (looks), pulls
//! (looks; the group commit, when one is sold), the place among events (the group commit), users (the group commit, when something is
//! drawn), and warnings, which nobody else writes. So two that meet wait for each other.

use std::collections::HashSet;

use clawback_domain::{
    EventId, PullId, Time,
    clock::after,
    event::Event,
    item::Pull,
    user::{SYNC_AFTER, Settling, User},
    warning::{Change, Digested},
};
use sea_orm::sqlx;
use uuid::Uuid;

use super::super::{
    Sql,
    connect::begin_bulk,
    entity::warnings::state_name,
    failure::Failure,
    looks::lock,
    statement::{Bulk, Cell, Kind, Rows, Tx},
    write::{EVENTS, event_rows},
};
use crate::StoreError;

pub async fn settle(sql: &Sql, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError> {
    let statement = |error| StoreError::from(Failure::of_statement(&error));
    let mut tx = begin_bulk(&sql.write).await.map_err(statement)?;
    // What is dropped without a commit is rolled back.
    let Some(events) = write(&mut tx, settling).await.map_err(statement)? else { return Ok(None) };
    tx.commit().await.map_err(|error| Failure::of_commit(&error))?;
    Ok(Some(events))
}

/// `None` when the row has another version.
async fn write(tx: &mut Tx<'_>, settling: &Settling) -> Result<Option<Vec<Event>>, sqlx::Error> {
    let closed = mark_pulls(tx, settling).await?;
    if !settling.digests.is_empty() || !closed.is_empty() {
        tx.events_in_order().await?;
    }
    if tx.affected(&TURNS, turn_row(settling)).await? == 0 {
        return Ok(None);
    }
    let (new, known): (Vec<_>, Vec<_>) = settling.changes.iter().partition(|change| matches!(change, Change::Insert(_)));
    tx.together([(&PLANS, plan_rows(&PLANS, settling, new)), (&REPLANS, plan_rows(&REPLANS, settling, known))]).await?;
    let mut events = Vec::new();
    let mut is_short = false;
    for digest in &settling.digests {
        let sequence = next(settling, &events);
        let [sent] = tx.together([(&SENDS, send_rows(settling, digest, sequence))]).await?;
        is_short |= sent.len() < digest.items.len();
        events.extend(settling.expiring(digest, sequence, |row| sent.contains(&row.pull.0)));
    }
    for pulls in &settling.closed {
        events.extend(settling.expired(pulls, next(settling, &events), |pull| closed.contains(&pull.0)));
    }
    if is_short || !events.is_empty() {
        let told: Vec<&Event> = events.iter().collect();
        tx.together([(&ENDS, end_row(settling, &events, is_short)), (&EVENTS, event_rows(&told))]).await?;
    }
    Ok(Some(events))
}

/// Of the next event.
fn next(settling: &Settling, events: &[Event]) -> u64 {
    settling.sequence + events.len() as u64 + 1
}

/// Those that were marked as closed.
async fn mark_pulls(tx: &mut Tx<'_>, settling: &Settling) -> Result<HashSet<Uuid>, sqlx::Error> {
    let closed: Vec<&Pull> = settling.closed.iter().flatten().collect();
    if closed.is_empty() && settling.offered.is_empty() {
        return Ok(HashSet::new());
    }
    tx.lock(lock(&settling.partner, &settling.user_id)).await?;
    tx.ids(&OFFERS, offer_rows(settling)).await?;
    tx.ids(&CLOSES, close_rows(settling, closed)).await
}

pub static OFFERS: Bulk = Bulk {
    columns: &[("partner", Kind::Text), ("user_id", Kind::Text), ("id", Kind::Uuid), ("at", Kind::Time)],
    then: "UPDATE pulls SET offered_at = n_at FROM v WHERE partner = n_partner AND user_id = n_user_id AND id = n_id",
    returns: false,
};

fn offer_rows(settling: &Settling) -> Rows<'_> {
    let mut pulls: Vec<PullId> = settling.offered.clone();
    pulls.sort_unstable();
    pulls.dedup();
    let mut rows = Rows::new(&OFFERS);
    for pull in pulls {
        let [partner, user] = owner(settling);
        rows.push([partner, user, Cell::id(pull.0), Cell::at(settling.at)]);
    }
    rows
}

/// Returns the ids of those of which it was not said, and that are not sold.
pub static CLOSES: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("purchase", Kind::Uuid),
        ("position", Kind::BigInt),
        ("at", Kind::Time),
    ],
    then: "UPDATE pulls SET closed_at = n_at FROM v
        WHERE partner = n_partner AND user_id = n_user_id AND purchase = n_purchase AND position = n_position
            AND closed_at IS NULL AND sold_by IS NULL RETURNING id",
    returns: true,
};

fn close_rows<'a>(settling: &'a Settling, mut pulls: Vec<&Pull>) -> Rows<'a> {
    pulls.sort_unstable_by_key(|pull| (pull.purchase, pull.position));
    let mut rows = Rows::new(&CLOSES);
    for pull in pulls {
        let [partner, user] = owner(settling);
        rows.push([partner, user, Cell::id(pull.purchase.0), Cell::count(pull.position), Cell::at(settling.at)]);
    }
    rows
}

/// The user's row, if it has the turn's version.
pub static TURNS: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("version", Kind::BigInt),
        ("seen", Kind::BigInt),
        ("synced", Kind::BigInt),
        ("at", Kind::Time),
        ("due_at", Kind::Time),
        ("soon", Kind::Time),
    ],
    then: "UPDATE users SET version = version + 1, nudges = 0, synced = n_synced,
            due_at = CASE WHEN sync_wanted <= n_seen OR n_due_at < n_soon THEN n_due_at ELSE n_soon END,
            wanted_at = CASE WHEN sync_wanted <= n_synced THEN NULL WHEN n_synced > synced THEN n_at ELSE wanted_at END
        FROM v WHERE partner = n_partner AND user_id = n_user_id AND version = n_version",
    returns: false,
};

fn turn_row(settling: &Settling) -> Rows<'_> {
    let mut rows = Rows::new(&TURNS);
    let [partner, user] = owner(settling);
    rows.push([
        partner,
        user,
        Cell::number(settling.version),
        Cell::number(settling.seen),
        Cell::number(settling.synced),
        Cell::at(settling.at),
        Cell::Time(settling.due_at),
        Cell::at(soon(settling)),
    ]);
    rows
}

/// What the events came to: the row is this transaction's already.
pub static ENDS: Bulk = Bulk {
    columns: &[("partner", Kind::Text), ("user_id", Kind::Text), ("sequence", Kind::BigInt), ("soon", Kind::Time)],
    then: "UPDATE users SET sequence = n_sequence,
            due_at = CASE WHEN n_soon IS NULL OR due_at < n_soon THEN due_at ELSE n_soon END
        FROM v WHERE partner = n_partner AND user_id = n_user_id",
    returns: false,
};

fn end_row<'a>(settling: &'a Settling, events: &[Event], is_short: bool) -> Rows<'a> {
    let mut rows = Rows::new(&ENDS);
    let [partner, user] = owner(settling);
    let sequence = settling.sequence + events.len() as u64;
    rows.push([partner, user, Cell::number(sequence.cast_signed()), Cell::Time(is_short.then(|| soon(settling)))]);
    rows
}

type Column = (&'static str, Kind);

const PLANNED: [Column; 8] = [
    ("pull_id", Kind::Uuid),
    ("lead", Kind::BigInt),
    ("partner", Kind::Text),
    ("user_id", Kind::Text),
    ("expires_at", Kind::Time),
    ("moment", Kind::Time),
    ("updated_at", Kind::Time),
    ("state", Kind::Text),
];

/// One that is there already stays as it is.
static PLANS: Bulk = Bulk {
    columns: &PLANNED,
    then: "INSERT INTO warnings (pull_id, lead, partner, user_id, expires_at, moment, updated_at, state)
        SELECT n_pull_id, n_lead, n_partner, n_user_id, n_expires_at, n_moment, n_updated_at, n_state
        FROM v WHERE TRUE ON CONFLICT (pull_id, lead) DO NOTHING",
    returns: false,
};

/// What was sent stays as it was sent.
pub static REPLANS: Bulk = Bulk {
    columns: &PLANNED,
    then: "UPDATE warnings SET expires_at = n_expires_at, moment = n_moment, updated_at = n_updated_at, state = n_state
        FROM v WHERE pull_id = n_pull_id AND lead = n_lead AND state <> 'sent'",
    returns: false,
};

/// In order of pull and lead time.
fn plan_rows<'a>(bulk: &Bulk, settling: &'a Settling, mut changes: Vec<&Change>) -> Rows<'a> {
    changes.sort_unstable_by_key(|change| (change.row().pull, change.row().lead));
    let mut rows = Rows::new(bulk);
    for change in changes {
        let row = change.row();
        let [partner, user] = owner(settling);
        rows.push([
            Cell::id(row.pull.0),
            Cell::number(row.lead.as_seconds().into()),
            partner,
            user,
            Cell::at(row.expiry),
            Cell::at(row.moment()),
            Cell::at(settling.at),
            Cell::text(state_name(row.state)),
        ]);
    }
    rows
}

/// Returns the pulls whose warning is sent by this: within a digest each occurs once.
pub static SENDS: Bulk = Bulk {
    columns: &[
        ("pull_id", Kind::Uuid),
        ("lead", Kind::BigInt),
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("purchase", Kind::Uuid),
        ("position", Kind::BigInt),
        ("event", Kind::Uuid),
        ("late", Kind::Bool),
        ("verified", Kind::Bool),
        ("at", Kind::Time),
    ],
    then: "UPDATE warnings SET state = 'sent', event = n_event, late = n_late, verified = n_verified, updated_at = n_at
        FROM v WHERE pull_id = n_pull_id AND lead = n_lead AND state = 'planned' AND EXISTS (
            SELECT 1 FROM pulls p WHERE p.partner = n_partner AND p.user_id = n_user_id AND p.purchase = n_purchase
                AND p.position = n_position AND p.sold_by IS NULL AND p.missing_since IS NULL)
        RETURNING pull_id AS id",
    returns: true,
};

fn send_rows<'a>(settling: &'a Settling, digest: &Digested, sequence: u64) -> Rows<'a> {
    let event = EventId::of(User::subject(&settling.partner, &settling.user_id), sequence);
    let mut rows = Rows::new(&SENDS);
    for (row, pull) in &digest.items {
        let [partner, user] = owner(settling);
        rows.push([
            Cell::id(row.pull.0),
            Cell::number(row.lead.as_seconds().into()),
            partner,
            user,
            Cell::id(pull.purchase.0),
            Cell::count(pull.position),
            Cell::id(event.0),
            Cell::Bool(digest.late),
            Cell::Bool(digest.verified),
            Cell::at(settling.at),
        ]);
    }
    rows
}

fn owner(settling: &Settling) -> [Cell<'_>; 2] {
    [Cell::text(settling.partner.as_str()), Cell::text(settling.user_id.as_str())]
}

fn soon(settling: &Settling) -> Time {
    after(settling.at, SYNC_AFTER)
}
