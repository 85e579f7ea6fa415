//! A database of a test's own in the shared PostgreSQL.

use anyhow::{Context, Result, anyhow};
use reqwest::Url;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::servers;

/// Dropped, with whatever is still connected to it, when this drops.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    server: String,
}

impl Database {
    /// Empty, in the server that tests share.
    pub async fn create() -> Result<Self> {
        Self::create_in(&servers::postgres().await?).await
    }

    /// In the server with this URL, for example a [`PrivatePostgres`](crate::PrivatePostgres), which must then outlive it.
    pub async fn create_in(server: &str) -> Result<Self> {
        let name = format!("clawback_test_{}", Uuid::new_v4().simple());
        let url = with_database(server, &name)?;
        execute(server, &format!("CREATE DATABASE {name}")).await?;
        Ok(Self { name, url, server: server.to_owned() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = execute_blocking(self.server.clone(), sql) {
            eprintln!("the database {} is left behind: {error:#}", self.name);
        }
    }
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let connection = servers::connect(url).await?;
    connection.execute_unprepared(sql).await.with_context(|| sql.to_owned())?;
    Ok(connection.close().await?)
}

/// From `drop`, which cannot await and may run inside a runtime: on a thread and a runtime of its own.
fn execute_blocking(url: String, sql: String) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = std::thread::spawn(move || runtime.block_on(execute(&url, &sql)));
    work.join().map_err(|_| anyhow!("the clean-up panicked"))?
}

fn with_database(server: &str, name: &str) -> Result<String> {
    let mut url = Url::parse(server).context("DATABASE_URL")?;
    url.set_path(name);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_replaces_the_servers_own() {
        for (server, expected) in [
            ("postgres://postgres@127.0.0.1:5432/postgres", "postgres://postgres@127.0.0.1:5432/mine"),
            ("postgres://u:p@host", "postgres://u:p@host/mine"),
            ("postgres://u@host/db?sslmode=require", "postgres://u@host/mine?sslmode=require"),
        ] {
            assert_eq!(with_database(server, "mine").unwrap(), expected);
        }
    }
}
