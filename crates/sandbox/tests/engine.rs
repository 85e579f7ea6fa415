//! The engine alone: chance, time and the things that can go wrong inside it.

#![allow(dead_code, reason = "each test target uses its part of the support module")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use clawback_sandbox::{
    Engine, Mode, Options, Outcome,
    engine::{HeldPull, INVENTORY_LAG, Init, Opened, Poll},
    outcome,
};
use support::{KEY, at, faults, options, whole};

fn init<'a>(amount: i64, user_id: &'a str) -> Init<'a> {
    Init { pack_id: "rookie", amount, user_id }
}

fn buy(engine: &mut Engine, second: i64, amount: i64, user: &str) -> Opened {
    whole(engine.init(at(second), KEY, &init(amount, user), Some("ref.1")))
}

fn poll(engine: &mut Engine, second: i64, opened: &Opened) -> Poll {
    whole(engine.status(at(second), KEY, &opened.session_id.to_string()))
}

fn held(engine: &mut Engine, second: i64, user: &str) -> Vec<HeldPull> {
    whole(engine.inventory(at(second), KEY, user)).items
}

fn production(settle: u64) -> Options {
    Options { settle: Duration::from_secs(settle), ..options(Mode::Production) }
}

#[test]
fn the_same_seed_and_calls_give_the_same_answers() {
    let run = |seed| {
        let faults = faults(&["reset-after=0.2", "error-before=0.2", "inventory-lag=0.3", "sold-elsewhere=0.1"]);
        let mut engine = Engine::new(Options { seed, faults, ..production(2) });
        let mut seen = Vec::new();
        for second in 0..200 {
            let opened = engine.init(at(second), KEY, &init(3, "u"), None);
            seen.push(format!("{opened:?}"));
            if let Ok(opened) = opened.success() {
                seen.push(format!("{:?}", engine.status(at(second + 2), KEY, &opened.session_id.to_string())));
            }
            seen.push(format!("{:?}", engine.inventory(at(second + 3), KEY, "u")));
        }
        (seen, engine.ledger())
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}

#[test]
fn faults_do_not_change_which_items_are_drawn() {
    let ledger = |faults: &[&str]| {
        let mut engine = Engine::new(Options { faults: support::faults(faults), ..options(Mode::Production) });
        for second in 0..50 {
            drop(engine.init(at(second), KEY, &init(2, "u"), None));
        }
        engine.ledger()
    };
    assert_eq!(ledger(&[]), ledger(&["reset-after=0.5", "error-after=0.5"]));
}

#[test]
fn two_calls_with_one_body_are_two_purchases_and_the_items_stack() {
    let mut engine = Engine::new(options(Mode::Sandbox));
    let sessions: Vec<_> = (0..60).map(|second| buy(&mut engine, second, 10, ["ann", "bob"][second as usize % 2])).collect();
    let distinct: std::collections::BTreeSet<_> = sessions.iter().map(|opened| opened.session_id).collect();
    assert_eq!(distinct.len(), 60);
    let count = |items: Vec<HeldPull>| {
        items.iter().fold(BTreeMap::<_, u32>::new(), |mut counts, held| {
            *counts.entry(held.pulled.id.clone()).or_default() += 1;
            counts
        })
    };
    let (ann, bob) = (count(held(&mut engine, 60, "ann")), count(held(&mut engine, 60, "bob")));
    assert_eq!((ann.values().sum::<u32>(), bob.values().sum::<u32>()), (300, 300));
    assert!(ann.values().any(|&times| times > 1), "no item was handed to one user twice");
    assert!(ann.keys().any(|id| bob.contains_key(id)), "no item was handed to two users");
}

#[test]
fn of_a_stack_the_oldest_that_can_be_sold_is_sold() {
    let mut one = Options::default();
    one.packs.truncate(1);
    one.packs[0].tiers.truncate(1);
    one.packs[0].tiers[0].listings = 1;
    let mut engine = Engine::new(one);
    let id = buy(&mut engine, 0, 1, "ann").nfts[0].id.clone();
    buy(&mut engine, 86_400, 2, "bob");
    let (day_8, sell) = (8 * 86_400, |engine: &mut Engine, second| engine.buyback(at(second), KEY, &id));
    // Ann's expired on day 7, Bob's two on day 8.
    whole(sell(&mut engine, day_8 - 1));
    assert_eq!((held(&mut engine, day_8 - 1, "ann").len(), held(&mut engine, day_8 - 1, "bob").len()), (1, 1));
    assert_eq!(engine.ledger().sellbacks[0].user_id, "bob");
    assert_eq!(sell(&mut engine, day_8), Outcome::Error(outcome::ITEM_EXPIRED));
}

#[test]
fn in_production_every_item_is_one_item() {
    let mut engine = Engine::new(production(0));
    let ids: Vec<_> = (0..50).flat_map(|second| buy(&mut engine, second, 10, "u").nfts).map(|pulled| pulled.id).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    let items = held(&mut engine, 60, "u");
    assert!(items.iter().any(|item| item.expires_at.is_none()) && items.iter().any(|item| item.expires_at.is_some()));
}

#[test]
fn a_purchase_settles_when_its_time_has_come_or_the_clock_was_moved() {
    let mut engine = Engine::new(production(5));
    let opened = buy(&mut engine, 0, 1, "u");
    assert_eq!(poll(&mut engine, 4, &opened), Poll::Pending);
    assert_eq!(engine.inventory(at(4), KEY, "u"), Outcome::Error(outcome::USER_NOT_FOUND));
    assert!(matches!(poll(&mut engine, 5, &opened), Poll::Fulfilled(_)));
    let later = buy(&mut engine, 10, 1, "u");
    assert_eq!(poll(&mut engine, 10, &later), Poll::Pending);
    engine.advance(Duration::from_secs(5));
    assert!(matches!(poll(&mut engine, 10, &later), Poll::Fulfilled(_)));
    assert_eq!(held(&mut engine, 10, "u")[1].purchased_at, at(10));
}

#[test]
fn pending_polls_delay_the_answer_and_not_the_inventory() {
    let mut engine = Engine::new(Options { pending_polls: 2, ..production(0) });
    let opened = buy(&mut engine, 0, 1, "u");
    assert_eq!(poll(&mut engine, 1, &opened), Poll::Pending);
    assert_eq!(held(&mut engine, 1, "u").len(), 1);
    assert_eq!(poll(&mut engine, 2, &opened), Poll::Pending);
    assert!(matches!(poll(&mut engine, 3, &opened), Poll::Fulfilled(_)));
    assert!(matches!(poll(&mut engine, 3, &opened), Poll::Fulfilled(_)));
}

#[test]
fn a_poll_is_held_until_the_purchase_settles_or_the_window_closes() {
    let window = |settle| {
        let mut engine = Engine::new(Options { poll_window: Duration::from_secs(10), ..production(settle) });
        let opened = buy(&mut engine, 0, 1, "u");
        let Poll::Hold(held) = poll(&mut engine, 1, &opened) else { panic!("not held") };
        (engine, held)
    };
    let (mut engine, held) = window(5);
    assert_eq!(held.until, at(5));
    assert!(matches!(engine.resume(at(4), &held), Ok(Poll::Hold(_))));
    assert!(matches!(engine.resume(at(5), &held), Ok(Poll::Fulfilled(_))));
    let (mut engine, held) = window(60);
    assert_eq!(held.until, at(11));
    assert_eq!(engine.resume(at(11), &held), Ok(Poll::Pending));
}

#[test]
fn a_lagging_inventory_shows_what_was() {
    let mut engine = Engine::new(production(0));
    let old = buy(&mut engine, 0, 1, "u").nfts[0].id.clone();
    let lag = i64::try_from(INVENTORY_LAG.as_secs()).unwrap();
    buy(&mut engine, 1000, 1, "u");
    whole(engine.buyback(at(1000), KEY, &old));
    engine.set_faults(faults(&["inventory-lag=1"]));
    let ids: Vec<_> = held(&mut engine, 1000, "u").into_iter().map(|item| item.pulled.id).collect();
    assert_eq!(ids, [old], "the new one is not there yet, the sold one still is");
    assert_eq!(held(&mut engine, 1000 + lag, "u").len(), 1, "no lag is longer than the longest");
    assert_eq!(engine.inventory(at(0), KEY, "u"), Outcome::Error(outcome::USER_NOT_FOUND));
}

#[test]
fn what_is_sold_elsewhere_leaves_the_inventory_and_not_the_ledger() {
    let mut engine = Engine::new(production(0));
    let items = buy(&mut engine, 0, 3, "u").nfts;
    engine.set_faults(faults(&["inventory:sold-elsewhere=1"]));
    assert_eq!(held(&mut engine, 1, "u").len(), 2);
    engine.set_faults(Vec::new());
    let left = held(&mut engine, 1, "u");
    assert_eq!(left.len(), 2);
    engine.set_faults(faults(&["buyback:sold-elsewhere=1"]));
    assert_eq!(engine.buyback(at(2), KEY, &left[0].pulled.id), Outcome::Error(outcome::ITEM_NOT_FOUND));
    assert!(engine.take_away(at(2), KEY, &left[1].pulled.id) && !engine.take_away(at(2), KEY, &left[1].pulled.id));
    engine.set_faults(Vec::new());
    assert_eq!(held(&mut engine, 2, "u"), []);
    let ledger = engine.ledger();
    assert_eq!((ledger.purchases[0].items.len(), ledger.sellbacks.len()), (items.len(), 0));
}

#[test]
fn what_was_shown_to_be_fulfilled_is_never_cancelled() {
    for shown_by_status in [true, false] {
        let mut engine = Engine::new(production(0));
        let opened = buy(&mut engine, 0, 1, "u");
        if shown_by_status {
            poll(&mut engine, 1, &opened);
        } else {
            held(&mut engine, 1, "u");
        }
        engine.set_faults(faults(&["status:transaction-failed=1"]));
        assert!(matches!(poll(&mut engine, 2, &opened), Poll::Fulfilled(_)));
        assert_eq!(engine.ledger().purchases.len(), 1);
    }
}

#[test]
fn the_ledger_tells_each_purchase_from_the_moment_it_was_bought() {
    let mut engine = Engine::new(production(3600));
    let opened = buy(&mut engine, 7, 2, "u");
    let ledger = engine.ledger();
    let [bought] = &ledger.purchases[..] else { panic!("{ledger:?}") };
    assert_eq!((&*bought.session_id, &*bought.user_id), (&*opened.session_id.to_string(), "u"));
    assert_eq!((&*bought.pack_id, bought.amount, bought.purchased_at), ("rookie", 2, at(7)));
    assert_eq!(bought.client_ref.as_deref(), Some("ref.1"));
    for (item, pulled) in bought.items.iter().zip(&opened.nfts) {
        assert_eq!((&*item.item_id, item.buyback_price), (&*pulled.id, pulled.price.money()));
    }
}

#[test]
fn a_key_that_was_rotated_addresses_the_same_partner() {
    let mut engine = Engine::new(options(Mode::Sandbox));
    buy(&mut engine, 0, 1, "u");
    assert!(engine.rotate_key(KEY, "sandbox-new") && !engine.rotate_key(KEY, "sandbox-newer"));
    assert_eq!(engine.inventory(at(1), KEY, "u"), Outcome::Error(outcome::INVALID_KEY));
    assert_eq!(whole(engine.inventory(at(1), "sandbox-new", "u")).items.len(), 1);
}
