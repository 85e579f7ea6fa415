use std::{collections::BTreeSet, time::Duration};

use clawback_domain::{EventId, PartnerId, Time, clock::after, event::Event, webhook::FAILURES_UNTIL_HELD};
use clawback_store::{Claimed, Replay, Replayed, Settled, Store, Webhook};
use uuid::Uuid;

use crate::{build::*, letters, stage::Stage};

const LEASE: Duration = Duration::from_secs(60);

/// Stores an event of `partner` about `subject`.
async fn told(store: &dyn Store, partner: PartnerId, subject: u128, sequence: u64, now: Time) -> EventId {
    let letter = letters::letter(&format!("{partner} {subject} {sequence}"), partner.clone(), now);
    let event = event(Uuid::from_u128(subject), sequence, partner, now);
    assert!(store.bury(letter, event.clone()).await.unwrap());
    event.id
}

/// The webhook of `partner` begins here.
async fn known(store: &dyn Store, partner: &PartnerId) {
    assert_eq!(store.spool(partner, at(0), 100).await.unwrap(), 0);
}

async fn claim(store: &dyn Store, now: Time, limit: u32) -> Vec<Claimed> {
    store.claim_deliveries(&acme(), now, limit, LEASE).await.unwrap()
}

fn ids(claimed: &[Claimed]) -> Vec<EventId> {
    claimed.iter().map(|one| one.event.id).collect()
}

async fn one(store: &dyn Store, now: Time) -> Claimed {
    let mut claimed = claim(store, now, 1).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

fn failed(due_at: Option<Time>) -> Settled {
    Settled::Failed { why: "the endpoint answered 500".into(), due_at, pause: None }
}

async fn shown(store: &dyn Store) -> Webhook {
    let webhooks = store.webhooks().await.unwrap();
    webhooks.into_iter().find(|webhook| webhook.partner == acme()).unwrap()
}

/// Three events of acme, each of a subject of its own, spooled.
async fn three(store: &dyn Store) -> [EventId; 3] {
    known(store, &acme()).await;
    let mut ids = Vec::new();
    for subject in 1..=3 {
        ids.push(told(store, acme(), subject, 1, at(subject as i64)).await);
    }
    assert_eq!(store.spool(&acme(), at(10), 100).await.unwrap(), 3);
    ids.try_into().unwrap()
}

pub async fn a_webhook_begins_with_what_happens_after_it_is_known(store: Stage) {
    told(&*store, acme(), 1, 1, at(0)).await;
    known(&*store, &acme()).await;
    assert_eq!(store.spool(&acme(), at(1), 100).await.unwrap(), 0);
    let second = told(&*store, acme(), 2, 1, at(2)).await;
    assert_eq!(store.spool(&acme(), at(3), 100).await.unwrap(), 1);
    assert_eq!(ids(&claim(&*store, at(3), 10).await), [second]);
}

pub async fn a_webhook_of_an_empty_store_misses_nothing(store: Stage) {
    known(&*store, &acme()).await;
    let first = told(&*store, acme(), 1, 1, at(0)).await;
    assert_eq!(store.spool(&acme(), at(1), 100).await.unwrap(), 1);
    assert_eq!(ids(&claim(&*store, at(1), 10).await), [first]);
}

pub async fn each_webhook_gets_its_own_partners_events_once(store: Stage) {
    known(&*store, &acme()).await;
    known(&*store, &beta()).await;
    let mut expected = Vec::new();
    for n in 0..7 {
        expected.push(told(&*store, acme(), 100 + n, 1, at(n as i64)).await);
        told(&*store, beta(), 200 + n, 1, at(n as i64)).await;
    }
    for spooled in [3, 3, 1, 0] {
        assert_eq!(store.spool(&acme(), at(10), 3).await.unwrap(), spooled);
    }
    let claimed = claim(&*store, at(10), 100).await;
    assert_eq!(ids(&claimed), expected);
    assert!(claimed.iter().all(|one| one.event.partner == acme() && one.tries == 0 && !one.is_probe));
    assert_eq!(store.spool(&beta(), at(10), 100).await.unwrap(), 7);
}

pub async fn a_claimed_delivery_comes_due_again_when_its_lease_is_over(store: Stage) {
    let all = three(&*store).await;
    assert!(claim(&*store, at(9), 10).await.is_empty(), "due when it was spooled, not before");
    assert_eq!(ids(&claim(&*store, at(10), 2).await), all[..2]);
    assert_eq!(ids(&claim(&*store, at(11), 10).await), all[2..]);
    assert!(claim(&*store, at(69), 10).await.is_empty());
    assert_eq!(ids(&claim(&*store, at(70), 10).await), all[..2]);
}

pub async fn the_second_delivery_of_a_subject_waits_for_the_first(store: Stage) {
    known(&*store, &acme()).await;
    let first = told(&*store, acme(), 1, 1, at(0)).await;
    let second = told(&*store, acme(), 1, 2, at(1)).await;
    let other = told(&*store, acme(), 2, 1, at(2)).await;
    store.spool(&acme(), at(3), 100).await.unwrap();
    let claimed = claim(&*store, at(3), 10).await;
    assert_eq!(ids(&claimed), [first, other]);
    store.settle_delivery(&claimed[0], failed(Some(at(500))), at(4)).await.unwrap();
    store.settle_delivery(&claimed[1], Settled::Delivered, at(4)).await.unwrap();
    assert!(claim(&*store, at(20), 10).await.is_empty(), "the first one is tried again later; its successor still waits");
    let again = one(&*store, at(500)).await;
    assert_eq!(again.event.id, first);
    assert_eq!(again.tries, 1);
    store.settle_delivery(&again, Settled::Delivered, at(501)).await.unwrap();
    assert_eq!(ids(&claim(&*store, at(502), 10).await), [second]);
}

pub async fn what_was_given_up_holds_nobody_up(store: Stage) {
    known(&*store, &acme()).await;
    let first = told(&*store, acme(), 1, 1, at(0)).await;
    let second = told(&*store, acme(), 1, 2, at(1)).await;
    store.spool(&acme(), at(3), 100).await.unwrap();
    store.settle_delivery(&one(&*store, at(3)).await, failed(None), at(4)).await.unwrap();
    assert_eq!((shown(&*store).await.waiting, shown(&*store).await.given_up), (1, 1));
    assert_eq!(ids(&claim(&*store, at(5), 10).await), [second]);

    let replayed = store.replay_deliveries(&acme(), Replay::GivenUp { limit: 100 }, at(6), "ann").await.unwrap();
    assert_eq!(replayed, Replayed { count: 1, next: None });
    let again = one(&*store, at(6)).await;
    assert_eq!((again.event.id, again.tries), (first, 0));
}

pub async fn a_delivered_event_is_never_claimed_again(store: Stage) {
    let all = three(&*store).await;
    for _ in all {
        store.settle_delivery(&one(&*store, at(10)).await, Settled::Delivered, at(11)).await.unwrap();
    }
    assert!(claim(&*store, at(1000), 10).await.is_empty());
    assert_eq!(store.spool(&acme(), at(1000), 100).await.unwrap(), 0);
    assert_eq!((shown(&*store).await.waiting, shown(&*store).await.oldest), (0, None));
}

/// Whose lease is over has no say in when it is tried again, but that it arrived is true.
pub async fn a_late_failure_changes_nothing_and_a_late_success_does(store: Stage) {
    three(&*store).await;
    let first = one(&*store, at(10)).await;
    claim(&*store, at(10), 10).await;
    let other = one(&*store, at(70)).await;
    assert_eq!(first.position, other.position);
    store.settle_delivery(&first, failed(Some(at(71))), at(71)).await.unwrap();
    assert_eq!(shown(&*store).await.breaker.failures, 0);
    assert!(ids(&claim(&*store, at(72), 10).await).iter().all(|id| *id != first.event.id));
    store.settle_delivery(&first, Settled::Delivered, at(73)).await.unwrap();
    store.settle_delivery(&other, failed(Some(at(74))), at(74)).await.unwrap();
    assert_eq!(shown(&*store).await.waiting, 2);
}

pub async fn an_endpoint_that_fails_over_and_over_is_held_and_then_probed_once(store: Stage) {
    let all = three(&*store).await;
    for n in 0..i64::from(FAILURES_UNTIL_HELD) {
        let claimed = one(&*store, at(10 + n)).await;
        store.settle_delivery(&claimed, failed(Some(at(10 + n))), at(10 + n)).await.unwrap();
    }
    let breaker = shown(&*store).await.breaker;
    assert_eq!(breaker.failures, FAILURES_UNTIL_HELD);
    let held_until = breaker.held_until.unwrap();
    assert!(claim(&*store, held_until - Duration::from_micros(1), 10).await.is_empty());
    let probe = claim(&*store, held_until, 10).await;
    assert_eq!((probe.len(), probe[0].is_probe), (1, true));
    assert!(claim(&*store, after(held_until, Duration::from_secs(1)), 10).await.is_empty(), "one probe at a time");

    store.settle_delivery(&probe[0], failed(Some(at(3000))), held_until).await.unwrap();
    let longer = shown(&*store).await.breaker.held_until.unwrap();
    assert!(longer - held_until > held_until - at(10 + i64::from(FAILURES_UNTIL_HELD) - 1), "{longer}");
    let probe = one(&*store, longer).await;
    store.settle_delivery(&probe, Settled::Delivered, longer).await.unwrap();
    assert_eq!((shown(&*store).await.breaker.failures, shown(&*store).await.breaker.held_until), (0, None));
    assert_eq!(claim(&*store, longer, 10).await.len(), 1);
    assert_eq!(all.len(), 3);
}

pub async fn a_success_between_failures_keeps_an_endpoint_open(store: Stage) {
    known(&*store, &acme()).await;
    for subject in 0..u128::from(FAILURES_UNTIL_HELD) * 2 {
        told(&*store, acme(), subject, 1, at(0)).await;
    }
    store.spool(&acme(), at(1), 100).await.unwrap();
    for (n, claimed) in claim(&*store, at(1), 100).await.iter().enumerate() {
        let settled = if n % 2 == 0 { failed(Some(at(900))) } else { Settled::Delivered };
        store.settle_delivery(claimed, settled, at(2)).await.unwrap();
    }
    assert_eq!(claim(&*store, at(900), 100).await.len(), FAILURES_UNTIL_HELD as usize);
}

pub async fn a_wish_for_a_pause_holds_the_endpoint(store: Stage) {
    three(&*store).await;
    let pause = Some(Duration::from_secs(30));
    let settled = Settled::Failed { why: "too many".into(), due_at: Some(at(20)), pause };
    store.settle_delivery(&one(&*store, at(10)).await, settled, at(10)).await.unwrap();
    assert!(claim(&*store, at(39), 10).await.is_empty());
    told(&*store, acme(), 9, 1, at(12)).await;
    assert_eq!(store.spool(&acme(), at(39), 10).await.unwrap(), 0);
    assert_eq!(
        store.spool(&acme(), at(40), 10).await.unwrap(),
        1,
        "an endpoint whose hold is over may be probed with what is new"
    );
    assert_eq!(claim(&*store, at(40), 10).await.len(), 1);
}

pub async fn an_endpoint_that_is_gone_gets_nothing_until_it_is_enabled(store: Stage) {
    let all = three(&*store).await;
    let gone = one(&*store, at(10)).await;
    store.settle_delivery(&gone, Settled::Gone { why: "the endpoint answered 410".into() }, at(11)).await.unwrap();
    assert!(claim(&*store, at(1000), 10).await.is_empty());
    told(&*store, acme(), 9, 1, at(12)).await;
    assert_eq!(store.spool(&acme(), at(1000), 100).await.unwrap(), 0, "its place waits for it");
    let webhook = shown(&*store).await;
    assert_eq!(webhook.disabled, Some((at(11), "the endpoint answered 410".into())));
    assert_eq!((webhook.waiting, webhook.oldest), (3, Some(at(1))));
    assert_eq!(webhook.last_error.as_deref(), Some("the endpoint answered 410"));

    assert!(!store.enable_webhook(&beta(), "ann: why not", at(13)).await.unwrap());
    assert!(store.enable_webhook(&acme(), "ann: it is back", at(13)).await.unwrap());
    let webhook = shown(&*store).await;
    assert_eq!((webhook.disabled, webhook.acted), (None, Some((at(13), "ann: it is back".into()))));
    assert_eq!(ids(&claim(&*store, at(13), 10).await), all);
    assert_eq!(store.spool(&acme(), at(13), 100).await.unwrap(), 1);
}

pub async fn a_replay_sends_what_happened_since_with_the_same_ids(store: Stage) {
    let all = three(&*store).await;
    for claimed in claim(&*store, at(10), 10).await {
        store.settle_delivery(&claimed, Settled::Delivered, at(11)).await.unwrap();
    }
    told(&*store, acme(), 9, 1, at(12)).await;
    told(&*store, beta(), 10, 1, at(12)).await;
    let page = |position| Replay::Since { since: at(2), position, limit: 2 };
    let first = store.replay_deliveries(&acme(), page(0), at(20), "ann").await.unwrap();
    let Some(next) = first.next else { panic!("there is more") };
    let second = store.replay_deliveries(&acme(), page(next), at(20), "ann").await.unwrap();
    assert_eq!((first.count, second.count), (1, 1));
    assert_eq!(second.next, None);
    assert_eq!(ids(&claim(&*store, at(20), 10).await), all[1..], "those of after its place come by themselves");
    let none = store.replay_deliveries(&beta(), page(0), at(20), "ann").await.unwrap();
    assert_eq!(none, Replayed::default(), "a webhook that is not known");
}

pub async fn one_event_is_replayed_by_its_id(store: Stage) {
    let all = three(&*store).await;
    let partner = acme();
    let replay = |id| store.replay_deliveries(&partner, Replay::Event(id), at(20), "ann");
    assert_eq!(replay(all[1]).await.unwrap().count, 0, "it waits anyway");
    for claimed in claim(&*store, at(10), 10).await {
        store.settle_delivery(&claimed, Settled::Delivered, at(11)).await.unwrap();
    }
    assert_eq!(replay(all[1]).await.unwrap().count, 1);
    assert_eq!(replay(EventId::of(Uuid::nil(), 7)).await.unwrap().count, 0);
    assert_eq!(ids(&claim(&*store, at(20), 10).await), [all[1]]);
}

pub async fn workers_side_by_side_deliver_each_event_once(store: Stage) {
    known(&*store, &acme()).await;
    for subject in 0..60 {
        for sequence in 1..=2 {
            told(&*store, acme(), subject, sequence, at(0)).await;
        }
    }
    let handles = [store.shared(), store.second().await];
    let delivered = at_once((0..6).map(|n| {
        let store = handles[n % 2].clone();
        async move { deliver_all(&*store).await }
    }))
    .await;
    let mut all: Vec<_> = delivered.into_iter().flatten().collect();
    all.extend(deliver_all(&*store).await);
    assert_eq!(all.len(), 120);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 120);
}

async fn deliver_all(store: &dyn Store) -> Vec<(Uuid, u64)> {
    let mut all = Vec::new();
    loop {
        let spooled = store.spool(&acme(), at(1), 7).await.unwrap();
        let claimed = claim(store, at(1), 5).await;
        if spooled == 0 && claimed.is_empty() {
            return all;
        }
        for one in claimed {
            store.settle_delivery(&one, Settled::Delivered, at(2)).await.unwrap();
            let Event { subject, sequence, .. } = one.event;
            all.push((subject, sequence));
        }
    }
}

/// An event takes its position before its commit: whoever goes by positions must not pass one by.
pub async fn events_that_are_committed_at_once_are_all_delivered(store: Stage) {
    known(&*store, &acme()).await;
    let telling = at_once((0..200).map(|n| {
        let store = store.shared();
        async move { fulfilled(&*store, acme(), &format!("r-{n}"), at(0)).await }
    }));
    let spooling = async {
        let mut count = 0;
        while count < 200 {
            count += store.spool(&acme(), at(1), 50).await.unwrap();
        }
        count
    };
    let (_, count) = tokio::join!(telling, tokio::time::timeout(Duration::from_secs(60), spooling));
    assert_eq!(count.expect("none is passed by"), 200);
}

pub async fn a_reason_with_a_nul_is_refused(store: Stage) {
    three(&*store).await;
    let claimed = one(&*store, at(10)).await;
    let settled = Settled::Failed { why: "a\0b".into(), due_at: None, pause: None };
    assert!(store.settle_delivery(&claimed, settled, at(11)).await.is_err());
    assert!(store.enable_webhook(&acme(), "a\0b", at(11)).await.is_err());
    assert_eq!(shown(&*store).await.waiting, 3);
}
