//! The purchase machine, walked whole: every pair of a state and an event, random histories, and the drawing in the documentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use clawback_domain::{
    AttemptToken, ItemId, PackId, PartnerId, RequestId, SessionId, Time, UserId,
    answer::{Answer, Fulfilment, StatusAnswer},
    clock::after,
    command::PurchaseCommand,
    evidence::{Evidence, Verdict},
    item::Item,
    purchase::{Attempt, Decision, Happened, HappenedName, Purchase, Resolution, Rules, State, StateName, decide},
    reason::{FailureCode, ReviewCode, WaitCode, Waiting},
    trace::TraceContext,
};
use proptest::prelude::*;

/// The table of the contract, and one line more: a session that comes after a person's retry wins, or the retry would buy twice.
const CONTRACT: &[(StateName, &[StateName])] = {
    use StateName::*;
    &[
        (Accepted, &[Initiating, Failed, Pending]),
        (Initiating, &[Pending, Fulfilled, Failed, Accepted, Reconciling]),
        (Pending, &[Fulfilled, Failed, Review]),
        (Reconciling, &[Pending, Accepted, Fulfilled, Failed, Review]),
        (Review, &[Fulfilled, Failed, Pending, Accepted]),
        (Fulfilled, &[]),
        (Failed, &[]),
    ]
};

fn start() -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(1_800_000_000))
}

fn token(n: u128) -> AttemptToken {
    AttemptToken(uuid::Uuid::from_u128(n))
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|n| Item::bare(ItemId::new(format!("item-{n}")).unwrap())).collect()
}

fn evidence() -> Evidence {
    Evidence { doubt: "reset".into(), verdict: "unclear".into(), ..Evidence::default() }
}

fn accepted() -> Purchase {
    let command = PurchaseCommand {
        request_id: RequestId::new("r-1").unwrap(),
        user_id: UserId::new("user").unwrap(),
        pack_id: PackId::new("pack").unwrap(),
        amount: 2,
        not_after: None,
        metadata: None,
    };
    let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
    Purchase::accept(PartnerId::new("acme").unwrap(), command, start(), trace)
}

fn done(name: &str) -> Answer {
    Answer::Done { session: session(name), nfts: Vec::new() }
}

fn fulfilled(count: usize) -> StatusAnswer {
    StatusAnswer::Fulfilled(Fulfilment {
        session: session("s-1"),
        user_id: Some(UserId::new("user").unwrap()),
        public_id: None,
        tx_hash: None,
        nfts: items(count),
    })
}

fn go(purchase: &Purchase, happened: Happened, now: Time) -> Purchase {
    match decide(purchase, happened, now, &Rules::default()) {
        Decision::Transition(transition) => transition.after,
        other => panic!("no transition: {other:?}"),
    }
}

fn attempt(purchase: &Purchase, number: u128) -> Attempt {
    purchase.attempt(token(number), start(), &Rules::default())
}

/// A purchase in every state, with what the states can differ in.
fn samples() -> Vec<(&'static str, Purchase)> {
    let now = start();
    let accepted = accepted();
    let answered = |purchase: &Purchase, answer| go(purchase, Happened::Answered { token: token(1), answer }, now);
    let initiating = go(&accepted, Happened::Initiated(attempt(&accepted, 1)), now);
    let pending = answered(&initiating, done("s-1"));
    let cancelled = go(&pending, Happened::Polled(StatusAnswer::TransactionFailed), now);
    let reconciling = answered(&initiating, Answer::Unknown { why: "reset".into(), status: None });
    let look = |verdict| Happened::Looked { verdict, evidence: evidence() };
    let unclear = Verdict::Unclear(ReviewCode::UnknownOutcome, "reset".into());
    let review = go(&reconciling, look(unclear.clone()), now);
    let late = after(now, Rules::default().poll.deadline);
    let still_pending = go(&pending, Happened::Polled(StatusAnswer::Pending), late);
    let review_cancelled = go(&cancelled, look(unclear), now);
    let fulfilled = go(&pending, Happened::Polled(fulfilled(2)), now);
    let recovered = go(&reconciling, look(Verdict::Recovered(items(2).into_iter().map(Into::into).collect())), now);
    let refusal = Answer::Refused { code: FailureCode::UnknownPack, message: "VM not found".into(), status: 400 };
    let failed = answered(&initiating, refusal);
    let by_hand = Happened::Cancelled { by: "ann".into(), why: "asked".into() };
    let given_up = go(&accepted, by_hand, now);
    let failed_upstream = go(&cancelled, look(Verdict::Absent), now);
    vec![
        ("accepted", accepted),
        ("initiating", initiating),
        ("pending", pending),
        ("pending, cancelled upstream", cancelled),
        ("reconciling", reconciling),
        ("review of an unknown outcome", review),
        ("review with a session", still_pending),
        ("review, cancelled upstream", review_cancelled),
        ("fulfilled", fulfilled),
        ("fulfilled, recovered", recovered),
        ("failed, refused", failed),
        ("failed, cancelled", given_up),
        ("failed with a session", failed_upstream),
    ]
}

/// Every event, with what events can differ in, and when it happens.
fn events() -> Vec<(&'static str, Happened, Time)> {
    let (now, late) = (start(), after(start(), Duration::from_secs(48 * 3600)));
    let accepted = accepted();
    let answered = |n, answer| Happened::Answered { token: token(n), answer };
    let look = |verdict| Happened::Looked { verdict, evidence: evidence() };
    let resolved = |resolution| Happened::Resolved { resolution, by: "ann".into(), why: "seen".into() };
    let refused = || Answer::Refused { code: FailureCode::UnknownPack, message: "VM not found".into(), status: 400 };
    let unknown = || Answer::Unknown { why: "reset".into(), status: None };
    let waiting = Waiting { code: WaitCode::Paused, message: "paused".into(), until: None };
    let unreadable = || StatusAnswer::Unreadable { why: "504".into() };
    let mut other_user = fulfilled(2);
    if let StatusAnswer::Fulfilled(fulfilment) = &mut other_user {
        fulfilment.user_id = Some(UserId::new("somebody").unwrap());
    }
    vec![
        ("initiated", Happened::Initiated(attempt(&accepted, 1)), now),
        ("initiated by another", Happened::Initiated(attempt(&accepted, 2)), now),
        ("initiated, expired", Happened::Initiated(attempt(&accepted, 1)), late),
        ("held", Happened::Held(waiting), now),
        ("expired, too early", Happened::Expired, now),
        ("expired", Happened::Expired, late),
        ("cancelled", Happened::Cancelled { by: "ann".into(), why: "asked".into() }, now),
        ("sold out", Happened::SoldOut, now),
        ("answered: done", answered(1, done("s-1")), now),
        ("answered: done, another session", answered(1, done("s-2")), now),
        ("answered: sold", answered(1, Answer::Sold { amount: None }), now),
        ("answered: refused", answered(1, refused()), now),
        ("answered: unauthorized", answered(1, Answer::Unauthorized { message: "Invalid API key".into() }), now),
        ("answered: busy", answered(1, Answer::Busy { retry_after: None }), now),
        ("answered: never sent", answered(1, Answer::NeverSent { why: "refused".into() }), now),
        ("answered: unknown", answered(1, unknown()), now),
        ("another's answer: done", answered(2, done("s-1")), now),
        ("another's answer: refused", answered(2, refused()), now),
        ("another's answer: never sent", answered(2, Answer::NeverSent { why: "refused".into() }), now),
        ("another's answer: unknown", answered(2, unknown()), now),
        ("deadline passed, too early", Happened::DeadlinePassed, now),
        ("deadline passed", Happened::DeadlinePassed, late),
        ("polled: fulfilled", Happened::Polled(fulfilled(2)), now),
        ("polled: too few items", Happened::Polled(fulfilled(1)), now),
        ("polled: too many items", Happened::Polled(fulfilled(3)), now),
        ("polled: another user", Happened::Polled(other_user), now),
        ("polled: pending", Happened::Polled(StatusAnswer::Pending), now),
        ("polled: pending, deadline over", Happened::Polled(StatusAnswer::Pending), late),
        ("polled: transaction failed", Happened::Polled(StatusAnswer::TransactionFailed), now),
        ("polled: unauthorized", Happened::Polled(StatusAnswer::Unauthorized), now),
        ("polled: unreadable", Happened::Polled(unreadable()), now),
        ("polled: unreadable, deadline over", Happened::Polled(unreadable()), late),
        ("looked: recovered", look(Verdict::Recovered(items(2).into_iter().map(Into::into).collect())), now),
        ("looked: absent", look(Verdict::Absent), now),
        ("looked: unclear", look(Verdict::Unclear(ReviewCode::Ambiguous, "two explain it".into())), now),
        ("looked: wait", look(Verdict::Wait("lagging".into())), now),
        ("looked: wait, deadline over", look(Verdict::Wait("lagging".into())), late),
        ("resolved: fulfilled", resolved(Resolution::FulfilledWith(items(2))), now),
        ("resolved: too few items", resolved(Resolution::FulfilledWith(items(1))), now),
        ("resolved: session", resolved(Resolution::Session(session("s-9"))), now),
        ("resolved: failed", resolved(Resolution::Failed), now),
        ("resolved: retry", resolved(Resolution::Retry), now),
        ("turn taken", Happened::TurnTaken, now),
        ("handed back", Happened::HandedBack, now),
        ("panicked", Happened::Panicked { message: "index".into() }, now),
    ]
}

/// All but what happens to sellbacks alone.
fn own_events() -> impl Iterator<Item = HappenedName> {
    HappenedName::ALL.iter().copied().filter(|name| *name != HappenedName::Unsellable)
}

fn outcome(decision: &Decision) -> String {
    match decision {
        Decision::Transition(transition) => format!("→ {} · {:?}", transition.after.state.name(), transition.next),
        Decision::Repeat => "repeat".into(),
        Decision::Orphan(session) => format!("orphan {session}"),
        Decision::TooLate(why) => format!("too late: {why}"),
        Decision::Illegal(why) => format!("illegal: {why}"),
    }
}

fn check(before: &Purchase, decision: &Decision) {
    let Decision::Transition(transition) = decision else { return };
    let after = &transition.after;
    let (from, to) = (before.state.name(), after.state.name());
    let legal = CONTRACT.iter().any(|(state, targets)| *state == from && targets.contains(&to));
    assert!(from == to || legal, "{from} → {to} is not in the contract");
    assert!(!from.is_final(), "{from} is final");
    assert_eq!(after.due_at.is_none(), to.is_final(), "due exactly while not final: {to}");
    assert_eq!(after.version, before.version + 1);
    assert_eq!(after.sequence - before.sequence, u64::from(from != to && to.is_announced()), "{from} → {to}");
    assert_eq!(transition.items.is_empty(), to != StateName::Fulfilled);
    assert_eq!((&after.id, &after.command, after.created_at), (&before.id, &before.command, before.created_at));
}

#[test]
fn every_pair_is_named() {
    let mut table = String::new();
    let mut seen = BTreeSet::new();
    for (state, purchase) in samples() {
        writeln!(table, "{state}").unwrap();
        for (event, happened, now) in events() {
            seen.insert((purchase.state.name(), happened.name()));
            let decision = decide(&purchase, happened, now, &Rules::default());
            check(&purchase, &decision);
            writeln!(table, "  {event:<36} {}", outcome(&decision)).unwrap();
        }
    }
    assert_eq!(seen.len(), CONTRACT.len() * own_events().count(), "a state or an event has no sample");
    insta::assert_snapshot!(table);
}

/// The edges of the machine as a Mermaid drawing.
fn drawing() -> String {
    let mut edges = BTreeMap::<(StateName, StateName), BTreeSet<HappenedName>>::new();
    for (_, purchase) in samples() {
        for (_, happened, now) in events() {
            let name = happened.name();
            if let Decision::Transition(transition) = decide(&purchase, happened, now, &Rules::default()) {
                let (from, to) = (purchase.state.name(), transition.after.state.name());
                if from != to {
                    edges.entry((from, to)).or_default().insert(name);
                }
            }
        }
    }
    let mut text = String::from("stateDiagram-v2\n    [*] --> accepted\n");
    for ((from, to), names) in edges {
        let names: Vec<_> = names.into_iter().map(HappenedName::as_str).collect();
        writeln!(text, "    {from} --> {to}: {}", names.join(", ")).unwrap();
    }
    text.push_str("    fulfilled --> [*]\n    failed --> [*]\n");
    text
}

#[test]
fn the_drawing_in_the_documentation_is_the_code() {
    let page = include_str!("../../decisions/purchase-machine.md");
    let drawn = page.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has a drawing");
    assert_eq!(drawn, drawing(), "redraw crates/decisions/purchase-machine.md as on the right");
}

#[test]
fn an_attempt_is_never_sent_after_not_after() {
    let mut purchase = accepted();
    let mut command = (*purchase.command).clone();
    command.not_after = Some(after(start(), Duration::from_secs(2)));
    purchase.command = command.into();
    let attempt = attempt(&purchase, 1);
    assert_eq!(attempt.send_by, after(start(), Duration::from_secs(2)));
    assert!(attempt.deadline > after(attempt.send_by, Rules::default().timeouts.init));
}

#[test]
fn a_handler_that_keeps_panicking_ends_in_review() {
    let mut purchase = samples().into_iter().find(|(name, _)| *name == "pending").unwrap().1;
    for _ in 0..5 {
        assert_eq!(purchase.state.name(), StateName::Pending);
        purchase = go(&purchase, Happened::Panicked { message: "index".into() }, start());
    }
    assert!(matches!(&purchase.state, State::Review(review) if review.session.is_some()));
}

proptest! {
    /// Any history keeps every promise of [`check`], and a purchase is called only through `Initiated` from `accepted`.
    #[test]
    fn random_histories_keep_the_machine_whole(picks in prop::collection::vec((0..45usize, 0..4u64), 1..80)) {
        let events = events();
        let mut purchase = accepted();
        let mut now = start();
        for (pick, hours) in picks {
            now = after(now, Duration::from_secs(hours * 600));
            let mut happened = events[pick % events.len()].1.clone();
            if let Happened::Initiated(attempt) = &mut happened {
                *attempt = purchase.attempt(attempt.token, now, &Rules::default());
            }
            let decision = decide(&purchase, happened.clone(), now, &Rules::default());
            check(&purchase, &decision);
            if let Decision::Transition(transition) = decision {
                if transition.after.state.name() == StateName::Initiating && purchase.state.name() != StateName::Initiating {
                    prop_assert_eq!(happened.name(), HappenedName::Initiated);
                }
                prop_assert!(transition.after.due_at.is_none_or(|due| due >= purchase.created_at));
                purchase = transition.after;
            }
        }
    }
}
