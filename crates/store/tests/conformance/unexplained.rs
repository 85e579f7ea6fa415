use clawback_domain::{
    ItemId, PurchaseId,
    evidence::{MOST_UNEXPLAINED, Unexplained},
};
use clawback_store::{
    Store, StoreError,
    audit::{Books, Finding, MOST_NAMED, Scope},
};
use uuid::Uuid;

use crate::{build::*, stage::Stage};

fn orphan(item: &str, seconds: i64) -> Unexplained {
    Unexplained {
        partner: acme(),
        user_id: user("user-1"),
        item_id: ItemId::new(item).unwrap(),
        purchased_at: Some(at(-seconds)),
        claw_id: Some("pack-1".into()),
        claw_slug: None,
        count: 1,
        claimed: false,
        found_at: at(seconds),
        candidates: vec![PurchaseId(Uuid::from_u128(9)), PurchaseId(Uuid::from_u128(3))],
    }
}

async fn all(store: &dyn Store) -> Vec<Unexplained> {
    store.unexplained(None, None, 10_000).await.unwrap()
}

async fn audit(store: &Stage, since: Option<i64>) -> Books {
    store.audit(Scope { since: since.map(at), now: at(9000) }).await.unwrap()
}

pub async fn every_field_of_an_orphan_reads_back_equal(store: Stage) {
    let orphans = vec![
        orphan("item-1", 1),
        Unexplained { purchased_at: None, claw_id: None, candidates: vec![], ..orphan("bare", 2) },
        Unexplained { count: u32::MAX, claw_id: Some("ünï \"quoted\" \\ 🎉\n".into()), ..orphan("large", 3) },
        Unexplained { claw_id: Some(String::new()), ..orphan("of a pack without a name", 4) },
        Unexplained { claw_slug: Some("slug".into()), ..orphan("of a pack with two names", 5) },
        Unexplained {
            partner: partner(&"p".repeat(63)),
            user_id: user(&"界".repeat(256)),
            item_id: ItemId::new("🎉".repeat(256)).unwrap(),
            candidates: (0..1000).map(|n| PurchaseId(Uuid::from_u128(n))).collect(),
            ..orphan("long", 6)
        },
    ];
    assert_eq!(store.record_unexplained(orphans.clone()).await.unwrap(), orphans.len() as u64);
    assert_eq!(all(&*store).await, orphans);
    assert_eq!(store.record_unexplained(vec![]).await.unwrap(), 0);
}

pub async fn an_orphan_is_new_once_and_keeps_when_it_was_found(store: Stage) {
    assert_eq!(store.record_unexplained(vec![orphan("a", 1), orphan("b", 2)]).await.unwrap(), 2);
    let changes = [
        Unexplained { count: 3, ..orphan("a", 1) },
        Unexplained { candidates: vec![PurchaseId(Uuid::max())], ..orphan("a", 1) },
        Unexplained { candidates: vec![], claw_id: None, ..orphan("a", 1) },
        Unexplained { claw_id: Some("another".into()), ..orphan("a", 1) },
        Unexplained { claw_slug: Some("slug".into()), ..orphan("a", 1) },
        orphan("a", 1),
    ];
    for (n, known) in changes.into_iter().enumerate() {
        let seen_again = Unexplained { found_at: at(100), ..known.clone() };
        let new = orphan(&format!("new-{n}"), 50 + n as i64);
        assert_eq!(store.record_unexplained(vec![new, seen_again]).await.unwrap(), 1);
        assert_eq!(all(&*store).await[..2], [known, orphan("b", 2)]);
    }
}

pub async fn orphans_differ_by_partner_user_item_and_time(store: Stage) {
    let different = vec![
        orphan("a", 1),
        Unexplained { purchased_at: None, ..orphan("a", 1) },
        Unexplained { purchased_at: Some(at(7)), ..orphan("a", 1) },
        Unexplained { purchased_at: Some(at(7) + chrono::TimeDelta::microseconds(1)), ..orphan("a", 1) },
        Unexplained { purchased_at: Some(chrono::DateTime::UNIX_EPOCH), ..orphan("a", 1) },
        Unexplained { item_id: ItemId::new("b").unwrap(), ..orphan("a", 1) },
        Unexplained { user_id: user("user-2"), ..orphan("a", 1) },
        Unexplained { partner: beta(), ..orphan("a", 1) },
    ];
    assert_eq!(store.record_unexplained(different.clone()).await.unwrap(), different.len() as u64);
    for orphan in &different {
        assert_eq!(store.record_unexplained(vec![orphan.clone()]).await.unwrap(), 0, "{orphan:?}");
        store.forget_explained(vec![orphan.clone()]).await.unwrap();
        assert!(!all(&*store).await.contains(orphan), "{orphan:?}");
        assert_eq!(all(&*store).await.len(), different.len() - 1, "only that one is forgotten");
        assert_eq!(store.record_unexplained(vec![orphan.clone()]).await.unwrap(), 1, "{orphan:?}");
    }
}

pub async fn what_is_claimed_is_no_orphan(store: Stage) {
    let claimed = |name: &str, seconds| Unexplained { claimed: true, ..orphan(name, seconds) };
    let recorded = store.record_unexplained(vec![claimed("a", 1), orphan("b", 2), claimed("c", 3)]).await.unwrap();
    assert_eq!(recorded, 1);
    let books = audit(&store, None).await;
    assert_eq!((books.found[Finding::ORPHAN_ITEM], books.orphans(), books.differences.len()), (1, 1, 1));
    assert_eq!(store.record_unexplained(vec![claimed("a", 1), claimed("b", 2)]).await.unwrap(), 0);
    assert!(audit(&store, None).await.are_sound(), "somebody claims it after all");
    let counted = Unexplained { count: 2, ..orphan("a", 1) };
    let recorded = store.record_unexplained(vec![counted.clone(), orphan("b", 2), orphan("d", 4)]).await.unwrap();
    assert_eq!(recorded, 3, "two that nobody claims any more, and a new one");
    assert_eq!(all(&*store).await, [counted, orphan("b", 2), claimed("c", 3), orphan("d", 4)]);
}

pub async fn a_case_tells_what_looks_left_unexplained(store: Stage) {
    let case = || async { store.case(&acme(), &user("user-1")).await.unwrap() };
    assert_eq!(case().await.unexplained, []);
    let theirs = [Unexplained { user_id: user("user-2"), ..orphan("c", 3) }, Unexplained { partner: beta(), ..orphan("d", 4) }];
    let ours = [Unexplained { claimed: true, ..orphan("a", 1) }, orphan("b", 2)];
    store.record_unexplained([&ours[..], &theirs].concat()).await.unwrap();
    assert_eq!((case().await.unexplained, case().await.truncated), (ours.to_vec(), false));
    let many = (10..10 + i64::from(MOST_UNEXPLAINED)).map(|n| orphan(&format!("item-{n}"), n));
    store.record_unexplained(many.collect()).await.unwrap();
    assert_eq!((case().await.unexplained.len(), case().await.truncated), (MOST_UNEXPLAINED as usize, true));
}

pub async fn an_orphan_that_is_named_twice_is_one(store: Stage) {
    let twice = vec![Unexplained { count: 5, ..orphan("a", 1) }, orphan("b", 2), orphan("a", 1)];
    assert_eq!(store.record_unexplained(twice).await.unwrap(), 2);
    assert_eq!(all(&*store).await, [orphan("a", 1), orphan("b", 2)], "the last word on it counts");
}

pub async fn orphans_are_listed_oldest_first(store: Stage) {
    let order = [5, 1, 4, 2, 3];
    let of = |n: i64| match n {
        2 => Unexplained { user_id: user("user-2"), ..orphan("of another user", 2) },
        3 => Unexplained { partner: beta(), ..orphan("of another partner", 3) },
        n => orphan(&format!("item-{n}"), n),
    };
    store.record_unexplained(order.map(of).into()).await.unwrap();
    let cases = [
        (None, None, 10, vec![1, 2, 3, 4, 5]),
        (None, None, 3, vec![1, 2, 3]),
        (None, None, 0, vec![]),
        (Some(acme()), None, 10, vec![1, 2, 4, 5]),
        (Some(beta()), None, 10, vec![3]),
        (Some(acme()), Some(user("user-1")), 10, vec![1, 4, 5]),
        (Some(acme()), Some(user("user-1")), 2, vec![1, 4]),
        (None, Some(user("user-1")), 10, vec![1, 3, 4, 5]),
        (None, Some(user("nobody")), 10, vec![]),
    ];
    for (partner, user, limit, expected) in cases {
        let found = store.unexplained(partner.as_ref(), user.as_ref(), limit).await.unwrap();
        assert_eq!(found, expected.into_iter().map(of).collect::<Vec<_>>(), "{partner:?} {user:?} {limit}");
    }
}

pub async fn what_is_explained_is_forgotten_by_its_key(store: Stage) {
    store.record_unexplained(vec![orphan("a", 1), orphan("b", 2)]).await.unwrap();
    let explained = Unexplained { count: 9, claw_id: None, candidates: vec![], found_at: at(77), ..orphan("a", 1) };
    store.forget_explained(vec![explained.clone(), orphan("never found", 1), explained]).await.unwrap();
    assert_eq!(all(&*store).await, [orphan("b", 2)]);
    store.forget_explained(vec![]).await.unwrap();
    store.forget_explained(vec![orphan("b", 2)]).await.unwrap();
    assert!(all(&*store).await.is_empty());
}

pub async fn an_orphan_with_a_nul_is_refused(store: Stage) {
    let spoilt = Unexplained { claw_id: Some("a\0b".into()), ..orphan("b", 2) };
    let refused = store.record_unexplained(vec![orphan("a", 1), spoilt]).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert!(all(&*store).await.is_empty(), "nothing of it is written");
}

/// More than one statement holds, and by several at once: each is new to one of them.
pub async fn of_equal_findings_at_once_each_is_new_once(store: Stage) {
    let handles = [store.shared(), store.second().await];
    let many: Vec<_> = (0..1500).map(|n| orphan(&format!("item-{n}"), n)).collect();
    let new = at_once((0..4).map(|n| {
        let (store, mut many) = (handles[n % 2].clone(), many.clone());
        async move {
            many.rotate_left(n * 300);
            store.record_unexplained(many).await.unwrap()
        }
    }))
    .await;
    assert_eq!(new.iter().sum::<u64>(), 1500, "{new:?}");
    assert!(all(&*store).await == many);
    store.forget_explained(many).await.unwrap();
    assert!(all(&*store).await.is_empty());
}

/// They come to the same rows in different orders, and none fails for another.
pub async fn who_records_and_who_forgets_at_once_do_not_fail_for_each_other(store: Stage) {
    let handles = [store.shared(), store.second().await];
    let many = |count| (0..100).map(|n| Unexplained { count, ..orphan(&format!("item-{n}"), n) }).collect::<Vec<_>>();
    for _ in 0..10 {
        at_once((1..=8u32).map(|n| {
            let (store, mut some) = (handles[n as usize % 2].clone(), many(n));
            async move {
                some.rotate_left(n as usize * 10);
                match n {
                    1..=6 => store.record_unexplained(some).await.map(drop).unwrap(),
                    _ => store.forget_explained(some).await.unwrap(),
                }
            }
        }))
        .await;
        let left = all(&*store).await;
        assert!(left.iter().all(|orphan| (1..=6).contains(&orphan.count)), "{left:?}");
        assert!(left.is_empty() || left.len() == 100, "each of them is one write: {}", left.len());
    }
}

pub async fn an_audit_tells_of_orphans(store: Stage) {
    let some = Unexplained { count: 3, ..orphan("some", 1) };
    let nobodys = Unexplained { partner: beta(), purchased_at: None, candidates: vec![], ..orphan("nobody's", 2) };
    store.record_unexplained(vec![some.clone(), nobodys.clone()]).await.unwrap();
    let books = audit(&store, None).await;
    assert_eq!((books.orphans(), books.found[Finding::ORPHAN_ITEM], books.are_sound()), (4, 2, false));
    let told: Vec<_> =
        books.differences.iter().map(|one| (one.subject, one.partner.clone(), one.finding.to_string())).collect();
    let nobody = "explains item nobody's (1 of it) in the inventory of user user-1: it may be bought twice";
    let named = "may explain item some (3 of it, purchased at 2026-03-01T11:59:59Z) in the inventory of user user-1: it may be \
                 bought twice";
    assert_eq!(told, [(Uuid::nil(), Some(beta()), nobody.to_owned()), (Uuid::from_u128(9), Some(acme()), named.to_owned())]);

    let since = audit(&store, Some(2)).await;
    assert_eq!((since.orphans(), since.differences.len()), (1, 1), "the other was found before");
    assert_eq!(audit(&store, Some(3)).await, Books::default());
    store.forget_explained(vec![some, nobodys]).await.unwrap();
    assert_eq!(audit(&store, None).await, Books::default());
}

pub async fn of_many_orphans_all_are_counted_and_some_are_named(store: Stage) {
    let many = i64::from(MOST_NAMED) + 7;
    let of = |n: i64| Unexplained {
        count: 2,
        candidates: vec![PurchaseId(Uuid::from_u128((n * 7919 % 5000) as u128 + 1))],
        ..orphan(&format!("item-{n}"), n)
    };
    store.record_unexplained((0..many).map(of).collect()).await.unwrap();
    let books = audit(&store, None).await;
    assert_eq!((books.found[Finding::ORPHAN_ITEM], books.orphans()), (many as u64, 2 * many as u64));
    let mut named: Vec<_> = (0..i64::from(MOST_NAMED)).map(|n| of(n).candidates[0].0).collect();
    named.sort_unstable();
    assert_eq!(books.differences.iter().map(|difference| difference.subject).collect::<Vec<_>>(), named, "the oldest");
}
