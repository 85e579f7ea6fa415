//! The schema, a file per table, and the migrator.
//!
//! One text serves both databases: [`ddl`] puts in the names of types. Deliberate throughout:
//! - No foreign keys: each would cost a look-up per row on the hot path, and all rows of a purchase are written by one transaction.
//! - JSON is text: it is read whole, never searched, and `jsonb` costs more and refuses `\u0000`.
//! - Indexed texts compare as bytes (`COLLATE "C"`): a locale's rules cost more and can change under an index.

mod attempts;
mod dead_letters;
mod events;
mod pauses;
mod pulls;
mod purchases;
mod timeline;

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

/// The first schema.
struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "m0001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            purchases::TABLE,
            attempts::TABLE,
            pulls::TABLE,
            events::TABLE,
            timeline::TABLE,
            dead_letters::TABLE,
            pauses::TABLE,
        ];
        let db = manager.get_connection();
        for table in tables {
            db.execute_unprepared(&ddl(table, db.get_database_backend())).await?;
        }
        Ok(())
    }
}

/// `text` in the dialect of `backend`.
fn ddl(text: &str, backend: DbBackend) -> String {
    let dialect: [(&str, &str); 7] = match backend {
        DbBackend::Sqlite => [
            ("{uuid}", "blob"),
            ("{text}", "text"),
            ("{time}", "text"),
            ("{bytes}", "blob"),
            ("{serial}", "integer PRIMARY KEY AUTOINCREMENT"),
            ("{half full}", ""),
            ("{roomy}", ""),
        ],
        _ => [
            ("{uuid}", "uuid"),
            ("{text}", "text COLLATE \"C\""),
            ("{time}", "timestamptz"),
            ("{bytes}", "bytea"),
            ("{serial}", "bigserial PRIMARY KEY"),
            ("{half full}", " WITH (fillfactor = 50)"),
            ("{roomy}", " WITH (fillfactor = 70)"),
        ],
    };
    dialect.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
            assert!(!ddl(purchases::TABLE, backend).contains('{'));
            assert!(!ddl(events::TABLE, backend).contains('{'));
        }
    }
}
