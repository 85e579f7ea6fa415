//! Connections: what each kind is for, and the options without which a measured trap opens.
//!
//! PostgreSQL: the writer holds one connection of its own; everything else shares a pool. SQLite has one writer, so there is a pool
//! of one for every write, and another for reading beside it. Every wait is bounded here, on our side and on the server's.

use std::{path::Path, str::FromStr, time::Duration};

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::{
        self, Connection,
        pool::PoolOptions,
        postgres::{PgConnectOptions, PgConnection, PgPool, PgSslMode},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
    },
};

use super::statement::{ENCRYPTED_BYTES, PLAIN_BYTES, Tx};
use crate::StoreError;

/// What the server's list of sessions calls the connection of the group commit.
pub const WRITER: &str = "clawback writer";

/// How the store connects. The defaults suit every role.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections beside the writer's own, for reading and rare writes.
    pub connections: u32,
    /// How long to wait for one of them, or for a new one.
    pub acquire: Duration,
    /// How long one statement may take on the server.
    pub statement: Duration,
    /// How long one statement may wait for another transaction, or SQLite for another process.
    pub lock: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 8, acquire: seconds(5), statement: seconds(10), lock: seconds(5) }
    }
}

/// The writer's way to the database. In PostgreSQL it connects as the pool of everyone else does at that time.
pub enum Link {
    Postgres { pool: PgPool, patience: Duration, connection: Option<Session> },
    Sqlite(SqlitePool),
}

/// A connection to PostgreSQL, and how large its statements may be.
pub struct Session {
    connection: Box<PgConnection>,
    most_bytes: usize,
}

/// The databases behind a store: where its writer writes, where everyone else does, and where everyone reads.
pub struct Databases {
    pub link: Link,
    pub write: DatabaseConnection,
    pub read: DatabaseConnection,
}

impl Link {
    /// Begins a transaction that may write, on a new connection if there is none.
    pub async fn begin(&mut self) -> Result<Tx<'_>, sqlx::Error> {
        match self {
            Link::Postgres { pool, patience, connection } => {
                if connection.is_none() {
                    let options = PgConnectOptions::clone(&pool.connect_options()).application_name(WRITER);
                    let fresh = tokio::time::timeout(*patience, Session::open(&options)).await;
                    *connection = Some(fresh.map_err(|_| sqlx::Error::PoolTimedOut)??);
                }
                let session = connection.as_mut().expect("it was just opened");
                Ok(Tx::postgres(session.connection.begin().await?, session.most_bytes))
            }
            Link::Sqlite(pool) => Ok(Tx::sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)),
        }
    }

    /// Drops a connection that cannot be trusted any more.
    pub fn reset(&mut self) {
        if let Link::Postgres { connection, .. } = self {
            *connection = None;
        }
    }
}

impl Session {
    async fn open(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let mut connection = Box::new(PgConnection::connect_with(options).await?);
        let encrypted = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        let encrypted: bool = encrypted.fetch_one(&mut *connection).await?;
        Ok(Self { connection, most_bytes: if encrypted { ENCRYPTED_BYTES } else { PLAIN_BYTES } })
    }
}

/// Begins a transaction that may write. On SQLite a deferred one fails at once when it comes to write beside another, so nothing
/// that writes may begin in any other way.
pub async fn begin_writing(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let immediate = Some(SqliteTransactionMode::Immediate);
    db.begin_with_options(TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() }).await
}

/// The same below sea-orm, for statements over many rows.
pub async fn begin_bulk(db: &DatabaseConnection) -> Result<Tx<'static>, sqlx::Error> {
    match db.get_database_backend() {
        sea_orm::DbBackend::Sqlite => Ok(Tx::sqlite(db.get_sqlite_connection_pool().begin_with("BEGIN IMMEDIATE").await?)),
        _ => Ok(Tx::postgres(db.get_postgres_connection_pool().begin().await?, ENCRYPTED_BYTES)),
    }
}

/// Opens `url`. A server that is down is no error here: it is met, and told of, at the first use.
pub async fn open(url: &str, options: &Options) -> Result<Databases, StoreError> {
    if url.starts_with("sqlite:") {
        return sqlite(url, options).await;
    }
    if is_postgres(url) {
        return postgres(url, options);
    }
    Err(StoreError::Refused("the store's URL must begin with postgres:// or sqlite://".into()))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// Has new connections made with `url`, and leaves those that there are. Two databases at once would be two truths.
pub fn redirect(db: &DatabaseConnection, url: &str, options: &Options) -> Result<(), String> {
    let restart = || "it names another database, which takes a restart".to_owned();
    if db.get_database_backend() != sea_orm::DbBackend::Postgres || !is_postgres(url) {
        return Err(restart());
    }
    let pool = db.get_postgres_connection_pool();
    let connect = postgres_options(url, options).map_err(|error| error.to_string())?;
    if database_of(&connect) != database_of(&pool.connect_options()) {
        return Err(restart());
    }
    pool.set_connect_options(connect);
    Ok(())
}

/// Without a name, PostgreSQL takes the user's.
fn database_of(connect: &PgConnectOptions) -> &str {
    connect.get_database().unwrap_or_else(|| connect.get_username())
}

fn postgres(url: &str, options: &Options) -> Result<Databases, StoreError> {
    let pool: PgPool = PoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(options.acquire)
        .connect_lazy_with(postgres_options(url, options)?);
    let shared = DatabaseConnection::from(pool.clone());
    let link = Link::Postgres { pool, patience: options.acquire, connection: None };
    Ok(Databases { link, write: shared.clone(), read: shared })
}

fn postgres_options(url: &str, options: &Options) -> Result<PgConnectOptions, StoreError> {
    let millis = |span: Duration| span.as_millis().to_string();
    let connect = PgConnectOptions::from_str(url).map_err(|error| unusable("the PostgreSQL URL", &error))?;
    Ok(plain_on_loopback(connect, url).application_name("clawback").options([
        // A plan made while a table was empty scans it at every batch, for ever after (measured: 329 instead of 10 µs a row).
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        ("statement_timeout", millis(options.statement)),
        ("lock_timeout", millis(options.lock)),
        ("idle_in_transaction_session_timeout", millis(options.statement * 3)),
    ]))
}

/// By default sqlx encrypts where the server can, without checking whom it talks to. On this machine's own address that protects
/// nothing and costs both sides; whoever wants it says `sslmode`.
fn plain_on_loopback(connect: PgConnectOptions, url: &str) -> PgConnectOptions {
    let host = connect.get_host();
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if local && !url.contains("sslmode=") && !url.contains("ssl-mode=") {
        connect.ssl_mode(PgSslMode::Disable)
    } else {
        connect
    }
}

async fn sqlite(url: &str, options: &Options) -> Result<Databases, StoreError> {
    let connect = SqliteConnectOptions::from_str(url).map_err(|error| unusable("the SQLite URL", &error))?;
    if connect.get_filename().as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::Refused("an SQLite store needs a file: its reader and writer share it".into()));
    }
    create_parents(connect.get_filename())?;
    // FULL: with NORMAL the last commits may be lost when the power goes.
    let connect = connect
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.lock)
        // Given hundreds of rows, SQLite would rather index them and go through the whole table than find each by the table's index.
        .pragma("automatic_index", "OFF")
        .statement_cache_capacity(256);
    let pool = |connections| {
        PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.acquire)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(connect.clone())
    };
    let (writing, reading) = (pool(1), pool(options.connections));
    // The first connection makes the file and its journal; after it, readers and writers find both.
    writing.acquire().await.map_err(|error| unusable("the SQLite file", &error))?;
    Ok(Databases { link: Link::Sqlite(writing.clone()), write: writing.into(), read: reading.into() })
}

fn create_parents(file: &Path) -> Result<(), StoreError> {
    let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|error| unusable("the folder of the SQLite file", &error))
}

fn unusable(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{what} cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn new_connections_take_another_login_but_no_other_database() {
        let options = Options::default();
        let databases = open("postgres://acme:one@first/books", &options).await.unwrap();
        let check = |url: &str, refused: Option<&str>, login: (&str, &str)| {
            let why = redirect(&databases.read, url, &options).err();
            assert_eq!(why.is_some(), refused.is_some(), "{url}: {why:?}");
            let why = why.unwrap_or_default();
            assert!(why.contains(refused.unwrap_or_default()) && !why.contains("s3cret"), "{url}: {why}");
            let now = databases.read.get_postgres_connection_pool().connect_options();
            assert_eq!((now.get_username(), now.get_host()), login, "{url}");
            assert_eq!((now.get_database(), now.get_application_name()), (Some("books"), Some("clawback")), "{url}");
        };
        check("postgres://beta:two@first/books", None, ("beta", "first"));
        check("postgres://acme:s3cret@first/others", Some("another database"), ("beta", "first"));
        check("postgres://acme:s3cret@first", Some("another database"), ("beta", "first"));
        check("sqlite:///s3cret", Some("another database"), ("beta", "first"));
        check("postgres://acme:s3cret@first:port/books", Some("cannot be used"), ("beta", "first"));
        check("postgres://beta:three@second/books", None, ("beta", "second"));
    }
}
