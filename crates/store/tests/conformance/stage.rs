//! Where a rule runs: an empty, migrated store of one implementation, removed afterwards whether the rule held or not.

use std::{ops::Deref, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use clawback_domain::{
    Time,
    clock::{BoxFuture, Clock, micros},
};
use clawback_store::{
    Store,
    memory::Memory,
    sql::{self, Options},
};
use futures_util::FutureExt;
use sea_orm::{ConnectionTrait, Database};
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

/// A store to test, and the place it lives in.
pub struct Stage {
    store: Arc<dyn Store>,
    place: Place,
}

/// What a store is kept in; several handles can be opened on it.
#[derive(Clone)]
pub enum Place {
    Memory(Arc<Memory>),
    Sqlite(Arc<TempDir>),
    /// A schema of its own in the suite's database, by its URL.
    Postgres(String),
}

pub async fn memory<F: Future<Output = ()>>(rule: impl FnOnce(Stage) -> F) {
    run(Place::memory(), rule).await;
}

pub async fn sqlite<F: Future<Output = ()>>(rule: impl FnOnce(Stage) -> F) {
    run(Place::sqlite(), rule).await;
}

pub async fn postgres<F: Future<Output = ()>>(rule: impl FnOnce(Stage) -> F) {
    run(Place::postgres().await, rule).await;
}

async fn run<F: Future<Output = ()>>(place: Place, rule: impl FnOnce(Stage) -> F) {
    let store = place.open().await;
    store.migrate().await.expect("an empty store can be migrated");
    let outcome = AssertUnwindSafe(rule(Stage { store: store.clone(), place: place.clone() })).catch_unwind().await;
    store.close().await;
    place.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Deref for Stage {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Stage {
    pub fn shared(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// A second handle on the same store, as another process would have.
    pub async fn second(&self) -> Arc<dyn Store> {
        self.place.open().await
    }

    /// Executes a statement behind the store's back. `false` where there is no such way.
    pub async fn write_past_us(&self, statement: &str) -> bool {
        let Some(url) = self.place.url() else { return false };
        execute(&url, statement).await;
        true
    }

    /// The same for what the schema would refuse.
    pub async fn write_past_constraints(&self, statement: &str) -> bool {
        let lift = match &self.place {
            Place::Sqlite(_) => "PRAGMA ignore_check_constraints = ON",
            Place::Memory(_) | Place::Postgres(_) => "ALTER TABLE orders DROP CONSTRAINT final_exactly_when_never_due",
        };
        self.write_past_us(&format!("{lift}; {statement}")).await
    }

    /// An empty place of the same kind, not migrated. Whoever asked for it removes it.
    pub async fn another_place(&self) -> Place {
        match &self.place {
            Place::Memory(_) => Place::memory(),
            Place::Sqlite(_) => Place::sqlite(),
            Place::Postgres(_) => Place::postgres().await,
        }
    }
}

impl Place {
    fn memory() -> Self {
        Place::Memory(Arc::new(Memory::new(Arc::new(SystemClock))))
    }

    fn sqlite() -> Self {
        Place::Sqlite(Arc::new(tempfile::tempdir().expect("a temporary folder can be made")))
    }

    async fn postgres() -> Self {
        let mut database = DATABASE.lock().await;
        if database.users == 0 {
            database.name = format!("clawback_suite_{}", Uuid::new_v4().simple());
            execute(&server(), &format!("CREATE DATABASE {}", database.name)).await;
        }
        database.users += 1;
        let (url, schema) = (on_server(&database.name), format!("s_{}", Uuid::new_v4().simple()));
        execute(&url, &format!("CREATE SCHEMA {schema}")).await;
        Place::Postgres(format!("{url}options=-c%20search_path%3D{schema}"))
    }

    /// A new handle; it does not migrate.
    pub async fn open(&self) -> Arc<dyn Store> {
        let url = match self {
            Place::Memory(memory) => return memory.clone(),
            Place::Sqlite(_) | Place::Postgres(_) => self.url().expect("a database has one"),
        };
        Arc::new(sql::connect(&url, Options::default()).await.expect("the store can be opened"))
    }

    fn url(&self) -> Option<String> {
        match self {
            Place::Memory(_) => None,
            Place::Sqlite(folder) => Some(format!("sqlite://{}?mode=rwc", folder.path().join("store.db").display())),
            Place::Postgres(url) => Some(url.clone()),
        }
    }

    pub async fn remove(&self) {
        match self {
            Place::Memory(_) | Place::Sqlite(_) => {}
            Place::Postgres(_) => {
                let mut database = DATABASE.lock().await;
                database.users -= 1;
                if database.users == 0 {
                    execute(&server(), &format!("DROP DATABASE {} WITH (FORCE)", database.name)).await;
                }
            }
        }
    }
}

/// One database for all rules under way: making one costs more than most rules. Whoever leaves last drops it.
struct Shared {
    name: String,
    users: u32,
}

static DATABASE: Mutex<Shared> = Mutex::const_new(Shared { name: String::new(), users: 0 });

fn server() -> String {
    std::env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into())
}

/// The URL of another database on the same server, ready for one option more.
fn on_server(database: &str) -> String {
    let url = server();
    let (address, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = address.rsplit_once('/').expect("DATABASE_URL ends with the name of a database");
    let separator = if options.is_empty() { "" } else { "&" };
    format!("{server}/{database}?{options}{separator}")
}

async fn execute(url: &str, statement: &str) {
    let connection = Database::connect(url).await.unwrap_or_else(|error| {
        panic!(
            "no PostgreSQL at {url}: {error}\nstart one there (`apt-get install postgresql`, or \
             `docker run -e POSTGRES_HOST_AUTH_METHOD=trust -p 5432:5432 postgres`), or set DATABASE_URL to one where databases \
             may be created; `./tests/run` does this by itself"
        )
    });
    connection.execute_unprepared(statement).await.expect("databases can be made and dropped there");
    connection.close().await.expect("a connection can be closed");
}

/// Tells the time; the model asks for nothing else.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        micros(chrono::Utc::now())
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        unreachable!("the model waits for nothing")
    }

    fn draw(&self) -> u64 {
        unreachable!("the model draws nothing")
    }
}
