use std::collections::BTreeMap;

use clawback_domain::{DeadLetterId, PartnerId, Time, event::Event};
use clawback_store::{DeadLetter, DeadLetterState};

use crate::{build::*, stage::Stage};

pub fn letter(message: &str, partner: PartnerId, now: Time) -> DeadLetter {
    let queue = format!("clawback.purchases.{partner}");
    DeadLetter {
        id: DeadLetterId::of(&queue, message.as_bytes()),
        exchange: format!("clawback.commands.{partner}"),
        partner,
        queue,
        routing_key: "purchase".into(),
        reason: "invalid_json".into(),
        problems: r#"[{"code":"invalid_json"}]"#.into(),
        body: b"not { json".to_vec(),
        content_type: Some("application/json".into()),
        message_id: Some(message.into()),
        headers: BTreeMap::from([("x-first".into(), "1".into())]),
        received_at: now,
        state: DeadLetterState::Kept,
        settled_by: None,
    }
}

fn event_of(letter: &DeadLetter) -> Event {
    event(letter.id.0, 1, letter.partner.clone(), letter.received_at)
}

pub async fn a_dead_letter_reads_back_equal(store: Stage) {
    let full = DeadLetter {
        body: (0..=255).collect(),
        reason: "ünïcödé \"quoted\" \\ 🎉\nnext line".into(),
        headers: BTreeMap::from([("a".into(), "ü\"\\".into()), ("b c".into(), String::new())]),
        ..letter("full", acme(), at(0))
    };
    let bare = DeadLetter {
        body: vec![],
        content_type: None,
        message_id: None,
        headers: BTreeMap::new(),
        queue: String::new(),
        ..letter("bare", acme(), at(1))
    };
    let large = DeadLetter { body: vec![0xff; 1 << 20], ..letter("large", acme(), at(2)) };
    for letter in [full, bare, large] {
        assert!(store.bury(letter.clone(), event_of(&letter)).await.unwrap());
        assert_eq!(store.dead_letter(letter.id).await.unwrap(), Some(letter));
    }
}

pub async fn a_dead_letter_is_buried_once_with_its_event(store: Stage) {
    let first = letter("m-1", acme(), at(0));
    assert!(store.bury(first.clone(), event_of(&first)).await.unwrap());
    let again = DeadLetter { reason: "another".into(), ..letter("m-1", acme(), at(9)) };
    let other_event = event(again.id.0, 2, acme(), at(9));
    assert!(!store.bury(again.clone(), event_of(&again)).await.unwrap());
    assert!(!store.bury(again, other_event).await.unwrap());
    assert_eq!(store.dead_letter(first.id).await.unwrap().as_ref(), Some(&first));
    let events = store.events(None, 0, 10).await.unwrap();
    assert_eq!(events.iter().map(|stored| &stored.event).collect::<Vec<_>>(), [&event_of(&first)]);
}

pub async fn of_equal_burials_at_once_exactly_one_is_the_first(store: Stage) {
    let handles = [store.shared(), store.second().await];
    for round in 0..5 {
        let letter = letter(&format!("m-{round}"), acme(), at(0));
        let buried = at_once((0..8).map(|n| {
            let (store, letter) = (handles[n % 2].clone(), letter.clone());
            async move { store.bury(letter.clone(), event_of(&letter)).await.unwrap() }
        }))
        .await;
        assert_eq!(buried.iter().filter(|first| **first).count(), 1);
    }
    assert_eq!(store.events(None, 0, 100).await.unwrap().len(), 5);
}

pub async fn the_event_of_a_dead_letter_is_relayed_like_any_other(store: Stage) {
    let letter = letter("m-1", acme(), at(0));
    store.bury(letter.clone(), event_of(&letter)).await.unwrap();
    let again = std::time::Duration::from_secs(30);
    assert!(store.claim_unsent(at(4), 10, again).await.unwrap().is_empty());
    let claimed = store.claim_unsent(at(5), 10, again).await.unwrap();
    assert_eq!(claimed.iter().map(|stored| &stored.event).collect::<Vec<_>>(), [&event_of(&letter)]);
}

pub async fn dead_letters_are_listed_newest_first(store: Stage) {
    for (n, name) in [(2, "acme"), (1, "beta"), (4, "acme"), (3, "beta"), (0, "acme")] {
        let letter = letter(&format!("m-{n}"), partner(name), at(n));
        store.bury(letter.clone(), event_of(&letter)).await.unwrap();
    }
    let list = async |partner: Option<&PartnerId>, limit| {
        let letters = store.dead_letters(partner, limit).await.unwrap();
        letters.iter().map(|letter| (letter.received_at - at(0)).num_seconds()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, [4, 3, 2, 1, 0]);
    assert_eq!(list(None, 2).await, [4, 3]);
    assert_eq!(list(Some(&acme()), 10).await, [4, 2, 0]);
    assert_eq!(list(Some(&beta()), 1).await, [3]);
    assert!(list(Some(&partner("gamma")), 10).await.is_empty());
}

pub async fn a_dead_letter_is_settled_once(store: Stage) {
    for (n, state) in [DeadLetterState::Redriven, DeadLetterState::Discarded].into_iter().enumerate() {
        let letter = letter(&format!("m-{n}"), acme(), at(0));
        assert!(!store.settle_dead_letter(letter.id, state, "ann: too early", at(1)).await.unwrap());
        store.bury(letter.clone(), event_of(&letter)).await.unwrap();
        assert!(store.settle_dead_letter(letter.id, state, "ann: repaired", at(1)).await.unwrap());
        assert!(!store.settle_dead_letter(letter.id, DeadLetterState::Discarded, "bob: again", at(2)).await.unwrap());
        let settled = DeadLetter { state, settled_by: Some("ann: repaired".into()), ..letter };
        assert_eq!(store.dead_letter(settled.id).await.unwrap(), Some(settled));
    }
}
