//! A batch as statements: first what decides (rulings, then facts, inserts, transitions, marks), then what hangs on those rows that
//! were really inserted or changed. Nothing of a caller that lost its row, or its ruling, is written but its fact.
//!
//! What a sellback gives away is marked after its row was changed, and only then. Who drew something wants their inventory read: their
//! row comes last, for it alone is there before.
//!
//! Every statement goes through its rows in id order and tables come in the same order in every transaction, so that two batches
//! that meet wait for each other instead of deadlocking.

mod purchases;
mod sellbacks;
mod wishes;

use std::collections::{BTreeMap, HashSet};

use clawback_domain::{
    EventId, Money,
    change::{Change, Fact, Insertion},
    clock::after,
    event::Event,
    item::Pull,
    order::{AnyOrder, Attempt},
    timeline::Entry,
};
use sea_orm::sqlx;
use uuid::Uuid;

use super::{
    batch::Write,
    cases::{RULINGS, ruling_rows},
    json,
    statement::{Bulk, Cell, Kind, Rows, Step, Tx},
};
use crate::{FIRST_LOOK, Sent};
pub use purchases::CHANGES;
use purchases::{INSERTIONS, change_rows, insertion_rows};
pub use sellbacks::{SALE_CHANGES, SALES};
use sellbacks::{SALE_INSERTIONS, sale_change_rows, sale_insertion_rows, sold_rows};
use wishes::{WISHES, Wishes};

type Written<T> = Result<T, sqlx::Error>;

/// What became of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// An insert, a transition, a fact or marks: it stands.
    Written,
    /// The key of an insert was taken before; nothing of it was written.
    Taken,
    /// A transition did not fit; nothing but its fact was written.
    Lost,
}

/// Executes all of `writes`; the results are in the same order. Nothing stands before the transaction is committed.
pub async fn write(tx: &mut Tx<'_>, writes: &[&Write]) -> Written<Vec<Done>> {
    let upheld = tx.ids(&RULINGS, ruling_rows(writes.iter().filter_map(|write| change(write)))).await?;
    let fits = |change: &&Change| change.ruling.is_none() || upheld.contains(&change.after.id().0);
    let facts = writes.iter().filter_map(|write| match write {
        Write::Apply(change) => change.fact.as_ref(),
        Write::Fact(fact) => Some(&**fact),
        Write::Insert(_) | Write::Sent(_) | Write::Draft(_) => None,
    });
    let new = || writes.iter().filter_map(|write| insertion(write)).map(|insertion| &insertion.order);
    let moved = || writes.iter().filter_map(|write| change(write)).filter(fits).map(|change| &change.after);
    let rows = [
        (&FACTS, fact_rows(facts)?),
        (&INSERTIONS, insertion_rows(new().filter_map(AnyOrder::purchase))?),
        (&SALE_INSERTIONS, sale_insertion_rows(new().filter_map(AnyOrder::sellback))?),
        (&CHANGES, change_rows(moved().filter_map(AnyOrder::purchase))?),
        (&SALE_CHANGES, sale_change_rows(moved().filter_map(AnyOrder::sellback))?),
        (&MARKS, mark_rows(writes)),
    ];
    let [_, mut inserted, new_sales, mut changed, moved_sales, _] = tx.together(rows).await?;
    inserted.extend(new_sales);
    changed.extend(moved_sales);
    let sold =
        sold_rows(writes.iter().filter_map(|write| change(write)).filter(|change| changed.contains(&change.after.id().0)));
    tx.ids(&SALES, sold).await?;
    let standing = Standing::new(writes, &inserted, &changed);
    if !standing.is_empty() {
        tx.only_insert().await?;
        tx.together(standing.rows()?).await?;
    }
    let done = |write: &&Write| match write {
        Write::Insert(insertion) if !inserted.contains(&insertion.order.id().0) => Done::Taken,
        Write::Apply(change) if !changed.contains(&change.after.id().0) => Done::Lost,
        Write::Insert(_) | Write::Apply(_) | Write::Sent(_) | Write::Fact(_) => Done::Written,
        Write::Draft(_) => unreachable!("a batch is closed before it is written"),
    };
    Ok(writes.iter().map(done).collect())
}

fn insertion(write: &Write) -> Option<&Insertion> {
    if let Write::Insert(insertion) = write { Some(insertion) } else { None }
}

fn change(write: &Write) -> Option<&Change> {
    if let Write::Apply(change) = write { Some(change) } else { None }
}

/// What hangs on the writes whose row was really written.
#[derive(Default)]
struct Standing<'a> {
    attempts: Vec<(Uuid, &'a Attempt)>,
    events: Vec<&'a Event>,
    pulls: Vec<&'a Pull>,
    entries: Vec<&'a Entry>,
    wishes: Wishes<'a>,
}

impl<'a> Standing<'a> {
    fn new(writes: &[&'a Write], inserted: &HashSet<Uuid>, changed: &HashSet<Uuid>) -> Self {
        let mut standing = Self::default();
        for write in writes {
            match write {
                Write::Insert(insertion) if inserted.contains(&insertion.order.id().0) => {
                    standing.attempts.extend(insertion.attempt.iter().map(|attempt| (insertion.order.id().0, attempt)));
                    standing.entries.extend(&insertion.entries);
                }
                Write::Apply(change) if changed.contains(&change.after.id().0) => {
                    standing.attempts.extend(change.attempt.iter().map(|attempt| (change.after.id().0, attempt)));
                    standing.events.extend(&change.event);
                    standing.pulls.extend(&change.pulls);
                    standing.entries.extend(&change.entry);
                    standing.wishes.add(change);
                }
                Write::Insert(_) | Write::Apply(_) | Write::Sent(_) | Write::Fact(_) | Write::Draft(_) => {}
            }
        }
        standing
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.events.is_empty() && self.pulls.is_empty() && self.entries.is_empty()
    }

    fn rows(&self) -> Written<[Step<'a>; 5]> {
        Ok([
            (&ATTEMPTS, attempt_rows(&self.attempts)),
            (&EVENTS, event_rows(&self.events)),
            (&PULLS, pull_rows(&self.pulls)?),
            (&ENTRIES, entry_rows(&self.entries)),
            (&WISHES, self.wishes.rows()),
        ])
    }
}

pub static FACTS: Bulk = Bulk {
    columns: &[("token", Kind::Uuid), ("answered_at", Kind::Time), ("outcome", Kind::Text), ("answer", Kind::Text)],
    then: "UPDATE attempts SET answered_at = n_answered_at, outcome = n_outcome, answer = n_answer
        FROM v WHERE token = n_token AND answered_at IS NULL",
    returns: false,
};

fn fact_rows<'a>(facts: impl Iterator<Item = &'a Fact>) -> Written<Rows<'a>> {
    let mut facts: Vec<_> = facts.collect();
    facts.sort_unstable_by_key(|fact| fact.token);
    let mut rows = Rows::new(&FACTS);
    for fact in facts {
        let answer = json::answer_text(&fact.answer)?;
        rows.push([Cell::id(fact.token.0), Cell::at(fact.at), Cell::text(fact.answer.name()), Cell::owned(Some(answer))]);
    }
    Ok(rows)
}

static ATTEMPTS: Bulk = Bulk {
    columns: &[
        ("token", Kind::Uuid),
        ("order_id", Kind::Uuid),
        ("number", Kind::BigInt),
        ("started_at", Kind::Time),
        ("send_by", Kind::Time),
        ("deadline", Kind::Time),
        ("price", Kind::BigInt),
    ],
    then: "INSERT INTO attempts (token, order_id, number, started_at, send_by, deadline, price)
        SELECT n_token, n_order_id, n_number, n_started_at, n_send_by, n_deadline, n_price FROM v",
    returns: false,
};

fn attempt_rows<'a>(attempts: &[(Uuid, &'a Attempt)]) -> Rows<'a> {
    let mut rows = Rows::new(&ATTEMPTS);
    for (purchase, attempt) in attempts {
        rows.push([
            Cell::id(attempt.token.0),
            Cell::id(*purchase),
            Cell::count(attempt.number),
            Cell::at(attempt.started_at),
            Cell::at(attempt.send_by),
            Cell::at(attempt.deadline),
            Cell::BigInt(attempt.price.map(Money::millionths)),
        ]);
    }
    rows
}

pub static EVENTS: Bulk = Bulk {
    columns: &[
        ("id", Kind::Uuid),
        ("subject", Kind::Uuid),
        ("sequence", Kind::BigInt),
        ("time", Kind::Time),
        ("look_at", Kind::Time),
        ("kind", Kind::Text),
        ("partner", Kind::Text),
        ("request_id", Kind::Text),
        ("traceparent", Kind::Text),
        ("tracestate", Kind::Text),
        ("body", Kind::Text),
    ],
    then: "INSERT INTO events (id, subject, sequence, time, look_at, kind, partner, request_id, traceparent, tracestate, body)
        SELECT n_id, n_subject, n_sequence, n_time, n_look_at, n_kind, n_partner, n_request_id, n_traceparent, n_tracestate,
            n_body FROM v",
    returns: false,
};

pub fn event_rows<'a>(events: &[&'a Event]) -> Rows<'a> {
    let mut rows = Rows::new(&EVENTS);
    for event in events {
        rows.push([
            Cell::id(event.id.0),
            Cell::id(event.subject),
            Cell::number(event.sequence.cast_signed()),
            Cell::at(event.time),
            Cell::at(after(event.time, FIRST_LOOK)),
            Cell::text(event.kind.as_str()),
            Cell::text(event.partner.as_str()),
            Cell::maybe(event.request_id.as_ref().map(|request| request.as_str())),
            Cell::maybe(event.trace.as_ref().map(|trace| trace.traceparent())),
            Cell::maybe(event.trace.as_ref().and_then(|trace| trace.tracestate())),
            Cell::text(&event.body),
        ]);
    }
    rows
}

static PULLS: Bulk = Bulk {
    columns: &[
        ("id", Kind::Uuid),
        ("purchase", Kind::Uuid),
        ("position", Kind::BigInt),
        ("created_at", Kind::Time),
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("pack_id", Kind::Text),
        ("item_id", Kind::Text),
        ("item", Kind::Text),
    ],
    then: "INSERT INTO pulls (id, purchase, position, created_at, expiry_known, partner, user_id, pack_id, item_id, item)
        SELECT n_id, n_purchase, n_position, n_created_at, FALSE, n_partner, n_user_id, n_pack_id, n_item_id, n_item FROM v",
    returns: false,
};

fn pull_rows<'a>(pulls: &[&'a Pull]) -> Written<Rows<'a>> {
    let mut rows = Rows::new(&PULLS);
    for pull in pulls {
        rows.push([
            Cell::id(pull.id.0),
            Cell::id(pull.purchase.0),
            Cell::count(pull.position),
            Cell::at(pull.created_at),
            Cell::text(pull.partner.as_str()),
            Cell::text(pull.user_id.as_str()),
            Cell::text(pull.pack_id.as_str()),
            Cell::text(pull.item.item_id.as_str()),
            Cell::owned(Some(json::write(&pull.item)?)),
        ]);
    }
    Ok(rows)
}

static ENTRIES: Bulk = Bulk {
    columns: &[
        ("order_id", Kind::Uuid),
        ("version", Kind::BigInt),
        ("at", Kind::Time),
        ("what", Kind::Text),
        ("was", Kind::Text),
        ("became", Kind::Text),
        ("note", Kind::Text),
        ("person", Kind::Text),
    ],
    then: "INSERT INTO timeline (order_id, version, at, what, was, became, note, person)
        SELECT n_order_id, n_version, n_at, n_what, n_was, n_became, n_note, n_person FROM v",
    returns: false,
};

fn entry_rows<'a>(entries: &[&'a Entry]) -> Rows<'a> {
    let mut rows = Rows::new(&ENTRIES);
    for entry in entries {
        rows.push([
            Cell::id(entry.order.0),
            Cell::number(entry.version),
            Cell::at(entry.at),
            Cell::text(&entry.what),
            Cell::maybe(entry.from.map(|state| state.as_str())),
            Cell::text(entry.to.as_str()),
            Cell::text(&entry.note),
            Cell::maybe(entry.by.as_deref()),
        ]);
    }
    rows
}

pub static MARKS: Bulk = Bulk {
    columns: &[("id", Kind::Uuid), ("sent_at", Kind::Time), ("unrouted", Kind::Bool)],
    then: "UPDATE events SET sent_at = n_sent_at, unrouted = n_unrouted FROM v WHERE id = n_id AND sent_at IS NULL",
    returns: false,
};

/// The first mark of an event stands, in a batch as in the store.
fn mark_rows<'a>(writes: &[&Write]) -> Rows<'a> {
    let mut marks: BTreeMap<EventId, &Sent> = BTreeMap::new();
    for write in writes {
        if let Write::Sent(sent) = write {
            sent.iter().for_each(|sent| {
                marks.entry(sent.event).or_insert(sent);
            });
        }
    }
    let mut rows = Rows::new(&MARKS);
    for (event, sent) in marks {
        rows.push([Cell::id(event.0), Cell::at(sent.at), Cell::Bool(sent.unrouted)]);
    }
    rows
}
