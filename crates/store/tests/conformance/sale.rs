//! Sellbacks in every stage of their way, made by the machine itself.

use clawback_domain::{
    AttemptToken, ItemId, Money, PartnerId, RequestId, SellbackId, Time,
    answer::Answer,
    change::{Change, Insertion},
    command::{SellbackCommand, Target},
    item::Pull,
    order::{Decision, HappenedName, Next, Rules, Transition},
    reason::{FailureCode, ReviewCode},
    sellback::{Copies, Happened, Holding, PullPlace, Resolution, Sale, SaleEvidence, SaleVerdict, Sellback, State, decide},
};
use clawback_store::{Applied, Inserted, Store};
use uuid::Uuid;

use crate::build::{at, fact, trace, user};

pub fn item_id(text: &str) -> ItemId {
    ItemId::new(text).unwrap()
}

/// Of an item of `user-1`.
pub fn sale_command(request: &str, item: &str) -> SellbackCommand {
    SellbackCommand {
        request_id: RequestId::new(request).unwrap(),
        user_id: user("user-1"),
        target: Target::Item(item_id(item)),
        min_price: None,
        not_after: None,
        metadata: None,
    }
}

pub fn sellback(partner: PartnerId, request: &str, item: &str, now: Time) -> Sellback {
    Sellback::accept(partner, sale_command(request, item), now, trace())
}

/// The next call, of this pull, at a price of 8.50.
pub fn sale(row: &Sellback, pull: Option<PullPlace>, now: Time) -> Sale {
    let token = AttemptToken(Uuid::new_v5(&Uuid::nil(), format!("{} {}", row.id, row.attempts).as_bytes()));
    let item_id = match &row.command.target {
        Target::Item(item) => item.clone(),
        Target::Pull(pull) => item_id(&format!("of-{pull}")),
    };
    let copies = vec![Copies { user_id: row.command.user_id.clone(), purchased_at: Some(at(-100)), count: 2 }];
    Sale {
        attempt: row.attempt(token, now, &Rules::default()).costing(Some(Money::usd(8_500_000))),
        item_id,
        pull,
        before: Holding { read_at: now, copies, partial: false },
        known_sales: vec![],
        retried: false,
    }
}

pub fn place(pull: &Pull) -> PullPlace {
    PullPlace { purchase: pull.purchase, position: pull.position }
}

fn transition(before: &Sellback, happened: Happened, now: Time) -> Transition<Sellback> {
    let what = happened.name();
    match decide(before, happened, now, &Rules::default()) {
        Decision::Transition(transition) => *transition,
        other => panic!("{what} is no transition of {:?}: {other:?}", before.state),
    }
}

pub fn sale_then(before: &Sellback, happened: Happened, now: Time) -> Change {
    let what = happened.name();
    Change::of(before, transition(before, happened, now), what, None)
}

/// The first write of what is called at once.
pub fn offered(row: Sellback, pull: Option<PullPlace>) -> Insertion {
    let now = row.created_at;
    let begun = transition(&row, Happened::Initiated(Box::new(sale(&row, pull, now))), now);
    Insertion::of(row).then(begun, HappenedName::Initiated)
}

pub fn opened(row: &Sellback, pull: Option<PullPlace>, now: Time) -> Change {
    sale_then(row, Happened::Initiated(Box::new(sale(row, pull, now))), now)
}

/// The answer of the attempt under way: its fact and what follows, in one change.
pub fn told(before: &Sellback, answer: Answer, now: Time) -> Change {
    let token = before.state.sale().expect("it was called").attempt.token;
    let change = sale_then(before, Happened::Answered { token, answer: answer.clone() }, now);
    Change { fact: Some(fact(token, answer, now)), ..change }
}

pub fn sold_for(millionths: i64) -> Answer {
    Answer::Sold { amount: Some(Money::usd(millionths)) }
}

pub fn not_found() -> Answer {
    Answer::Refused { code: FailureCode::ItemNotFound, message: "Item not found".into(), status: 400 }
}

pub fn looked(verdict: SaleVerdict) -> Happened {
    Happened::Looked { verdict, evidence: SaleEvidence { doubt: "reset".into(), ..SaleEvidence::default() } }
}

pub fn in_question() -> SaleVerdict {
    SaleVerdict::Unclear(ReviewCode::Ambiguous, "two left".into())
}

pub fn retried() -> Happened {
    Happened::Resolved { resolution: Resolution::Retry, by: "ann".into(), why: "a test".into() }
}

/// `before` put into `state`, past the machine.
pub fn put_sale(before: &Sellback, state: State) -> Change {
    let announced = state.name().is_announced() && state.name() != before.state.name();
    let after = Sellback {
        due_at: before.due_at.filter(|_| !state.name().is_final()),
        version: before.version + 1,
        sequence: before.sequence + u64::from(announced),
        attempts: state.attempt().map_or(before.attempts, |attempt| attempt.number),
        state,
        ..before.clone()
    };
    let next = after.state.attempt().map_or(Next::Rest, |attempt| Next::Call(*attempt));
    let transition = Transition { after, next, items: vec![], note: "put there".into(), by: None };
    Change::of(before, transition, HappenedName::Resolved, None)
}

pub async fn keep(store: &dyn Store, insertion: Insertion) -> Sellback {
    let row = insertion.order.sellback().expect("it is a sellback").clone();
    assert_eq!(store.insert(insertion).await.unwrap(), Inserted::New);
    row
}

/// Writes a change that must fit, and hands back the row as it stands after it.
pub async fn moved(store: &dyn Store, change: Change) -> Sellback {
    let after = change.after.sellback().expect("it is a sellback").clone();
    assert_eq!(store.apply(change).await.unwrap(), Applied::Committed);
    after
}

pub async fn selling(store: &dyn Store, partner: PartnerId, request: &str, item: &str, now: Time) -> Sellback {
    keep(store, offered(sellback(partner, request, item, now), None)).await
}

pub async fn sale_of(store: &dyn Store, id: SellbackId) -> Sellback {
    store.sellback(id).await.unwrap().expect("it was stored")
}
