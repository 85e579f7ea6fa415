//! What single events come to: the promises that a table of all pairs only shows to those who read it.

use clawback_domain::{
    Money,
    answer::Answer,
    order::{Decision, Next, Rules, StateName},
    reason::{FailureCode, ReviewCode, WaitCode},
    sellback::{Happened, Resolution, SaleVerdict, Sellback, State, decide},
};

use crate::build::*;

fn told(amount: Option<i64>) -> Answer {
    Answer::Sold { amount: amount.map(Money::usd) }
}

fn amount(sellback: &Sellback) -> (Option<Money>, bool) {
    let sold = sellback.state.sold().expect("it is sold");
    (sold.amount, sold.estimated)
}

#[test]
fn what_was_told_is_the_amount_and_else_the_price_before() {
    let selling = sample("selling");
    assert_eq!(amount(&go(&selling, answered(1, told(Some(9))), at(1))), (Some(Money::usd(9)), false));
    assert_eq!(amount(&go(&selling, answered(1, told(None)), at(1))), (Some(price()), true));
    let proved = go(&sample("reconciling"), looked(SaleVerdict::Sold), at(1));
    assert_eq!(amount(&proved), (Some(price()), true));
    assert_eq!(proved.state.evidence(), Some(&evidence()));
}

#[test]
fn not_found_of_a_first_try_fails_and_after_a_doubt_the_inventory_is_asked() {
    let not_found = || refused(FailureCode::ItemNotFound);
    let failed = go(&sample("selling"), answered(1, not_found()), at(1));
    assert!(matches!(&failed.state, State::Failed { failure, .. } if failure.code == FailureCode::ItemNotFound));
    let doubted = go(&sample("selling again"), answered(2, not_found()), at(1));
    assert!(matches!(&doubted.state, State::Reconciling(doubt) if doubt.sale.retried && doubt.status == Some(400)));
    for name in ["reconciling again", "review again"] {
        assert_eq!(decide(&sample(name), answered(2, not_found()), at(1), &Rules::default()), Decision::Repeat, "{name}");
    }
}

#[test]
fn what_was_busy_is_called_again_once_it_is_seen_to_be_there() {
    let busy = go(&sample("selling"), answered(1, Answer::Busy { retry_after: None }), at(1));
    assert!(matches!(&busy.state, State::Reconciling(doubt) if doubt.busy));
    let again = go(&busy, looked(SaleVerdict::NotSold), at(700));
    assert!(
        matches!(&again.state, State::Accepted { waiting: Some(waiting), unsettled: None } if waiting.code == WaitCode::Busy)
    );
    let next = sale(&again, 2, at(800));
    assert_eq!(next.attempt.number, 2);
    assert!(matches!(&go(&again, Happened::Initiated(next), at(800)).state, State::Selling(sale) if !sale.retried));
}

#[test]
fn what_is_still_there_at_the_windows_end_was_refused() {
    let failed = go(&sample("reconciling"), looked(SaleVerdict::NotSold), at(700));
    let State::Failed { failure, evidence: kept } = &failed.state else { panic!("{:?}", failed.state) };
    assert_eq!((failure.code, failure.upstream_status), (FailureCode::Refused, Some(502)));
    assert_eq!(kept.as_deref(), Some(&evidence()));
}

#[test]
fn a_late_sale_wins_wherever_the_outcome_is_open() {
    for (name, token) in [
        ("accepted after a person's retry", 1),
        ("selling", 1),
        ("selling again", 2),
        ("reconciling", 1),
        ("reconciling, busy", 1),
        ("reconciling again", 1),
        ("reconciling again", 2),
        ("review", 1),
        ("review again", 1),
        ("review again", 2),
    ] {
        let sold = go(&sample(name), answered(token, told(Some(9))), at(1));
        assert_eq!(amount(&sold), (Some(Money::usd(9)), false), "{name}");
        assert_eq!(sold.state.evidence(), None, "{name}: the upstream's word needs none");
    }
    for name in ["accepted", "sold", "sold, by evidence"] {
        assert_eq!(decide(&sample(name), answered(1, told(Some(9))), at(1), &Rules::default()), Decision::Repeat, "{name}");
    }
    for name in ["failed, refused", "failed, still there"] {
        let late = decide(&sample(name), answered(1, told(Some(9))), at(1), &Rules::default());
        assert!(matches!(late, Decision::TooLate(_)), "{name}: {late:?}");
    }
}

/// Another attempt's refusal or failure to send proves nothing about the one in doubt.
#[test]
fn only_the_last_calls_own_proof_leads_back_to_accepted() {
    for name in ["reconciling", "review"] {
        let back = go(&sample(name), answered(1, never_sent()), at(1));
        assert!(matches!(back.state, State::Accepted { unsettled: None, .. }), "{name}");
        assert_eq!(decide(&sample(name), answered(2, never_sent()), at(1), &Rules::default()), Decision::Repeat, "{name}");
    }
    for name in ["selling again", "reconciling again", "review again"] {
        let back = go(&sample(name), answered(2, never_sent()), at(1));
        assert!(matches!(back.state, State::Accepted { unsettled: Some(_), .. }), "{name}: the first call is in doubt still");
        assert_eq!(decide(&sample(name), answered(1, never_sent()), at(1), &Rules::default()), Decision::Repeat, "{name}");
    }
}

#[test]
fn a_persons_retry_keeps_the_unsettled_sale_and_its_item() {
    let unsettled = go(&sample("review"), resolved(Resolution::Retry), at(1));
    assert_eq!(unsettled.state.sale(), sample("review").state.sale(), "nobody else sells it meanwhile");
    assert_eq!(unsettled.due_at, Some(at(1)));
    let waiting = clawback_domain::reason::Waiting { code: WaitCode::Paused, message: String::new(), until: None };
    let held = go(&unsettled, Happened::Held(waiting), at(2));
    assert_eq!(held.state.sale(), unsettled.state.sale());
    let calls = go(&held, Happened::Initiated(sale(&held, 2, at(3))), at(3));
    assert!(matches!(&calls.state, State::Selling(sale) if sale.retried && sale.attempt.number == 2));
}

/// `failed` says that it was surely not sold.
#[test]
fn what_may_have_been_sold_never_just_fails() {
    let unsettled = sample("accepted after a person's retry");
    let ends = [
        Happened::Expired,
        Happened::Cancelled { by: "ann".into(), why: "asked".into() },
        Happened::Unsellable(FailureCode::ItemNotFound, "not shown".into()),
        Happened::Unsellable(FailureCode::PriceBelowMinimum, "too cheap".into()),
    ];
    for happened in ends {
        let what = happened.name();
        let review = go(&unsettled, happened, late());
        let State::Review(review) = &review.state else { panic!("{what}: {:?}", review.state) };
        assert_eq!((review.code, review.sale.as_ref()), (ReviewCode::UnknownOutcome, unsettled.state.sale()), "{what}");
    }
}

#[test]
fn a_handler_that_keeps_panicking_ends_in_review_where_something_is_in_doubt() {
    let panicked = || Happened::Panicked { message: "index".into() };
    let mut doubted = go(&sample("reconciling"), looked(SaleVerdict::Wait("still there".into())), at(1));
    for _ in 0..5 {
        assert_eq!(doubted.state.name(), StateName::Reconciling);
        doubted = go(&doubted, panicked(), at(2));
    }
    assert!(matches!(&doubted.state, State::Review(review) if review.sale.is_some() && review.evidence.is_some()));
    let mut waits = sample("accepted");
    let mut calls = sample("selling");
    for n in 1..20 {
        (waits, calls) = (go(&waits, panicked(), at(n)), go(&calls, panicked(), at(n)));
    }
    assert_eq!((waits.state.name(), calls.state.name()), (StateName::Accepted, StateName::Selling));
}

#[test]
fn looks_come_ever_later_and_the_row_is_due_after_each() {
    let mut row = sample("reconciling");
    let mut waits = Vec::new();
    for n in 1..7 {
        let decision = decide(&row, looked(SaleVerdict::Wait("still there".into())), at(n), &Rules::default());
        let Decision::Transition(transition) = decision else { panic!("{decision:?}") };
        let Next::LookAfter(wait) = transition.next else { panic!("{:?}", transition.next) };
        waits.push(wait.as_secs());
        row = transition.after;
    }
    assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
    let State::Reconciling(doubt) = &row.state else { panic!("{:?}", row.state) };
    assert_eq!((doubt.looks, doubt.evidence.as_deref()), (6, Some(&evidence())));
}
