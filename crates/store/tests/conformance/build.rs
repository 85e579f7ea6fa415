//! Purchases in every stage of their way, made by the machine itself, and short names for what rules say most.

use std::sync::Arc;

use clawback_domain::{
    AttemptToken, EventId, ItemId, Money, PackId, PartnerId, PurchaseId, RequestId, SessionId, Time, UserId,
    answer::{Answer, Fulfilment, StatusAnswer},
    change::{Change, Fact, Insertion},
    command::PurchaseCommand,
    event::{Event, EventType},
    item::Item,
    order::AnyOrder,
    purchase::{Attempt, Decision, Happened, HappenedName, Next, Purchase, Rules, State, Transition, decide},
    reason::{WaitCode, Waiting},
    trace::TraceContext,
};
use clawback_store::{Applied, Draft, Inserted, Store};
use uuid::Uuid;

/// Seconds after a moment that uses all six decimals.
pub fn at(seconds: i64) -> Time {
    "2026-03-01T12:00:00.123457Z".parse::<Time>().unwrap() + chrono::TimeDelta::seconds(seconds)
}

pub fn partner(name: &str) -> PartnerId {
    PartnerId::new(name).unwrap()
}

pub fn acme() -> PartnerId {
    partner("acme")
}

pub fn beta() -> PartnerId {
    partner("beta")
}

pub fn user(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

pub fn pack(text: &str) -> PackId {
    PackId::new(text).unwrap()
}

pub fn session(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

pub fn item(text: &str) -> Item {
    Item::bare(ItemId::new(text).unwrap())
}

pub fn trace() -> TraceContext {
    TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=value")).unwrap()
}

/// Two items of `pack-1` for `user-1`.
pub fn command(request: &str) -> PurchaseCommand {
    PurchaseCommand {
        request_id: RequestId::new(request).unwrap(),
        user_id: user("user-1"),
        pack_id: pack("pack-1"),
        amount: 2,
        not_after: None,
        metadata: None,
    }
}

pub fn purchase(partner: PartnerId, request: &str, now: Time) -> Purchase {
    Purchase::accept(partner, command(request), now, trace())
}

pub fn accepted(partner: PartnerId, request: &str, now: Time) -> Insertion {
    Insertion::of(purchase(partner, request, now))
}

/// A command that is called at once, with a token of its own.
pub fn called(partner: PartnerId, request: &str, now: Time) -> Insertion {
    let token = AttemptToken(Uuid::new_v5(&Uuid::nil(), format!("{partner} {request}").as_bytes()));
    called_by(token, partner, request, now)
}

pub fn called_by(token: AttemptToken, partner: PartnerId, request: &str, now: Time) -> Insertion {
    let accepted = purchase(partner, request, now);
    let attempt = accepted.attempt(token, now, &Rules::default());
    let transition = transition(&accepted, Happened::Initiated(attempt), now);
    Insertion::of(accepted).then(transition, HappenedName::Initiated)
}

/// Called at 0, at this price.
pub fn called_at(partner: PartnerId, request: &str, price: Option<Money>) -> Insertion {
    let token = AttemptToken(Uuid::new_v5(&Uuid::nil(), request.as_bytes()));
    let accepted = purchase(partner, request, at(0));
    let attempt = accepted.attempt(token, at(0), &Rules::default()).costing(price);
    let transition = transition(&accepted, Happened::Initiated(attempt), at(0));
    Insertion::of(accepted).then(transition, HappenedName::Initiated)
}

/// What the machine makes of `happened`, as the change that writes it.
pub fn then(before: &Purchase, happened: Happened, now: Time) -> Change {
    let what = happened.name();
    Change::of(before, transition(before, happened, now), what, None)
}

fn transition(before: &Purchase, happened: Happened, now: Time) -> Transition {
    let what = happened.name();
    match decide(before, happened, now, &Rules::default()) {
        Decision::Transition(transition) => *transition,
        other => panic!("{what} is no transition of {:?}: {other:?}", before.state),
    }
}

/// `before` put into `state`, past the machine: for what it rarely makes.
pub fn put(before: &Purchase, state: State) -> Change {
    let announced = state.name().is_announced() && state.name() != before.state.name();
    let after = Purchase {
        due_at: before.due_at.filter(|_| !state.name().is_final()),
        version: before.version + 1,
        sequence: before.sequence + u64::from(announced),
        state,
        ..before.clone()
    };
    let next = match after.state {
        State::Initiating(attempt) => Next::Call(attempt),
        _ => Next::Rest,
    };
    let transition = Transition { after, next, items: vec![], note: "put there".into(), by: None };
    Change::of(before, transition, HappenedName::Resolved, None)
}

/// Any event of any subject, past the machine.
pub fn event(subject: Uuid, sequence: u64, partner: PartnerId, time: Time) -> Event {
    Event {
        id: EventId::of(subject, sequence),
        kind: EventType::CommandRejected,
        partner,
        subject,
        sequence,
        request_id: None,
        time,
        trace: None,
        body: Arc::from(format!(r#"{{"sequence":"{sequence:020}"}}"#)),
    }
}

pub fn fact(token: AttemptToken, answer: Answer, at: Time) -> Fact {
    Fact { token, answer, at }
}

pub fn done(name: &str) -> Answer {
    Answer::Done { session: session(name), nfts: vec![] }
}

pub fn attempt_of(purchase: &Purchase) -> Attempt {
    match &purchase.state {
        State::Initiating(attempt) => *attempt,
        other => panic!("not initiating: {other:?}"),
    }
}

/// The answer of the attempt under way: its fact and what follows, in one change.
pub fn answered(before: &Purchase, answer: Answer, now: Time) -> Change {
    let token = attempt_of(before).token;
    let change = then(before, Happened::Answered { token, answer: answer.clone() }, now);
    Change { fact: Some(fact(token, answer, now)), ..change }
}

/// `buy/status` says fulfilled, with as many items as were bought.
pub fn fulfilment(before: &Purchase, now: Time) -> Change {
    let session = before.state.session().expect("it is pending").clone();
    let nfts = (0..before.command.amount).map(|n| item(&format!("item-{n}"))).collect();
    let told = Fulfilment { session, user_id: None, public_id: None, tx_hash: None, nfts };
    then(before, Happened::Polled(StatusAnswer::Fulfilled(told)), now)
}

pub fn held(before: &Purchase, code: WaitCode, until: Option<Time>, now: Time) -> Change {
    then(before, Happened::Held(Waiting { code, message: format!("waits: {code}"), until }), now)
}

pub fn cancelled(before: &Purchase, now: Time) -> Change {
    then(before, Happened::Cancelled { by: "ann".into(), why: "a test".into() }, now)
}

pub fn as_purchase(order: &AnyOrder) -> &Purchase {
    order.purchase().expect("it is a purchase")
}

/// To spoil it.
pub fn as_purchase_mut(order: &mut AnyOrder) -> &mut Purchase {
    if let AnyOrder::Purchase(purchase) = order { purchase } else { panic!("it is no purchase: {order:?}") }
}

/// Stores a new purchase and hands it back.
pub async fn stored(store: &dyn Store, insertion: Insertion) -> Purchase {
    let purchase = as_purchase(&insertion.order).clone();
    assert_eq!(store.insert(insertion).await.unwrap(), Inserted::New);
    purchase
}

/// Writes a change that must fit, and hands back the row as it stands after it.
pub async fn applied(store: &dyn Store, change: Change) -> Purchase {
    let after = as_purchase(&change.after).clone();
    assert_eq!(store.apply(change).await.unwrap(), Applied::Committed);
    after
}

/// Called, and then in a session named after its request.
pub async fn pending(store: &dyn Store, partner: PartnerId, request: &str, now: Time) -> Purchase {
    let initiating = stored(store, called(partner, request, now)).await;
    applied(store, answered(&initiating, done(request), now)).await
}

/// All the way, at one moment.
pub async fn fulfilled(store: &dyn Store, partner: PartnerId, request: &str, now: Time) -> Purchase {
    let pending = pending(store, partner, request, now).await;
    applied(store, fulfilment(&pending, now)).await
}

/// In review at `now` with its first event: the status told of too few items.
pub async fn in_review(store: &dyn Store, partner: PartnerId, request: &str, now: Time) -> Purchase {
    let pending = pending(store, partner, request, now).await;
    let session = pending.state.session().expect("it is pending").clone();
    let told = Fulfilment { session, user_id: None, public_id: None, tx_hash: None, nfts: vec![item("only")] };
    applied(store, then(&pending, Happened::Polled(StatusAnswer::Fulfilled(told)), now)).await
}

pub async fn read(store: &dyn Store, id: PurchaseId) -> Purchase {
    store.purchase(id).await.unwrap().expect("it was stored")
}

/// Runs all at once, each in a task of its own, and hands back what they came to in their order.
pub async fn at_once<T: Send + 'static>(futures: impl IntoIterator<Item: Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    futures_util::future::join_all(tasks).await.into_iter().map(|result| result.expect("no task panics")).collect()
}

/// Has a draft written that grows by `told` after so many turns of others; whether the growth came in time.
pub async fn grown(store: &dyn Store, draft: &Arc<Draft>, told: Change, turns: u32) -> (Applied, bool) {
    let growing = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        draft.open().map(|open| open.join(told)).is_some()
    };
    let (applied, joined) = tokio::join!(store.apply_draft(draft.clone()), growing);
    (applied.unwrap(), joined)
}
