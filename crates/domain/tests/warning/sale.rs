//! Selling before the window shuts: whether, when, and in which order.

use std::time::Duration;

use clawback_domain::{
    Money, PullId, Time,
    item::Expiry,
    warning::{Queue, RuleError, Sale, SaleRule, Unsold, UserSettings, Verdict, Watched, foresee, queue, sale},
};
use proptest::prelude::*;

use super::{at, pull, watched};

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

fn cents(n: i64) -> Money {
    Money::usd(n * 10_000)
}

/// From 30 to 5 minutes before expiry, for nine tenths and 5.00 or more.
fn rule() -> SaleRule {
    SaleRule::new(minutes(30), minutes(5), Some(900_000), Some(cents(500))).unwrap()
}

/// Expires in minute 100, shown in `look` with this price.
fn held(look: i64, price: Option<Money>) -> Watched {
    let mut held = watched(1, Expiry::At(at(100)), &[(look, true)]);
    held.sight.price = price;
    held
}

fn decided(watched: &Watched, at_purchase: Option<Money>, now: i64) -> Verdict {
    sale(&rule(), watched, at_purchase, &UserSettings::default(), at(now))
}

#[test]
fn what_will_be_sold_is_foreseen_by_the_last_look() {
    let settings = UserSettings::default();
    let check = |watched: &Watched, settings: &UserSettings, now: i64, expected: Result<(), Unsold>| {
        assert_eq!(foresee(&rule(), watched, Some(cents(600)), settings, at(now)), expected, "{watched:?} {now}");
    };
    let good = held(0, Some(cents(540)));
    for now in [0, 69, 70, 94] {
        check(&good, &settings, now, Ok(()));
    }
    check(&good, &settings, 95, Err(Unsold::TooLate));
    check(&good, &UserSettings { auto_sell: false, ..settings }, 0, Err(Unsold::OptedOut));
    check(&held(0, None), &settings, 0, Err(Unsold::NoPrice));
    check(&held(0, Some(cents(499))), &settings, 80, Err(Unsold::PriceTooLow));
    check(&held(0, Some(cents(539))), &settings, 0, Err(Unsold::ShareTooLow));
    check(&Watched { sale: Sale::UnderWay, ..good }, &settings, 0, Err(Unsold::UnderWay));
    check(&watched(1, Expiry::At(at(100)), &[(0, true), (5, false)]), &settings, 20, Err(Unsold::NotSeen));
}

#[test]
fn it_is_sold_from_at_to_stop_before() {
    for (now, expected) in [
        (0, Verdict::NotYet { at: at(70) }),
        (69, Verdict::NotYet { at: at(70) }),
        (70, Verdict::Sell),
        (94, Verdict::Sell),
        (95, Verdict::No(Unsold::TooLate)),
        (100, Verdict::No(Unsold::TooLate)),
    ] {
        assert_eq!(decided(&held(now, Some(cents(1000))), Some(cents(1000)), now), expected, "minute {now}");
    }
}

#[test]
fn both_minima_must_hold_of_the_price_just_read() {
    let no = |why| Verdict::No(why);
    for (price, at_purchase, expected) in [
        (Some(900), Some(1000), Verdict::Sell),
        (Some(899), Some(1000), no(Unsold::ShareTooLow)),
        (Some(500), Some(500), Verdict::Sell),
        (Some(499), Some(500), no(Unsold::PriceTooLow)),
        (Some(500), Some(556), no(Unsold::ShareTooLow)),
        (Some(5000), Some(1000), Verdict::Sell),
        (None, Some(1000), no(Unsold::NoPrice)),
        (Some(900), None, no(Unsold::NoPriceAtPurchase)),
        (Some(400), None, no(Unsold::PriceTooLow)),
    ] {
        let (price, at_purchase) = (price.map(cents), at_purchase.map(cents));
        assert_eq!(decided(&held(80, price), at_purchase, 80), expected, "{price:?} of {at_purchase:?}");
    }
    let any = SaleRule::new(minutes(30), minutes(5), None, None).unwrap();
    assert_eq!(sale(&any, &held(80, Some(cents(1))), None, &UserSettings::default(), at(80)), Verdict::Sell);
    assert_eq!(sale(&any, &held(80, None), None, &UserSettings::default(), at(80)), Verdict::No(Unsold::NoPrice));
}

#[test]
fn only_what_a_fresh_look_shows_is_sold() {
    let price = Some(cents(1000));
    let of = |looks: &[(i64, bool)]| Watched { ..watched(1, Expiry::At(at(100)), looks) };
    assert_eq!(decided(&held(79, price), price, 80), Verdict::Sell);
    assert_eq!(decided(&held(78, price), price, 80), Verdict::LookFirst);
    assert_eq!(decided(&of(&[]), price, 80), Verdict::LookFirst);
    assert_eq!(decided(&of(&[(70, true), (80, false)]), price, 80), Verdict::No(Unsold::NotSeen));
    assert_eq!(decided(&of(&[(80, false)]), price, 80), Verdict::No(Unsold::NotSeen));
    assert_eq!(decided(&of(&[(70, true), (75, false), (80, false)]), price, 80), Verdict::No(Unsold::Gone));
}

#[test]
fn who_opted_out_sells_himself_or_has_no_expiry_is_left_alone() {
    let (held, price) = (held(80, Some(cents(1000))), Some(cents(1000)));
    let out = UserSettings { auto_sell: false, ..UserSettings::default() };
    assert_eq!(sale(&rule(), &held, price, &out, at(80)), Verdict::No(Unsold::OptedOut));
    let with = |sale| Watched { sale, ..held.clone() };
    assert_eq!(decided(&with(Sale::UnderWay), price, 80), Verdict::No(Unsold::UnderWay));
    assert_eq!(decided(&with(Sale::Sold), price, 80), Verdict::No(Unsold::Sold));
    assert_eq!(decided(&watched(1, Expiry::Never, &[(80, true)]), price, 80), Verdict::No(Unsold::NoExpiry));
    assert_eq!(decided(&watched(1, Expiry::NotRead, &[(80, true)]), price, 80), Verdict::No(Unsold::NotRead));
}

#[test]
fn the_floor_is_the_higher_minimum_rounded_up() {
    for (at_purchase, expected) in [(Some(100), 500), (Some(1000), 900), (None, 500)] {
        assert_eq!(rule().floor(at_purchase.map(cents)), Some(cents(expected)));
    }
    let third = SaleRule::new(minutes(30), minutes(5), Some(333_333), None).unwrap();
    assert_eq!(third.floor(Some(Money::usd(10))), Some(Money::usd(4)));
    assert_eq!(third.floor(None), None);
    assert_eq!(third.floor(Some(Money::usd(i64::MAX))), Some(Money::usd(3_074_454_271_160_912_985)));
}

#[test]
fn a_rule_that_cannot_be_meant_is_refused() {
    let refused = |at, stop, share, price| SaleRule::new(minutes(at), minutes(stop), share, price).unwrap_err().to_string();
    assert_eq!(refused(5, 5, None, None), "`stop_before` (5m) must be shorter than `at` (5m)");
    assert_eq!(refused(5, 6, None, None), "`stop_before` (6m) must be shorter than `at` (5m)");
    assert_eq!(refused(6, 5, Some(1_000_001), None), "`min_share` must be a share from 0 to 1");
    assert_eq!(refused(6, 5, None, Some(cents(-1))), RuleError::NegativePrice.to_string());
    assert!(SaleRule::new(minutes(6), minutes(5), Some(1_000_000), Some(cents(0))).is_ok());
}

/// `1@70 2@82.5`, and who comes too late.
fn show(queue: &Queue) -> String {
    let minute = |time: &Time| (*time - at(0)).num_milliseconds() as f64 / 60_000.0;
    let mut shown: Vec<_> =
        queue.sales.iter().map(|(pull, time)| format!("{}@{:.1}", pull.0.as_u128(), minute(time))).collect();
    shown.extend(queue.too_late.iter().map(|pull| format!("{} too late", pull.0.as_u128())));
    shown.join(" ")
}

fn queued(expiries: &[i64], now: i64) -> String {
    let pulls: Vec<(PullId, Time)> = (1..).map(pull).zip(expiries.iter().map(|expiry| at(*expiry))).collect();
    show(&queue(&rule(), &pulls, 1, at(now)))
}

#[test]
fn sales_are_in_order_of_time_left_and_spread_over_the_span() {
    assert_eq!(queued(&[100], 0), "1@70.0");
    assert_eq!(queued(&[100, 100], 0), "1@70.0 2@82.5");
    assert_eq!(queued(&[100; 5], 0), "1@70.0 2@75.0 3@80.0 4@85.0 5@90.0");
    assert_eq!(queued(&[200, 100], 0), "2@70.0 1@170.0");
    assert_eq!(queued(&[100; 2], 85), "1@85.0 2@90.0");
    assert_eq!(queued(&[95, 100], 200), "1 too late 2 too late".to_string().as_str());
    assert_eq!(queued(&[], 0), "");
}

#[test]
fn a_rate_that_is_too_slow_names_who_comes_too_late_and_holds_up_nobody_else() {
    // 1,500 seconds from minute 70 to 95, one sale a second.
    let pulls: Vec<_> = (0..1600).map(|n| (pull(n), at(100))).chain([(pull(9999), at(1000))]).collect();
    let planned = queue(&rule(), &pulls, 1, at(0));
    assert_eq!((planned.sales.len(), planned.too_late.len()), (1501, 100));
    assert_eq!(planned.sales.last(), Some(&(pull(9999), at(970))));
}

proptest! {
    #[test]
    fn every_sale_is_in_its_span_and_no_two_are_nearer_than_the_rate_allows(
        expiries in proptest::collection::vec(0..400_i64, 0..60), rate in 1..4_u32, now in 0..300_i64,
    ) {
        let pulls: Vec<_> = expiries.iter().enumerate().map(|(n, expiry)| (pull(n as u128), at(*expiry))).collect();
        let planned = queue(&rule(), &pulls, rate, at(now));
        prop_assert_eq!(planned.sales.len() + planned.too_late.len(), pulls.len());
        for (pull, time) in &planned.sales {
            let (from, until) = rule().span(pulls[pull.0.as_u128() as usize].1);
            prop_assert!(*time >= from.max(at(now)) && *time < until);
        }
        let gap = chrono::TimeDelta::from_std(Duration::from_secs(1) / rate).unwrap() - chrono::TimeDelta::microseconds(1);
        prop_assert!(planned.sales.windows(2).all(|pair| pair[1].1 - pair[0].1 >= gap));
        let expiry = |pull: &PullId| pulls[pull.0.as_u128() as usize].1;
        prop_assert!(planned.sales.is_sorted_by_key(|(pull, _)| expiry(pull)));
        // Fifty sales always fit into 25 minutes: only who has no span left at all is too late.
        prop_assert!(planned.too_late.iter().all(|pull| expiry(pull) < at(now + 5) + Duration::from_secs(60)));
    }
}
