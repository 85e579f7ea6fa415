//! Cancelling an order that was not called yet, for the verb and the HTTP door alike.

use clawback_domain::{
    Clock, OrderId, Time,
    change::Change,
    order::{AnyOrder, Decision, Machine, Rules},
    purchase, sellback,
};
use clawback_store::{Applied, Store, StoreError};

#[derive(Debug)]
pub enum Cancelled {
    /// It is cancelled, now or before.
    Done(Box<AnyOrder>),
    /// It was called already; it goes on to its end.
    TooLate(Box<AnyOrder>),
    Unknown,
}

/// A worker may move the row at the same moment; after so many lost races something is wrong.
const TRIES: u32 = 8;

/// # Errors
/// The store's.
pub async fn cancel(store: &dyn Store, clock: &dyn Clock, id: OrderId, by: &str, why: &str) -> Result<Cancelled, StoreError> {
    for _ in 0..TRIES {
        let Some(order) = store.order(id).await? else { return Ok(Cancelled::Unknown) };
        let (by, why, now) = (by.to_owned(), why.to_owned(), clock.now());
        let change = match &order {
            AnyOrder::Purchase(row) => change(row, purchase::Happened::Cancelled { by, why }, now),
            AnyOrder::Sellback(row) => change(row, sellback::Happened::Cancelled { by, why }, now),
        };
        let change = match change {
            Decided::Change(change) => *change,
            Decided::Already => return Ok(Cancelled::Done(Box::new(order))),
            Decided::TooLate => return Ok(Cancelled::TooLate(Box::new(order))),
        };
        let after = change.after.clone();
        match store.apply(change).await {
            Ok(Applied::Committed) => return Ok(Cancelled::Done(Box::new(after))),
            // Somebody moved it, or nobody knows whether we did: look again.
            Ok(Applied::Lost) | Err(StoreError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Unavailable("the order is being moved all the time".into()))
}

enum Decided {
    Change(Box<Change>),
    Already,
    TooLate,
}

fn change<O: Machine>(row: &O, happened: O::Happened, now: Time) -> Decided {
    let what = O::name_of(&happened);
    // Cancelling is decided by the state alone; no partner's rules enter into it.
    match row.decide(happened, now, &Rules::default()) {
        Decision::Transition(transition) => Decided::Change(Box::new(Change::of(row, *transition, what, None))),
        Decision::Repeat => Decided::Already,
        Decision::Orphan(_) | Decision::TooLate(_) | Decision::Illegal(_) => Decided::TooLate,
    }
}
