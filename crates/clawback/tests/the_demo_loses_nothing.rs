//! The demo: what people see first, and what is checked in every build.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::Place;

#[test]
fn nothing_is_lost_and_nothing_is_bought_twice() {
    let began = Instant::now();
    let said = Place::empty().run(&["demo", "--json", "--purchases", "120"]).ok();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let last: Value = serde_json::from_str(said.out.lines().last().expect("a last line")).expect("it is JSON");
    let count = |key: &str| last[key].as_u64().unwrap_or_else(|| panic!("{key} is missing: {last}"));
    assert_eq!((count("lost"), count("bought_twice"), count("open")), (0, 0, 0), "{last}");
    assert_eq!(count("purchases"), 120);
    assert_eq!(count("fulfilled") + count("failed") + count("review"), 120);
    assert_eq!(count("events"), 121, "one for each purchase and one for the broken message");
    assert_eq!((count("sellbacks"), count("warned_items")), (0, 0));
    assert!(last["seconds"].is_number() && last["purchases_per_second"].is_number());
}

#[test]
fn people_see_a_table_and_one_purchase_in_detail() {
    let said = Place::empty().run(&["demo", "--purchases", "30"]).ok();
    for part in ["fulfilled", "arcade-north", "what happened", "0 lost, 0 bought twice", "clawback up --sandbox"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}
