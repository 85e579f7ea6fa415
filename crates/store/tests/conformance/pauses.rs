use clawback_domain::{
    Time,
    pause::{CommandKind, Pause, PauseScope},
};

use crate::{build::*, stage::Stage};

fn pause(scope: PauseScope, by: &str, since: Time) -> Pause {
    Pause { scope, by: by.into(), reason: "ünï \"quoted\" 🎉".into(), since, refused_key: None }
}

fn everything() -> PauseScope {
    PauseScope::default()
}

async fn paused(store: &Stage) -> Vec<Pause> {
    let mut pauses = store.pauses().await.unwrap();
    pauses.sort_by(|a, b| a.scope.cmp(&b.scope));
    pauses
}

pub async fn every_scope_is_a_pause_of_its_own(store: Stage) {
    let mut expected = Vec::new();
    for kind in [None, Some(CommandKind::Purchase), Some(CommandKind::Sellback)] {
        for (partner, pack) in [(None, None), (Some(acme()), None), (Some(acme()), Some(pack("gold"))), (Some(beta()), None)] {
            let key = (expected.len() % 2 == 0).then(|| "sha256:abc".to_owned());
            let pause = pause(PauseScope { partner, pack, kind }, "ann", at(expected.len() as i64));
            expected.push(Pause { refused_key: key, ..pause });
        }
    }
    for pause in &expected {
        assert!(store.pause(pause.clone()).await.unwrap(), "{pause:?}");
    }
    expected.sort_by(|a, b| a.scope.cmp(&b.scope));
    assert_eq!(paused(&store).await, expected);
    for pause in &expected {
        assert!(!store.pause(pause.clone()).await.unwrap(), "{pause:?}");
    }
    while let Some(pause) = expected.pop() {
        assert!(store.resume(&pause.scope, "bob", "fixed", at(99)).await.unwrap(), "{pause:?}");
        assert_eq!(paused(&store).await, expected);
    }
}

pub async fn pausing_what_is_paused_keeps_the_first_pause(store: Stage) {
    let first = pause(PauseScope::partner(acme()), "ann", at(0));
    assert!(store.pause(first.clone()).await.unwrap());
    assert!(!store.pause(pause(PauseScope::partner(acme()), "bob", at(1))).await.unwrap());
    assert_eq!(paused(&store).await, [first]);
}

pub async fn of_equal_pauses_at_once_exactly_one_is_the_first(store: Stage) {
    let handles = [store.shared(), store.second().await];
    let results = at_once((0..16).map(|n| {
        let store = handles[n % 2].clone();
        async move { store.pause(pause(everything(), &format!("person {n}"), at(0))).await.unwrap() }
    }))
    .await;
    let first: Vec<_> = (0..16).filter(|&n| results[n]).collect();
    assert_eq!(first.len(), 1);
    assert_eq!(paused(&store).await, [pause(everything(), &format!("person {}", first[0]), at(0))]);
}

pub async fn resuming_ends_one_pause(store: Stage) {
    assert!(!store.resume(&everything(), "ann", "why not", at(0)).await.unwrap());
    let partner = pause(PauseScope::partner(acme()), "ann", at(0));
    store.pause(partner.clone()).await.unwrap();
    assert!(!store.resume(&everything(), "bob", "not that one", at(1)).await.unwrap());
    assert_eq!(paused(&store).await, [partner]);
    assert!(store.resume(&PauseScope::partner(acme()), "bob", "done", at(2)).await.unwrap());
    assert!(!store.resume(&PauseScope::partner(acme()), "bob", "again", at(3)).await.unwrap());
    assert!(paused(&store).await.is_empty());
}

pub async fn what_was_resumed_can_be_paused_again(store: Stage) {
    for n in 0..3 {
        let again = pause(everything(), "ann", at(n));
        assert!(store.pause(again.clone()).await.unwrap());
        assert_eq!(paused(&store).await, [again]);
        assert!(store.resume(&everything(), "ann", "over", at(n)).await.unwrap());
    }
}
