use clawback_domain::{
    PullId,
    event::EventType,
    item::{Pull, Told},
    user::{Settling, User},
    warning::{Change, Lead, Row, RowState, Skipped},
};
use clawback_store::{Warning, WarningFilter};

use crate::{build::*, stage::Stage, watch::*};

async fn rows(store: &Stage) -> Vec<Row> {
    watching(&**store, "user-1").await.rows
}

async fn listed(store: &Stage) -> Vec<Warning> {
    store.warnings(WarningFilter { limit: 100, ..Default::default() }).await.unwrap()
}

pub async fn what_a_turn_plans_reads_back_in_order_of_pull_and_lead_time(store: Stage) {
    let pulls = seen(&*store, "r-1", 0).await;
    let states = [RowState::Planned].into_iter().chain(Skipped::ALL.iter().map(|why| RowState::Skipped(*why)));
    let lead = |(n, state): (u32, RowState)| {
        [&pulls[0], &pulls[1]].map(|pull| Row { lead: Lead::seconds(3600 - n), state, ..planned(pull, at(SHUTS)) })
    };
    let mut all: Vec<Row> = (0..).zip(states).flat_map(lead).collect();
    plan(&*store, inserted(&all)).await;
    all.sort_by_key(|row| (row.pull, row.lead));
    assert_eq!(rows(&store).await, all);
    assert_eq!(watching(&*store, "user-1").await.pulls, pulls);

    let moved: Vec<Row> =
        all.iter().map(|row| Row { expiry: at(SHUTS + 7), state: RowState::Planned, ..row.clone() }).collect();
    plan(&*store, moved[..4].iter().cloned().map(Change::Update).collect()).await;
    plan(&*store, inserted(&moved[3..6])).await;
    assert_eq!(rows(&store).await, [&moved[..4], &all[4..]].concat(), "an insert of what is there changes nothing");
    let ghost = Row { lead: Lead::seconds(60), ..all[0].clone() };
    plan(&*store, vec![Change::Update(ghost)]).await;
    assert_eq!(rows(&store).await.len(), all.len(), "an update of what is not there makes nothing");
}

/// A digest is composed by what holds when it is written: of six, one was sold since, one is missing, one was sent, one is skipped.
pub async fn a_digest_tells_what_is_planned_still_and_held(store: Stage) {
    let pulls = [seen(&*store, "r-1", 0).await, seen(&*store, "r-2", 10).await, seen(&*store, "r-3", 20).await].concat();
    let plans: Vec<Row> = pulls.iter().map(|pull| planned(pull, at(SHUTS))).collect();
    plan(&*store, inserted(&plans[..5])).await;
    let user = known(&*store, "user-1").await;
    let first = digest(vec![(plans[2].clone(), pulls[2].clone())]);
    let told = settle(&*store, Settling { digests: vec![first], ..settling(&user, at(60)) }).await;
    assert_eq!(told.len(), 1);
    sell(&*store, "s-1", &pulls[0], at(61)).await;
    look(&*store, at(62), &[(&pulls[1], None)]).await;
    plan(&*store, vec![Change::Update(with(&plans[3], RowState::Skipped(Skipped::OptedOut)))]).await;

    let user = known(&*store, "user-1").await;
    let all = digest(plans.iter().cloned().zip(pulls.iter().cloned()).collect());
    // What this very turn plans may go out with it.
    let changes = inserted(&plans[5..]);
    let turn = Settling { changes, digests: vec![all.clone()], due_at: Some(at(5000)), ..settling(&user, at(70)) };
    let told = settle(&*store, turn.clone()).await;
    let kept = [plans[4].pull, plans[5].pull];
    assert_eq!(told, [turn.expiring(&all, 2, |row| kept.contains(&row.pull)).expect("two are kept")]);
    let subject = User::subject(&acme(), &user.id);
    let event = &told[0];
    assert_eq!((event.subject, event.sequence, event.kind), (subject, 2, EventType::BuybackExpiring));
    assert_eq!(store.event(event.id).await.unwrap().expect("it is stored").event, *event);
    let of_user =
        store.events(Some(&acme()), 0, 100).await.unwrap().into_iter().filter(|stored| stored.event.subject == subject);
    assert_eq!(of_user.map(|stored| stored.event.sequence).collect::<Vec<_>>(), [1, 2]);

    let after = known(&*store, "user-1").await;
    assert_eq!((after.sequence, after.due_at), (2, Some(at(130))), "what was left out is looked at soon");
    let sent = |state: RowState| state == RowState::Sent;
    assert_eq!(rows(&store).await.iter().filter(|row| sent(row.state)).count(), 3);
    let warnings = listed(&store).await;
    let by_this: Vec<PullId> =
        warnings.iter().filter(|warning| warning.event == Some(event.id)).map(|warning| warning.row.pull).collect();
    assert!(by_this.len() == 2 && kept.iter().all(|pull| by_this.contains(pull)));
    for warning in warnings.iter().filter(|warning| warning.event == Some(event.id)) {
        assert_eq!((warning.late, warning.verified, warning.updated_at), (false, true, at(70)));
    }
    assert!(warnings.iter().all(|warning| warning.event.is_some() == sent(warning.row.state)));
}

pub async fn a_digest_of_which_nothing_is_left_is_no_event(store: Stage) {
    let pulls = seen(&*store, "r-1", 0).await;
    let plans: Vec<Row> = pulls.iter().map(|pull| planned(pull, at(SHUTS))).collect();
    plan(&*store, inserted(&plans)).await;
    sell(&*store, "s-1", &pulls[0], at(60)).await;
    look(&*store, at(62), &[(&pulls[1], None)]).await;
    let user = known(&*store, "user-1").await;
    let empty = || digest(plans.iter().cloned().zip(pulls.iter().cloned()).collect());
    assert_eq!(settle(&*store, Settling { digests: vec![empty()], ..settling(&user, at(70)) }).await, []);
    let after = known(&*store, "user-1").await;
    assert_eq!((after.sequence, after.due_at), (0, Some(at(130))));
    assert_eq!(store.last_event(User::subject(&acme(), &user.id)).await.unwrap(), None);
    let turn = Settling { digests: vec![empty()], due_at: Some(at(90)), ..settling(&after, at(80)) };
    assert_eq!(settle(&*store, turn).await, []);
    assert_eq!(known(&*store, "user-1").await.due_at, Some(at(90)), "it is due earlier");
}

/// Digests first, then closed windows, each with the next number.
pub async fn events_of_a_user_are_numbered_in_their_order(store: Stage) {
    let pulls = [seen(&*store, "r-1", 0).await, seen(&*store, "r-2", 10).await].concat();
    let plans: Vec<Row> = pulls.iter().map(|pull| planned(pull, at(SHUTS))).collect();
    plan(&*store, inserted(&plans[..3])).await;
    let user = known(&*store, "user-1").await;
    let one = |n: usize| digest(vec![(plans[n].clone(), pulls[n].clone())]);
    let late = clawback_domain::warning::Digested { late: true, verified: false, ..one(2) };
    let (digests, closed) = (vec![one(0), one(3), late.clone()], vec![pulls[..1].to_vec(), pulls[1..].to_vec()]);
    let turn = Settling { digests, closed, ..settling(&user, at(70)) };
    let told = settle(&*store, turn.clone()).await;
    let expected = [
        turn.expiring(&one(0), 1, |_| true),
        turn.expiring(&late, 2, |_| true),
        turn.expired(&pulls[..1], 3, |_| true),
        turn.expired(&pulls[1..], 4, |_| true),
    ];
    assert_eq!(told, expected.map(|event| event.expect("something is kept")), "of the second digest nothing was planned");
    assert_eq!(known(&*store, "user-1").await.sequence, 4);
    let sent = listed(&store).await.into_iter().find(|warning| warning.late).expect("one was late");
    assert_eq!((sent.row.pull, sent.verified, sent.event), (plans[2].pull, false, Some(told[1].id)));
    let claimed = store.claim_unsent(at(1000), 100, std::time::Duration::from_secs(60)).await.unwrap();
    assert!(claimed.iter().any(|stored| stored.event == told[0]), "the relay finds the first");
    assert!(!claimed.iter().any(|stored| stored.event == told[1]), "the second waits for it");
}

pub async fn that_a_window_closed_is_said_once_and_not_of_what_was_sold(store: Stage) {
    let pulls = [seen(&*store, "r-1", 0).await, seen(&*store, "r-2", 10).await].concat();
    sell(&*store, "s-1", &pulls[0], at(60)).await;
    let user = known(&*store, "user-1").await;
    let closing = |some: &[Pull], user: &User, seconds| Settling { closed: vec![some.to_vec()], ..settling(user, at(seconds)) };
    let told = settle(&*store, closing(&pulls[..2], &user, 70)).await;
    assert_eq!(told, [closing(&pulls[1..2], &user, 70).expired(&pulls[1..2], 1, |_| true).expect("one is kept")]);
    assert_eq!(told[0].kind, EventType::BuybackExpired);
    let user = known(&*store, "user-1").await;
    assert_eq!(settle(&*store, closing(&pulls[..2], &user, 80)).await, []);
    let user = known(&*store, "user-1").await;
    let told = settle(&*store, closing(&pulls, &user, 90)).await;
    assert_eq!(told, [closing(&pulls, &user, 90).expired(&pulls[2..], 2, |_| true).expect("two are kept")]);
    let closed_at: Vec<_> = watching(&*store, "user-1").await.pulls.iter().map(|pull| pull.told.closed_at).collect();
    assert_eq!(closed_at, [None, Some(at(70)), Some(at(90)), Some(at(90))]);
}

pub async fn what_was_offered_for_sale_is_marked(store: Stage) {
    let pulls = seen(&*store, "r-1", 0).await;
    let user = known(&*store, "user-1").await;
    let elsewhere = fulfilled(&*store, beta(), "r-1", at(0)).await;
    let theirs = store.pulls(elsewhere.id).await.unwrap();
    let offered = vec![pulls[1].id, theirs[0].id, pulls[1].id];
    assert_eq!(settle(&*store, Settling { offered, ..settling(&user, at(70)) }).await, []);
    let marked = Pull { told: Told { offered_at: Some(at(70)), closed_at: None }, ..pulls[1].clone() };
    assert_eq!(watching(&*store, "user-1").await.pulls, [pulls[0].clone(), marked]);
    assert_eq!(store.pulls(elsewhere.id).await.unwrap(), theirs, "another user's stays as it was");
}

pub async fn a_turn_that_does_not_fit_writes_nothing(store: Stage) {
    let pulls = seen(&*store, "r-1", 0).await;
    let plans: Vec<Row> = pulls.iter().map(|pull| planned(pull, at(SHUTS))).collect();
    plan(&*store, inserted(&plans[..1])).await;
    let before = watching(&*store, "user-1").await;
    for version in [before.user.version - 1, before.user.version + 1] {
        let turn = Settling {
            version,
            changes: inserted(&plans),
            digests: vec![digest(vec![(plans[0].clone(), pulls[0].clone())])],
            closed: vec![pulls.clone()],
            offered: vec![pulls[0].id],
            due_at: Some(at(99)),
            ..settling(&before.user, at(70))
        };
        assert_eq!(store.settle_user(&turn).await.unwrap(), None);
        assert_eq!(watching(&*store, "user-1").await, before);
        assert_eq!(store.last_event(User::subject(&acme(), &before.user.id)).await.unwrap(), None);
        let stranger = Settling { user_id: user("nobody"), ..turn };
        assert_eq!(store.settle_user(&stranger).await.unwrap(), None);
    }
    assert_eq!(store.watching(&acme(), &user("nobody")).await.unwrap(), None);
}

/// Two workers have decided the same turn, each with an event of its own.
pub async fn of_two_turns_of_one_version_at_once_one_stands(store: Stage) {
    let handles = [store.shared(), store.second().await];
    for round in 0..10 {
        let pulls = seen(&*store, &format!("r-{round}"), 100 * round).await;
        let user = known(&*store, "user-1").await;
        let turn = |n: usize| {
            let row = planned(&pulls[n], at(SHUTS));
            let digests = vec![digest(vec![(row.clone(), pulls[n].clone())])];
            let closed = if n == 0 { vec![pulls.clone()] } else { Vec::new() };
            Settling { changes: inserted(&[row]), digests, closed, ..settling(&user, at(100 * round + 50)) }
        };
        let turns = [turn(0), turn(1)];
        let told =
            at_once(handles.iter().cloned().zip(turns).map(|(store, turn)| async move { store.settle_user(&turn).await }));
        let told: Vec<_> = told.await.into_iter().filter_map(|told| told.unwrap()).collect();
        assert_eq!(told.len(), 1, "one of two");
        let after = known(&*store, "user-1").await;
        assert_eq!((after.version, after.sequence), (user.version + 1, user.sequence + told[0].len() as u64));
        let sent = listed(&store).await.len();
        assert_eq!(sent as i64, round + 1);
    }
}
