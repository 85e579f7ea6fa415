//! Sellbacks in every state, and everything that can happen to them.

use std::{collections::BTreeMap, time::Duration};

use clawback_domain::{
    AttemptToken, ItemId, Money, OrderId, PartnerId, RequestId, SessionId, Time, UserId,
    answer::Answer,
    clock::after,
    command::{SellbackCommand, Target},
    order::{Decision, Rules},
    reason::{FailureCode, ReviewCode, WaitCode, Waiting},
    sellback::{Copies, Happened, Holding, PullPlace, Resolution, Sale, SaleEvidence, SaleVerdict, Sellback, decide},
    trace::TraceContext,
};

pub fn start() -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(1_800_000_000))
}

/// Seconds after the start.
pub fn at(seconds: u64) -> Time {
    after(start(), Duration::from_secs(seconds))
}

/// Beyond every deadline and the end of `max_wait`.
pub fn late() -> Time {
    at(48 * 3600)
}

pub fn token(n: u128) -> AttemptToken {
    AttemptToken(uuid::Uuid::from_u128(n))
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn item() -> ItemId {
    ItemId::new("item").unwrap()
}

pub fn price() -> Money {
    Money::usd(8_500_000)
}

pub fn place() -> PullPlace {
    PullPlace { purchase: OrderId(uuid::Uuid::from_u128(77)), position: 1 }
}

pub fn accepted() -> Sellback {
    let command = SellbackCommand {
        request_id: RequestId::new("s-1").unwrap(),
        user_id: user("user"),
        target: Target::Pull(place().id()),
        min_price: None,
        not_after: None,
        metadata: None,
    };
    let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
    Sellback::accept(PartnerId::new("acme").unwrap(), command, start(), trace)
}

/// The next call, with one copy held just before it.
pub fn sale(sellback: &Sellback, number: u128, now: Time) -> Box<Sale> {
    let copy = Copies { user_id: user("user"), purchased_at: Some(start()), count: 1 };
    Box::new(Sale {
        attempt: sellback.attempt(token(number), now, &Rules::default()).costing(Some(price())),
        item_id: item(),
        pull: Some(place()),
        before: Holding { read_at: now, copies: vec![copy], partial: false },
        known_sales: vec![],
        retried: false,
    })
}

pub fn evidence() -> SaleEvidence {
    SaleEvidence { doubt: "reset".into(), status: Some(502), verdict: "seen".into(), ..SaleEvidence::default() }
}

pub fn looked(verdict: SaleVerdict) -> Happened {
    Happened::Looked { verdict, evidence: evidence() }
}

pub fn unclear() -> SaleVerdict {
    SaleVerdict::Unclear(ReviewCode::Ambiguous, "two left".into())
}

pub fn answered(n: u128, answer: Answer) -> Happened {
    Happened::Answered { token: token(n), answer }
}

pub fn refused(code: FailureCode) -> Answer {
    Answer::Refused { code, message: "no".into(), status: 400 }
}

pub fn unknown() -> Answer {
    Answer::Unknown { why: "reset".into(), status: None }
}

pub fn never_sent() -> Answer {
    Answer::NeverSent { why: "no route".into() }
}

pub fn resolved(resolution: Resolution) -> Happened {
    Happened::Resolved { resolution, by: "ann".into(), why: "seen".into() }
}

pub fn go(sellback: &Sellback, happened: Happened, now: Time) -> Sellback {
    match decide(sellback, happened, now, &Rules::default()) {
        Decision::Transition(transition) => transition.after,
        other => panic!("no transition: {other:?}"),
    }
}

/// A sellback in every state, with what the states can differ in.
pub fn samples() -> Vec<(&'static str, Sellback)> {
    let now = start();
    let accepted = accepted();
    let waiting = Waiting { code: WaitCode::ItemBusy, message: "another".into(), until: Some(at(15)) };
    let waits = go(&accepted, Happened::Held(waiting), now);
    let selling = go(&accepted, Happened::Initiated(sale(&accepted, 1, now)), now);
    let reconciling = go(&selling, answered(1, unknown()), now);
    let busy = go(&selling, answered(1, Answer::Busy { retry_after: None }), now);
    let review = go(&reconciling, looked(unclear()), now);
    let unsettled = go(&review, resolved(Resolution::Retry), now);
    let again = go(&unsettled, Happened::Initiated(sale(&unsettled, 2, now)), now);
    let doubted_again = go(&again, answered(2, unknown()), now);
    let busy_again = go(&again, answered(2, Answer::Busy { retry_after: None }), now);
    let review_again = go(&doubted_again, looked(unclear()), now);
    let sold = go(&selling, answered(1, Answer::Sold { amount: Some(Money::usd(9_000_000)) }), now);
    let by_evidence = go(&reconciling, looked(SaleVerdict::Sold), now);
    let failed = go(&selling, answered(1, refused(FailureCode::ItemExpired)), now);
    let cancelled = go(&accepted, Happened::Cancelled { by: "ann".into(), why: "asked".into() }, now);
    let still_there = go(&reconciling, looked(SaleVerdict::NotSold), now);
    vec![
        ("accepted", accepted),
        ("accepted, waiting", waits),
        ("accepted after a person's retry", unsettled),
        ("selling", selling),
        ("selling again", again),
        ("reconciling", reconciling),
        ("reconciling, busy", busy),
        ("reconciling again", doubted_again),
        ("reconciling again, busy", busy_again),
        ("review", review),
        ("review again", review_again),
        ("sold", sold),
        ("sold, by evidence", by_evidence),
        ("failed, refused", failed),
        ("failed, cancelled", cancelled),
        ("failed, still there", still_there),
    ]
}

pub fn sample(name: &str) -> Sellback {
    samples().into_iter().collect::<BTreeMap<_, _>>().remove(name).expect("there is such a sample")
}

/// Every event, with what events can differ in, and when it happens.
pub fn events() -> Vec<(&'static str, Happened, Time)> {
    let now = start();
    let accepted = accepted();
    let waiting = Waiting { code: WaitCode::Paused, message: "paused".into(), until: None };
    let told = |amount| Answer::Sold { amount };
    let bought = Answer::Done { session: SessionId::new("s").unwrap(), nfts: Vec::new() };
    let key = || Answer::Unauthorized { message: "Invalid API key".into() };
    vec![
        ("initiated", Happened::Initiated(sale(&accepted, 1, now)), now),
        ("initiated by another", Happened::Initiated(sale(&accepted, 9, now)), now),
        ("initiated, expired", Happened::Initiated(sale(&accepted, 1, now)), late()),
        ("held", Happened::Held(waiting), now),
        ("expired, too early", Happened::Expired, now),
        ("expired", Happened::Expired, late()),
        ("cancelled", Happened::Cancelled { by: "ann".into(), why: "asked".into() }, now),
        ("unsellable: not found", Happened::Unsellable(FailureCode::ItemNotFound, "not shown".into()), now),
        ("unsellable: too cheap", Happened::Unsellable(FailureCode::PriceBelowMinimum, "too cheap".into()), now),
        ("answered: sold", answered(1, told(Some(price()))), now),
        ("answered: sold, no amount", answered(1, told(None)), now),
        ("answered: not found", answered(1, refused(FailureCode::ItemNotFound)), now),
        ("answered: expired", answered(1, refused(FailureCode::ItemExpired)), now),
        ("answered: unauthorized", answered(1, key()), now),
        ("answered: busy", answered(1, Answer::Busy { retry_after: None }), now),
        ("answered: never sent", answered(1, never_sent()), now),
        ("answered: unknown", answered(1, unknown()), now),
        ("answered: a purchase", answered(1, bought), now),
        ("second's answer: sold", answered(2, told(Some(price()))), now),
        ("second's answer: not found", answered(2, refused(FailureCode::ItemNotFound)), now),
        ("second's answer: expired", answered(2, refused(FailureCode::ItemExpired)), now),
        ("second's answer: never sent", answered(2, never_sent()), now),
        ("second's answer: unauthorized", answered(2, key()), now),
        ("second's answer: unknown", answered(2, unknown()), now),
        ("deadline passed, too early", Happened::DeadlinePassed, now),
        ("deadline passed", Happened::DeadlinePassed, late()),
        ("looked: wait", looked(SaleVerdict::Wait("still there".into())), now),
        ("looked: sold", looked(SaleVerdict::Sold), now),
        ("looked: not sold", looked(SaleVerdict::NotSold), now),
        ("looked: unclear", looked(unclear()), now),
        ("resolved: sold", resolved(Resolution::Sold(Some(price()))), now),
        ("resolved: sold, no amount", resolved(Resolution::Sold(None)), now),
        ("resolved: failed", resolved(Resolution::Failed), now),
        ("resolved: retry", resolved(Resolution::Retry), now),
        ("turn taken", Happened::TurnTaken, now),
        ("handed back", Happened::HandedBack, now),
        ("panicked", Happened::Panicked { message: "index".into() }, now),
    ]
}
