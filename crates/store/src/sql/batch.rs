//! Who goes into which batch: pure, so that its rules are tested without a database.
//!
//! A batch never holds two writes to one row. Two inserts of one key would both be told that they inserted, and would both call;
//! of two transitions of one row the database applies one, and both callers would believe. The later write waits for the next batch,
//! and whatever else touches its rows waits behind it.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use clawback_domain::{
    AttemptToken, PurchaseId,
    change::{Change, Fact, Insertion},
};

use crate::{Draft, Sent};

/// The most rows of a batch: some two hundred purchases, each at one of its steps. At this size a commit's own cost has vanished;
/// more would only make the first wait for the last.
pub const MOST_ROWS: usize = 2048;

/// One caller's write.
#[derive(Debug, Clone)]
pub enum Write {
    Insert(Box<Insertion>),
    /// A transition that waits; once in a batch it is [`Write::Apply`].
    Draft(Arc<Draft>),
    Apply(Arc<Change>),
    Sent(Vec<Sent>),
    Fact(Box<Fact>),
}

/// What one write may hold only once in a batch. Marks of events are no keys: the first mark stands, within a batch too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Purchase(PurchaseId),
    Attempt(AttemptToken),
}

impl Write {
    fn keys(&self) -> impl Iterator<Item = Key> {
        let of_change = |change: &Change| {
            let (begun, answered) = (change.attempt.map(|attempt| attempt.token), change.fact.as_ref().map(|fact| fact.token));
            (Some(change.after.id), begun, answered)
        };
        let (purchase, begun, answered) = match self {
            Write::Insert(insertion) => (Some(insertion.purchase.id), insertion.attempt.map(|attempt| attempt.token), None),
            Write::Draft(draft) => draft.look(of_change),
            Write::Apply(change) => of_change(change),
            Write::Fact(fact) => (None, None, Some(fact.token)),
            Write::Sent(_) => (None, None, None),
        };
        purchase.map(Key::Purchase).into_iter().chain([begun, answered].into_iter().flatten().map(Key::Attempt))
    }

    /// Nothing joins it any more.
    pub fn close(&mut self) {
        if let Write::Draft(draft) = self {
            *self = Write::Apply(draft.take());
        }
    }

    fn rows(&self) -> usize {
        match self {
            Write::Insert(insertion) => 2 + insertion.entries.len(),
            Write::Draft(draft) => draft.look(|change| 4 + change.pulls.len()),
            Write::Apply(change) => 4 + change.pulls.len(),
            Write::Sent(sent) => sent.len(),
            Write::Fact(_) => 1,
        }
    }
}

/// Takes the next batch out of what is waiting, in order of arrival; `write` tells what an element wants written. What must not
/// share the batch stays, in order.
pub fn compose<T>(waiting: &mut VecDeque<T>, write: impl Fn(&T) -> &Write) -> Vec<T> {
    let mut batch = Vec::new();
    let mut rows = 0;
    let mut touched = HashSet::new();
    let mut later = VecDeque::new();
    while rows < MOST_ROWS {
        let Some(next) = waiting.pop_front() else { break };
        // Every key is taken, also those of a write that has to wait: nothing that came after it may overtake it.
        let taken = write(&next).keys().filter(|key| !touched.insert(*key)).count();
        if taken == 0 {
            rows += write(&next).rows();
            batch.push(next);
        } else {
            later.push_back(next);
        }
    }
    later.append(waiting);
    *waiting = later;
    batch
}

#[cfg(test)]
mod tests {
    use clawback_domain::{SessionId, Time, answer::Answer};
    use uuid::Uuid;

    use super::*;

    /// Facts stand for all writes here: their token is their key.
    fn fact(token: u128) -> Write {
        let answer = Answer::Done { session: SessionId::new("s").expect("a session"), nfts: Vec::new() };
        Write::Fact(Box::new(Fact { token: AttemptToken(Uuid::from_u128(token)), answer, at: Time::UNIX_EPOCH }))
    }

    /// Numbers its writes in order of arrival and tells the numbers of each batch.
    fn batches(writes: Vec<Write>) -> Vec<Vec<usize>> {
        let mut waiting: VecDeque<_> = writes.into_iter().enumerate().collect();
        let mut batches = Vec::new();
        while !waiting.is_empty() {
            batches.push(compose(&mut waiting, |(_, write)| write).into_iter().map(|(number, _)| number).collect());
        }
        batches
    }

    #[test]
    fn writes_to_different_rows_share_a_batch() {
        assert_eq!(batches(vec![fact(1), fact(2), fact(3)]), [[0, 1, 2]]);
    }

    #[test]
    fn a_second_write_to_a_row_waits_for_the_next_batch_and_keeps_its_turn() {
        let writes = vec![fact(1), fact(1), fact(2), fact(1), fact(2)];
        assert_eq!(batches(writes), [vec![0, 2], vec![1, 4], vec![3]]);
    }

    #[test]
    fn marks_never_wait() {
        let marks = || Write::Sent(Vec::new());
        assert_eq!(batches(vec![marks(), marks(), fact(1), marks()]), [[0, 1, 2, 3]]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let count = 2 * MOST_ROWS + 1;
        let sizes: Vec<_> = batches((0..count as u128).map(fact).collect()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [MOST_ROWS, MOST_ROWS, 1]);
    }
}
