//! What the look just before the call allows.

use super::*;
use crate::{command::SellbackCommand, item::Expiry, trace::TraceContext};

const NOW: u64 = 5000;

pub(super) fn sellback(target: Target, min_price: Option<i64>) -> Sellback {
    let command = SellbackCommand {
        request_id: RequestId::new("s-1").expect("a request id"),
        user_id: user("anna"),
        target,
        min_price: min_price.map(Money::usd),
        not_after: None,
        metadata: None,
    };
    Sellback::accept(PartnerId::new("acme").expect("a partner"), command, at(0), TraceContext::start(Uuid::from_u128(1), 1))
}

fn by_item() -> Sellback {
    sellback(Target::Item(item("card")), None)
}

/// Anna's pull `n` of `card`, seen with this date; 0 is none.
fn pull(n: u128, bought: u64) -> Pull {
    let purchase = OrderId(Uuid::from_u128(n));
    let purchased_at = (bought > 0).then(|| at(bought));
    Pull {
        id: PullId::of(purchase, 0),
        purchase,
        position: 0,
        partner: PartnerId::new("acme").expect("a partner"),
        user_id: user("anna"),
        pack_id: PackId::new("pack").expect("a pack"),
        item: Item::bare(item("card")),
        created_at: at(bought),
        sight: Sight { seen_at: Some(at(100)), looked_at: Some(at(100)), purchased_at, ..Sight::default() },
        sale: None,
        told: Default::default(),
    }
}

fn place(pull: &Pull) -> PullPlace {
    PullPlace { purchase: pull.purchase, position: pull.position }
}

fn case(pulls: Vec<Pull>) -> SaleCase {
    SaleCase { pulls, ..SaleCase::default() }
}

fn ready(sellback: &Sellback, case: &SaleCase, items: Vec<HeldItem>) -> Readiness {
    readiness(sellback, case, &[read("anna", NOW, items)], at(NOW))
}

fn listing(readiness: Readiness) -> Listing {
    match readiness {
        Readiness::Ready(listing) => *listing,
        other => panic!("not ready: {other:?}"),
    }
}

fn waits(readiness: &Readiness) -> (WaitCode, Time) {
    match readiness {
        Readiness::Wait(Waiting { code, until, .. }) => (*code, until.expect("it is tried again")),
        other => panic!("it does not wait: {other:?}"),
    }
}

fn never(readiness: &Readiness) -> FailureCode {
    match readiness {
        Readiness::Never(code, _) => *code,
        other => panic!("it may be sold: {other:?}"),
    }
}

#[test]
fn what_is_shown_is_ready_with_its_price_and_every_copy() {
    let held = pull(1, 7);
    let listed = listing(ready(&by_item(), &case(vec![held.clone()]), vec![copy(7), copy(9), copy_of("other", 7, None)]));
    assert_eq!((listed.item_id, listed.pull, listed.price), (item("card"), Some(place(&held)), Some(Money::usd(8_000_000))));
    assert_eq!((listed.before.count(), listed.before.read_at, listed.before.partial), (2, at(NOW), false));
}

#[test]
fn dates_tell_which_pull_is_given_away() {
    let (old, new, unseen) = (pull(1, 7), pull(2, 9), pull(3, 0));
    let given = |pulls: &[&Pull], shown: &[u64]| {
        let case = case(pulls.iter().copied().cloned().collect());
        listing(ready(&by_item(), &case, shown.iter().copied().map(copy).collect())).pull
    };
    assert_eq!(given(&[&old, &new], &[7, 9]), Some(place(&old)));
    assert_eq!(given(&[&old, &new], &[9]), Some(place(&new)), "the older one is not there");
    assert_eq!(given(&[&old, &unseen], &[11]), Some(place(&unseen)), "it may be that one");
    assert_eq!(given(&[&old], &[11]), None, "no pull of ours explains it");
    assert_eq!(given(&[&old], &[0]), Some(place(&old)));
    assert_eq!(given(&[], &[7]), None);
}

#[test]
fn a_pull_that_is_gone_is_not_replaced_by_another() {
    let (asked, other) = (pull(1, 7), pull(2, 9));
    let by_pull = sellback(Target::Pull(asked.id), None);
    let case = case(vec![asked.clone()]);
    assert_eq!(listing(ready(&by_pull, &case, vec![copy(9), copy(7)])).pull, Some(place(&asked)));
    assert_eq!(waits(&ready(&by_pull, &case, vec![copy(9)])).0, WaitCode::NotShown);
    let by_other = sellback(Target::Pull(other.id), None);
    assert_eq!(never(&ready(&by_other, &SaleCase::default(), vec![copy(9)])), FailureCode::ItemNotFound, "not this user's");
}

#[test]
fn a_pull_is_sold_once() {
    let mut sold = pull(1, 7);
    sold.sale = Some(PullSale { by: OrderId(Uuid::from_u128(5)), at: at(200) });
    let by_pull = sellback(Target::Pull(sold.id), None);
    assert_eq!(never(&ready(&by_pull, &case(vec![sold.clone()]), vec![copy(7)])), FailureCode::ItemNotFound);
    assert_eq!(listing(ready(&by_item(), &case(vec![sold]), vec![copy(7)])).pull, None);
}

#[test]
fn nothing_is_sold_below_its_least_price_whichever_copy_is_taken() {
    let cards = |prices: &[Option<i64>]| prices.iter().zip(7..).map(|(price, at)| copy_of("card", at, *price)).collect();
    let asks = |least, prices: &[Option<i64>]| {
        let sellback = sellback(Target::Item(item("card")), Some(least));
        ready(&sellback, &case(vec![pull(1, 7)]), cards(prices))
    };
    assert_eq!(never(&asks(10, &[Some(9)])), FailureCode::PriceBelowMinimum);
    assert_eq!(listing(asks(10, &[Some(10)])).price, Some(Money::usd(10)), "equal is enough");
    assert_eq!(never(&asks(10, &[Some(12), Some(9)])), FailureCode::PriceBelowMinimum, "the other may be taken");
    assert_eq!(waits(&asks(10, &[None])), (WaitCode::NotRead, after(at(NOW), TRY_AGAIN)));
    assert_eq!(waits(&asks(10, &[Some(12), None])).0, WaitCode::NotRead);
    assert_eq!(listing(ready(&by_item(), &case(vec![]), cards(&[None]))).price, None, "without a least price any will do");
}

#[test]
fn what_is_not_shown_is_looked_for_once_more_before_it_is_believed() {
    let waiting = |waiting| {
        let mut row = by_item();
        row.state = State::Accepted { waiting: Some(waiting), unsettled: None };
        row
    };
    for absent in [vec![read("anna", NOW, vec![])], vec![told("anna", NOW, InventoryAnswer::UserNotFound)]] {
        let once = readiness(&by_item(), &SaleCase::default(), &absent, at(NOW));
        let Readiness::Wait(first) = once else { panic!("{once:?}") };
        assert_eq!((first.code, first.until), (WaitCode::NotShown, Some(at(NOW + 120))));
        let again = |now| readiness(&waiting(first.clone()), &SaleCase::default(), &absent, at(now));
        assert_eq!(waits(&again(NOW + 119)), (WaitCode::NotShown, at(NOW + 120)), "too early to tell");
        assert_eq!(never(&again(NOW + 120)), FailureCode::ItemNotFound);
        let other = Waiting { code: WaitCode::ItemBusy, ..first.clone() };
        let after_another = readiness(&waiting(other), &SaleCase::default(), &absent, at(NOW + 500));
        assert_eq!(waits(&after_another), (WaitCode::NotShown, at(NOW + 620)));
    }
}

#[test]
fn what_cannot_be_read_is_tried_again() {
    for answer in [InventoryAnswer::Unauthorized, InventoryAnswer::Unreadable { why: "504".into() }] {
        let readings = [told("anna", NOW, answer.clone())];
        let waited = readiness(&by_item(), &case(vec![pull(1, 7)]), &readings, at(NOW));
        assert_eq!(waits(&waited), (WaitCode::NotRead, after(at(NOW), TRY_AGAIN)));
        let other = [read("anna", NOW, vec![copy(7)]), told("ben", NOW, answer)];
        assert_eq!(waits(&readiness(&by_item(), &case(vec![]), &other, at(NOW))).0, WaitCode::NotRead);
    }
    assert_eq!(waits(&readiness(&by_item(), &case(vec![]), &[], at(NOW))).0, WaitCode::NotRead);
}

#[test]
fn more_holders_than_are_read_make_the_look_partial() {
    let holders = |count| (0..count).map(|n| user(&format!("user-{n}"))).collect();
    let partial = |count| {
        let case = SaleCase { holders: holders(count), ..SaleCase::default() };
        listing(ready(&by_item(), &case, vec![copy(7)])).before.partial
    };
    assert_eq!((partial(MOST_HOLDERS), partial(MOST_HOLDERS + 1)), (false, true));
}

#[test]
fn another_sale_of_the_item_comes_first_and_its_own_does_not_stand_in_its_way() {
    let row = by_item();
    let under_way = |id| SaleCase { under_way: Some(id), ..SaleCase::default() };
    let other = under_way(OrderId(Uuid::from_u128(5)));
    assert_eq!(waits(&ready(&row, &other, vec![copy(7)])), (WaitCode::ItemBusy, after(at(NOW), TRY_AGAIN)));
    listing(ready(&row, &under_way(row.id), vec![copy(7)]));
}

/// Or its copy, still shown, would leave after our call without any doing of ours.
#[test]
fn a_look_that_may_be_behind_the_last_sale_is_not_used() {
    let sold = |name: &str, bought: u64, sold_at: u64| SoldCopy {
        by: OrderId(Uuid::from_u128(sold_at.into())),
        user_id: user(name),
        purchased_at: (bought > 0).then(|| at(bought)),
        sold_at: at(sold_at),
    };
    let tries = |sold: Vec<SoldCopy>, shown: &[u64]| {
        let case = SaleCase { sold, ..SaleCase::default() };
        ready(&by_item(), &case, shown.iter().copied().map(copy).collect())
    };
    assert_eq!(waits(&tries(vec![sold("anna", 7, NOW - 59)], &[7, 9])), (WaitCode::ItemBusy, at(NOW + 1)));
    assert_eq!(waits(&tries(vec![sold("anna", 0, NOW - 10)], &[9])).0, WaitCode::ItemBusy);
    assert_eq!(waits(&tries(vec![sold("anna", 7, NOW - 10)], &[0])).0, WaitCode::ItemBusy);
    listing(tries(vec![sold("anna", 7, NOW - 60)], &[7, 9]));
    let seen = listing(tries(vec![sold("anna", 7, NOW - 1), sold("ben", 7, NOW - 60)], &[9]));
    assert_eq!(seen.known_sales, [OrderId(Uuid::from_u128((NOW - 1).into()))], "it is not one that came since");
    listing(tries(vec![sold("ben", 7, NOW - 1)], &[7]));
    let many = (0..u64::from(MOST_SALES)).map(|n| sold("cleo", 7, NOW - 1 - n)).collect();
    assert_eq!(waits(&tries(many, &[9])), (WaitCode::ItemBusy, at(NOW - 16 + 60)), "there may be more than are told");
}

#[test]
fn a_look_that_lacks_other_pulls_is_suspicious() {
    let other = |id: &str, n| Pull { item: Item::bare(item(id)), ..pull(n, 7) };
    let shows = |items: &[&str]| Inventory {
        user_id: user("anna"),
        items: items.iter().map(|id| copy_of(id, 7, None)).collect(),
        upstream_time: None,
    };
    let pulls = [pull(1, 7), other("a", 2), other("a", 3), other("b", 4)];
    let lacks = |items: &[&str], selling: &[&str]| {
        let selling: Vec<_> = selling.iter().map(|id| item(id)).collect();
        lacks_others(&shows(items), &pulls, &item("card"), &selling)
    };
    assert!(!lacks(&["a", "a", "b"], &[]));
    assert!(lacks(&["a", "b"], &[]), "of two copies one is missing");
    assert!(lacks(&["card", "a", "a"], &[]));
    assert!(!lacks(&["a", "a"], &["b"]), "it is being sold");
    assert!(lacks(&[], &[]));
    let gone = |mut pull: Pull| {
        pull.sight.missing_since = Some(at(200));
        pull.sight.looked_at = Some(at(400));
        pull
    };
    assert!(!lacks_others(&shows(&[]), &[pull(1, 7), gone(other("b", 4))], &item("card"), &[]));
    let missing = |mut pull: Pull| {
        pull.sight.missing_since = Some(at(200));
        pull
    };
    assert!(lacks_others(&shows(&[]), &[missing(other("b", 4))], &item("card"), &[]), "one look that lacked it proves nothing");
}

/// The upstream may take just the copy that the look does not show, and nobody would see it leave.
#[test]
fn a_look_that_lacks_a_known_copy_is_not_used() {
    const SEEN: Sight = Sight { seen_at: Some(Time::UNIX_EPOCH), ..NEW };
    const NEW: Sight = Sight {
        looked_at: None,
        seen_at: None,
        missing_since: None,
        purchased_at: None,
        expiry: Expiry::NotRead,
        expiry_read_at: None,
        price: None,
        exchanged: false,
    };
    let known = |name: &str, created: u64, sight: Sight| KnownCopy { user_id: user(name), created_at: at(created), sight };
    let dated = |name: &str, bought: u64| known(name, 1, Sight { purchased_at: Some(at(bought)), ..SEEN });
    let tries = |copies: Vec<KnownCopy>, anna: &[u64], ben: &[u64]| {
        let shows = |name, dates: &[u64]| read(name, NOW, dates.iter().copied().map(copy).collect());
        let case = SaleCase { holders: vec![user("ben")], copies, ..SaleCase::default() };
        readiness(&by_item(), &case, &[shows("anna", anna), shows("ben", ben)], at(NOW))
    };
    let lacks = |copies: Vec<KnownCopy>, anna: &[u64], ben: &[u64]| match tries(copies, anna, ben) {
        Readiness::Ready(_) => false,
        other => waits(&other) == (WaitCode::NotRead, after(at(NOW), TRY_AGAIN)),
    };
    assert!(!lacks(vec![dated("anna", 7), dated("ben", 9)], &[7], &[9]));
    assert!(lacks(vec![dated("anna", 7), dated("ben", 9)], &[7], &[]));
    assert!(lacks(vec![dated("ben", 9)], &[7], &[8]), "that is another");
    assert!(lacks(vec![dated("ben", 9), dated("ben", 9)], &[7], &[9]), "there are two");
    assert!(!lacks(vec![dated("ben", 9), dated("ben", 8)], &[7], &[0, 8]), "one without a date may be it");
    assert!(lacks(vec![dated("ben", 9), known("ben", 1, SEEN)], &[7], &[9]));
    assert!(lacks(vec![known("ben", 1, SEEN), dated("ben", 9)], &[7], &[9]), "in whichever order");
    assert!(!lacks(vec![known("ben", 1, SEEN), dated("ben", 9)], &[7], &[9, 5]));
    assert!(!lacks(vec![dated("cleo", 9)], &[7], &[]), "nobody looked there");

    let missing = |looked: u64| Sight { missing_since: Some(at(200)), looked_at: Some(at(looked)), ..SEEN };
    assert!(lacks(vec![known("ben", 1, missing(319))], &[7], &[]), "one look alone proves nothing");
    assert!(!lacks(vec![known("ben", 1, missing(320))], &[7], &[]), "it is gone");
    assert!(
        !lacks(vec![known("ben", 1, Sight { exchanged: true, ..SEEN })], &[7], &[]),
        "ben may hold another item in its place"
    );
    assert!(lacks(vec![known("ben", NOW - 59, NEW)], &[7], &[]), "the look may be behind its purchase");
    assert!(!lacks(vec![known("ben", NOW - 60, NEW)], &[7], &[]), "nobody has ever seen it");
}
