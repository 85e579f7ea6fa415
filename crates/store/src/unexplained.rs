//! Which unexplained items are the same, for every store.

use std::collections::BTreeMap;

use clawback_domain::evidence::Unexplained;
use uuid::{Uuid, uuid};

/// Of the ids of unexplained items; made up once, never to change.
const NAMESPACE: Uuid = uuid!("6c1a3f0e-52a7-4f0b-9d3e-2b7c8e4d9a15");

/// UUIDv5 of what tells one from others: partner, user, item, and the time of purchase, which may be unknown.
pub fn id(one: &Unexplained) -> Uuid {
    let Unexplained { partner, user_id, item_id, purchased_at, .. } = one;
    let moment = purchased_at.map(|at| at.timestamp_micros().to_string()).unwrap_or_default();
    // No id holds a control character, so a NUL keeps them apart.
    Uuid::new_v5(&NAMESPACE, format!("{partner}\0{user_id}\0{item_id}\0{moment}").as_bytes())
}

/// Each once; the last word on it counts.
pub fn by_id(found: Vec<Unexplained>) -> BTreeMap<Uuid, Unexplained> {
    found.into_iter().map(|one| (id(&one), one)).collect()
}
