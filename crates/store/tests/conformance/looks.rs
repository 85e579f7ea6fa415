use clawback_domain::{
    Money, PullId, PurchaseId,
    evidence::Sightings,
    item::{Expiry, Pull, Shown, Sight, Standing},
};
use clawback_store::Store;

use crate::{build::*, stage::Stage};

fn shown(seconds: i64) -> Option<Shown> {
    Some(Shown { purchased_at: Some(at(seconds)), ..Shown::default() })
}

/// Shown, without the time at which it was bought.
const UNDATED: Option<Shown> = Some(Shown { purchased_at: None, expiry: Expiry::NotRead, price: None, exchanged: false });

/// Shown by an item of another id.
const EXCHANGED: Option<Shown> = Some(Shown { purchased_at: None, expiry: Expiry::NotRead, price: None, exchanged: true });

fn look(seconds: i64, pulls: &[(&Pull, Option<Shown>)]) -> Sightings {
    let pulls = pulls.iter().map(|(pull, shown)| (pull.purchase, pull.position, *shown)).collect();
    Sightings { partner: acme(), user_id: user("user-1"), at: at(seconds), pulls }
}

async fn pulls(store: &dyn Store) -> Vec<Pull> {
    store.pulls_of_user(&acme(), &user("user-1")).await.unwrap()
}

async fn sights(store: &Stage) -> Vec<Sight> {
    pulls(&**store).await.into_iter().map(|pull| pull.sight).collect()
}

/// What looks show, one after another, and how the pull stands after each.
pub async fn what_looks_show_makes_how_a_pull_stands(store: Stage) {
    use Standing::{Gone, Held, Missing, NotSeen};
    fulfilled(&*store, acme(), "r-1", at(0)).await;
    let untouched = pulls(&*store).await.remove(1);
    let steps = [
        (10, None, NotSeen),
        (300, None, NotSeen),
        (310, shown(5), Held),
        (320, shown(5), Held),
        (330, None, Missing),
        (449, None, Missing),
        (450, None, Gone),
        (460, UNDATED, Held),
        (470, None, Missing),
        (471, EXCHANGED, Held),
        (472, None, Missing),
        (480, UNDATED, Held),
        (481, None, Missing),
        (9000, None, Gone),
    ];
    let mut expected = Sight::default();
    for (seconds, shown, standing) in steps {
        let pull = pulls(&*store).await.remove(0);
        store.record_look(look(seconds, &[(&pull, shown)])).await.unwrap();
        expected = expected.after(at(seconds), shown);
        let after = store.pulls(pull.purchase).await.unwrap();
        assert_eq!((after[0].sight, after[0].sight.standing()), (expected, standing), "after {seconds}");
        assert_eq!(after[1], untouched, "after {seconds}");
        assert_eq!(case_pulls(&store).await, after);
    }
    let last = Sight {
        looked_at: Some(at(9000)),
        seen_at: Some(at(480)),
        missing_since: Some(at(481)),
        purchased_at: Some(at(5)),
        ..Sight::default()
    };
    assert_eq!(expected, last);
}

async fn case_pulls(store: &Stage) -> Vec<Pull> {
    store.case(&acme(), &user("user-1")).await.unwrap().pulls
}

pub async fn an_older_look_changes_nothing(store: Stage) {
    fulfilled(&*store, acme(), "r-1", at(0)).await;
    let [one, two] = <[Pull; 2]>::try_from(pulls(&*store).await).expect("two were bought");
    store.record_look(look(100, &[(&one, shown(1)), (&two, None)])).await.unwrap();
    let before = sights(&store).await;
    for seconds in [99, 100] {
        store.record_look(look(seconds, &[(&one, None), (&two, shown(2))])).await.unwrap();
        assert_eq!(sights(&store).await, before, "at {seconds}");
    }
    store.record_look(look(101, &[(&one, None), (&two, shown(2))])).await.unwrap();
    assert_eq!(sights(&store).await.iter().map(Sight::standing).collect::<Vec<_>>(), [Standing::Missing, Standing::Held]);
}

/// A look that names some pulls says nothing of the others, and looks of different times may be of different pulls.
pub async fn a_look_is_kept_with_each_pull_by_itself(store: Stage) {
    fulfilled(&*store, acme(), "r-1", at(0)).await;
    let [one, two] = <[Pull; 2]>::try_from(pulls(&*store).await).expect("two were bought");
    store.record_look(look(200, &[(&one, shown(1))])).await.unwrap();
    store.record_look(look(100, &[(&one, None), (&two, shown(2))])).await.unwrap();
    let seen = |looked, bought| Sight {
        looked_at: Some(at(looked)),
        seen_at: Some(at(looked)),
        purchased_at: Some(at(bought)),
        ..Sight::default()
    };
    assert_eq!(sights(&store).await, [seen(200, 1), seen(100, 2)]);
}

pub async fn pulls_that_are_not_known_are_ignored(store: Stage) {
    let row = fulfilled(&*store, acme(), "r-1", at(0)).await;
    let theirs = fulfilled(&*store, beta(), "r-1", at(0)).await;
    let known = pulls(&*store).await;
    let of = |partner, name: &str, purchase: PurchaseId, position| Sightings {
        partner,
        user_id: user(name),
        at: at(10),
        pulls: vec![(purchase, position, shown(1))],
    };
    let unknown = [
        of(acme(), "user-1", row.id, 2),
        of(acme(), "user-1", row.id, u32::MAX),
        of(acme(), "user-1", theirs.id, 0),
        of(acme(), "user-2", row.id, 0),
        of(beta(), "user-1", row.id, 0),
        Sightings { pulls: vec![], ..of(acme(), "user-1", row.id, 0) },
    ];
    for look in unknown {
        store.record_look(look.clone()).await.unwrap();
        assert_eq!(pulls(&*store).await, known, "{look:?}");
        assert!(store.pulls(theirs.id).await.unwrap().iter().all(|pull| pull.sight == Sight::default()), "{look:?}");
    }
    let mut mixed = look(11, &[(&known[0], shown(1)), (&known[1], shown(2))]);
    mixed.pulls.insert(1, (theirs.id, 0, shown(3)));
    store.record_look(mixed).await.unwrap();
    assert!(sights(&store).await.iter().all(|sight| sight.standing() == Standing::Held));
}

/// What the last look that showed it told; an expiry that it did not tell is as it was.
pub async fn a_look_tells_expiry_and_price(store: Stage) {
    fulfilled(&*store, acme(), "r-1", at(0)).await;
    let told = |expiry, price: Option<i64>| Some(Shown { expiry, price: price.map(Money::usd), ..Shown::default() });
    let steps = [
        told(Expiry::NotRead, None),
        told(Expiry::At(at(500)), Some(8_500_000)),
        None,
        told(Expiry::At(at(600)), Some(0)),
        told(Expiry::At(at(600)), Some(1)),
        None,
        told(Expiry::At(at(600)), Some(1)),
        told(Expiry::NotRead, Some(i64::MAX)),
        told(Expiry::Never, None),
        told(Expiry::Never, None),
        told(Expiry::NotRead, Some(1)),
        told(Expiry::At(at(-1)), Some(2)),
    ];
    let (mut expected, mut read_at) = (Sight::default(), Vec::new());
    for (number, shown) in (1..).zip(steps) {
        let pull = pulls(&*store).await.remove(0);
        store.record_look(look(10 * number, &[(&pull, shown)])).await.unwrap();
        store.record_look(look(10 * number - 5, &[(&pull, told(Expiry::At(at(7)), Some(7)))])).await.unwrap();
        expected = expected.after(at(10 * number), shown);
        assert_eq!(sights(&store).await[0], expected, "after {number}");
        read_at.extend(expected.expiry_read_at.map(|at| at.timestamp() - self::at(0).timestamp()));
    }
    assert_eq!(read_at, [20, 20, 40, 40, 40, 40, 40, 90, 90, 90, 120], "when the expiry became what it is");
    assert_eq!((expected.expiry, expected.price), (Expiry::At(at(-1)), Some(Money::usd(2))));
}

pub async fn a_pull_that_a_look_names_twice_counts_as_it_is_named_first(store: Stage) {
    fulfilled(&*store, acme(), "r-1", at(0)).await;
    let pull = pulls(&*store).await.remove(0);
    store.record_look(look(10, &[(&pull, shown(1)), (&pull, None)])).await.unwrap();
    assert_eq!(sights(&store).await[0], Sight::default().after(at(10), shown(1)));
}

/// Every second one is missing, in every second look.
pub async fn a_look_at_ten_thousand_pulls_is_kept(store: Stage) {
    let pending = pending(&*store, acme(), "r-1", at(0)).await;
    let mut change = fulfilment(&pending, at(1));
    let template = change.pulls.remove(0);
    let pull = |position| Pull { id: PullId::of(pending.id, position), position, ..template.clone() };
    change.pulls = (0..10_000).map(pull).collect();
    applied(&*store, change.clone()).await;

    let mut expected = change.pulls;
    for (seconds, share) in [(10, 1), (20, 2), (30, 1), (400, 2)] {
        let shows = |pull: &Pull| shown(i64::from(pull.position)).filter(|_| pull.position.is_multiple_of(share));
        let some: Vec<_> = expected.iter().map(|pull| (pull, shows(pull))).collect();
        store.record_look(look(seconds, &some)).await.unwrap();
        for pull in &mut expected {
            pull.sight = pull.sight.after(at(seconds), shows(pull));
        }
    }
    assert!(store.pulls(pending.id).await.unwrap() == expected, "10,000 sights read back as the rule makes them");
}

/// Looks of two workers meet at the same pulls. Whatever their order, the newest has the last word, and none fails for the other.
pub async fn of_looks_at_once_the_newest_stands(store: Stage) {
    let handles = [store.shared(), store.second().await];
    for n in 0..20 {
        fulfilled(&*store, acme(), &format!("r-{n}"), at(n)).await;
    }
    let known = pulls(&*store).await;
    for round in 0..10i64 {
        let newest = 100 * (round + 1);
        at_once((0..8).map(|n| {
            let (store, known) = (handles[n as usize % 2].clone(), known.clone());
            async move {
                let mut some: Vec<_> = known.iter().map(|pull| (pull, shown(1).filter(|_| n == 0))).collect();
                if n % 3 == 0 {
                    some.reverse();
                }
                store.record_look(look(newest - n, &some)).await.unwrap();
            }
        }))
        .await;
        let sights = sights(&store).await;
        assert_eq!(sights.len(), 40);
        let seen =
            Sight { looked_at: Some(at(newest)), seen_at: Some(at(newest)), purchased_at: Some(at(1)), ..Sight::default() };
        assert!(sights.iter().all(|sight| *sight == seen), "{sights:?}");
    }
}

/// A look that is recorded while its user's purchases are fulfilled disturbs neither.
pub async fn looks_and_fulfilments_do_not_disturb_each_other(store: Stage) {
    at_once((0..40i64).map(|n| {
        let store = store.shared();
        async move {
            let known = pulls(&*store).await;
            let some: Vec<_> = known.iter().map(|pull| (pull, shown(1))).collect();
            let looking = async { store.record_look(look(100 + n, &some)).await.unwrap() };
            let request = format!("r-{n}");
            tokio::join!(looking, fulfilled(&*store, acme(), &request, at(n)));
        }
    }))
    .await;
    let known = pulls(&*store).await;
    assert_eq!(known.len(), 80);
    let some: Vec<_> = known.iter().map(|pull| (pull, UNDATED)).collect();
    store.record_look(look(1000, &some)).await.unwrap();
    assert!(sights(&store).await.iter().all(|sight| sight.seen_at == Some(at(1000))));
}
