//! What the model in memory does beyond the suite: it refuses writes that no constraint of SQL would catch, it tells observers what
//! each commit touched, and two equal runs leave two equal stores.

use std::sync::{Arc, Mutex};

use clawback_domain::{
    AttemptToken, Time,
    answer::{Answer, Fulfilment, StatusAnswer},
    change::{Change, Insertion},
    evidence::{Evidence, Verdict},
    order::AnyOrder,
    purchase::{Decision, Happened, Purchase, Resolution, Rules, State, StateName, decide},
    reason::{FailureCode, ReviewCode, WaitCode, Waiting},
};
use clawback_store::{
    Applied, Inserted, Sent, Store, StoreError,
    memory::{Committed, Memory, Snapshot},
};
use uuid::Uuid;

use crate::{build::*, letters, stage::SystemClock};

fn memory() -> Memory {
    Memory::new(Arc::new(SystemClock))
}

async fn refuses(store: &Memory, kind: &str, change: Change) {
    let before = store.snapshot();
    let result = store.apply(change).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{kind}: {result:?}");
    assert!(store.snapshot() == before, "{kind}: a refused write leaves no trace");
}

#[tokio::test]
async fn a_write_that_breaks_an_invariant_is_refused() {
    let store = memory();
    let waiting = stored(&store, accepted(acme(), "waiting", at(0))).await;
    let called = stored(&store, called(acme(), "called", at(0))).await;
    let open = pending(&store, acme(), "open", at(0)).await;
    let done = fulfilled(&store, acme(), "done", at(0)).await;
    let again = |change: &Change| Change { event: None, ..change.clone() };
    let told = fulfilment(&open, at(1));
    let held = held(&waiting, WaitCode::Paused, None, at(1));
    let attempt = waiting.attempt(attempt_of(&called).token, at(1), &Rules::default());

    let mut reopened = put(&done, State::Accepted { waiting: None });
    as_purchase_mut(&mut reopened.after).due_at = Some(at(1));
    refuses(&store, "a final purchase changes", reopened).await;
    refuses(
        &store,
        "called without an attempt",
        Change {
            attempt: None,
            ..then(&waiting, Happened::Initiated(waiting.attempt(AttemptToken(Uuid::max()), at(1), &Rules::default())), at(1))
        },
    )
    .await;
    refuses(&store, "a token used twice", then(&waiting, Happened::Initiated(attempt), at(1))).await;
    refuses(&store, "a session forgotten", put(&open, State::Accepted { waiting: None })).await;
    refuses(&store, "an end that is not told", again(&told)).await;
    let mut uncounted = told.clone();
    as_purchase_mut(&mut uncounted.after).sequence = 0;
    refuses(&store, "an event that is not counted", uncounted).await;
    refuses(&store, "an event where there is none", Change { event: told.event.clone(), ..held.clone() }).await;
    refuses(&store, "pulls of what is not fulfilled", Change { pulls: told.pulls.clone(), ..held.clone() }).await;
    refuses(&store, "another's entry", Change { entry: told.entry.clone(), ..held.clone() }).await;
    let mut stranger = held.clone();
    as_purchase_mut(&mut stranger.after).partner = beta();
    refuses(&store, "another partner", stranger).await;
    let mut poisoned = told;
    poisoned.pulls[0].item.name = Some("a\0b".into());
    refuses(&store, "a NUL from the upstream", poisoned).await;
    applied(&store, held).await;
}

#[tokio::test]
async fn an_observer_is_told_what_each_commit_touched() {
    let store = Arc::new(memory());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sink, reader) = (seen.clone(), Arc::downgrade(&store));
    store.on_commit(Box::new(move |committed| {
        // It may read the store: the commit is over.
        assert!(!reader.upgrade().expect("it is committing").snapshot().orders.is_empty());
        sink.lock().unwrap().push(tell(committed));
    }));

    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    store.insert(called(acme(), "r-1", at(1))).await.unwrap();
    let pending = applied(&*store, answered(&initiating, done("s-1"), at(1))).await;
    let lost = store.apply(answered(&initiating, done("s-2"), at(1))).await.unwrap();
    store.claim_due(at(1000), 1, &[]).await.unwrap();
    let pending = read(&*store, pending.id).await;
    let told = fulfilment(&pending, at(1001));
    let sent = Sent { event: told.event.as_ref().unwrap().id, at: at(1002), unrouted: false };
    applied(&*store, told).await;
    store.mark_sent(vec![sent, sent]).await.unwrap();
    let letter = letters::letter("m-1", acme(), at(1003));
    store.bury(letter.clone(), event(letter.id.0, 1, acme(), at(1003))).await.unwrap();

    assert_eq!(lost, Applied::Lost);
    let expected = [
        "none 0 -> initiating 2, 1 attempt",
        "fact done",
        "initiating 2 -> pending 3",
        "pending 3 -> pending 4",
        "pending 4 -> fulfilled 5, 2 pulls, 1 event",
        "sent",
        "buried",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

fn tell(committed: &Committed) -> String {
    match committed {
        Committed::Order { before, after, attempt, pulls, event } => {
            let name = before.as_ref().map_or("none", |before| before.state().as_str());
            let version = before.as_ref().map_or(0, AnyOrder::version);
            let mut told = format!("{name} {version} -> {} {}", after.state(), after.version());
            let beside = [("attempt", attempt.iter().count()), ("pulls", pulls.len()), ("event", event.iter().count())];
            for (what, count) in beside.into_iter().filter(|(_, count)| *count > 0) {
                told += &format!(", {count} {what}");
            }
            told
        }
        Committed::Fact { fact, .. } => format!("fact {}", fact.answer.name()),
        Committed::Sent(_) => "sent".into(),
        Committed::Buried { .. } => "buried".into(),
        Committed::Settled { events, .. } => format!("settled, {} events", events.len()),
    }
}

/// Random histories: what the machine decides, the model takes; and every path that can be walked twice ends the same.
#[tokio::test]
async fn what_the_machine_decides_is_never_refused() {
    let (store, mut reached) = histories().await;
    reached.sort();
    reached.dedup();
    let every: Vec<_> = StateName::ALL.iter().copied().filter(|state| !OF_SELLBACKS.contains(state)).collect();
    assert_eq!(reached, every, "the histories reach every state");
    assert!(store == histories().await.0, "two equal runs leave two equal stores");
}

/// States that no purchase has.
const OF_SELLBACKS: [StateName; 2] = [StateName::Selling, StateName::Sold];

async fn histories() -> (Snapshot, Vec<StateName>) {
    let store = memory();
    let mut draw = Draw(7);
    let mut reached = Vec::new();
    for history in 0..1_500 {
        let mut row = purchase(acme(), &format!("r-{history}"), at(0));
        assert_eq!(store.insert(Insertion::of(row.clone())).await.unwrap(), Inserted::New);
        let mut now = at(0);
        for _ in 0..14 {
            now += chrono::TimeDelta::seconds(draw.up_to(600) as i64);
            let happened = something(&row, &mut draw, now);
            let what = happened.name();
            if let Decision::Transition(transition) = decide(&row, happened, now, &Rules::default()) {
                let change = Change::of(&row, *transition, what, None);
                let result = store.apply(change.clone()).await;
                assert!(matches!(result, Ok(Applied::Committed)), "{what} of {row:?}: {result:?}");
                row = as_purchase(&change.after).clone();
            }
            reached.push(row.state.name());
        }
    }
    (store.snapshot(), reached)
}

/// A fixed row of numbers that look drawn.
pub struct Draw(pub u64);

impl Draw {
    pub fn up_to(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub fn one_of<T>(&mut self, choices: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> T {
        let mut choices = choices.into_iter();
        let place = self.up_to(choices.len() as u64) as usize;
        choices.nth(place).expect("there is something to choose from")
    }
}

fn something(row: &Purchase, draw: &mut Draw, now: Time) -> Happened {
    let why = || "a history".to_owned();
    let by = || "ann".to_owned();
    let attempt = row.attempt(AttemptToken(Uuid::from_u128(draw.up_to(u64::MAX) as u128)), now, &Rules::default());
    let token = match &row.state {
        State::Initiating(current) => current.token,
        State::Reconciling(doubt) => doubt.attempt.token,
        State::Review(review) => review.attempt.unwrap_or(attempt.token),
        _ => attempt.token,
    };
    let items = |count| (0..count).map(|n| item(&format!("item-{n}"))).collect::<Vec<_>>();
    let session = row.state.session().cloned().unwrap_or_else(|| session("s-1"));
    let nfts = items(draw.one_of([1, 2, 2, 3]));
    let told = Fulfilment { session: session.clone(), user_id: None, public_id: None, tx_hash: None, nfts };
    let answer = draw.one_of([
        done("s-1"),
        Answer::Refused { code: FailureCode::OutOfStock, message: why(), status: 400 },
        Answer::Unauthorized { message: why() },
        Answer::Busy { retry_after: None },
        Answer::NeverSent { why: why() },
        Answer::Unknown { why: why(), status: None },
        Answer::Unknown { why: why(), status: Some(504) },
    ]);
    let status = draw.one_of([
        StatusAnswer::Fulfilled(told),
        StatusAnswer::Pending,
        StatusAnswer::TransactionFailed,
        StatusAnswer::Unauthorized,
        StatusAnswer::Unreadable { why: why() },
    ]);
    let verdict = draw.one_of([
        Verdict::Wait(why()),
        Verdict::Recovered(items(2).into_iter().map(Into::into).collect()),
        Verdict::Absent,
        Verdict::Unclear(ReviewCode::Ambiguous, why()),
    ]);
    let resolution =
        draw.one_of([Resolution::FulfilledWith(items(2)), Resolution::Session(session), Resolution::Failed, Resolution::Retry]);
    let evidence = Evidence { doubt: why(), looks: vec![], verdict: why(), ..Evidence::default() };
    draw.one_of([
        Happened::Initiated(attempt),
        Happened::Initiated(attempt),
        Happened::Held(Waiting { code: WaitCode::Permit, message: why(), until: None }),
        Happened::Expired,
        Happened::Cancelled { by: by(), why: why() },
        Happened::SoldOut,
        Happened::Answered { token, answer: answer.clone() },
        Happened::Answered { token, answer },
        Happened::DeadlinePassed,
        Happened::Polled(status.clone()),
        Happened::Polled(status),
        Happened::Looked { verdict, evidence },
        Happened::Resolved { resolution, by: by(), why: why() },
        Happened::TurnTaken,
        Happened::HandedBack,
        Happened::Panicked { message: why() },
    ])
}
