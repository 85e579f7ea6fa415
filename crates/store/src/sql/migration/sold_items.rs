//! What each sellback sold and when, in columns of their own: `selling` is empty once it is settled, and a purchase sets neither. So the index
//! through which the last sales of an item are found costs a purchase nothing; one on `updated_at` would, whatever its condition.

use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use super::apply;

pub struct SoldItems;

impl MigrationName for SoldItems {
    fn name(&self) -> &str {
        "m0005_sold_items"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for SoldItems {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        apply(manager, &[COLUMNS, FILL, INDEX]).await
    }
}

pub const COLUMNS: &str = "
ALTER TABLE orders ADD COLUMN sold_item {text};
ALTER TABLE orders ADD COLUMN sold_at {time};
";

/// Those that were sold before.
pub const FILL: &str = "
UPDATE orders SET sold_item = detail{json} ->> 'item_id', sold_at = updated_at WHERE kind = 'sellback' AND state = 'sold';
";

pub const INDEX: &str = "
CREATE INDEX orders_sold ON orders (partner, sold_item, sold_at) WHERE sold_item IS NOT NULL;
";

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectOptions, ConnectionTrait, Database};
    use sea_orm_migration::MigratorTrait;

    use crate::sql::migration::Migrator;

    #[tokio::test]
    async fn what_was_sold_before_is_filled_in() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory takes connections");
        Migrator::up(&db, Some(3)).await.expect("the schema before");
        let rows = [("sold", "NULL", "NULL"), ("failed", "NULL", "NULL"), ("review", "'2026'", "'b'")];
        for (n, (state, due, selling)) in rows.into_iter().enumerate() {
            let row = format!(
                "INSERT INTO orders (id, kind, digest, created_at, partner, request_id, user_id, item_id, traceparent, version, due_at,
                    look_at, nudges, attempts, panics, sequence, updated_at, state, selling, detail)
                VALUES (x'0{n}', 'sellback', x'00', '2026', 'acme', 'r', 'u', 'asked', 't', 1, {due}, {due}, 0, 1, 0, 1, '2027', '{state}',
                    {selling}, '{{\"item_id\":\"card\",\"pull\":null}}')"
            );
            db.execute_unprepared(&row).await.expect("it fits the schema before");
        }
        Migrator::up(&db, None).await.expect("this and the others");
        let asked = "SELECT state FROM orders WHERE sold_item = 'card' AND sold_at = '2027'";
        let found = db
            .query_all_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, asked))
            .await
            .expect("it can be asked");
        let found: Vec<String> = found.iter().map(|row| row.try_get("", "state").expect("a text")).collect();
        assert_eq!(found, ["sold"]);
    }
}
