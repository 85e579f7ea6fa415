//! Bringing the schema up to date, by as many processes at once as like.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::MigratorTrait;

use super::{connect::begin_writing, failure, migration::Migrator};
use crate::StoreError;

/// Of the advisory lock that lets one process migrate at a time; any number that nobody else uses.
const LOCK: i64 = 727_201;

/// One process does it, the others wait and find it done: a lock on PostgreSQL, an immediate transaction on SQLite.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), StoreError> {
    let apply = async {
        let tx = begin_writing(db).await?;
        if db.get_database_backend() == DbBackend::Postgres {
            // Others may wait longer for a migration than a statement may wait for a lock.
            tx.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").await?;
            tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        }
        Migrator::up(&tx, None).await?;
        tx.commit().await
    };
    apply.await.map_err(failure::writing)
}

/// The names of migrations that are not applied; asking writes nothing.
pub async fn pending(db: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    match Migrator::get_pending_migrations_read_only(db).await {
        Ok(pending) => Ok(pending.iter().map(|migration| migration.name().to_owned()).collect()),
        Err(DbErr::Custom(why)) => Err(StoreError::Corrupt(why)),
        Err(error) => Err(failure::reading(error)),
    }
}
