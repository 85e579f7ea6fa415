//! The schema, a file per table, and the migrator.
//!
//! One text serves both databases: [`ddl`] puts in the names of types. Deliberate throughout:
//! - No foreign keys: each would cost a look-up per row on the hot path, and all rows of a purchase are written by one transaction.
//! - JSON is text: it is read whole, never searched, and `jsonb` costs more and refuses `\u0000`.
//! - Indexed texts compare as bytes (`COLLATE "C"`): a locale's rules cost more and can change under an index.

mod attempts;
mod cases;
mod dead_letters;
mod events;
mod orders;
mod pauses;
mod pulls;
mod retention;
mod sold_items;
mod timeline;
mod unexplained;
mod users;
mod webhooks;

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(First),
            Box::new(Evidence),
            Box::new(Webhooks),
            Box::new(Users),
            Box::new(sold_items::SoldItems),
            Box::new(Retention),
            Box::new(Exchanges),
        ]
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
        let tables =
            [orders::TABLE, attempts::TABLE, pulls::TABLE, events::TABLE, timeline::TABLE, dead_letters::TABLE, pauses::TABLE];
        apply(manager, &tables).await
    }
}

/// What unknown outcomes are settled with.
struct Evidence;

impl MigrationName for Evidence {
    fn name(&self) -> &str {
        "m0002_evidence"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Evidence {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[pulls::SIGHTS, orders::OPEN_OF_USER, cases::TABLE, unexplained::TABLE, attempts::PRICE, pulls::SALES])
            .await
    }
}

/// What goes to partners' endpoints.
struct Webhooks;

impl MigrationName for Webhooks {
    fn name(&self) -> &str {
        "m0003_webhooks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Webhooks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[webhooks::TABLE]).await
    }
}

/// Whose items are watched, and who is warned.
struct Users;

impl MigrationName for Users {
    fn name(&self) -> &str {
        "m0004_users"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Users {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[users::TABLE, users::WARNINGS, pulls::TOLD, users::KNOWN]).await
    }
}

/// What is removed by age.
struct Retention;

impl MigrationName for Retention {
    fn name(&self) -> &str {
        "m0006_retention"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Retention {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[retention::PRUNED]).await
    }
}

/// What equals in doubt were given of each other's.
struct Exchanges;

impl MigrationName for Exchanges {
    fn name(&self) -> &str {
        "m0007_exchanges"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Exchanges {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[pulls::EXCHANGED]).await
    }
}

async fn apply(manager: &SchemaManager<'_>, texts: &[&str]) -> Result<(), DbErr> {
    let db = manager.get_connection();
    for text in texts {
        db.execute_unprepared(&ddl(text, db.get_database_backend())).await?;
    }
    Ok(())
}

/// `text` in the dialect of `backend`.
fn ddl(text: &str, backend: DbBackend) -> String {
    let dialect: [(&str, &str); 8] = match backend {
        DbBackend::Sqlite => [
            ("{uuid}", "blob"),
            ("{text}", "text"),
            ("{time}", "text"),
            ("{bytes}", "blob"),
            ("{serial}", "integer PRIMARY KEY AUTOINCREMENT"),
            ("{half full}", ""),
            ("{roomy}", ""),
            ("{json}", ""),
        ],
        _ => [
            ("{uuid}", "uuid"),
            ("{text}", "text COLLATE \"C\""),
            ("{time}", "timestamptz"),
            ("{bytes}", "bytea"),
            ("{serial}", "bigserial PRIMARY KEY"),
            ("{half full}", " WITH (fillfactor = 50)"),
            ("{roomy}", " WITH (fillfactor = 70)"),
            ("{json}", "::json"),
        ],
    };
    dialect.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
}

#[cfg(test)]
mod tests {
    use clawback_domain::{user::User, warning::UserSettings};
    use sea_orm::{ConnectOptions, Database, EntityTrait};

    use super::*;
    use crate::sql::entity;

    /// Whoever comes from the first schema keeps what they have, and no look has been taken yet.
    #[tokio::test]
    async fn what_was_drawn_before_looks_were_kept_has_not_been_looked_at() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory takes connections");
        Migrator::up(&db, Some(1)).await.expect("the first schema");
        let drawn = "INSERT INTO pulls (id, purchase, position, created_at, expiry_known, partner, user_id, pack_id, item_id, item) VALUES
            (zeroblob(16), zeroblob(16), 0, '2026-03-01T12:00:00+00:00', FALSE, 'acme', 'user-1', 'pack-1', 'a', '{\"item_id\":\"a\"}')";
        db.execute_unprepared(drawn).await.expect("it fits the first schema");
        Migrator::up(&db, None).await.expect("the others");
        let row = entity::pulls::Entity::find().one(&db).await.expect("it can be read").expect("it is there");
        let pull = clawback_domain::item::Pull::try_from(row).expect("it is a pull");
        assert_eq!((pull.item.item_id.as_str(), pull.sight), ("a", clawback_domain::item::Sight::default()));
        assert!(Migrator::get_pending_migrations(&db).await.expect("it can be asked").is_empty());
    }

    /// Whoever drew something is due since their last purchase, and what looks had told of an expiry was read by the last of them.
    #[tokio::test]
    async fn who_drew_before_users_were_known_is_due() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory takes connections");
        Migrator::up(&db, Some(3)).await.expect("the schemas before");
        let draws = [
            ("acme", "user-1", 0, "12:00", "NULL", "FALSE"),
            ("acme", "user-1", 1, "14:00", "'2026-03-02T00:00:00+00:00'", "TRUE"),
            ("acme", "user-1", 2, "13:00", "'2026-03-02T00:00:00+00:00'", "FALSE"),
            ("beta", "user-1", 0, "11:00", "NULL", "FALSE"),
        ];
        for (partner, user, position, drawn, looked, known) in draws {
            let drawn = format!("2026-03-01T{drawn}:00+00:00");
            db.execute_unprepared(&format!(
                "INSERT INTO pulls (id, purchase, position, created_at, looked_at, expiry_known, partner, user_id, pack_id, item_id, item)
                VALUES (zeroblob(16), zeroblob(16), {position}, '{drawn}', {looked}, {known}, '{partner}', '{user}', 'pack', 'a',
                    '{{\"item_id\":\"a\"}}')"
            ))
            .await
            .expect("it fits the schema before");
        }
        Migrator::up(&db, None).await.expect("the others");
        let users = entity::users::Entity::find().all(&db).await.expect("they can be read");
        let users: Vec<_> = users.into_iter().map(|row| User::try_from(row).expect("it is a user")).collect();
        let told: Vec<_> = users.iter().map(|user| (user.partner.as_str(), user.due_at, user.wanted_at)).collect();
        let at = |hour: &str| Some(format!("2026-03-01T{hour}:00:00Z").parse().expect("a time"));
        assert_eq!(told, [("acme", at("14"), at("14")), ("beta", at("11"), at("11"))]);
        assert!(users.iter().all(|user| (user.sync_wanted, user.synced, user.version) == (1, 0, 0)));
        assert!(users.iter().all(|user| user.settings == UserSettings::default()));
        let pulls = entity::pulls::Entity::find().all(&db).await.expect("they can be read");
        assert_eq!(pulls.iter().filter(|pull| pull.expiry_read_at.is_some()).count(), 1);
        assert!(pulls.iter().all(|pull| pull.expiry_read_at == pull.looked_at.filter(|_| pull.expiry_known)));
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
            for text in [
                orders::TABLE,
                events::TABLE,
                pulls::SIGHTS,
                pulls::SALES,
                pulls::TOLD,
                cases::TABLE,
                unexplained::TABLE,
                webhooks::TABLE,
                users::TABLE,
                users::WARNINGS,
                users::KNOWN,
                retention::PRUNED,
            ] {
                assert!(!ddl(text, backend).contains('{'));
            }
        }
    }
}
