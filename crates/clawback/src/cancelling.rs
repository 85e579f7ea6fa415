//! Cancelling a purchase that was not called yet, for the verb and the HTTP door alike.

use clawback_domain::{
    Clock, PurchaseId,
    change::Change,
    purchase::{self, Decision, Happened, Purchase, Rules},
};
use clawback_store::{Applied, Store, StoreError};

#[derive(Debug)]
pub enum Cancelled {
    /// It is cancelled, now or before.
    Done(Box<Purchase>),
    /// It was called already; it goes on to its end.
    TooLate(Box<Purchase>),
    Unknown,
}

/// A worker may move the row at the same moment; after so many lost races something is wrong.
const TRIES: u32 = 8;

/// # Errors
/// The store's.
pub async fn cancel(
    store: &dyn Store,
    clock: &dyn Clock,
    id: PurchaseId,
    by: &str,
    why: &str,
) -> Result<Cancelled, StoreError> {
    for _ in 0..TRIES {
        let Some(purchase) = store.purchase(id).await? else { return Ok(Cancelled::Unknown) };
        let happened = Happened::Cancelled { by: by.into(), why: why.into() };
        let what = happened.name();
        // Cancelling is decided by the state alone; no partner's rules enter into it.
        let transition = match purchase::decide(&purchase, happened, clock.now(), &Rules::default()) {
            Decision::Transition(transition) => transition,
            Decision::Repeat => return Ok(Cancelled::Done(Box::new(purchase))),
            Decision::Orphan(_) | Decision::Illegal(_) => return Ok(Cancelled::TooLate(Box::new(purchase))),
        };
        let change = Change::of(&purchase, *transition, what, None);
        let after = change.after.clone();
        match store.apply(change).await {
            Ok(Applied::Committed) => return Ok(Cancelled::Done(Box::new(after))),
            // Somebody moved it, or nobody knows whether we did: look again.
            Ok(Applied::Lost) | Err(StoreError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Unavailable("the purchase is being moved all the time".into()))
}
