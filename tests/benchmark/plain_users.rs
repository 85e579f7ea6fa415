//! Users as a plain worker sees to them, one after another as fast as it can: nothing is claimed, compared or planned. What the product is
//! held against in `bench sync` and `bench warnings`.

use std::{sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use sea_orm::sqlx::{self, types::Uuid};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    job::{self, Inventory, Outcome, Span},
    plain::Plain,
    variant::Told,
};

/// Inventories read at once of each partner: as many as the product's worker reads.
const LOOKS: usize = 16;

/// Its own tables, beside the product's; filled with the users and items that the product knows. Pages are filled by half, as there.
pub const SCHEMA: &str = "
CREATE TABLE holder (partner text, user_id text, looked_at timestamptz, PRIMARY KEY (partner, user_id)) WITH (fillfactor = 50);
CREATE TABLE held (id uuid PRIMARY KEY, partner text NOT NULL, user_id text NOT NULL, expires_at timestamptz, state text)
    WITH (fillfactor = 50);
CREATE INDEX held_by ON held (partner, user_id);
CREATE TABLE said (id uuid PRIMARY KEY, subject uuid NOT NULL, body text NOT NULL);
INSERT INTO holder SELECT partner, user_id FROM users;
INSERT INTO held SELECT id, partner, user_id FROM pulls;";

/// Of each user one look, and one row that says so.
pub async fn sync(told: &Told) -> Result<Outcome> {
    each(told, |plain, (partner, user)| async move {
        let inventory = plain.inventory(&partner, &user).await?;
        ensure!(!inventory.items.is_empty(), "{user} holds nothing");
        let update = "UPDATE holder SET looked_at = now() WHERE partner = $1 AND user_id = $2";
        let updated = sqlx::query(update).bind(&partner).bind(&user).execute(&plain.db).await?;
        ensure!(updated.rows_affected() == 1, "there is no {user}");
        Ok(())
    })
    .await
}

/// Of each user one look, one transaction with an event, and its publish.
pub async fn warn(told: &Told) -> Result<Outcome> {
    each(told, |plain, (partner, user)| async move {
        let inventory = plain.inventory(&partner, &user).await?;
        let id = Uuid::new_v4();
        let event = digest(id, &partner, &user, &inventory);
        let mut tx = plain.db.begin().await?;
        let update = "UPDATE holder SET looked_at = now() WHERE partner = $1 AND user_id = $2";
        sqlx::query(update).bind(&partner).bind(&user).execute(&mut *tx).await?;
        let update = "UPDATE held SET state = 'warned' WHERE partner = $1 AND user_id = $2";
        let warned = sqlx::query(update).bind(&partner).bind(&user).execute(&mut *tx).await?;
        ensure!(warned.rows_affected() == inventory.items.len() as u64, "{user} holds what is not known");
        let insert = "INSERT INTO said (id, subject, body) VALUES ($1, $2, $3)";
        sqlx::query(insert).bind(id).bind(id).bind(&event).execute(&mut *tx).await?;
        tx.commit().await?;
        plain.publish(format!("{partner}.buyback.expiring"), job::properties(id), &event).await
    })
    .await
}

/// An event of about the product's size.
fn digest(id: Uuid, partner: &str, user: &str, inventory: &Inventory) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": format!("/clawback/{partner}"), "type": "clawback.buyback.expiring",
        "subject": id, "time": chrono::Utc::now(),
        "data": { "user_id": user, "lead": "72h", "late": false, "verified": true, "items": inventory.items },
    })
    .to_string()
}

type User = (String, String);

async fn each<F>(told: &Told, see_to: impl Fn(Arc<Plain>, User) -> F) -> Result<Outcome>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let connection = job::connect(&told.amqp).await?;
    let plain = Arc::new(Plain::open(told, &connection).await?);
    let users: Vec<User> = sqlx::query_as("SELECT partner, user_id FROM holder").fetch_all(&plain.db).await?;
    ensure!(users.len() == told.purchases, "there are {} users", users.len());
    let places = Arc::new(Semaphore::new(LOOKS * told.partners));
    let mut seen = JoinSet::new();
    for user in users {
        let place = places.clone().acquire_owned().await?;
        let (begun, seeing_to) = (Instant::now(), see_to(plain.clone(), user));
        seen.spawn(async move {
            seeing_to.await?;
            drop(place);
            Ok(Span::since(begun))
        });
    }
    job::outcome(seen).await
}
