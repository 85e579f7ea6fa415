//! Who goes into which batch: pure, so that its rules are tested without a database.
//!
//! A batch never holds two writes to one row. Two inserts of one key would both be told that they inserted, and would both call;
//! of two transitions of one row the database applies one, and both callers would believe; of two rulings about one user likewise. The
//! later write waits for the next batch, and whatever else touches its rows waits behind it.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use clawback_domain::{
    AttemptToken, OrderId, PartnerId, UserId,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Order(OrderId),
    Attempt(AttemptToken),
    Case(PartnerId, UserId),
}

impl Write {
    fn keys(&self) -> impl Iterator<Item = Key> {
        let of_change = |change: &Change| {
            let (begun, answered) = (change.attempt.map(|attempt| attempt.token), change.fact.as_ref().map(|fact| fact.token));
            (Some(change.after.id()), begun, answered)
        };
        let (order, begun, answered) = match self {
            Write::Insert(insertion) => (Some(insertion.order.id()), insertion.attempt.map(|attempt| attempt.token), None),
            Write::Draft(draft) => draft.look(of_change),
            Write::Apply(change) => of_change(change),
            Write::Fact(fact) => (None, None, Some(fact.token)),
            Write::Sent(_) => (None, None, None),
        };
        order.map(Key::Order).into_iter().chain([begun, answered].into_iter().flatten().map(Key::Attempt))
    }

    /// The case of its ruling, once nothing joins it any more.
    fn case(&self) -> Option<Key> {
        let Write::Apply(change) = self else { return None };
        let after = &change.after;
        change.ruling.map(|_| Key::Case(after.partner().clone(), after.user_id().clone()))
    }

    fn close(&mut self) {
        if let Write::Draft(draft) = self {
            *self = Write::Apply(draft.take());
        }
    }

    /// Whether it may join a batch that has touched these. Every key is taken, also those of a write that has to wait: nothing that
    /// came after it may overtake it.
    fn claim(&mut self, touched: &mut HashSet<Key>) -> bool {
        if self.keys().filter(|key| !touched.insert(key.clone())).count() > 0 {
            return false;
        }
        // Whatever joins a draft is of the same order and its attempts, but it may bring a ruling: so that is asked last.
        self.close();
        self.case().is_none_or(|case| touched.insert(case))
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
/// share the batch stays, in order. Nothing joins the drafts of the batch any more.
pub fn compose<T>(waiting: &mut VecDeque<T>, write: impl Fn(&mut T) -> &mut Write) -> Vec<T> {
    let mut batch = Vec::new();
    let mut rows = 0;
    let mut touched = HashSet::new();
    let mut later = VecDeque::new();
    while rows < MOST_ROWS {
        let Some(mut next) = waiting.pop_front() else { break };
        if write(&mut next).claim(&mut touched) {
            rows += write(&mut next).rows();
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
    use clawback_domain::{
        PackId, RequestId, SessionId, Time,
        answer::Answer,
        change::Ruling,
        command::PurchaseCommand,
        purchase::{Decision, Happened, HappenedName, Purchase, Rules, decide},
        trace::TraceContext,
    };
    use uuid::Uuid;

    use super::*;

    /// Facts stand for all writes here: their token is their key.
    fn fact(token: u128) -> Write {
        let answer = Answer::Done { session: SessionId::new("s").expect("a session"), nfts: Vec::new() };
        Write::Fact(Box::new(Fact { token: AttemptToken(Uuid::from_u128(token)), answer, at: Time::UNIX_EPOCH }))
    }

    /// A change of a purchase of its own.
    fn change(request: &str, user: &str, ruling: Option<Ruling>) -> Change {
        let command = PurchaseCommand {
            request_id: RequestId::new(request).expect("a request id"),
            user_id: UserId::new(user).expect("a user"),
            pack_id: PackId::new("pack").expect("a pack"),
            amount: 1,
            not_after: None,
            metadata: None,
        };
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).expect("a trace");
        let partner = PartnerId::new("acme").expect("a partner");
        let purchase = Purchase::accept(partner, command, Time::UNIX_EPOCH, trace);
        let happened = Happened::Cancelled { by: "ann".into(), why: "a test".into() };
        let Decision::Transition(cancelled) = decide(&purchase, happened, Time::UNIX_EPOCH, &Rules::default()) else {
            panic!("what is accepted can be cancelled")
        };
        Change { ruling, ..Change::of(&purchase, *cancelled, HappenedName::Cancelled, None) }
    }

    const RULING: Option<Ruling> = Some(Ruling { case: Some(0), retried: false });

    fn draft(request: &str, user: &str, ruling: Option<Ruling>) -> Write {
        Write::Draft(Draft::new(change(request, user, ruling)))
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
    fn of_two_rulings_about_one_user_the_second_waits_for_the_next_batch() {
        let writes = vec![
            draft("r-0", "user-1", RULING),
            draft("r-1", "user-1", RULING),
            draft("r-2", "user-2", RULING),
            draft("r-3", "user-1", None),
            draft("r-1", "user-1", None),
            draft("r-4", "user-1", RULING),
        ];
        assert_eq!(batches(writes), [vec![0, 2, 3], vec![1], vec![4, 5]]);
    }

    #[test]
    fn a_ruling_that_has_joined_a_draft_counts() {
        let writes: Vec<_> = ["r-0", "r-1"].map(|request| draft(request, "user-1", None)).into();
        for write in &writes {
            let Write::Draft(draft) = write else { unreachable!("it is a draft") };
            let request = draft.look(|change| change.after.request_id().clone());
            draft.open().expect("nothing has taken it").join(change(request.as_str(), "user-1", RULING));
        }
        assert_eq!(batches(writes), [[0], [1]]);
    }

    #[test]
    fn nothing_joins_what_is_in_a_batch_and_what_waits_for_its_row_can_still_grow() {
        let drafts = [(); 2].map(|()| Draft::new(change("r-0", "user-1", None)));
        let mut waiting: VecDeque<_> = drafts.iter().map(|draft| Write::Draft(draft.clone())).collect();
        let batch = compose(&mut waiting, |write| write);
        assert!(matches!(batch[..], [Write::Apply(_)]) && matches!(waiting.make_contiguous(), [Write::Draft(_)]));
        assert_eq!(drafts.map(|draft| draft.open().is_some()), [false, true]);
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
