use clawback_domain::{
    PurchaseId, RequestId, Time,
    change::Insertion,
    pause::CommandKind,
    purchase::{Purchase, StateName},
};
use clawback_store::{Counts, Filter};

use crate::{build::*, stage::Stage};

fn filter() -> Filter {
    Filter { limit: 100, ..Default::default() }
}

async fn list(store: &Stage, filter: Filter) -> Vec<PurchaseId> {
    store.purchases(filter).await.unwrap().iter().map(|row| row.id).collect()
}

/// Whole seconds, tenths and microseconds: their texts do not have one length, their order is that of time all the same.
pub async fn purchases_are_listed_newest_or_oldest_first(store: Stage) {
    let texts = ["12:00:00.5Z", "12:00:00Z", "12:00:01Z", "12:00:00.500001Z", "12:00:00.000001Z", "11:59:59.999999Z"];
    let mut rows = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let created: Time = format!("2026-03-01T{text}").parse().unwrap();
        rows.push(stored(&*store, accepted(acme(), &format!("r-{n}"), created)).await);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    assert_eq!(store.purchases(filter()).await.unwrap(), rows);
    let first_two: Vec<_> = rows.iter().take(2).map(|row| row.id).collect();
    assert_eq!(list(&store, Filter { limit: 2, ..filter() }).await, first_two);
    rows.reverse();
    assert_eq!(store.purchases(Filter { oldest_first: true, ..filter() }).await.unwrap(), rows);
}

/// Several rows have one birth time; the id tells them apart.
pub async fn a_page_goes_on_where_the_last_one_ended(store: Stage) {
    for n in 0..23 {
        stored(&*store, accepted(acme(), &format!("r-{n}"), at(n / 5))).await;
    }
    let mut all = list(&store, filter()).await;
    assert_eq!(all.len(), 23);
    for oldest_first in [false, true] {
        for limit in [1, 2, 7, 23] {
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = store.purchases(Filter { after, oldest_first, limit, ..filter() }).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some((last.created_at, last.id));
                paged.extend(page.iter().map(|row| row.id));
            }
            assert_eq!(paged, all, "{limit} a page, oldest first: {oldest_first}");
        }
        all.reverse();
    }
}

pub async fn every_filter_narrows_the_list(store: Stage) {
    let ours = fulfilled(&*store, acme(), "r-1", at(1)).await;
    let open = pending(&*store, acme(), "r-2", at(2)).await;
    let theirs = fulfilled(&*store, beta(), "r-1", at(3)).await;
    let mut command = command("r-3");
    command.user_id = user("user-2");
    let other = stored(&*store, Insertion::of(Purchase::accept(acme(), command, at(4), trace()))).await;
    let request = |text: &str| Some(RequestId::new(text).unwrap());
    let cases = [
        (filter(), vec![other.id, theirs.id, open.id, ours.id]),
        (Filter { partner: Some(acme()), ..filter() }, vec![other.id, open.id, ours.id]),
        (Filter { partner: Some(partner("gamma")), ..filter() }, vec![]),
        (Filter { state: Some(StateName::Fulfilled), ..filter() }, vec![theirs.id, ours.id]),
        (Filter { state: Some(StateName::Review), ..filter() }, vec![]),
        (Filter { user: Some(user("user-2")), ..filter() }, vec![other.id]),
        (Filter { request: request("r-1"), ..filter() }, vec![theirs.id, ours.id]),
        (Filter { partner: Some(beta()), request: request("r-1"), ..filter() }, vec![theirs.id]),
        (Filter { partner: Some(beta()), request: request("r-2"), ..filter() }, vec![]),
        (Filter { partner: Some(acme()), request: request("r-1"), state: Some(StateName::Failed), ..filter() }, vec![]),
        (Filter { created_before: Some(at(3)), ..filter() }, vec![open.id, ours.id]),
        (Filter { created_before: Some(at(4)), after: Some((at(3), theirs.id)), ..filter() }, vec![open.id, ours.id]),
        (Filter { created_before: Some(at(2)), after: Some((at(4), other.id)), ..filter() }, vec![ours.id]),
        (
            Filter { partner: Some(acme()), state: Some(StateName::Pending), user: Some(user("user-1")), ..filter() },
            vec![open.id],
        ),
        (Filter { oldest_first: true, created_before: Some(at(3)), ..filter() }, vec![ours.id, open.id]),
        (
            Filter { oldest_first: true, created_before: Some(at(4)), after: Some((at(1), ours.id)), ..filter() },
            vec![open.id, theirs.id],
        ),
        (Filter { oldest_first: true, state: Some(StateName::Fulfilled), limit: 1, ..filter() }, vec![ours.id]),
        (
            Filter {
                oldest_first: true,
                partner: Some(acme()),
                request: request("r-1"),
                after: Some((at(1), ours.id)),
                ..filter()
            },
            vec![],
        ),
        (Filter { limit: 0, ..filter() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(&store, filter.clone()).await, expected, "{filter:?}");
    }
}

pub async fn counts_are_per_partner_and_state(store: Stage) {
    assert_eq!(store.counts().await.unwrap(), Counts::new());
    for n in 0..3 {
        fulfilled(&*store, acme(), &format!("done-{n}"), at(n)).await;
        stored(&*store, accepted(beta(), &format!("r-{n}"), at(n))).await;
    }
    in_review(&*store, acme(), "review", at(9)).await;
    let row = stored(&*store, accepted(beta(), "gone", at(9))).await;
    applied(&*store, cancelled(&row, at(10))).await;
    let expected = [
        ((acme(), CommandKind::Purchase, StateName::Fulfilled), 3),
        ((acme(), CommandKind::Purchase, StateName::Review), 1),
        ((beta(), CommandKind::Purchase, StateName::Accepted), 3),
        ((beta(), CommandKind::Purchase, StateName::Failed), 1),
    ];
    assert_eq!(store.counts().await.unwrap(), Counts::from(expected));
}

pub async fn what_is_not_there_reads_as_nothing(store: Stage) {
    let nowhere = purchase(acme(), "r-1", at(0)).id;
    assert_eq!(store.purchase(nowhere).await.unwrap(), None);
    assert!(store.attempts(nowhere).await.unwrap().is_empty());
    assert!(store.timeline(nowhere).await.unwrap().is_empty());
    assert!(store.pulls(nowhere).await.unwrap().is_empty());
    assert!(store.pulls_of_user(&acme(), &user("nobody")).await.unwrap().is_empty());
    assert!(store.events(None, 0, 10).await.unwrap().is_empty());
    assert!(store.dead_letters(None, 10).await.unwrap().is_empty());
    assert!(store.pauses().await.unwrap().is_empty());
    assert!(store.claim_due(at(0), 10, &[]).await.unwrap().is_empty());
}
