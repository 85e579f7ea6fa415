//! A PostgreSQL database of one test's own, removed afterwards whether the test held or not.

use std::panic::AssertUnwindSafe;

use clawback_store::{
    Store,
    sql::{self, Options, Sql},
};
use futures_util::FutureExt;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TryGetable};
use uuid::Uuid;

pub struct Place {
    pub url: String,
    /// A connection beside the store's, for looking behind its back.
    pub beside: DatabaseConnection,
}

/// Runs `test` on an empty, migrated database.
pub async fn on_postgres<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    let name = format!("clawback_group_{}", Uuid::new_v4().simple());
    administer(&format!("CREATE DATABASE {name}")).await;
    let (server, _) = server().rsplit_once('/').map(|(server, rest)| (server.to_owned(), rest.to_owned())).expect("a URL");
    let url = format!("{server}/{name}");
    let outcome = AssertUnwindSafe(async {
        let beside = session(&url).await;
        let place = Place { url, beside };
        let store = place.store().await;
        store.migrate().await.expect("an empty database can be migrated");
        store.close().await;
        test(place).await;
    })
    .catch_unwind()
    .await;
    administer(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Place {
    pub async fn store(&self) -> Sql {
        open(&self.url).await
    }

    pub async fn execute(&self, sql: &str) {
        self.beside.execute_unprepared(sql).await.expect("it can be executed");
    }

    /// The first column of the first row.
    pub async fn ask<T: TryGetable>(&self, sql: &str) -> T {
        let row = self.beside.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
        row.expect("it can be asked").expect("there is a row").try_get_by_index(0).expect("it is of that type")
    }

    /// Asks until the answer is as wanted; the time-out is the test's failure, not its pace.
    pub async fn wait_until(&self, sql: &str) {
        let asking = async {
            while !self.ask::<bool>(sql).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("never: {sql}"));
    }
}

/// One session, not a pool of them: what it begins it ends.
pub async fn session(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    Database::connect(options).await.expect("the database takes connections")
}

pub async fn open(url: &str) -> Sql {
    sql::connect(url, Options::default()).await.expect("the store can be opened")
}

fn server() -> String {
    std::env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into())
}

async fn administer(statement: &str) {
    let url = server();
    let connection = Database::connect(&url).await.unwrap_or_else(|error| {
        panic!(
            "no PostgreSQL at {url}: {error}\nstart one there (`apt-get install postgresql`, or \
             `docker run -e POSTGRES_HOST_AUTH_METHOD=trust -p 5432:5432 postgres`), or set DATABASE_URL to one where databases \
             may be created; `./tests/run` does this by itself"
        )
    });
    connection.execute_unprepared(statement).await.expect("databases can be made and dropped there");
    connection.close().await.expect("a connection can be closed");
}
