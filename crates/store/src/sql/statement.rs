//! Many rows in one statement, the same text for both databases.
//!
//! A [`Bulk`] is `WITH v(columns…) AS (rows) …`. On PostgreSQL the rows are `unnest` of one array per column, so that the text never
//! changes and is prepared once; on SQLite they are `VALUES`. Statements are cut by rows *and* bytes ([`ENCRYPTED_BYTES`] tells of
//! a stall). Several that do not depend on each other go to PostgreSQL as one: each would cost a round trip of its own, and with
//! batches of some tens of rows that is most of what there is to save.

use std::{borrow::Cow, collections::HashSet};

use clawback_domain::Time;
use sea_orm::sqlx::{
    self, AssertSqlSafe, Executor, Postgres, Row, Sqlite, Transaction, postgres::PgArguments, query::Query,
    sqlite::SqliteArguments,
};
use uuid::Uuid;

use super::{events::EVENTS_IN_ORDER, json};

/// The most rows of one statement: SQLite binds at most 32,766 values, and the widest row has 24.
pub const MOST_ROWS: usize = 1024;

/// The most bytes of one statement on an encrypted connection. TLS cuts a message into records of 16 KiB, each is a write of its own,
/// sqlx sets no TCP_NODELAY, and so the second write waits for a delayed acknowledgement: measured, 16 KiB take 0.08 ms, 17 KiB take
/// 44 ms. The rest is room for what the protocol adds.
pub const ENCRYPTED_BYTES: usize = 15 * 1024;

/// The most bytes of one statement where nothing is encrypted. Measured, nothing stalls up to this.
pub const PLAIN_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Uuid,
    Text,
    BigInt,
    Bool,
    Time,
    Bytes,
}

/// One value of a row.
#[derive(Debug, Clone)]
pub enum Cell<'a> {
    Uuid(Option<Uuid>),
    Text(Option<Cow<'a, str>>),
    BigInt(Option<i64>),
    Bool(bool),
    Time(Option<Time>),
    Bytes(&'a [u8]),
}

/// A statement over the rows `v`; its columns are called as given, with `n_` before (*new*), so that no name is ambiguous.
pub struct Bulk {
    pub columns: &'static [(&'static str, Kind)],
    /// What follows the rows; refers to them as `v`.
    pub then: &'static str,
    /// Whether it ends with `RETURNING id`.
    pub returns: bool,
}

/// Rows of as many cells as the statement has columns, one after another.
pub struct Rows<'a> {
    width: usize,
    cells: Vec<Cell<'a>>,
}

/// A transaction on either database.
pub struct Tx<'c> {
    inner: Inner<'c>,
    /// Of one statement.
    most_bytes: usize,
}

/// A statement and its rows.
pub type Step<'a> = (&'static Bulk, Rows<'a>);

enum Inner<'c> {
    Postgres(Transaction<'c, Postgres>),
    Sqlite(Transaction<'c, Sqlite>),
}

impl<'a> Rows<'a> {
    pub fn new(bulk: &Bulk) -> Self {
        Self { width: bulk.columns.len(), cells: Vec::new() }
    }

    pub fn push(&mut self, row: impl IntoIterator<Item = Cell<'a>>) {
        let before = self.cells.len();
        self.cells.extend(row);
        assert_eq!(self.cells.len(), before + self.width, "a row has as many cells as the statement has columns");
    }

    /// The rows cut so that each part fits into one statement.
    fn parts(&self, most_bytes: usize) -> impl Iterator<Item = &[Cell<'a>]> {
        let mut rest = &self.cells[..];
        std::iter::from_fn(move || {
            let (part, others) = rest.split_at(self.width * fitting(rest, self.width, most_bytes));
            rest = others;
            (!part.is_empty()).then_some(part)
        })
    }
}

/// How many of the first rows fit into one statement; at least one, if there is one.
fn fitting(cells: &[Cell<'_>], width: usize, most_bytes: usize) -> usize {
    let mut bytes = 0;
    let fits = |row: &&[Cell<'_>]| {
        bytes += row.iter().map(Cell::bytes).sum::<usize>();
        bytes <= most_bytes
    };
    let rows = cells.chunks(width).take(MOST_ROWS).take_while(fits).count();
    rows.max(usize::from(!cells.is_empty()))
}

impl Cell<'_> {
    /// On the wire, with the length before it.
    fn bytes(&self) -> usize {
        4 + match self {
            Cell::Uuid(_) => 16,
            Cell::Text(text) => text.as_ref().map_or(0, |text| text.len()),
            Cell::BigInt(_) | Cell::Time(_) => 8,
            Cell::Bool(_) => 1,
            Cell::Bytes(bytes) => bytes.len(),
        }
    }
}

impl<'c> Tx<'c> {
    pub fn postgres(tx: Transaction<'c, Postgres>, most_bytes: usize) -> Self {
        Self { inner: Inner::Postgres(tx), most_bytes }
    }

    pub fn sqlite(tx: Transaction<'c, Sqlite>) -> Self {
        Self { inner: Inner::Sqlite(tx), most_bytes: usize::MAX }
    }

    /// Executes a statement for all rows; hands back the ids that it returned.
    pub async fn ids(&mut self, bulk: &'static Bulk, rows: Rows<'_>) -> Result<HashSet<Uuid>, sqlx::Error> {
        let [ids] = self.together([(bulk, rows)]).await?;
        Ok(ids)
    }

    /// Executes statements that do not see what the others write; hands back the ids that each returned.
    pub async fn together<const N: usize>(&mut self, steps: [Step<'_>; N]) -> Result<[HashSet<Uuid>; N], sqlx::Error> {
        let mut ids = std::array::from_fn(|_| HashSet::new());
        for statement in cut(&steps, self.most_bytes, matches!(self.inner, Inner::Postgres(_))) {
            match &mut self.inner {
                Inner::Postgres(tx) => {
                    for row in postgres(&statement).fetch_all(&mut **tx).await? {
                        ids[row.get::<i32, _>(0) as usize].insert(row.get(1));
                    }
                }
                Inner::Sqlite(tx) => {
                    for part in &statement {
                        let returned = sqlite(part)?.fetch_all(&mut **tx).await?;
                        ids[part.step].extend(returned.iter().map(|row| row.get::<Uuid, _>(0)));
                    }
                }
            }
        }
        Ok(ids)
    }

    /// Executes a statement that returns nothing for all rows; how many rows of its table it changed.
    pub async fn affected(&mut self, bulk: &'static Bulk, rows: Rows<'_>) -> Result<u64, sqlx::Error> {
        let steps = [(bulk, rows)];
        let mut count = 0;
        for part in cut(&steps, self.most_bytes, false).concat() {
            count += match &mut self.inner {
                Inner::Postgres(tx) => {
                    let text = text(part.bulk, &unnest(part.bulk, &mut 0));
                    bound(text, &[part]).execute(&mut **tx).await?.rows_affected()
                }
                Inner::Sqlite(tx) => sqlite(&part)?.execute(&mut **tx).await?.rows_affected(),
            };
        }
        Ok(count)
    }

    /// Waits for whoever holds the same lock, and holds it to the end of the transaction. In which order one statement comes to its
    /// rows is the server's choice, so two that change the same rows could each wait for the other. SQLite has one writer.
    pub async fn lock(&mut self, key: i64) -> Result<(), sqlx::Error> {
        if let Inner::Postgres(tx) = &mut self.inner {
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(key).execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// Whoever reads events in their order waits for this transaction, which is about to take places in it.
    pub async fn events_in_order(&mut self) -> Result<(), sqlx::Error> {
        if let Inner::Postgres(tx) = &mut self.inner {
            (&mut **tx).execute(AssertSqlSafe(format!("SELECT pg_advisory_xact_lock_shared({EVENTS_IN_ORDER})"))).await?;
        }
        Ok(())
    }

    /// From here on the transaction only inserts. PostgreSQL may then keep its plans, for there is nothing to choose; for what looks
    /// rows up it must not, or a plan made while a table was empty scans it at every batch (measured: 329 instead of 10 µs a row).
    /// And whoever reads events in their order waits for this transaction, which is about to take places in it.
    pub async fn only_insert(&mut self) -> Result<(), sqlx::Error> {
        if let Inner::Postgres(tx) = &mut self.inner {
            let sql = format!(
                "SET LOCAL plan_cache_mode = force_generic_plan; SELECT pg_advisory_xact_lock_shared({EVENTS_IN_ORDER})"
            );
            (&mut **tx).execute(AssertSqlSafe(sql)).await?;
        }
        Ok(())
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self.inner {
            Inner::Postgres(tx) => tx.commit().await,
            Inner::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// Some rows of one step.
#[derive(Clone, Copy)]
struct Part<'a> {
    step: usize,
    bulk: &'static Bulk,
    cells: &'a [Cell<'a>],
}

/// What goes out as one statement each: all steps, if they fit and may be one, else part by part.
fn cut<'a>(steps: &'a [Step<'a>], most_bytes: usize, joined: bool) -> Vec<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    for (step, (bulk, rows)) in steps.iter().enumerate() {
        parts.extend(rows.parts(most_bytes).map(|cells| Part { step, bulk, cells }));
    }
    let bytes: usize = parts.iter().flat_map(|part| part.cells).map(Cell::bytes).sum();
    let whole = parts.iter().zip(parts.iter().skip(1)).all(|(one, next)| one.step != next.step);
    if joined && whole && bytes <= most_bytes && !parts.is_empty() {
        return vec![parts];
    }
    parts.into_iter().map(|part| vec![part]).collect()
}

/// The statement of a part, over `rows`.
fn text(bulk: &Bulk, rows: &str) -> String {
    let names: Vec<_> = bulk.columns.iter().map(|(name, _)| format!("n_{name}")).collect();
    format!("WITH v({}) AS ({rows}) {}", names.join(", "), bulk.then)
}

/// The statement on SQLite.
pub fn values_text(bulk: &Bulk, rows: usize) -> String {
    let row = format!("({})", vec!["?"; bulk.columns.len()].join(", "));
    text(bulk, &format!("VALUES {}", vec![row; rows].join(", ")))
}

/// `WITH s0 AS (…), s1 AS (…) SELECT` what they returned, each with the number of its step.
fn joined_text(parts: &[Part<'_>]) -> String {
    let (mut statements, mut returned, mut bound) = (Vec::new(), Vec::new(), 0);
    for Part { step, bulk, .. } in parts {
        statements.push(format!("s{step} AS ({})", text(bulk, &unnest(bulk, &mut bound))));
        if bulk.returns {
            returned.push(format!("SELECT {step}, id FROM s{step}"));
        }
    }
    let returned = if returned.is_empty() { "SELECT WHERE FALSE".to_owned() } else { returned.join(" UNION ALL ") };
    format!("WITH {} {returned}", statements.join(", "))
}

/// The rows as PostgreSQL takes them, behind so many values that are bound already.
fn unnest(bulk: &Bulk, bound: &mut u32) -> String {
    let array = |(_, kind): &(&str, Kind)| {
        *bound += 1;
        format!("${bound}::{}", kind.array())
    };
    let arrays: Vec<_> = bulk.columns.iter().map(array).collect();
    format!("SELECT * FROM unnest({})", arrays.join(", "))
}

fn postgres<'q>(parts: &[Part<'_>]) -> Query<'q, Postgres, PgArguments> {
    bound(joined_text(parts), parts)
}

/// `text` with the values of `parts`.
fn bound<'q>(text: String, parts: &[Part<'_>]) -> Query<'q, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(text));
    for part in parts {
        for (at, (name, kind)) in part.bulk.columns.iter().enumerate() {
            let column = part.cells.iter().skip(at).step_by(part.bulk.columns.len());
            macro_rules! array {
                ($variant:ident($value:ident) => $bound:expr) => {{
                    let unwrap = |cell| match cell {
                        &Cell::$variant(ref $value) => $bound,
                        other => panic!("{other:?} in column {name} of {kind:?}"),
                    };
                    query.bind(column.map(unwrap).collect::<Vec<_>>())
                }};
            }
            query = match kind {
                Kind::Uuid => array!(Uuid(value) => *value),
                Kind::Text => array!(Text(value) => value.as_deref()),
                Kind::BigInt => array!(BigInt(value) => *value),
                Kind::Bool => array!(Bool(value) => *value),
                Kind::Time => array!(Time(value) => *value),
                Kind::Bytes => array!(Bytes(value) => *value),
            };
        }
    }
    query
}

/// SQLite would take a text with a NUL; PostgreSQL does not, and what one store refuses the other does too.
fn sqlite<'q>(part: &Part<'_>) -> Result<Query<'q, Sqlite, SqliteArguments>, sqlx::Error> {
    if part.cells.iter().any(|cell| matches!(cell, Cell::Text(Some(text)) if text.contains('\0'))) {
        return Err(json::nul());
    }
    let mut query = sqlx::query(AssertSqlSafe(values_text(part.bulk, part.cells.len() / part.bulk.columns.len())));
    for cell in part.cells {
        query = match cell {
            Cell::Uuid(value) => query.bind(*value),
            Cell::Text(value) => query.bind(value.as_deref()),
            Cell::BigInt(value) => query.bind(*value),
            Cell::Bool(value) => query.bind(*value),
            Cell::Time(value) => query.bind(*value),
            Cell::Bytes(value) => query.bind(*value),
        };
    }
    Ok(query)
}

impl Kind {
    fn array(self) -> &'static str {
        match self {
            Kind::Uuid => "uuid[]",
            Kind::Text => "text[]",
            Kind::BigInt => "bigint[]",
            Kind::Bool => "bool[]",
            Kind::Time => "timestamptz[]",
            Kind::Bytes => "bytea[]",
        }
    }
}

/// Short constructors, so that a row reads as a list of its values.
impl<'a> Cell<'a> {
    pub fn id(id: Uuid) -> Self {
        Cell::Uuid(Some(id))
    }

    pub fn text(text: &'a str) -> Self {
        Cell::Text(Some(Cow::Borrowed(text)))
    }

    pub fn maybe(text: Option<&'a str>) -> Self {
        Cell::Text(text.map(Cow::Borrowed))
    }

    pub fn owned(text: Option<String>) -> Self {
        Cell::Text(text.map(Cow::Owned))
    }

    pub fn at(time: Time) -> Self {
        Cell::Time(Some(time))
    }

    pub fn count(count: u32) -> Self {
        Cell::number(count.into())
    }

    pub fn number(number: i64) -> Self {
        Cell::BigInt(Some(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOTES: Bulk = Bulk {
        columns: &[("id", Kind::BigInt), ("note", Kind::Text)],
        then: "UPDATE t SET note = n_note FROM v",
        returns: true,
    };
    static MARKS: Bulk = Bulk { columns: &[("id", Kind::Uuid)], then: "DELETE FROM t USING v", returns: false };

    /// `count` rows of 8 + 4 + 4 + `bytes` bytes.
    fn notes<'a>(count: usize, bytes: usize) -> Step<'a> {
        let mut rows = Rows::new(&NOTES);
        (0..count as i64).for_each(|n| rows.push([Cell::number(n), Cell::owned(Some("x".repeat(bytes)))]));
        (&NOTES, rows)
    }

    /// `count` rows of 20 bytes.
    fn marks<'a>(count: usize) -> Step<'a> {
        let mut rows = Rows::new(&MARKS);
        (0..count).for_each(|n| rows.push([Cell::id(Uuid::from_u128(n as u128))]));
        (&MARKS, rows)
    }

    /// (step, rows) of each part of each statement, of at most 1000 bytes.
    fn sizes(steps: &[Step<'_>], joined: bool) -> Vec<Vec<(usize, usize)>> {
        let size = |part: &Part<'_>| (part.step, part.cells.len() / part.bulk.columns.len());
        cut(steps, 1000, joined).iter().map(|parts| parts.iter().map(size).collect()).collect()
    }

    #[test]
    fn rows_are_cut_by_count_and_by_bytes_and_none_is_left_out() {
        let of = |count, bytes| sizes(&[notes(count, bytes)], true).concat().iter().map(|(_, rows)| *rows).collect::<Vec<_>>();
        assert_eq!(of(0, 1), Vec::<usize>::new());
        assert_eq!(of(1, 10_000), [1], "a single row goes out however large it is");
        assert_eq!(of(2, 10_000), [1, 1]);
        assert_eq!(of(5, 500 - 16), [2, 2, 1]);
        assert_eq!(of(5, 500 - 15), [1, 1, 1, 1, 1]);
        let many = (&MARKS, marks(MOST_ROWS + 1).1);
        assert_eq!(cut(&[many], usize::MAX, true).iter().map(|parts| parts[0].cells.len()).collect::<Vec<_>>(), [MOST_ROWS, 1]);
    }

    #[test]
    fn steps_share_a_statement_if_all_of_them_fit() {
        assert_eq!(sizes(&[notes(3, 1), marks(2)], true), [[(0, 3), (1, 2)]]);
        assert_eq!(sizes(&[notes(0, 1), marks(2)], true), [[(1, 2)]], "an empty step is left out");
        assert_eq!(sizes(&[notes(0, 1), marks(0)], true), Vec::<Vec<_>>::new());
        assert_eq!(sizes(&[notes(2, 400), marks(20)], true), [[(0, 2)], [(1, 20)]], "together they are too large");
        assert_eq!(sizes(&[notes(3, 400), marks(2)], true), [[(0, 2)], [(0, 1)], [(1, 2)]]);
        assert_eq!(sizes(&[notes(3, 1), marks(2)], false), [[(0, 3)], [(1, 2)]], "SQLite takes one at a time");
    }

    #[test]
    fn the_text_on_postgres_does_not_depend_on_the_rows() {
        let text = |steps: &[Step<'_>]| joined_text(&cut(steps, 1000, true)[0]);
        assert_eq!(text(&[notes(1, 1), marks(1)]), text(&[notes(7, 30), marks(9)]));
        assert_eq!(
            text(&[notes(1, 1), marks(1)]),
            "WITH s0 AS (WITH v(n_id, n_note) AS (SELECT * FROM unnest($1::bigint[], $2::text[])) \
             UPDATE t SET note = n_note FROM v), \
             s1 AS (WITH v(n_id) AS (SELECT * FROM unnest($3::uuid[])) DELETE FROM t USING v) \
             SELECT 0, id FROM s0"
        );
    }
}
