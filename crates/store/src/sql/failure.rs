//! What an error of the database means for the write that met it.
//!
//! The line that matters is COMMIT. Before it was sent, nothing is written whatever happened; after it, only the server's own word
//! that it rolled back proves that.

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self,
        postgres::{PgDatabaseError, PgSeverity},
        sqlite::SqliteError,
    },
};

use crate::StoreError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is written, and the same again may well pass: deadlock, serialization failure, SQLite busy.
    Again(String),
    /// Nothing is written, and this connection is of no more use.
    Lost(String),
    /// Nothing is written, because of what was to be written.
    Refused(String),
    /// Nothing is written, and it is not the write's fault.
    Unavailable(String),
    /// COMMIT was sent and its answer lost.
    Unknown(String),
}

impl Failure {
    /// Of anything before COMMIT.
    pub fn of_statement(error: &sqlx::Error) -> Self {
        let why = error.to_string();
        let kind = match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => postgres(error.code()),
                None => sqlite(error.code().as_deref()),
            },
            sqlx::Error::Encode(_) => Failure::Refused,
            sqlx::Error::PoolTimedOut => Failure::Unavailable,
            _ => Failure::Lost,
        };
        kind(why)
    }

    /// Of COMMIT.
    pub fn of_commit(error: &sqlx::Error) -> Self {
        let surely_rolled_back = match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                // FATAL may come after the commit stands: a backend that is told to end while it waits for its standby.
                Some(error) => error.severity() == PgSeverity::Error,
                None => !matches!(sqlite_class(error.code().as_deref()), Some(SQLITE_IOERR)),
            },
            _ => false,
        };
        if surely_rolled_back { Self::of_statement(error) } else { Failure::Unknown(error.to_string()) }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Again(why) | Failure::Lost(why) | Failure::Unavailable(why) => StoreError::Unavailable(why),
            Failure::Refused(why) => StoreError::Refused(why),
            Failure::Unknown(why) => StoreError::Unknown(why),
        }
    }
}

/// What makes a failure of its text.
type Kind = fn(String) -> Failure;

/// By class of SQLSTATE.
fn postgres(code: &str) -> Kind {
    match code {
        "40001" | "40P01" | "55P03" => Failure::Again,
        // A fail-over left us at a server that only reads: the next connection may find the other.
        "25006" => Failure::Lost,
        _ => match &code[..2] {
            // Bad data, broken constraints, and what exceeds a limit, as an index entry that is too long.
            "21" | "22" | "23" | "54" => Failure::Refused,
            "08" | "57" => Failure::Lost,
            _ => Failure::Unavailable,
        },
    }
}

const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_IOERR: i32 = 10;
const SQLITE_TOOBIG: i32 = 18;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_MISMATCH: i32 = 20;

/// By primary result code: extended codes keep it in their low byte (517, a snapshot that is too old, is busy too).
fn sqlite(code: Option<&str>) -> Kind {
    match sqlite_class(code) {
        Some(SQLITE_BUSY | SQLITE_LOCKED) => Failure::Again,
        Some(SQLITE_CONSTRAINT | SQLITE_TOOBIG | SQLITE_MISMATCH) => Failure::Refused,
        _ => Failure::Unavailable,
    }
}

fn sqlite_class(code: Option<&str>) -> Option<i32> {
    code?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Of a read: nothing was to be written.
pub fn reading(error: DbErr) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// Of a statement that commits by itself: sent and without an answer, it may stand.
pub fn writing(error: DbErr) -> StoreError {
    match &error {
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
            match Failure::of_statement(cause) {
                Failure::Lost(why) if !is_answer(cause) => StoreError::Unknown(why),
                failure => failure.into(),
            }
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn is_answer(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<PgDatabaseError>() {
        Some(error) => error.severity() == PgSeverity::Error,
        None => error.try_downcast_ref::<SqliteError>().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_to_do_next() {
        let cases: &[(&str, Kind)] = &[
            ("40P01", Failure::Again),
            ("40001", Failure::Again),
            ("55P03", Failure::Again),
            ("23505", Failure::Refused),
            ("23514", Failure::Refused),
            ("22021", Failure::Refused),
            ("54000", Failure::Refused),
            ("57P01", Failure::Lost),
            ("08006", Failure::Lost),
            ("25006", Failure::Lost),
            ("53100", Failure::Unavailable),
            ("42P01", Failure::Unavailable),
        ];
        for (code, expected) in cases {
            assert_eq!(postgres(code)(String::new()), expected(String::new()), "{code}");
        }
        let cases: &[(&str, Kind)] = &[
            ("5", Failure::Again),
            ("517", Failure::Again),
            ("6", Failure::Again),
            ("2067", Failure::Refused),
            ("275", Failure::Refused),
            ("13", Failure::Unavailable),
            ("10", Failure::Unavailable),
        ];
        for (code, expected) in cases {
            assert_eq!(sqlite(Some(code))(String::new()), expected(String::new()), "{code}");
        }
    }

    #[test]
    fn a_commit_without_an_answer_is_unknown_and_a_broken_statement_is_not() {
        let cut = || sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(Failure::of_statement(&cut()), Failure::Lost(_)));
        assert!(matches!(Failure::of_commit(&cut()), Failure::Unknown(_)));
        assert!(matches!(Failure::of_statement(&sqlx::Error::PoolTimedOut), Failure::Unavailable(_)));
    }
}
