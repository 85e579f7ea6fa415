//! The audit: a few statements over whole tables, each of which counts or finds what does not agree.
//!
//! They run in one transaction that only reads, so that all of them see the books at one moment while others go on writing. The
//! databases join, group and limit; what comes back is a row a partner and at most [`MOST_NAMED`] rows a kind of difference.
//!
//! An order of which pruning left nothing but the row (`pruned = 2`) has nothing that could agree with it: it is counted apart.

use std::time::Duration;

use clawback_domain::{PartnerId, Time, order::StateName};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, QueryFilter, QueryResult, TransactionTrait, TryGetable, Value,
};

use super::{Sql, entity::unexplained::Column, failure::reading, json, orders::all, unexplained::oldest_first};
use crate::{
    StoreError,
    audit::{Books, Difference, Finding, MOST_NAMED, OVERDUE, SaleSums, Scope, Sums, UNSENT},
};

/// One statement may take longer here than on anybody's way, but not for ever.
const PATIENCE: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = '10min'";

const CALLED: &str = "('initiating', 'selling', 'pending', 'reconciling', 'review', 'fulfilled', 'sold')";
const FINAL: &str = "('fulfilled', 'sold', 'failed')";
const ANNOUNCED: &str = "('fulfilled', 'sold', 'failed', 'review')";
const FINAL_EVENTS: &str =
    "('clawback.purchase.fulfilled', 'clawback.purchase.failed', 'clawback.sellback.completed', 'clawback.sellback.failed')";
const PURCHASE: &str = "p.kind = 'purchase'";

/// A kind of difference: the rows that have it, with `subject`, `place` (tells several of a subject apart), `partner` and what the
/// finding tells. `$1` is since when, `$2` what is late.
struct Check {
    code: &'static str,
    late: Option<Duration>,
    rows: String,
    finding: fn(&QueryResult) -> Result<Finding, StoreError>,
}

impl Sql {
    pub(super) async fn audit_books(&self, scope: Scope) -> Result<Books, StoreError> {
        let tx = self.read.begin().await.map_err(reading)?;
        if self.is_postgres() {
            tx.execute_unprepared(PATIENCE).await.map_err(reading)?;
        }
        // Nothing was accepted before the epoch, so one text serves both questions.
        let since = scope.since.unwrap_or(Time::UNIX_EPOCH);
        let mut books = Books::default();
        self.count(&tx, since, &mut books).await?;
        for check in checks(self.is_postgres()) {
            self.find(&tx, &check, since, scope.now, &mut books).await?;
        }
        self.find_orphans(&tx, since, &mut books).await?;
        let pruned = "SELECT count(*) AS pruned FROM orders WHERE created_at >= $1 AND pruned = 2";
        for row in self.rows(&tx, pruned.into(), vec![since.into()]).await? {
            books.pruned = count(&row, "pruned")?;
        }
        tx.rollback().await.map_err(reading)?;
        Ok(books)
    }

    async fn count(&self, tx: &DatabaseTransaction, since: Time, books: &mut Books) -> Result<(), StoreError> {
        let (price, whole, millionths) = match self.is_postgres() {
            true => (
                "CAST(CAST(d.item AS json) ->> 'buyback_price' AS numeric)",
                "CAST(coalesce(sum(trunc(price)), 0) AS bigint)",
                "CAST(coalesce(sum((price - trunc(price)) * 1000000), 0) AS bigint)",
            ),
            // A decimal's digits as integers: SQLite would make a float of it.
            false => (
                "d.item ->> 'buyback_price'",
                "coalesce(sum(CAST(price AS integer)), 0)",
                "coalesce(sum(CAST(substr(substr(price, instr(price, '.') + 1) || '000000', 1, 6) AS integer)), 0)",
            ),
        };
        let states = "SELECT p.partner, count(*) AS accepted,
                count(*) FILTER (WHERE p.state = 'fulfilled') AS fulfilled,
                count(*) FILTER (WHERE p.state = 'failed') AS failed,
                count(*) FILTER (WHERE p.state = 'review') AS review,
                count(*) FILTER (WHERE p.state IN ('accepted', 'initiating', 'pending', 'reconciling')) AS open
            FROM orders p WHERE p.created_at >= $1 AND p.pruned < 2 AND p.kind = 'purchase' GROUP BY p.partner";
        for row in self.rows(tx, states.into(), vec![since.into()]).await? {
            let sums = Sums {
                accepted: count(&row, "accepted")?,
                fulfilled: count(&row, "fulfilled")?,
                failed: count(&row, "failed")?,
                review: count(&row, "review")?,
                open: count(&row, "open")?,
                ..Sums::default()
            };
            books.partners.insert(partner(&row)?, sums);
        }
        let attempts = "SELECT p.partner, count(*) AS attempts, count(*) FILTER (WHERE a.outcome = 'done') AS sessions
            FROM attempts a JOIN orders p ON p.id = a.order_id
            WHERE p.created_at >= $1 AND p.pruned < 2 AND p.kind = 'purchase' GROUP BY p.partner";
        for row in self.rows(tx, attempts.into(), vec![since.into()]).await? {
            let sums = books.partners.entry(partner(&row)?).or_default();
            (sums.attempts, sums.sessions) = (count(&row, "attempts")?, count(&row, "sessions")?);
        }
        // A purchase was paid for once, by the last of its attempts: only what did nothing is tried again.
        let paid = "SELECT p.partner, count(*) AS paid, count(a.price) AS known,
                CAST(coalesce(sum(a.price / 1000000), 0) AS bigint) AS whole,
                CAST(coalesce(sum(a.price % 1000000), 0) AS bigint) AS millionths
            FROM orders p LEFT JOIN attempts a ON a.order_id = p.id AND a.number = p.attempts
            WHERE p.created_at >= $1 AND p.pruned < 2
                AND (p.state = 'fulfilled' OR (p.session_id IS NOT NULL AND p.state <> 'failed'))
            GROUP BY p.partner";
        for row in self.rows(tx, paid.into(), vec![since.into()]).await? {
            let sums = books.partners.entry(partner(&row)?).or_default();
            (sums.paid, sums.paid_known) = (count(&row, "paid")?, count(&row, "known")?);
            let (whole, millionths): (i64, i64) = (get(&row, "whole")?, get(&row, "millionths")?);
            sums.spent = i128::from(whole) * 1_000_000 + i128::from(millionths);
        }
        let pulls = format!(
            "SELECT partner, count(*) AS pulls, count(price) AS priced, {whole} AS whole, {millionths} AS millionths
            FROM (SELECT p.partner, {price} AS price FROM pulls d JOIN orders p ON p.id = d.purchase
                WHERE p.created_at >= $1 AND p.pruned < 2) AS priced_pulls GROUP BY partner"
        );
        for row in self.rows(tx, pulls, vec![since.into()]).await? {
            let sums = books.partners.entry(partner(&row)?).or_default();
            (sums.pulls, sums.priced) = (count(&row, "pulls")?, count(&row, "priced")?);
            let (whole, millionths): (i64, i64) = (get(&row, "whole")?, get(&row, "millionths")?);
            sums.worth = i128::from(whole) * 1_000_000 + i128::from(millionths);
        }
        self.count_sales(tx, since, books).await
    }

    async fn count_sales(&self, tx: &DatabaseTransaction, since: Time, books: &mut Books) -> Result<(), StoreError> {
        let (price, yes, whole, millionths) = match self.is_postgres() {
            true => (
                "CAST(CAST(p.detail AS json) ->> 'amount' AS numeric)",
                "CAST(p.detail AS json) ->> 'estimated' = 'true'",
                "CAST(coalesce(sum(trunc(price)), 0) AS bigint)",
                "CAST(coalesce(sum((price - trunc(price)) * 1000000), 0) AS bigint)",
            ),
            false => (
                "p.detail ->> 'amount'",
                "p.detail ->> 'estimated'",
                "coalesce(sum(CAST(price AS integer)), 0)",
                "coalesce(sum(CAST(substr(substr(price, instr(price, '.') + 1) || '000000', 1, 6) AS integer)), 0)",
            ),
        };
        let sales = format!(
            "SELECT partner, count(*) AS accepted,
                count(*) FILTER (WHERE state = 'sold') AS sold, count(*) FILTER (WHERE estimated) AS estimated,
                count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'review') AS review,
                count(*) FILTER (WHERE state IN ('accepted', 'selling', 'reconciling')) AS open,
                {whole} AS whole, {millionths} AS millionths
            FROM (SELECT p.partner, p.state, CASE WHEN p.state = 'sold' THEN {price} END AS price,
                    CASE WHEN p.state = 'sold' THEN {yes} ELSE FALSE END AS estimated
                FROM orders p WHERE p.created_at >= $1 AND p.pruned < 2 AND p.kind = 'sellback') AS sellbacks GROUP BY partner"
        );
        for row in self.rows(tx, sales, vec![since.into()]).await? {
            let (whole, millionths): (i64, i64) = (get(&row, "whole")?, get(&row, "millionths")?);
            books.partners.entry(partner(&row)?).or_default().sellbacks = SaleSums {
                accepted: count(&row, "accepted")?,
                sold: count(&row, "sold")?,
                estimated: count(&row, "estimated")?,
                failed: count(&row, "failed")?,
                review: count(&row, "review")?,
                open: count(&row, "open")?,
                brought: i128::from(whole) * 1_000_000 + i128::from(millionths),
            };
        }
        Ok(())
    }

    async fn find(
        &self,
        tx: &DatabaseTransaction,
        check: &Check,
        since: Time,
        now: Time,
        books: &mut Books,
    ) -> Result<(), StoreError> {
        let mut values: Vec<Value> = vec![since.into()];
        values.extend(check.late.map(|span| Value::from(now - span)));
        let sql = format!(
            "SELECT *, count(*) OVER () AS found FROM ({}) AS differing ORDER BY subject, place LIMIT {MOST_NAMED}",
            check.rows
        );
        let rows = self.rows(tx, sql, values).await?;
        let Some(first) = rows.first() else { return Ok(()) };
        books.found.insert(check.code, count(first, "found")?);
        for row in &rows {
            let partner = get::<Option<String>>(row, "partner")?.map(|text| parse_partner(&text)).transpose()?;
            books.differences.push(Difference { subject: get(row, "subject")?, partner, finding: (check.finding)(row)? });
        }
        Ok(())
    }

    async fn find_orphans(&self, tx: &DatabaseTransaction, since: Time, books: &mut Books) -> Result<(), StoreError> {
        let counted = "SELECT count(*) AS found, CAST(coalesce(sum(count), 0) AS bigint) AS items FROM unexplained
            WHERE NOT claimed AND found_at >= $1";
        let oldest_first = oldest_first(MOST_NAMED).filter(Column::Claimed.eq(false)).filter(Column::FoundAt.gte(since));
        let counted = self.rows(tx, counted.into(), vec![since.into()]).await?;
        let Some(row) = counted.first() else { return Ok(()) };
        books.tell_orphans(count(row, "found")?, count(row, "items")?, all(oldest_first.all(tx).await)?);
        Ok(())
    }

    async fn rows(&self, tx: &DatabaseTransaction, sql: String, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        tx.query_all_raw(self.statement(sql, values)).await.map_err(reading)
    }
}

/// In the order in which differences are told.
fn checks(postgres: bool) -> [Check; 9] {
    let json = |column: &str, field: &str| match postgres {
        true => format!("(CAST({column} AS json) ->> '{field}')"),
        false => format!("({column} ->> '{field}')"),
    };
    let yes = if postgres { "'true'" } else { "1" };
    let states = StateName::ALL.iter().map(|state| format!("'{state}'")).collect::<Vec<_>>().join(", ");
    [
        Check {
            code: "vanished",
            late: None,
            rows: "SELECT t.order_id AS subject, CAST(0 AS bigint) AS place, CAST(NULL AS text) AS partner, t.at AS moment
                FROM timeline t WHERE t.version = 1 AND t.at >= $1
                AND NOT EXISTS (SELECT 1 FROM orders p WHERE p.id = t.order_id)"
                .into(),
            finding: |row| Ok(Finding::Vanished { accepted_at: get(row, "moment")? }),
        },
        Check {
            code: "unknown_state",
            late: None,
            rows: orders("", &format!("p.state NOT IN ({states})")),
            finding: |row| Ok(Finding::UnknownState { state: get(row, "state")? }),
        },
        Check {
            code: "never_due",
            late: None,
            rows: orders("", &format!("p.due_at IS NULL AND p.state NOT IN {FINAL}")),
            finding: |row| Ok(Finding::NeverDue { state: get(row, "state")? }),
        },
        Check {
            code: "overdue",
            late: Some(OVERDUE),
            rows: orders(", p.due_at", &format!("p.due_at < $2 AND p.state NOT IN {FINAL}")),
            finding: |row| Ok(Finding::Overdue { state: get(row, "state")?, due_at: get(row, "due_at")? }),
        },
        Check {
            code: "attempts",
            late: None,
            rows: with(
                "p.attempts AS counted, count(a.token) AS stored",
                "attempts a ON a.order_id = p.id",
                &format!("count(a.token) <> p.attempts OR (p.attempts = 0 AND p.state IN {CALLED})"),
            ),
            finding: |row| {
                let state = get(row, "state")?;
                Ok(Finding::Attempts { state, counted: get(row, "counted")?, stored: get(row, "stored")? })
            },
        },
        Check {
            code: Finding::ORPHAN,
            late: None,
            // What was recovered without a session has found its own: it was proven to have bought once.
            rows: format!(
                "SELECT p.id AS subject, a.number AS place, p.partner, {session} AS session, p.session_id AS known
                FROM attempts a JOIN orders p ON p.id = a.order_id
                WHERE p.created_at >= $1 AND p.pruned < 2 AND a.outcome = 'done' AND (p.session_id <> {session}
                    OR (p.session_id IS NULL AND p.state = 'failed'))",
                session = json("a.answer", "session")
            ),
            finding: |row| {
                let (attempt, session) = (get(row, "place")?, get(row, "session")?);
                Ok(Finding::Orphan { attempt, session, known: get(row, "known")? })
            },
        },
        Check {
            code: "pulls",
            late: None,
            rows: with(
                "p.amount, count(d.position) AS drawn",
                "pulls d ON d.partner = p.partner AND d.user_id = p.user_id AND d.purchase = p.id",
                &format!(
                    "{PURCHASE} AND count(d.position) <> CASE p.state WHEN 'fulfilled' THEN p.amount ELSE 0 END
                    AND NOT (p.state = 'fulfilled' AND count(d.position) > 0
                        AND coalesce({recovered} = {yes}, FALSE) AND {evidence} IS NOT NULL)",
                    recovered = json("p.detail", "recovered"),
                    evidence = json("p.detail", "evidence")
                ),
            ),
            finding: |row| {
                let state = get(row, "state")?;
                Ok(Finding::Pulls { state, amount: get(row, "amount")?, drawn: get(row, "drawn")? })
            },
        },
        Check {
            code: "events",
            late: None,
            rows: {
                let finals = format!("count(e.position) FILTER (WHERE e.kind IN {FINAL_EVENTS})");
                let says = "e.sequence = p.sequence
                    AND e.kind = 'clawback.' || p.kind || '.' || CASE p.state WHEN 'sold' THEN 'completed' ELSE p.state END";
                let last = format!("count(e.position) FILTER (WHERE {says})");
                with(
                    &format!("p.sequence, count(e.position) AS stored, {finals} AS finals, {last} AS last"),
                    "events e ON e.subject = p.id",
                    &format!(
                        "count(e.position) <> p.sequence OR {finals} <> CASE WHEN p.state IN {FINAL} THEN 1 ELSE 0 END
                        OR (p.state IN {ANNOUNCED} AND {last} <> 1)"
                    ),
                )
            },
            finding: |row| {
                Ok(Finding::Events {
                    state: get(row, "state")?,
                    sequence: get(row, "sequence")?,
                    stored: get(row, "stored")?,
                    finals: get(row, "finals")?,
                    last: get(row, "last")?,
                })
            },
        },
        Check {
            code: "unsent",
            late: Some(UNSENT),
            rows: "SELECT e.subject, e.sequence AS place, e.partner, e.kind, e.time AS moment
                FROM events e LEFT JOIN orders p ON p.id = e.subject
                WHERE e.sent_at IS NULL AND e.time < $2 AND coalesce(p.created_at, e.time) >= $1"
                .into(),
            finding: |row| {
                Ok(Finding::Unsent { kind: get(row, "kind")?, sequence: get(row, "place")?, time: get(row, "moment")? })
            },
        },
    ]
}

/// Orders that are so.
fn orders(columns: &str, are: &str) -> String {
    format!(
        "SELECT p.id AS subject, CAST(0 AS bigint) AS place, p.partner, p.state{columns}
        FROM orders p WHERE p.created_at >= $1 AND p.pruned < 2 AND {are}"
    )
}

/// Orders of which that many rows hang that it cannot be right.
fn with(columns: &str, rows: &str, wrong: &str) -> String {
    format!(
        "SELECT p.id AS subject, CAST(0 AS bigint) AS place, p.partner, p.state, {columns}
        FROM orders p LEFT JOIN {rows} WHERE p.created_at >= $1 AND p.pruned < 2 GROUP BY p.id HAVING {wrong}"
    )
}

fn partner(row: &QueryResult) -> Result<PartnerId, StoreError> {
    parse_partner(&get::<String>(row, "partner")?)
}

fn parse_partner(text: &str) -> Result<PartnerId, StoreError> {
    PartnerId::new(text).map_err(|error| json::corrupt("partner", &error))
}

fn count(row: &QueryResult, column: &str) -> Result<u64, StoreError> {
    Ok(get::<i64>(row, column)?.unsigned_abs())
}

fn get<T: TryGetable>(row: &QueryResult, column: &str) -> Result<T, StoreError> {
    row.try_get("", column).map_err(|error| json::corrupt(column, &error))
}
