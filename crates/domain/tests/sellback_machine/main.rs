//! The sellback machine, walked whole: every pair of a state and an event, random histories, and the drawing in the documentation.

mod build;
mod outcomes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use build::*;
use clawback_domain::{
    answer::Answer,
    change::Change,
    clock::after,
    order::{Decision, HappenedName, Next, Rules, StateName},
    sellback::{Happened, Sellback, State, decide},
};
use proptest::prelude::*;

/// The table of the contract, and two lines more for what a person had called again: a late sale ends it, and what will not be called
/// again is for the person once more.
const CONTRACT: &[(StateName, &[StateName])] = {
    use StateName::*;
    &[
        (Accepted, &[Selling, Failed, Sold, Review]),
        (Selling, &[Sold, Failed, Accepted, Reconciling]),
        (Reconciling, &[Accepted, Sold, Failed, Review]),
        (Review, &[Sold, Failed, Accepted]),
        (Sold, &[]),
        (Failed, &[]),
    ]
};

/// All but what happens to purchases alone.
fn own_events() -> impl Iterator<Item = HappenedName> {
    let others = [HappenedName::SoldOut, HappenedName::Polled];
    HappenedName::ALL.iter().copied().filter(move |name| !others.contains(name))
}

fn outcome(decision: &Decision<Sellback>) -> String {
    match decision {
        Decision::Transition(transition) => format!("→ {} · {:?}", transition.after.state.name(), transition.next),
        Decision::Repeat => "repeat".into(),
        Decision::Orphan(session) => format!("orphan {session}"),
        Decision::TooLate(why) => format!("too late: {why}"),
        Decision::Illegal(why) => format!("illegal: {why}"),
    }
}

/// What holds of every transition.
fn check(before: &Sellback, happened: &Happened, decision: &Decision<Sellback>, now: clawback_domain::Time) {
    let Decision::Transition(transition) = decision else { return };
    let after = &transition.after;
    let (from, to) = (before.state.name(), after.state.name());
    let legal = CONTRACT.iter().any(|(state, targets)| *state == from && targets.contains(&to));
    assert!(from == to || legal, "{from} → {to} is not in the contract");
    assert!(!from.is_final(), "{from} is final");
    assert_eq!(after.due_at.is_none(), to.is_final(), "due exactly while not final: {to}");
    assert_eq!(after.version, before.version + 1);
    assert_eq!(after.sequence - before.sequence, u64::from(from != to && to.is_announced()), "{from} → {to}");
    assert!(transition.items.is_empty(), "a sellback draws nothing");
    assert_eq!((&after.id, &after.command, after.created_at), (&before.id, &before.command, before.created_at));
    check_doubt(before, happened, after);
    check_times(after, transition.next, now);
    check_change(before, transition.clone(), happened, to);
}

/// A doubt ends by a sale, by evidence, by a person, or by proof of the very last call; and nothing else forgets it.
fn check_doubt(before: &Sellback, happened: &Happened, after: &Sellback) {
    if after.state.name() == StateName::Selling && before.state.name() != StateName::Selling {
        assert_eq!(happened.name(), HappenedName::Initiated);
        assert_eq!(after.attempts, before.attempts + 1);
        let doubted = before.state.sale().is_some();
        assert_eq!(after.state.sale().unwrap().retried, doubted, "a call after a doubt knows of it");
    }
    let doubt = match &before.state {
        State::Accepted { unsettled, .. } => unsettled.is_some(),
        State::Selling(sale) => sale.retried,
        State::Reconciling(doubt) => doubt.sale.retried,
        State::Review(review) => review.sale.as_ref().is_some_and(|sale| sale.retried),
        State::Sold(_) | State::Failed { .. } => false,
    };
    let settles = matches!(happened, Happened::Looked { .. } | Happened::Resolved { .. })
        || matches!(happened, Happened::Answered { answer: Answer::Refused { .. }, .. });
    if doubt && !settles && !after.state.name().is_final() {
        assert!(after.state.sale().is_some(), "{} forgets what is in doubt", happened.name());
    }
    assert!(!doubt || settles || after.state.name() != StateName::Failed, "{} ends a doubt", happened.name());
}

/// The row is due later than its holder's timer, with all jitter, may begin the next turn.
fn check_times(after: &Sellback, next: Next, now: clawback_domain::Time) {
    let Some(due) = after.due_at else { return };
    let expires_at = after.expires_at(&Rules::default());
    let reached = |span: Duration| due > clawback_domain::clock::after(now, span.mul_f64(1.25)) || due == expires_at;
    match next {
        Next::Rest => {}
        Next::Call(attempt) => assert!(due > attempt.deadline, "whoever calls has ended before the row is due"),
        Next::TryAfter(span) | Next::LookAfter(span) => assert!(reached(span), "due before its timer fires"),
        Next::PollAfter(_) => panic!("a sellback is not polled"),
    }
}

/// What is written with it: one event with what is announced, the pull with the sale.
fn check_change(
    before: &Sellback,
    transition: Box<clawback_domain::order::Transition<Sellback>>,
    happened: &Happened,
    to: StateName,
) {
    let announced = transition.after.sequence > before.sequence;
    let change = Change::of(before, *transition, happened.name(), None);
    assert_eq!(change.event.is_some(), announced);
    assert_eq!(change.event.is_some_and(|event| event.kind.is_final()), to.is_final());
    assert_eq!(change.after.sellback().unwrap().state.sold().is_some(), to == StateName::Sold);
    assert_eq!(change.ruling.is_some(), to == StateName::Sold, "a pull that is given away rules the case");
}

#[test]
fn every_pair_is_named() {
    let mut table = String::new();
    let mut seen = BTreeSet::new();
    for (state, sellback) in samples() {
        writeln!(table, "{state}").unwrap();
        for (event, happened, now) in events() {
            seen.insert((sellback.state.name(), happened.name()));
            let decision = decide(&sellback, happened.clone(), now, &Rules::default());
            let mut current = happened;
            // The sample's own next attempt, where it has one.
            if let (Happened::Initiated(sale), Decision::Transition(_)) = (&mut current, &decision) {
                sale.attempt.number = sellback.attempts + 1;
                let decision = decide(&sellback, current.clone(), now, &Rules::default());
                check(&sellback, &current, &decision, now);
            } else {
                check(&sellback, &current, &decision, now);
            }
            writeln!(table, "  {event:<30} {}", outcome(&decision)).unwrap();
        }
    }
    assert_eq!(seen.len(), CONTRACT.len() * own_events().count(), "a state or an event has no sample");
    insta::assert_snapshot!(table);
}

/// The edges of the machine as a Mermaid drawing.
fn drawing() -> String {
    let mut edges = BTreeMap::<(StateName, StateName), BTreeSet<HappenedName>>::new();
    for (_, sellback) in samples() {
        for (_, happened, now) in events() {
            let name = happened.name();
            if let Decision::Transition(transition) = decide(&sellback, happened, now, &Rules::default()) {
                let (from, to) = (sellback.state.name(), transition.after.state.name());
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
    text.push_str("    sold --> [*]\n    failed --> [*]\n");
    text
}

#[test]
fn the_drawing_in_the_documentation_is_the_code() {
    let page = include_str!("../../../decisions/sellback-machine.md");
    let drawn = page.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has a drawing");
    assert_eq!(drawn, drawing(), "redraw crates/decisions/sellback-machine.md as on the right");
}

#[test]
fn an_attempt_is_never_sent_after_not_after() {
    let mut sellback = accepted();
    let mut command = (*sellback.command).clone();
    command.not_after = Some(at(2));
    sellback.command = command.into();
    let attempt = sellback.attempt(token(1), start(), &Rules::default());
    assert_eq!(attempt.send_by, at(2));
    assert!(attempt.deadline > after(attempt.send_by, Rules::default().timeouts.buyback));
}

#[test]
fn a_turn_is_due_later_than_all_that_it_may_read() {
    let reading = Rules::default().timeouts.inventory * (clawback_domain::sellback::MOST_HOLDERS + 1);
    for (name, sellback) in samples() {
        let Decision::Transition(turn) = decide(&sellback, Happened::TurnTaken, at(1), &Rules::default()) else { continue };
        let due = turn.after.due_at.unwrap();
        match &sellback.state {
            State::Selling(sale) => assert!(due > sale.attempt.deadline, "{name}"),
            _ => assert!(due > after(at(1), reading), "{name}"),
        }
    }
}

proptest! {
    /// Any history keeps every promise of [`check`]; no attempt begins while one is under way; what is final stays as it is and was
    /// told once.
    #[test]
    fn random_histories_keep_the_machine_whole(picks in prop::collection::vec((0..37usize, 0..4u64, 1..4u128), 1..80)) {
        let events = events();
        let mut sellback = accepted();
        let (mut now, mut finals) = (start(), 0);
        for (number, (pick, steps, nth)) in picks.into_iter().enumerate() {
            now = after(now, Duration::from_secs(steps * 600));
            let mut happened = events[pick % events.len()].1.clone();
            match &mut happened {
                Happened::Initiated(next) => *next = sale(&sellback, 1000 + number as u128, now),
                Happened::Answered { token, .. } => if let Some(sale) = sellback.state.sale() && nth > 1 {
                    *token = sale.attempt.token;
                },
                _ => {}
            }
            let decision = decide(&sellback, happened.clone(), now, &Rules::default());
            check(&sellback, &happened, &decision, now);
            if let Decision::Transition(transition) = decision {
                if matches!(transition.next, Next::Call(_)) {
                    prop_assert!(sellback.state.attempt().is_none(), "two attempts under way");
                }
                finals += u32::from(transition.after.state.name().is_final());
                sellback = transition.after;
            }
        }
        prop_assert_eq!(finals, u32::from(sellback.state.name().is_final()));
    }
}
