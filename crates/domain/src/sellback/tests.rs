//! Looks before and after a call: what they prove, and what they must not.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    AttemptToken, ItemId, Money, OrderId, PackId, PartnerId, RequestId, UserId,
    answer::{Inventory, InventoryAnswer},
    clock::after,
    command::Target,
    evidence::Reading,
    item::{HeldItem, Item, Pull, PullSale, Sight},
    reason::WaitCode,
};

mod readiness;
mod worlds;

/// Seconds; the call begins at 1000, its deadline is at 1042.
pub(super) fn at(seconds: u64) -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(seconds))
}

const CALLED: u64 = 1000;
const DEADLINE: u64 = 1042;
const WINDOW_ENDS: u64 = DEADLINE + 600;

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user")
}

pub(super) fn item(id: &str) -> ItemId {
    ItemId::new(id).expect("an item")
}

/// A copy of `card` with its time of purchase; 0 is none.
pub(super) fn copy(bought: u64) -> HeldItem {
    copy_of("card", bought, Some(8_000_000))
}

pub(super) fn copy_of(id: &str, bought: u64, price: Option<i64>) -> HeldItem {
    let priced = Item { buyback_price: price.map(Money::usd), ..Item::bare(item(id)) };
    HeldItem { purchased_at: (bought > 0).then(|| at(bought)), ..priced.into() }
}

pub(super) fn read(name: &str, seconds: u64, items: Vec<HeldItem>) -> (UserId, Reading) {
    let inventory = Inventory { user_id: user(name), items, upstream_time: None };
    told(name, seconds, InventoryAnswer::Read(inventory))
}

fn told(name: &str, seconds: u64, answer: InventoryAnswer) -> (UserId, Reading) {
    (user(name), Reading { answer, began: at(seconds), ended: at(seconds) })
}

fn before(readings: &[(UserId, Reading)]) -> Sale {
    let sellback = readiness::sellback(Target::Item(item("card")), None);
    let attempt = sellback.attempt(AttemptToken(Uuid::from_u128(1)), at(CALLED), &Rules::default());
    assert_eq!(attempt.deadline, at(DEADLINE));
    let before = Holding::of(&item("card"), readings, false).expect("a good look");
    Sale { attempt, item_id: item("card"), pull: None, before, known_sales: vec![], retried: false }
}

/// A look that shows all that it has to, after which no sale is known.
fn after_call(readings: &[(UserId, Reading)]) -> After<'_> {
    After { readings, suspicious: false, sold: &[] }
}

fn sale_by(n: u128, sold_at: u64) -> SoldCopy {
    SoldCopy { by: OrderId(Uuid::from_u128(n)), user_id: user("anna"), purchased_at: None, sold_at: at(sold_at) }
}

fn of_anna(copies: &[u64]) -> Vec<(UserId, Reading)> {
    vec![read("anna", CALLED, copies.iter().copied().map(copy).collect())]
}

/// The verdicts of looks in their order, in short.
fn verdicts(sale: &Sale, looks: &[Vec<(UserId, Reading)>]) -> Vec<&'static str> {
    let mut known = None;
    let mut all = Vec::new();
    for look in looks {
        let weighed = weigh(sale, known.as_ref(), ("reset", None), after_call(look), &Rules::default());
        all.push(short(&weighed.verdict));
        known = Some(weighed.evidence);
    }
    all
}

fn short(verdict: &SaleVerdict) -> &'static str {
    match verdict {
        SaleVerdict::Wait(_) => "wait",
        SaleVerdict::Sold => "sold",
        SaleVerdict::NotSold => "not sold",
        SaleVerdict::Unclear(ReviewCode::Ambiguous, _) => "ambiguous",
        SaleVerdict::Unclear(ReviewCode::UnknownOutcome, _) => "unknown",
        SaleVerdict::Unclear(..) => "another review",
    }
}

/// What anna's looks come to, each with its second and the copies that it shows.
fn check(held: &[u64], looks: &[(u64, &[u64])], expected: &[&str]) {
    let look = |(seconds, copies): &(u64, &[u64])| vec![read("anna", *seconds, copies.iter().copied().map(copy).collect())];
    let looks: Vec<_> = looks.iter().map(look).collect();
    assert_eq!(verdicts(&before(&of_anna(held)), &looks), expected, "{held:?}");
}

#[test]
fn what_is_gone_at_the_first_good_look_after_the_deadline_was_sold() {
    check(&[1], &[(DEADLINE, &[])], &["sold"]);
    check(&[1], &[(DEADLINE - 1, &[])], &["wait"]);
    check(&[1], &[(DEADLINE - 1, &[1]), (DEADLINE + 30, &[])], &["wait", "sold"]);
    check(&[1], &[(500_000, &[])], &["sold"]);
}

/// Up to a minute a look may be behind; what it shows then tells nothing.
#[test]
fn a_look_that_lags_does_not_turn_a_sale_into_a_riddle() {
    check(&[1], &[(DEADLINE + 59, &[1]), (DEADLINE + 119, &[])], &["wait", "sold"]);
    check(&[1], &[(DEADLINE + 60, &[1]), (DEADLINE + 61, &[])], &["wait", "ambiguous"]);
}

#[test]
fn what_is_still_there_when_the_window_is_over_was_not_sold() {
    check(&[1], &[(WINDOW_ENDS - 1, &[1]), (WINDOW_ENDS, &[1])], &["wait", "not sold"]);
    check(&[1, 2, 2], &[(WINDOW_ENDS, &[1, 2, 2])], &["not sold"]);
}

#[test]
fn of_stacked_copies_one_may_leave_and_not_two() {
    check(&[1, 2, 2], &[(DEADLINE, &[1, 2])], &["sold"]);
    check(&[1, 2, 2], &[(DEADLINE, &[2, 2])], &["sold"]);
    check(&[1, 2, 2], &[(DEADLINE, &[2])], &["ambiguous"]);
    check(&[1, 2, 2], &[(DEADLINE, &[])], &["ambiguous"]);
}

#[test]
fn what_comes_meanwhile_does_not_hide_what_left() {
    check(&[1], &[(DEADLINE, &[900])], &["sold"]);
    check(&[1, 1], &[(DEADLINE, &[1, 900, 901])], &["sold"]);
    check(&[1], &[(WINDOW_ENDS, &[1, 900])], &["not sold"]);
}

/// A copy without a date may have left, and another of the kind come.
#[test]
fn a_copy_without_a_date_is_never_surely_still_there() {
    check(&[0], &[(WINDOW_ENDS, &[0])], &["ambiguous"]);
    check(&[0, 1], &[(WINDOW_ENDS, &[0, 1])], &["ambiguous"]);
    check(&[0, 0], &[(DEADLINE, &[0])], &["sold"]);
    check(&[0], &[(DEADLINE, &[])], &["sold"]);
}

#[test]
fn of_another_users_copy_two_looks_must_agree() {
    let held = [read("anna", CALLED, vec![copy(1)]), read("ben", CALLED, vec![copy(2)])];
    let look = |seconds, anna: &[u64], ben: &[u64]| {
        let copies = |dates: &[u64]| dates.iter().copied().map(copy).collect();
        vec![read("anna", seconds, copies(anna)), read("ben", seconds, copies(ben))]
    };
    let sale = before(&held);
    assert_eq!(verdicts(&sale, &[look(1050, &[], &[2])]), ["sold"]);
    assert_eq!(verdicts(&sale, &[look(1050, &[1], &[]), look(1060, &[1], &[])]), ["wait", "sold"]);
    assert_eq!(verdicts(&sale, &[look(1050, &[1], &[]), look(WINDOW_ENDS, &[1], &[2])]), ["wait", "not sold"]);
    assert_eq!(verdicts(&sale, &[look(1050, &[], &[]), look(1060, &[], &[])]), ["wait", "ambiguous"]);
    assert_eq!(verdicts(&sale, &[look(1050, &[2], &[1])]), ["wait"], "a copy is its holder's");
}

#[test]
fn nobody_whose_copy_counts_is_left_out() {
    let held = [read("anna", CALLED, vec![copy(1)]), read("ben", CALLED, vec![copy(2), copy(3)])];
    let sale = before(&held);
    assert_eq!(sale.before.holders().collect::<Vec<_>>(), [&user("anna"), &user("ben")], "each once");
    assert_eq!(verdicts(&sale, &[vec![read("anna", 1050, vec![copy(1)])]]), ["wait"], "ben was not read");
}

#[test]
fn what_nobody_looked_at_may_have_been_sold_instead() {
    let mut sale = before(&of_anna(&[1]));
    sale.before.partial = true;
    assert_eq!(verdicts(&sale, &[vec![read("anna", WINDOW_ENDS, vec![copy(1)])]]), ["ambiguous"]);
    assert_eq!(verdicts(&sale, &[vec![read("anna", DEADLINE, vec![])]]), ["sold"]);
}

/// Copies that came since must not push others over the bound: those would seem to have left.
#[test]
fn more_copies_than_are_told_apart_make_a_holding_partial_and_hide_none() {
    let many: Vec<_> = (1..=MOST_COPIES as u64).collect();
    let sale = before(&of_anna(&many));
    assert_eq!((sale.before.copies.len(), sale.before.partial), (MOST_COPIES, false));
    let mut more: Vec<_> = (1..=30).map(|n| copy_of("card", 5, Some(n))).collect();
    more.extend(many.iter().copied().map(copy));
    more.extend((1..=30).map(|n| HeldItem { purchased_at: Some(after(at(3), Duration::from_millis(n))), ..copy(1) }));
    assert_eq!(verdicts(&sale, &[vec![read("anna", WINDOW_ENDS, more)]]), ["not sold"]);
    let beyond: Vec<_> = (1..=MOST_COPIES as u64 + 1).collect();
    let cut = before(&of_anna(&beyond)).before;
    assert_eq!((cut.copies.len(), cut.partial), (MOST_COPIES, true));
}

#[test]
fn a_bad_look_proves_nothing_and_not_for_ever() {
    let bad = [InventoryAnswer::UserNotFound, InventoryAnswer::Unauthorized, InventoryAnswer::Unreadable { why: "504".into() }];
    let sale = before(&of_anna(&[1]));
    for answer in bad {
        let look = |seconds| vec![told("anna", seconds, answer.clone())];
        let looks = [look(DEADLINE), look(WINDOW_ENDS + 599), look(WINDOW_ENDS + 600)];
        assert_eq!(verdicts(&sale, &looks), ["wait", "wait", "unknown"], "{answer:?}");
    }
    let suspicious = |seconds, copies| {
        let look = vec![read("anna", seconds, copies)];
        let look = After { suspicious: true, ..after_call(&look) };
        short(&weigh(&sale, None, ("reset", None), look, &Rules::default()).verdict)
    };
    assert_eq!(suspicious(DEADLINE, vec![]), "wait");
    assert_eq!(suspicious(WINDOW_ENDS, vec![copy(1)]), "wait");
    assert_eq!(suspicious(WINDOW_ENDS + 600, vec![]), "unknown");
}

#[test]
fn beside_other_software_nothing_that_left_is_ours() {
    let sale = before(&of_anna(&[1]));
    let rules = Rules { exclusive: false, ..Rules::default() };
    let verdict = |copies, seconds| {
        short(&weigh(&sale, None, ("reset", None), after_call(&[read("anna", seconds, copies)]), &rules).verdict)
    };
    assert_eq!(verdict(vec![], DEADLINE), "ambiguous");
    assert_eq!(verdict(vec![copy(1)], WINDOW_ENDS), "not sold");
}

/// Whatever left unseen was not taken by a call that did nothing; but an earlier one of a person's retry may have.
#[test]
fn what_was_busy_and_cannot_be_told_apart_was_not_sold_by_this_call() {
    let doubt = |retried| Doubt {
        sale: Sale { retried, ..before(&of_anna(&[0])) },
        why: "busy".into(),
        status: Some(429),
        busy: true,
        since: at(CALLED),
        looks: 0,
        evidence: None,
    };
    let look = |seconds| [read("anna", seconds, vec![copy(0)])];
    let verdict = |doubt: Doubt, seconds| short(&doubt.weigh(after_call(&look(seconds)), &Rules::default()).verdict);
    assert_eq!(verdict(doubt(false), WINDOW_ENDS - 1), "wait");
    assert_eq!(verdict(doubt(false), WINDOW_ENDS), "not sold");
    assert_eq!(verdict(doubt(true), WINDOW_ENDS), "ambiguous");
}

/// Whoever finds the row after a crash between door and call knows as much as its owner would have.
#[test]
fn what_another_sale_took_between_the_look_and_the_door_was_not_sold_by_this_call() {
    let sale = before(&of_anna(&[1, 2, 3]));
    let verdict = |sale: &Sale, sold: &[SoldCopy], seconds, left: &[u64]| {
        let look = [read("anna", seconds, left.iter().copied().map(copy).collect())];
        let weighed = weigh(sale, None, ("reset", None), After { sold, ..after_call(&look) }, &Rules::default());
        (short(&weighed.verdict), weighed.evidence.sold_by_others)
    };
    let others = [sale_by(8, CALLED + 2), sale_by(7, CALLED - 59)];
    assert_eq!(verdict(&sale, &others, DEADLINE, &[3]), ("wait", 2), "theirs may be all that left");
    assert_eq!(verdict(&sale, &others, WINDOW_ENDS, &[3]), ("not sold", 2));
    assert_eq!(verdict(&sale, &others, DEADLINE, &[]), ("sold", 2));
    assert_eq!(verdict(&sale, &others, WINDOW_ENDS, &[1, 2, 3]), ("not sold", 2), "theirs were others");
    assert_eq!(verdict(&sale, &others[..1], DEADLINE, &[]), ("ambiguous", 1));
    // What the look was judged beside, or cannot be behind, it has seen.
    let known = Sale { known_sales: vec![OrderId(Uuid::from_u128(8))], ..sale.clone() };
    assert_eq!(verdict(&known, &others, DEADLINE, &[3]), ("sold", 1));
    assert_eq!(verdict(&sale, &[sale_by(7, CALLED - 60)], DEADLINE, &[2, 3]), ("sold", 0));

    let is_outrun = |sale: &Sale, sold: &[SoldCopy]| is_outrun(sale, &SaleCase { sold: sold.to_vec(), ..SaleCase::default() });
    assert!(is_outrun(&sale, &others) && is_outrun(&known, &others), "then it is not called at all");
    assert!(!is_outrun(&known, &others[..1]) && !is_outrun(&sale, &[]));
}

#[test]
fn evidence_tells_what_it_was_drawn_from() {
    let sale = before(&of_anna(&[1, 2]));
    let weighed = |known, look: &[(UserId, Reading)]| {
        weigh(&sale, known, ("reset", Some(502)), after_call(look), &Rules::default()).evidence
    };
    let first = weighed(None, &[read("anna", 1200, vec![copy(1), copy(2)])]);
    assert_eq!(first.still_there_at, Some(at(1200)));
    let second = weighed(Some(&first), &[read("anna", 1300, vec![copy(2)])]);
    let SaleEvidence { doubt, status, begun_at, deadline, window_ends_at, before, .. } = second;
    let SaleEvidence { looked, last, still_there_at, sold_by_others, verdict, .. } = second;
    assert_eq!((doubt.as_str(), status, looked), ("reset", Some(502), 2));
    assert_eq!((begun_at, deadline, window_ends_at), (at(CALLED), at(DEADLINE), at(WINDOW_ENDS)));
    assert_eq!((before, still_there_at, sold_by_others), (sale.before, Some(at(1200)), 0));
    assert_eq!(last, Some(SaleLook { at: at(1300), good: true, count: 1, departed: 1 }));
    assert_eq!(verdict, "it left the inventory long after the call");
}
