use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clawback_domain::{
    EventId, RequestId, Time,
    clock::after,
    event::{Event, EventType},
    purchase::{Happened, Purchase, Resolution},
};
use clawback_store::{FIRST_LOOK, Sent, Store};
use uuid::Uuid;

use crate::{build::*, letters, stage::Stage};

const AGAIN: Duration = Duration::from_secs(30);

fn sent(event: EventId, now: Time) -> Sent {
    Sent { event, at: now, unrouted: false }
}

fn last(purchase: &Purchase) -> EventId {
    EventId::of(purchase.id.0, purchase.sequence)
}

async fn claim(store: &Stage, now: Time) -> Vec<EventId> {
    store.claim_unsent(now, 100, AGAIN).await.unwrap().iter().map(|stored| stored.event.id).collect()
}

pub async fn an_event_is_left_to_the_hot_path_until_its_first_look(store: Stage) {
    let purchase = fulfilled(&*store, acme(), "r-1", at(0)).await;
    let first_look = after(at(0), FIRST_LOOK);
    assert!(claim(&store, at(0)).await.is_empty());
    assert!(claim(&store, first_look - Duration::from_micros(1)).await.is_empty());
    let claimed = store.claim_unsent(first_look, 100, AGAIN).await.unwrap();
    assert_eq!(claimed, [store.event(last(&purchase)).await.unwrap().unwrap()]);
}

pub async fn a_claimed_event_is_left_alone_until_its_next_look(store: Stage) {
    let purchase = fulfilled(&*store, acme(), "r-1", at(0)).await;
    assert_eq!(claim(&store, at(10)).await, [last(&purchase)]);
    assert!(claim(&store, at(39)).await.is_empty());
    assert_eq!(claim(&store, at(40)).await, [last(&purchase)]);
}

pub async fn a_claim_takes_no_more_than_its_limit(store: Stage) {
    for n in 0..7 {
        fulfilled(&*store, acme(), &format!("r-{n}"), at(n)).await;
    }
    let mut seen = BTreeSet::new();
    for expected in [3, 3, 1, 0] {
        let claimed = store.claim_unsent(at(100), 3, AGAIN).await.unwrap();
        assert_eq!(claimed.len(), expected);
        seen.extend(claimed.iter().map(|stored| stored.position));
    }
    assert_eq!(seen.len(), 7);
}

/// A review, and then its end: what is told about one purchase is told in order.
pub async fn the_second_event_of_a_subject_waits_for_the_first(store: Stage) {
    let review = in_review(&*store, acme(), "r-1", at(0)).await;
    let settled = resolved(&*store, &review, at(1)).await;
    assert_eq!((review.sequence, settled.sequence), (1, 2));
    assert!(!store.predecessors_sent(settled.id.0, 2).await.unwrap());
    assert!(store.predecessors_sent(settled.id.0, 1).await.unwrap());
    assert_eq!(claim(&store, at(100)).await, [last(&review)]);
    // The first one is out with somebody; its successor still waits.
    assert!(claim(&store, at(101)).await.is_empty());

    store.mark_sent(vec![sent(last(&review), at(102))]).await.unwrap();
    assert!(store.predecessors_sent(settled.id.0, 2).await.unwrap());
    assert_eq!(claim(&store, at(103)).await, [last(&settled)]);
}

async fn resolved(store: &dyn Store, review: &Purchase, now: Time) -> Purchase {
    let resolution = Resolution::FulfilledWith(vec![item("a"), item("b")]);
    applied(store, then(review, Happened::Resolved { resolution, by: "ann".into(), why: "seen".into() }, now)).await
}

pub async fn events_of_different_subjects_do_not_wait_for_each_other(store: Stage) {
    let review = in_review(&*store, acme(), "r-1", at(0)).await;
    resolved(&*store, &review, at(0)).await;
    let other = fulfilled(&*store, acme(), "r-2", at(0)).await;
    let third = fulfilled(&*store, beta(), "r-2", at(0)).await;
    assert_eq!(claim(&store, at(100)).await, [last(&review), last(&other), last(&third)]);
}

pub async fn a_marked_event_is_not_claimed_again(store: Stage) {
    let first = fulfilled(&*store, acme(), "r-1", at(0)).await;
    let second = fulfilled(&*store, acme(), "r-2", at(0)).await;
    store.mark_sent(vec![sent(last(&first), at(1))]).await.unwrap();
    let marked = store.event(last(&first)).await.unwrap().unwrap();
    assert_eq!((marked.sent_at, marked.unrouted), (Some(at(1)), false));
    assert_eq!(claim(&store, at(100)).await, [last(&second)]);
    store.mark_sent(vec![sent(last(&second), at(101))]).await.unwrap();
    assert!(claim(&store, at(1000)).await.is_empty());
}

pub async fn marking_twice_keeps_the_first_mark(store: Stage) {
    let purchase = fulfilled(&*store, acme(), "r-1", at(0)).await;
    let id = last(&purchase);
    store.mark_sent(vec![sent(id, at(1)), sent(id, at(2))]).await.unwrap();
    store.mark_sent(vec![Sent { unrouted: true, ..sent(id, at(3)) }]).await.unwrap();
    let marked = store.event(id).await.unwrap().unwrap();
    assert!(marked.sent_at == Some(at(1)) || marked.sent_at == Some(at(2)), "{marked:?}");
    assert!(!marked.unrouted);
    store.mark_sent(vec![sent(EventId::of(Uuid::nil(), 1), at(4))]).await.unwrap();
    store.mark_sent(vec![]).await.unwrap();
}

pub async fn an_unrouted_event_is_kept_and_counts_as_sent(store: Stage) {
    let review = in_review(&*store, acme(), "r-1", at(0)).await;
    let settled = resolved(&*store, &review, at(0)).await;
    store.mark_sent(vec![Sent { unrouted: true, ..sent(last(&review), at(1)) }]).await.unwrap();
    let kept = store.event(last(&review)).await.unwrap().unwrap();
    assert_eq!((kept.sent_at, kept.unrouted), (Some(at(1)), true));
    assert!(store.predecessors_sent(settled.id.0, 2).await.unwrap());
    assert_eq!(claim(&store, at(100)).await, [last(&settled)]);
    assert_eq!(store.events(None, 0, 10).await.unwrap().len(), 2);
}

pub async fn a_subject_without_events_has_no_unsent_predecessor(store: Stage) {
    assert!(store.predecessors_sent(Uuid::nil(), 1).await.unwrap());
    assert!(store.predecessors_sent(Uuid::nil(), 7).await.unwrap());
}

pub async fn the_last_event_of_a_subject_has_the_highest_sequence(store: Stage) {
    let review = in_review(&*store, acme(), "r-1", at(0)).await;
    assert_eq!(store.last_event(review.id.0).await.unwrap().unwrap().event.id, last(&review));
    let settled = resolved(&*store, &review, at(1)).await;
    fulfilled(&*store, acme(), "r-2", at(2)).await;
    assert_eq!(store.last_event(settled.id.0).await.unwrap().unwrap().event.id, last(&settled));
    assert_eq!(store.last_event(Uuid::nil()).await.unwrap(), None);
}

/// A body is kept as it is, to the byte: what is sent again must be what was sent.
pub async fn every_field_of_an_event_reads_back_equal(store: Stage) {
    let kinds =
        [EventType::PurchaseFulfilled, EventType::PurchaseFailed, EventType::PurchaseReview, EventType::CommandRejected];
    for (n, kind) in kinds.into_iter().enumerate() {
        let full = n % 2 == 0;
        let subject = Uuid::from_u128(n as u128);
        let event = Event {
            kind,
            request_id: full.then(|| RequestId::new("ünï \"c\" 🎉").unwrap()),
            trace: full.then(trace),
            body: Arc::from("{ \"z\":1.50, \"a\" : \"\\u00e9 é 🎉 \\\\\", \"a\":null }"),
            ..event(subject, u64::from(full) * 6 + 1, beta(), at(n as i64))
        };
        assert!(store.bury(letters::letter(&format!("m-{n}"), acme(), at(0)), event.clone()).await.unwrap());
        let kept = store.event(event.id).await.unwrap().unwrap();
        assert_eq!((kept.event, kept.sent_at, kept.unrouted), (event, None, false));
    }
}

/// An event names every item of its purchase, and there may be ten thousand.
pub async fn a_body_of_megabytes_is_kept_whole(store: Stage) {
    let letter = letters::letter("m-1", acme(), at(0));
    let body = Arc::from(format!(r#"{{"items":"{}"}}"#, "ünï ".repeat(1 << 20)));
    let event = Event { body, ..event(letter.id.0, 1, acme(), at(0)) };
    store.bury(letter, event.clone()).await.unwrap();
    assert!(store.event(event.id).await.unwrap().unwrap().event == event, "5 MiB read back as they were written");
}

pub async fn events_are_read_in_order_of_their_positions(store: Stage) {
    let mut ids = Vec::new();
    for n in 0..6 {
        let name = if n % 2 == 0 { acme() } else { beta() };
        ids.push(last(&fulfilled(&*store, name, &format!("r-{n}"), at(100 - n)).await));
    }
    let all = store.events(None, 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|stored| stored.event.id).collect::<Vec<_>>(), ids);
    assert!(all.is_sorted_by(|a, b| a.position < b.position));
    let ours = store.events(Some(&acme()), 0, 100).await.unwrap();
    assert_eq!(ours.iter().map(|stored| stored.event.id).collect::<Vec<_>>(), [ids[0], ids[2], ids[4]]);

    let mut paged = Vec::new();
    let mut position = 0;
    loop {
        let page = store.events(None, position, 4).await.unwrap();
        let Some(end) = page.last() else { break };
        position = end.position;
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

pub async fn relays_side_by_side_never_claim_the_same_event(store: Stage) {
    for n in 0..60 {
        let review = in_review(&*store, acme(), &format!("r-{n}"), at(0)).await;
        resolved(&*store, &review, at(0)).await;
    }
    let handles = [store.shared(), store.second().await];
    let claimed = at_once((0..6).map(|n| {
        let store = handles[n % 2].clone();
        async move { claim_all(&*store).await }
    }))
    .await;
    let mut all: Vec<_> = claimed.into_iter().flatten().collect();
    all.extend(claim_all(&*store).await);
    assert!(all.iter().all(|(_, sequence)| *sequence == 1), "no successor goes out while its predecessor is unsent");
    assert_eq!(all.len(), 60);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 60);
}

async fn claim_all(store: &dyn Store) -> Vec<(EventId, u64)> {
    let mut ids = Vec::new();
    loop {
        let claimed = store.claim_unsent(at(100), 7, AGAIN).await.unwrap();
        if claimed.is_empty() {
            return ids;
        }
        ids.extend(claimed.iter().map(|stored| (stored.event.id, stored.event.sequence)));
    }
}

pub async fn many_marks_at_once_all_stand(store: Stage) {
    let purchases = at_once((0..200).map(|n| {
        let store = store.shared();
        async move { fulfilled(&*store, acme(), &format!("r-{n}"), at(0)).await }
    }))
    .await;
    at_once(purchases.iter().map(last).flat_map(|id| [id, id]).map(|id| {
        let store = store.shared();
        async move { store.mark_sent(vec![sent(id, at(1))]).await.unwrap() }
    }))
    .await;
    let events = store.events(None, 0, 1000).await.unwrap();
    assert_eq!(events.len(), 200);
    assert!(events.iter().all(|stored| stored.sent_at == Some(at(1))));
    assert!(claim(&store, at(1000)).await.is_empty());
}
