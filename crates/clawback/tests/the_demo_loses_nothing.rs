//! The demo: what people see first, and what is checked in every build.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::Place;

#[test]
fn nothing_is_lost_and_nothing_is_bought_or_sold_twice() {
    let began = Instant::now();
    let said = Place::empty().run(&["demo", "--json", "--purchases", "120"]).ok();
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    let last: Value = serde_json::from_str(said.out.lines().last().expect("a last line")).expect("it is JSON");
    let count = |key: &str| last[key].as_u64().unwrap_or_else(|| panic!("{key} is missing: {last}"));
    for wrong in ["lost", "bought_twice", "sold_twice", "warned_twice", "warned_wrongly", "forgotten", "open", "sellbacks_open"]
    {
        assert_eq!(count(wrong), 0, "{wrong}: {last}");
    }
    assert_eq!(count("purchases"), 120);
    assert_eq!(count("fulfilled") + count("failed") + count("review"), 120);
    assert!(count("warned_items") > 0 && count("late") == 0, "{last}");
    assert!(count("sold_automatically") > 0 && count("sellbacks") > count("sold_automatically"), "one by hand: {last}");
    assert!(last["sold_elsewhere"].is_string(), "{last}");
    let told = 121 + count("warnings") + count("sellbacks");
    assert!(count("events") > told, "each purchase, the broken message, warnings, sales, and windows that shut: {last}");
    assert!(last["seconds"].is_number() && last["purchases_per_second"].is_number());
}

#[test]
fn people_see_the_days_pass_a_table_and_one_purchase_in_detail() {
    let said = Place::empty().run(&["demo", "--purchases", "30"]).ok();
    for part in [
        "day 6 23:00",
        "1h ahead",
        "is sold by itself",
        "elsewhere: no warning held it",
        "fulfilled",
        "arcade-north",
        "what happened",
        "0 lost, 0 bought twice, 0 sold twice",
        "clawback up --sandbox",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}
