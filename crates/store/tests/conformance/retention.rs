//! What is removed by age, and what never is.

use std::time::Duration;

use clawback_domain::{
    EventId, Time,
    change::Insertion,
    command::{Metadata, PurchaseCommand},
    event::{Event, EventType},
    order::AnyOrder,
    purchase::{Fulfilled, Purchase, State},
    sellback,
    user::Settling,
};
use clawback_store::{
    DeadLetterState, Filter, Inserted, Page, Place, Prunable, Pruned, Replay, Sent, Settled, Store,
    audit::{Scope, Sums},
};
use uuid::Uuid;

use crate::{
    auditing::{audit, send_all},
    build::*,
    letters::letter,
    sale::{self, sale_of},
    stage::Stage,
    watch,
};

const LATER: i64 = 1_000_000;

async fn prune(store: &dyn Store, what: Prunable, before: Time) -> u64 {
    let counted = store.prunable(what, before).await.unwrap();
    let page = store.prune(what, before, Page { after: None, limit: 500 }).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(page.removed, counted, "{what:?}: what was counted is what went");
    page.removed
}

async fn prune_all(store: &dyn Store, before: Time) -> Vec<(&'static str, u64)> {
    let mut pruned = Vec::new();
    for what in Prunable::ALL {
        let page = store.prune(what, before, Page { after: None, limit: 500 }).await.unwrap();
        pruned.push((what.as_str(), page.removed));
    }
    pruned.retain(|(_, count)| *count > 0);
    pruned
}

/// Of a subject that is no order.
fn of_kind(kind: EventType, subject: u128, sequence: u64, now: Time) -> Event {
    Event { kind, ..event(Uuid::from_u128(subject), sequence, acme(), now) }
}

async fn tell(store: &dyn Store, event: Event) -> EventId {
    let id = event.id;
    assert!(store.bury(letter(&id.to_string(), acme(), event.time), event).await.unwrap());
    id
}

async fn rejected(store: &dyn Store, subject: u128, now: Time) -> EventId {
    tell(store, of_kind(EventType::CommandRejected, subject, 1, now)).await
}

async fn kept(store: &dyn Store) -> Vec<EventId> {
    store.events(None, 0, 1000).await.unwrap().into_iter().map(|stored| stored.event.id).collect()
}

pub async fn an_event_of_no_order_goes_when_it_is_old_and_sent(store: Stage) {
    let (sent, unrouted) = (rejected(&*store, 1, at(0)).await, rejected(&*store, 2, at(1)).await);
    let unsent = rejected(&*store, 3, at(2)).await;
    let young = rejected(&*store, 4, at(100)).await;
    let marks = [(sent, false), (unrouted, true), (young, false)];
    store.mark_sent(marks.map(|(event, unrouted)| Sent { event, at: at(100), unrouted }).to_vec()).await.unwrap();
    let order = fulfilled(&*store, acme(), "order", at(0)).await;
    let of_order = EventId::of(order.id.0, order.sequence);
    store.mark_sent(vec![Sent { event: of_order, at: at(1), unrouted: false }]).await.unwrap();

    assert_eq!(prune(&*store, Prunable::Events, at(100)).await, 2);
    assert_eq!(kept(&*store).await, [unsent, young, of_order]);
    assert_eq!(prune(&*store, Prunable::Events, at(100)).await, 0);
    assert_eq!((store.event(sent).await.unwrap(), store.last_event(Uuid::from_u128(1)).await.unwrap()), (None, None));
    let after = rejected(&*store, 5, at(200)).await;
    assert_eq!(kept(&*store).await, [unsent, young, of_order, after], "positions go on");
}

pub async fn the_last_event_of_a_subject_that_goes_on_stays(store: Stage) {
    for (kind, subject, sequence) in [
        (EventType::BuybackExpiring, 1, 1),
        (EventType::BuybackExpiring, 1, 2),
        (EventType::BuybackExpired, 1, 3),
        (EventType::BuybackExpired, 2, 1),
    ] {
        tell(&*store, of_kind(kind, subject, sequence, at(0))).await;
    }
    send_all(&store).await;
    assert_eq!(prune(&*store, Prunable::Events, at(10)).await, 2);
    let last = [(1, 3), (2, 1)].map(|(subject, sequence)| EventId::of(Uuid::from_u128(subject), sequence));
    assert_eq!(kept(&*store).await, last);
}

pub async fn an_event_waits_for_its_webhook_and_goes_with_its_delivery(store: Stage) {
    store.spool(&acme(), at(0), 100).await.unwrap();
    for subject in 1..=3 {
        rejected(&*store, subject, at(0)).await;
    }
    send_all(&store).await;
    assert_eq!(prune(&*store, Prunable::Events, at(10)).await, 0, "the webhook's place is before them");
    assert_eq!(store.spool(&acme(), at(1), 2).await.unwrap(), 2);
    assert_eq!(prune(&*store, Prunable::Events, at(10)).await, 0, "two wait, one is to come");
    assert_eq!(store.spool(&acme(), at(1), 2).await.unwrap(), 1);
    let claimed = store.claim_deliveries(&acme(), at(2), 10, Duration::from_secs(60)).await.unwrap();
    store.settle_delivery(&claimed[0], Settled::Delivered, at(3)).await.unwrap();
    let given_up = Settled::Failed { why: "no".into(), due_at: None, pause: None };
    store.settle_delivery(&claimed[1], given_up, at(3)).await.unwrap();
    assert_eq!(prune(&*store, Prunable::Events, at(10)).await, 2);
    let webhook = store.webhooks().await.unwrap().remove(0);
    assert_eq!((webhook.waiting, webhook.given_up), (1, 0));
    let replayed = store.replay_deliveries(&acme(), Replay::GivenUp { limit: 10 }, at(9), "ann").await.unwrap();
    assert_eq!((replayed.count, kept(&*store).await), (0, vec![claimed[2].event.id]));
}

pub async fn a_dead_letter_goes_after_it_was_settled_and_its_event_is_gone(store: Stage) {
    let letters = ["kept", "redriven", "discarded", "late"].map(|name| letter(name, acme(), at(0)));
    for letter in &letters {
        let event = event(letter.id.0, 1, acme(), at(0));
        assert!(store.bury(letter.clone(), event).await.unwrap());
    }
    for (letter, state, now) in [
        (&letters[1], DeadLetterState::Redriven, at(5)),
        (&letters[2], DeadLetterState::Discarded, at(6)),
        (&letters[3], DeadLetterState::Discarded, at(50)),
    ] {
        assert!(store.settle_dead_letter(letter.id, state, "ann", now).await.unwrap());
    }
    let page = Page { after: None, limit: 10 };
    assert_eq!(store.prune(Prunable::DeadLetters, at(10), page).await.unwrap().removed, 0, "their events are there");
    send_all(&store).await;
    assert_eq!(prune(&*store, Prunable::Events, at(10)).await, 4);
    assert_eq!(prune(&*store, Prunable::DeadLetters, at(10)).await, 2);
    let left: Vec<_> = store.dead_letters(None, 10).await.unwrap().into_iter().map(|letter| letter.message_id).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&Some("kept".into())) && left.contains(&Some("late".into())));
    let again = event(letters[1].id.0, 1, acme(), at(100));
    assert!(store.bury(letters[1].clone(), again).await.unwrap(), "as if it had never come");
    assert!(!store.settle_dead_letter(letters[2].id, DeadLetterState::Redriven, "ann", at(100)).await.unwrap());
}

pub async fn the_timeline_of_what_ended_goes_and_of_nothing_else(store: Stage) {
    let ended = fulfilled(&*store, acme(), "ended", at(0)).await;
    let open = pending(&*store, acme(), "open", at(0)).await;
    let review = in_review(&*store, acme(), "review", at(0)).await;
    let late = pending(&*store, acme(), "late", at(0)).await;
    let late = applied(&*store, fulfilment(&late, at(100))).await;
    assert_eq!(prune(&*store, Prunable::Timelines, at(100)).await, 1);
    for (row, left) in [(&ended, false), (&open, true), (&review, true), (&late, true)] {
        assert_eq!(!store.timeline(row.id).await.unwrap().is_empty(), left, "{}", row.command.request_id);
        assert_eq!(read(&*store, row.id).await, *row);
        assert_eq!(store.attempts(row.id).await.unwrap().len(), 1);
    }
    assert_eq!(prune(&*store, Prunable::Timelines, at(101)).await, 1);
    send_all(&store).await;
    assert!(audit(&store, at(102)).await.are_sound());
    assert_eq!(store.purchases(Filter { limit: 10, ..Filter::default() }).await.unwrap().len(), 4);
}

fn with_metadata(request: &str) -> PurchaseCommand {
    PurchaseCommand { metadata: Some(Metadata::parse(r#"{"seat":"12A"}"#).unwrap()), ..command(request) }
}

/// Fulfilled at 1, with evidence, sent.
async fn rich(store: &Stage, request: &str) -> Purchase {
    let row = Purchase::accept(acme(), with_metadata(request), at(0), trace());
    let row = stored(&**store, Insertion::of(row)).await;
    let fulfilled = Fulfilled {
        session: Some(session("s")),
        public_id: None,
        tx_hash: None,
        recovered: false,
        evidence: Some(Default::default()),
    };
    let row = applied(&**store, put(&row, State::Fulfilled(fulfilled))).await;
    send_all(store).await;
    row
}

pub async fn what_is_left_of_an_order_still_tells_a_repeat_from_a_conflict(store: Stage) {
    let row = rich(&store, "r").await;
    assert_eq!(prune_all(&*store, at(LATER)).await, [("timelines", 1), ("orders", 1)]);
    assert_eq!(prune_all(&*store, at(LATER)).await, []);
    let left = read(&*store, row.id).await;
    assert_eq!(
        (left.digest, &left.state.name(), &left.command.request_id, left.version, left.updated_at),
        (row.digest, &row.state.name(), &row.command.request_id, row.version, row.updated_at)
    );
    let State::Fulfilled(fulfilled) = &left.state else { panic!("{left:?}") };
    assert_eq!((&fulfilled.session, &fulfilled.evidence), (&Some(session("s")), &None));
    assert_eq!((&left.command.metadata, left.trace.tracestate()), (&None, None));
    assert!(store.timeline(row.id).await.unwrap().is_empty() && store.attempts(row.id).await.unwrap().is_empty());
    assert_eq!(store.last_event(row.id.0).await.unwrap(), None);

    let taken = Inserted::Exists(Box::new(left.clone().into()));
    let again = |command| Insertion::of(Purchase::accept(acme(), command, at(LATER), trace()));
    assert_eq!(store.insert(again(with_metadata("r"))).await.unwrap(), taken);
    let other = PurchaseCommand { amount: 7, ..command("r") };
    let Inserted::Exists(there) = store.insert(again(other.clone())).await.unwrap() else { panic!("it is taken") };
    assert_eq!((there.digest(), *there.digest() == other.digest()), (&row.digest, false));
    assert_eq!(store.insert(called(acme(), "r", at(LATER))).await.unwrap(), taken, "no attempt is begun");
    assert!(store.attempts(row.id).await.unwrap().is_empty());
}

pub async fn a_pruned_order_is_found_by_its_request_and_listed_no_more(store: Stage) {
    rich(&store, "r").await;
    prune_all(&*store, at(LATER)).await;
    let young = pending(&*store, acme(), "young", at(LATER)).await;
    for oldest_first in [false, true] {
        let listed = store.purchases(Filter { limit: 10, oldest_first, ..Filter::default() }).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&young));
    }
    let of = |partner| Filter { partner, request: Some(command("r").request_id), limit: 10, ..Filter::default() };
    assert_eq!(store.purchases(of(Some(acme()))).await.unwrap().len(), 1);
    assert_eq!(store.purchases(of(None)).await.unwrap().len(), 1);
}

pub async fn an_audit_counts_pruned_orders_apart(store: Stage) {
    let old = fulfilled(&*store, acme(), "old", at(0)).await;
    send_all(&store).await;
    prune_all(&*store, at(1)).await;
    let books = audit(&store, at(2)).await;
    assert!(books.are_sound(), "{books:?}");
    assert_eq!((books.pruned, books.total()), (1, Sums::default()));
    assert_eq!(store.pulls(old.id).await.unwrap().len(), 2, "they may be held");
    fulfilled(&*store, acme(), "new", at(10)).await;
    send_all(&store).await;
    let books = audit(&store, at(11)).await;
    assert!(books.are_sound(), "{books:?}");
    assert_eq!((books.pruned, books.total().accepted, books.total().pulls), (1, 1, 2));
    let since = store.audit(Scope { since: Some(at(5)), now: at(11) }).await.unwrap();
    assert_eq!((since.pruned, since.total().accepted), (0, 1));
}

pub async fn an_order_is_kept_while_an_event_of_it_did_not_get_out(store: Stage) {
    let unsent = fulfilled(&*store, acme(), "unsent", at(0)).await;
    assert_eq!(prune_all(&*store, at(LATER)).await, [("timelines", 1)]);
    store.spool(&acme(), at(0), 100).await.unwrap();
    let undelivered = fulfilled(&*store, acme(), "undelivered", at(0)).await;
    send_all(&store).await;
    assert_eq!(prune_all(&*store, at(LATER)).await, [("timelines", 1), ("orders", 1)]);
    assert_eq!(store.last_event(unsent.id.0).await.unwrap(), None);
    assert!(store.last_event(undelivered.id.0).await.unwrap().is_some());
    store.spool(&acme(), at(1), 100).await.unwrap();
    assert_eq!(prune_all(&*store, at(LATER)).await, []);
    let claimed = store.claim_deliveries(&acme(), at(2), 1, Duration::from_secs(60)).await.unwrap().remove(0);
    let given_up = Settled::Failed { why: "no".into(), due_at: None, pause: None };
    store.settle_delivery(&claimed, given_up, at(3)).await.unwrap();
    assert_eq!(prune_all(&*store, at(LATER)).await, [("orders", 1)]);
    assert_eq!(store.webhooks().await.unwrap()[0].given_up, 0);
}

pub async fn a_sold_pull_goes_with_its_purchase_and_every_other_stays(store: Stage) {
    let row = fulfilled(&*store, acme(), "bought", at(0)).await;
    let pulls = store.pulls(row.id).await.unwrap();
    let planned: Vec<_> = pulls.iter().map(|pull| watch::planned(pull, at(watch::SHUTS))).collect();
    let planning =
        Settling { changes: watch::inserted(&planned), ..watch::settling(&watch::known(&*store, "user-1").await, at(1)) };
    watch::settle(&*store, planning).await;
    let begun = sale::offered(sale::sellback(acme(), "sold", "item-0", at(1)), Some(sale::place(&pulls[0])));
    let begun = sale::keep(&*store, begun).await;
    let sold = sale::moved(&*store, sale::told(&begun, sale::sold_for(8_500_000), at(20))).await;
    send_all(&store).await;
    let page = Page { after: None, limit: 10 };
    assert_eq!(store.prune(Prunable::Pulls, at(LATER), page).await.unwrap().removed, 0, "its purchase is whole");
    assert_eq!(prune_all(&*store, at(20)).await, [("timelines", 1), ("orders", 1)]);
    assert_eq!(store.pulls(row.id).await.unwrap().len(), 2, "it was sold at 20");
    assert_eq!(prune_all(&*store, at(21)).await, [("timelines", 1), ("orders", 1), ("pulls", 1)]);
    assert_eq!(store.pulls_of_user(&acme(), &user("user-1")).await.unwrap(), pulls[1..]);
    assert_eq!(store.case(&acme(), &user("user-1")).await.unwrap().pulls, pulls[1..]);
    assert_eq!(watch::watching(&*store, "user-1").await.rows, planned[1..], "its warnings go with it");
    let left = sale_of(&*store, sold.id).await;
    let (sellback::State::Sold(was), sellback::State::Sold(is)) = (&sold.state, &left.state) else { panic!("{left:?}") };
    assert_eq!((is.amount, is.estimated, left.digest), (was.amount, was.estimated, sold.digest));
}

/// Whatever has to stay is passed by, and a pass ends.
pub async fn a_page_goes_on_where_the_last_one_ended_whatever_stays(store: Stage) {
    for n in 0..20 {
        fulfilled(&*store, acme(), &format!("r-{n}"), at(n / 3)).await;
    }
    let events = store.events(None, 0, 100).await.unwrap();
    let sent = events.iter().filter(|stored| stored.position % 3 != 0);
    let sent = sent.map(|stored| Sent { event: stored.event.id, at: at(9), unrouted: false }).collect();
    store.mark_sent(sent).await.unwrap();
    let pass = async |what| {
        let (mut removed, mut pages, mut after): (_, _, Option<Place>) = (0, 0, None);
        loop {
            let Pruned { removed: some, next } = store.prune(what, at(LATER), Page { after, limit: 4 }).await.unwrap();
            (removed, pages, after) = (removed + some, pages + 1, next);
            if after.is_none() {
                return (removed, pages);
            }
        }
    };
    assert_eq!(pass(Prunable::Timelines).await, (20, 6));
    assert_eq!(pass(Prunable::Orders).await, (14, 6));
    assert_eq!(pass(Prunable::Orders).await, (0, 2));
    assert_eq!(kept(&*store).await.len(), 6);
}

pub async fn of_several_who_prune_at_once_each_thing_is_removed_by_one(store: Stage) {
    for n in 0..60 {
        fulfilled(&*store, acme(), &format!("r-{n}"), at(n)).await;
        rejected(&*store, n as u128 + 1, at(n)).await;
    }
    send_all(&store).await;
    let handles = [store.shared(), store.second().await, store.second().await];
    for (what, expected) in [(Prunable::Events, 60), (Prunable::Timelines, 60), (Prunable::Orders, 60)] {
        let pages = at_once(handles.clone().map(|store| async move {
            store.prune(what, at(LATER), Page { after: None, limit: 100 }).await.map(|page| page.removed)
        }))
        .await;
        // One that met another may have failed: then it removed nothing.
        assert_eq!(pages.iter().flatten().sum::<u64>(), expected, "{what:?}: {pages:?}");
    }
    assert!(kept(&*store).await.is_empty());
    let all: Vec<AnyOrder> = store.orders(Filter { limit: 100, ..Filter::default() }).await.unwrap();
    assert!(all.is_empty());
    assert!(audit(&store, at(LATER)).await.are_sound());
}
