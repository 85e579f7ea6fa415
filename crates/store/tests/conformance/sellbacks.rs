//! Sellbacks are orders as purchases are: stored once, claimed, lifted, listed and read back, beside them and under one space of ids.

use std::collections::BTreeSet;

use clawback_domain::{
    AttemptToken, ItemId, Money, OrderId, PullId, PurchaseId,
    answer::Answer,
    change::Insertion,
    command::{Target, parse_sellback},
    order::{AnyOrder, StateName},
    pause::{CommandKind, PauseScope},
    reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting},
    sellback::{Copies, Doubt, Happened, Holding, PullPlace, Review, Sale, SaleEvidence, SaleLook, Sellback, Sold, State},
};
use clawback_store::{Counts, Filter, Inserted};
use uuid::Uuid;

use crate::{build::*, sale::*, stage::Stage};

const TEXT: &str = "ünïcödé \"quoted\" 'single' \\ backslash, tab\t, line\nbreak, 界, 🎉, %s, $1, ?";

pub async fn a_sellback_reads_back_with_everything_the_partner_gave(store: Stage) {
    let pull = PullId(Uuid::max());
    let bodies = [
        format!(r#"{{"request_id":"r-0","user_id":"ü@x.de","item_id":"{}"}}"#, "🎉".repeat(128)),
        format!(r#"{{"request_id":"r-1","user_id":"u","pull_id":"{pull}","min_price":"0.000001"}}"#),
        r#"{"request_id":"r-2","user_id":"u","item_id":"a","min_price":"9223372036854.775807",
            "not_after":"2026-04-01T00:00:00.25Z","metadata":{"z":1.50,"a":[null,"é 🎉"]}}"#
            .to_owned(),
    ];
    for body in bodies {
        let command = parse_sellback(Some("application/json"), body.as_bytes()).unwrap_or_else(|why| panic!("{body}: {why:?}"));
        let row = keep(&*store, Insertion::of(Sellback::accept(acme(), command, at(0), trace()))).await;
        assert_eq!(sale_of(&*store, row.id).await, row);
        assert_eq!(store.order(row.id).await.unwrap(), Some(AnyOrder::Sellback(row.clone())));
        assert_eq!(store.purchase(row.id).await.unwrap(), None, "it is no purchase");
    }
    let bought = stored(&*store, accepted(acme(), "r-9", at(0))).await;
    assert_eq!(store.sellback(bought.id).await.unwrap(), None, "it is no sellback");
}

fn holding(partial: bool) -> Holding {
    let copies = (0..3u32).map(|n| Copies {
        user_id: user(&format!("user-{n}-é")),
        purchased_at: (n > 0).then(|| at(n.into())),
        count: u32::MAX - n,
    });
    Holding { read_at: at(1), copies: copies.collect(), partial }
}

fn whole_sale(row: &Sellback) -> Sale {
    let pull = PullPlace { purchase: PurchaseId(Uuid::max()), position: u32::MAX >> 1 };
    let item_id = ItemId::new("界".repeat(256)).unwrap();
    let known_sales = vec![OrderId(Uuid::max()), row.id];
    Sale { item_id, before: holding(true), known_sales, retried: true, ..sale(row, Some(pull), at(2)) }
}

fn whole_evidence() -> SaleEvidence {
    SaleEvidence {
        doubt: TEXT.into(),
        status: Some(504),
        begun_at: at(1),
        deadline: at(2),
        window_ends_at: at(3),
        before: holding(false),
        looked: 7,
        last: Some(SaleLook { at: at(4), good: true, count: 3, departed: 1 }),
        still_there_at: Some(at(5)),
        sold_by_others: u32::MAX,
        verdict: TEXT.into(),
    }
}

fn states(row: &Sellback) -> Vec<State> {
    let bare = |number: u128| {
        let mut sale = sale(row, None, at(2));
        sale.attempt.token = AttemptToken(Uuid::from_u128(number));
        sale.attempt.price = None;
        sale
    };
    let whole = whole_sale(row);
    let (boxed, evidence) = (Some(Box::new(whole.clone())), Some(Box::new(whole_evidence())));
    let waiting = |until| Some(Waiting { code: WaitCode::NotShown, message: TEXT.into(), until });
    let doubt = Doubt {
        sale: whole.clone(),
        why: TEXT.into(),
        status: Some(429),
        busy: true,
        since: at(3),
        looks: 9,
        evidence: evidence.clone(),
    };
    let review = Review {
        code: ReviewCode::Ambiguous,
        message: TEXT.into(),
        sale: Some(whole.clone()),
        evidence: evidence.clone(),
        since: at(3),
    };
    let sold = Sold {
        item_id: whole.item_id.clone(),
        pull: whole.pull,
        amount: Some(Money::usd(i64::MAX)),
        estimated: true,
        evidence: evidence.clone(),
    };
    let failure = Failure { code: FailureCode::PriceBelowMinimum, message: TEXT.into(), upstream_status: Some(418) };
    vec![
        State::Accepted { waiting: None, unsettled: None },
        State::Accepted { waiting: waiting(None), unsettled: None },
        State::Accepted { waiting: None, unsettled: boxed.clone() },
        State::Accepted { waiting: waiting(Some(at(9))), unsettled: boxed },
        State::Selling(bare(1)),
        State::Selling(whole),
        State::Reconciling(Doubt { sale: bare(2), status: None, busy: false, evidence: None, ..doubt.clone() }),
        State::Reconciling(doubt),
        State::Review(Review { sale: None, evidence: None, ..review.clone() }),
        State::Review(Review { sale: Some(bare(3)), ..review.clone() }),
        State::Review(review),
        State::Sold(Sold { pull: None, amount: None, estimated: false, evidence: None, ..sold.clone() }),
        State::Sold(sold),
        State::Failed { failure: failure.clone(), evidence: None },
        State::Failed { failure: Failure { upstream_status: None, ..failure }, evidence },
    ]
}

pub async fn every_state_of_a_sellback_reads_back_equal(store: Stage) {
    let count = states(&sellback(acme(), "r", "a", at(0))).len();
    let mut reached = BTreeSet::new();
    for n in 0..count {
        // Partners of their own: of one item id there is one unsettled sale.
        let row = keep(&*store, Insertion::of(sellback(partner(&format!("p-{n}")), "r-1", "a", at(0)))).await;
        let state = states(&row).remove(n);
        reached.insert(state.name());
        let after = moved(&*store, put_sale(&row, state)).await;
        assert_eq!(sale_of(&*store, after.id).await, after);
    }
    assert_eq!(reached.len(), 6, "{reached:?}");
}

pub async fn every_wait_and_failure_code_of_a_sellback_reads_back_equal(store: Stage) {
    let waits = WaitCode::ALL.iter().map(|&code| {
        let waiting = Waiting { code, message: TEXT.into(), until: None };
        State::Accepted { waiting: Some(waiting), unsettled: None }
    });
    let failures = FailureCode::ALL.iter().map(|&code| {
        let failure = Failure { code, message: String::new(), upstream_status: None };
        State::Failed { failure, evidence: None }
    });
    for (n, state) in waits.chain(failures).enumerate() {
        let row = keep(&*store, Insertion::of(sellback(acme(), &format!("r-{n}"), "a", at(0)))).await;
        let after = moved(&*store, put_sale(&row, state)).await;
        assert_eq!(sale_of(&*store, after.id).await, after);
    }
}

pub async fn a_request_id_is_one_order_of_whichever_kind(store: Stage) {
    let bought = stored(&*store, called(acme(), "r-1", at(0))).await;
    let refused = store.insert(offered(sellback(acme(), "r-1", "a", at(1)), None)).await.unwrap();
    assert_eq!(refused, Inserted::Exists(Box::new(bought.clone().into())));
    let kept = selling(&*store, acme(), "r-2", "a", at(0)).await;
    let refused = store.insert(called(acme(), "r-2", at(1))).await.unwrap();
    assert_eq!(refused, Inserted::Exists(Box::new(kept.clone().into())));
    for id in [bought.id, kept.id] {
        assert_eq!(store.attempts(id).await.unwrap().len(), 1);
        assert_eq!(store.timeline(id).await.unwrap().len(), 2);
    }
    keep(&*store, offered(sellback(beta(), "r-1", "a", at(0)), None)).await;
}

/// In one batch as in many.
pub async fn of_a_purchase_and_a_sellback_at_once_one_is_new(store: Stage) {
    for round in 0..10 {
        let request = format!("r-{round}");
        let insertions =
            [called(acme(), &request, at(0)), offered(sellback(acme(), &request, &format!("item-{round}"), at(0)), None)];
        let results = at_once(insertions.iter().cloned().map(|insertion| {
            let store = store.shared();
            async move { store.insert(insertion).await.unwrap() }
        }))
        .await;
        let winner = results.iter().position(|result| *result == Inserted::New).expect("one is new");
        let stands = insertions[winner].order.clone();
        assert_eq!(results[1 - winner], Inserted::Exists(Box::new(stands.clone())));
        assert_eq!(store.order(stands.id()).await.unwrap(), Some(stands.clone()));
        assert_eq!(store.attempts(stands.id()).await.unwrap().len(), 1);
    }
}

pub async fn a_sellback_brings_its_attempt_its_fact_its_event_and_its_timeline(store: Stage) {
    let insertion = offered(sellback(acme(), "r-1", "a", at(0)), None);
    let row = keep(&*store, insertion.clone()).await;
    let change = told(&row, sold_for(7_250_000), at(1));
    let after = moved(&*store, change.clone()).await;
    assert_eq!(sale_of(&*store, row.id).await, after);
    let attempts = store.attempts(row.id).await.unwrap();
    assert_eq!(
        attempts.iter().map(|row| (Some(row.attempt), row.fact.clone())).collect::<Vec<_>>(),
        [(insertion.attempt, change.fact)]
    );
    assert_eq!(store.last_event(row.id.0).await.unwrap().map(|stored| stored.event), change.event);
    assert_eq!(store.timeline(row.id).await.unwrap()[2..], [change.entry.unwrap()]);
}

pub async fn every_answer_to_a_sellback_reads_back_equal(store: Stage) {
    let amounts = [None, Some(0), Some(1), Some(8_500_000), Some(i64::MAX)];
    for (n, amount) in amounts.into_iter().enumerate() {
        let row = selling(&*store, acme(), &format!("r-{n}"), &format!("item-{n}"), at(0)).await;
        let token = row.state.sale().unwrap().attempt.token;
        let said = fact(token, Answer::Sold { amount: amount.map(Money::usd) }, at(1));
        store.record_fact(said.clone()).await.unwrap();
        store.record_fact(fact(token, not_found(), at(2))).await.unwrap();
        assert_eq!(store.attempts(row.id).await.unwrap()[0].fact, Some(said), "the first stands");
    }
}

pub async fn sellbacks_are_claimed_beside_purchases(store: Stage) {
    let bought = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let waits = keep(&*store, Insertion::of(sellback(acme(), "r-2", "a", at(1)))).await;
    let mut command = sale_command("r-3", "b");
    command.not_after = Some(at(7));
    let ends = keep(&*store, Insertion::of(Sellback::accept(acme(), command, at(2), trace()))).await;
    let calls = selling(&*store, acme(), "r-4", "c", at(2)).await;
    let claimed: Vec<_> = store.claim_due(at(4), 10, &[]).await.unwrap().iter().map(|due| (due.order, due.version)).collect();
    assert_eq!(BTreeSet::from_iter(claimed), [(bought.id, 2), (waits.id, 2), (ends.id, 2)].into());
    assert_eq!(sale_of(&*store, calls.id).await, calls);
    assert_eq!(sale_of(&*store, ends.id).await.due_at, Some(at(7)), "not past its end");
    let claimed = sale_of(&*store, waits.id).await;
    assert_eq!(claimed, Sellback { version: 2, nudges: 1, due_at: Some(at(9)), ..waits });
    moved(&*store, sale_then(&claimed, Happened::TurnTaken, at(9))).await;
}

pub async fn lifting_tells_the_kinds_apart(store: Stage) {
    let bought = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let bought = applied(&*store, held(&bought, WaitCode::Paused, None, at(0))).await;
    let row = keep(&*store, Insertion::of(sellback(acme(), "r-2", "a", at(0)))).await;
    let waiting = Waiting { code: WaitCode::Paused, message: String::new(), until: None };
    let row = moved(&*store, sale_then(&row, Happened::Held(waiting), at(0))).await;
    let scope = |kind, pack: Option<&str>| PauseScope { partner: None, pack: pack.map(pack_named), kind };
    let cases = [
        (scope(Some(CommandKind::Sellback), None), [false, true]),
        (scope(Some(CommandKind::Purchase), None), [true, false]),
        (scope(None, Some("pack-1")), [true, false]),
        (scope(None, None), [true, true]),
    ];
    for (n, (scope, expected)) in cases.into_iter().enumerate() {
        let before = [read(&*store, bought.id).await.version, sale_of(&*store, row.id).await.version];
        let lifted = store.lift(&scope, &[WaitCode::Paused], at(1000 - n as i64), 1_000_000).await.unwrap();
        let after = [read(&*store, bought.id).await.version, sale_of(&*store, row.id).await.version];
        assert_eq!([after[0] > before[0], after[1] > before[1]], expected, "{scope:?}");
        assert_eq!(lifted, expected.iter().filter(|lifted| **lifted).count() as u64);
    }
}

fn pack_named(text: &str) -> clawback_domain::PackId {
    pack(text)
}

pub async fn kinds_are_listed_and_counted_apart(store: Stage) {
    let bought = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let row = keep(&*store, Insertion::of(sellback(acme(), "r-2", "a", at(1)))).await;
    let sold = selling(&*store, acme(), "r-3", "a", at(2)).await;
    let sold = moved(&*store, told(&sold, sold_for(1), at(3))).await;
    let filter = |kind| Filter { kind, limit: 10, ..Filter::default() };
    let ids = |rows: Vec<AnyOrder>| rows.iter().map(AnyOrder::id).collect::<Vec<_>>();
    assert_eq!(ids(store.orders(filter(None)).await.unwrap()), [sold.id, row.id, bought.id]);
    assert_eq!(ids(store.orders(filter(Some(CommandKind::Purchase))).await.unwrap()), [bought.id]);
    assert_eq!(store.sellbacks(filter(None)).await.unwrap(), [sold.clone(), row.clone()]);
    assert_eq!(store.purchases(filter(None)).await.unwrap(), std::slice::from_ref(&bought));
    let exact = Filter { partner: Some(acme()), request: Some(row.command.request_id.clone()), ..filter(None) };
    assert_eq!(store.sellbacks(exact.clone()).await.unwrap(), [row]);
    assert_eq!(store.purchases(exact).await.unwrap(), []);
    let by_state = Filter { state: Some(StateName::Sold), ..filter(None) };
    assert_eq!(ids(store.orders(by_state).await.unwrap()), [sold.id]);
    let expected = [
        ((acme(), CommandKind::Purchase, StateName::Accepted), 1),
        ((acme(), CommandKind::Sellback, StateName::Accepted), 1),
        ((acme(), CommandKind::Sellback, StateName::Sold), 1),
    ];
    assert_eq!(store.counts().await.unwrap(), Counts::from(expected));
}

pub async fn a_poisoned_sellback_is_refused_alone(store: Stage) {
    let mut insertions: Vec<_> =
        (0..40).map(|n| offered(sellback(acme(), &format!("r-{n}"), &format!("item-{n}"), at(0)), None)).collect();
    insertions[7].entries[0].note = "a\0b".into();
    if let AnyOrder::Sellback(row) = &mut insertions[23].order {
        row.due_at = None;
    }
    let results = at_once(insertions.into_iter().map(|insertion| {
        let store = store.shared();
        async move { store.insert(insertion).await.is_ok_and(|inserted| inserted == Inserted::New) }
    }))
    .await;
    let refused: Vec<_> = (0..40).filter(|&n| !results[n]).collect();
    assert_eq!(refused, [7, 23]);
}

pub async fn a_case_of_purchases_holds_no_sellback(store: Stage) {
    let bought = pending(&*store, acme(), "r-1", at(0)).await;
    selling(&*store, acme(), "r-2", "a", at(0)).await;
    let case = store.case(&acme(), &user("user-1")).await.unwrap();
    assert_eq!(case.open.iter().map(|open| open.purchase.id).collect::<Vec<_>>(), [bought.id]);
    assert!(!case.truncated);
}

/// Targets that no column could tell apart.
pub async fn an_item_and_a_pull_are_different_targets(store: Stage) {
    let id = PullId(Uuid::from_u128(7));
    for (n, target) in [Target::Pull(id), Target::Item(item_id(&id.to_string()))].into_iter().enumerate() {
        let command = clawback_domain::command::SellbackCommand { target, ..sale_command(&format!("r-{n}"), "a") };
        let row = keep(&*store, Insertion::of(Sellback::accept(acme(), command, at(0), trace()))).await;
        assert_eq!(sale_of(&*store, row.id).await.command.target, row.command.target);
    }
}
