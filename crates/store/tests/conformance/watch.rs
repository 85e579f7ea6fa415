//! Users whose items are watched, and what a turn of theirs comes to.

use clawback_domain::{
    AttemptToken, PartnerId, Time,
    change::Insertion,
    command::PurchaseCommand,
    event::Event,
    evidence::Sightings,
    item::{Expiry, Pull, Shown},
    purchase::{Happened, Purchase, Rules},
    user::{Settling, User, Watching},
    warning::{Change, Digested, Lead, Row, RowState},
};
use clawback_store::{DueUser, Store};
use uuid::Uuid;

use crate::{build::*, sale};

/// Bought by a user of acme, and not fulfilled yet.
pub async fn bought(store: &dyn Store, name: &str, request: &str, now: Time) -> Purchase {
    let command = PurchaseCommand { user_id: user(name), ..command(request) };
    let row = stored(store, Insertion::of(Purchase::accept(acme(), command, now, trace()))).await;
    let token = AttemptToken(Uuid::new_v5(&Uuid::nil(), format!("{name} {request}").as_bytes()));
    let row = applied(store, then(&row, Happened::Initiated(row.attempt(token, now, &Rules::default())), now)).await;
    applied(store, answered(&row, done(request), now)).await
}

/// All the way, at one moment.
pub async fn drawn(store: &dyn Store, name: &str, request: &str, now: Time) -> Vec<Pull> {
    let row = bought(store, name, request, now).await;
    let row = applied(store, fulfilment(&row, now)).await;
    store.pulls(row.id).await.unwrap()
}

pub async fn watching(store: &dyn Store, name: &str) -> Watching {
    store.watching(&acme(), &user(name)).await.unwrap().expect("the user is known")
}

pub async fn known(store: &dyn Store, name: &str) -> User {
    watching(store, name).await.user
}

pub async fn claim_users(store: &dyn Store, now: Time, limit: u32, except: &[PartnerId]) -> Vec<DueUser> {
    let mut claimed = store.claim_due_users(now, limit, except).await.unwrap();
    claimed.sort_by(|a, b| (&a.partner, &a.user).cmp(&(&b.partner, &b.user)));
    claimed
}

/// A turn that finds `user` so, looks, and has nothing to do.
pub fn settling(user: &User, now: Time) -> Settling {
    Settling {
        partner: user.partner.clone(),
        user_id: user.id.clone(),
        version: user.version,
        sequence: user.sequence,
        seen: user.sync_wanted,
        synced: user.sync_wanted,
        at: now,
        due_at: None,
        changes: Vec::new(),
        digests: Vec::new(),
        closed: Vec::new(),
        offered: Vec::new(),
    }
}

/// An hour before `expiry`.
pub fn planned(pull: &Pull, expiry: Time) -> Row {
    Row { pull: pull.id, lead: Lead::seconds(3600), expiry, state: RowState::Planned }
}

pub fn inserted(rows: &[Row]) -> Vec<Change> {
    rows.iter().cloned().map(Change::Insert).collect()
}

pub fn digest(items: Vec<(Row, Pull)>) -> Digested {
    Digested { items, lead: Lead::seconds(3600), late: false, verified: true, checked_at: Some(at(1)) }
}

/// A look that shows each with this expiry, or does not show it.
pub async fn look(store: &dyn Store, now: Time, pulls: &[(&Pull, Option<Expiry>)]) {
    let Some((first, _)) = pulls.first() else { return };
    let (partner, user_id) = (first.partner.clone(), first.user_id.clone());
    let shown = |expiry: Expiry| Shown { expiry, ..Shown::default() };
    let pulls = pulls.iter().map(|(pull, expiry)| (pull.purchase, pull.position, expiry.map(shown))).collect();
    store.record_look(Sightings { partner, user_id, at: now, pulls }).await.unwrap();
}

/// Sells a pull of `user-1`.
pub async fn sell(store: &dyn Store, request: &str, pull: &Pull, now: Time) {
    let row = sale::sellback(acme(), request, pull.item.item_id.as_str(), now);
    let row = sale::keep(store, sale::offered(row, Some(sale::place(pull)))).await;
    sale::moved(store, sale::told(&row, sale::sold_for(1), now)).await;
}

/// The expiry that most of these pulls have.
pub const SHUTS: i64 = 10_000;

/// Two pulls of `user-1`, seen a second later.
pub async fn seen(store: &dyn Store, request: &str, now: i64) -> Vec<Pull> {
    let pulls = drawn(store, "user-1", request, at(now)).await;
    let shown: Vec<_> = pulls.iter().map(|pull| (pull, Some(Expiry::At(at(SHUTS))))).collect();
    look(store, at(now + 1), &shown).await;
    let all = watching(store, "user-1").await.pulls;
    pulls.iter().map(|pull| all.iter().find(|known| known.id == pull.id).expect("it is known").clone()).collect()
}

/// Ends a turn that fits; what it told.
pub async fn settle(store: &dyn Store, settling: Settling) -> Vec<Event> {
    store.settle_user(&settling).await.unwrap().expect("the version fits")
}

pub async fn plan(store: &dyn Store, changes: Vec<Change>) {
    let user = known(store, "user-1").await;
    assert_eq!(settle(store, Settling { changes, ..settling(&user, at(50)) }).await, []);
}

/// The same in another state.
pub fn with(row: &Row, state: RowState) -> Row {
    Row { state, ..row.clone() }
}
