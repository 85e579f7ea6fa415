//! What looks showed of pulls.

use std::collections::BTreeMap;

use clawback_domain::{
    Money, PartnerId, PurchaseId, Time, UserId,
    evidence::Sightings,
    item::{Expiry, Shown},
};
use uuid::Uuid;

use super::{
    Sql,
    statement::{Bulk, Cell, Kind, Rows},
};
use crate::StoreError;

/// How many pulls are written by one transaction, so that none is long.
const LOOKED_AT_ONCE: usize = 1000;

type Sighting<'a> = ((PurchaseId, u32), &'a Option<Shown>);

impl Sql {
    pub(super) async fn write_look(&self, look: &Sightings) -> Result<(), StoreError> {
        let mut pulls = BTreeMap::new();
        for (purchase, position, shown) in &look.pulls {
            pulls.entry((*purchase, *position)).or_insert(shown);
        }
        let pulls: Vec<Sighting<'_>> = pulls.into_iter().collect();
        for some in pulls.chunks(LOOKED_AT_ONCE) {
            self.write_alone(Some(lock(&look.partner, &look.user_id)), [(&LOOKS, look_rows(look, some))]).await?;
        }
        Ok(())
    }
}

/// Of those who write several pulls of one user.
pub fn lock(partner: &PartnerId, user_id: &UserId) -> i64 {
    // No id holds a control character, so a NUL keeps them apart.
    let (key, _) = Uuid::new_v5(&Uuid::nil(), format!("look\0{partner}\0{user_id}").as_bytes()).as_u64_pair();
    key.cast_signed()
}

/// The rule is `Sight::after`.
pub static LOOKS: Bulk = Bulk {
    columns: &[
        ("partner", Kind::Text),
        ("user_id", Kind::Text),
        ("purchase", Kind::Uuid),
        ("position", Kind::BigInt),
        ("at", Kind::Time),
        ("shown", Kind::Bool),
        ("purchased_at", Kind::Time),
        ("expiry_known", Kind::Bool),
        ("expires_at", Kind::Time),
        ("price", Kind::BigInt),
        ("exchanged", Kind::Bool),
    ],
    then: "UPDATE pulls SET looked_at = n_at,
            seen_at = CASE WHEN n_shown THEN n_at ELSE seen_at END,
            missing_since = CASE WHEN n_shown OR seen_at IS NULL THEN NULL ELSE coalesce(missing_since, n_at) END,
            purchased_at = CASE WHEN n_shown THEN coalesce(n_purchased_at, purchased_at) ELSE purchased_at END,
            expiry_known = expiry_known OR n_expiry_known,
            expiry_read_at = CASE
                WHEN n_expiry_known AND NOT (expiry_known AND expires_at IS NOT DISTINCT FROM n_expires_at) THEN n_at
                ELSE expiry_read_at END,
            expires_at = CASE WHEN n_expiry_known THEN n_expires_at ELSE expires_at END,
            price = CASE WHEN n_shown THEN n_price ELSE price END,
            exchanged = CASE WHEN n_shown THEN n_exchanged ELSE exchanged END
        FROM v WHERE partner = n_partner AND user_id = n_user_id AND purchase = n_purchase AND position = n_position
            AND (looked_at IS NULL OR looked_at < n_at)",
    returns: false,
};

fn look_rows<'a>(look: &'a Sightings, pulls: &[Sighting<'_>]) -> Rows<'a> {
    let mut rows = Rows::new(&LOOKS);
    for ((purchase, position), shown) in pulls {
        let (expiry_known, expires_at) = expiry(shown.map(|shown| shown.expiry).unwrap_or_default());
        rows.push([
            Cell::text(look.partner.as_str()),
            Cell::text(look.user_id.as_str()),
            Cell::id(purchase.0),
            Cell::count(*position),
            Cell::at(look.at),
            Cell::Bool(shown.is_some()),
            Cell::Time(shown.and_then(|shown| shown.purchased_at)),
            Cell::Bool(expiry_known),
            Cell::Time(expires_at),
            Cell::BigInt(shown.and_then(|shown| shown.price).map(Money::millionths)),
            Cell::Bool(shown.is_some_and(|shown| shown.exchanged)),
        ]);
    }
    rows
}

/// Whether it is known, and when it is.
fn expiry(expiry: Expiry) -> (bool, Option<Time>) {
    match expiry {
        Expiry::NotRead => (false, None),
        Expiry::Never => (true, None),
        Expiry::At(at) => (true, Some(at)),
    }
}
