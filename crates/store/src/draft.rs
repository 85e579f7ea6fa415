//! A change on its way into a commit.

use std::sync::Arc;

use clawback_domain::change::Change;
use parking_lot::{Mutex, MutexGuard};

/// A change handed to the store. Until a batch takes it, what happened next can still join it; so two transitions that follow each
/// other within the time that a commit takes cost one.
#[derive(Debug)]
pub struct Draft(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    change: Arc<Change>,
    taken: bool,
}

impl Draft {
    pub fn new(change: Change) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { change: Arc::new(change), taken: false })))
    }

    /// The draft while nothing has taken it, and nothing will before this is dropped. `None`: too late.
    pub fn open(&self) -> Option<Open<'_>> {
        let inner = self.0.lock();
        (!inner.taken).then_some(Open(inner))
    }

    /// What is to be written, for the store alone: from here on nothing can join it. Taking it again gives the same.
    pub fn take(&self) -> Arc<Change> {
        let mut inner = self.0.lock();
        inner.taken = true;
        inner.change.clone()
    }

    pub fn look<T>(&self, at: impl FnOnce(&Change) -> T) -> T {
        at(&self.0.lock().change)
    }

    /// The change as it was written, once the store has answered.
    pub fn into_change(self: Arc<Self>) -> Change {
        let change = match Arc::try_unwrap(self) {
            Ok(draft) => draft.0.into_inner().change,
            Err(shared) => shared.take(),
        };
        Arc::unwrap_or_clone(change)
    }
}

/// A draft that can still grow.
pub struct Open<'a>(MutexGuard<'a, Inner>);

impl Open<'_> {
    pub fn change(&self) -> &Change {
        &self.0.change
    }

    /// `next` was computed from the row as this draft leaves it.
    pub fn join(mut self, next: Change) {
        Arc::make_mut(&mut self.0.change).join(next);
    }
}
