use clawback_domain::{
    PartnerId, PullId,
    change::Insertion,
    command::{SellbackCommand, Target},
    item::Expiry,
    reason::{Failure, FailureCode},
    sellback::{Sellback, State},
    user::Settling,
    warning::{Change, Lead, Row, RowState, Skipped},
};
use clawback_store::{WarningFilter, WarningState};

use crate::{build::*, sale, stage::Stage, watch::*};

pub async fn a_crowd_is_the_users_with_a_lead_time_in_the_span(store: Stage) {
    for (n, name) in ["user-1", "user-2", "user-3"].iter().enumerate() {
        let pulls = drawn(&*store, name, &format!("r-{n}"), at(0)).await;
        let user = known(&*store, name).await;
        let row = |pull| planned(pull, at(3600 + 100 * n as i64));
        let gone = with(&row(&pulls[1]), RowState::Skipped(Skipped::Gone));
        let mut changes = inserted(&[row(&pulls[0]), Row { lead: Lead::seconds(3590), ..row(&pulls[0]) }]);
        changes.push(Change::Insert(Row { expiry: at(4000), ..gone }));
        settle(&*store, Settling { changes, ..settling(&user, at(50)) }).await;
    }
    let crowd = async |from, until| store.crowd(&acme(), at(from), at(until)).await.unwrap();
    for (from, until, expected) in [(0, 1000, 3), (0, 100, 1), (0, 101, 2), (10, 11, 1), (11, 100, 0), (400, 401, 0)] {
        assert_eq!(crowd(from, until).await, expected, "{from}..{until}");
    }
    assert_eq!(store.crowd(&beta(), at(0), at(1000)).await.unwrap(), 0);
    let user = known(&*store, "user-1").await;
    let pull = store.pulls_of_user(&acme(), &user.id).await.unwrap().remove(0);
    look(&*store, at(51), &[(&pull, Some(Expiry::At(at(3600))))]).await;
    let digests = vec![digest(vec![(planned(&pull, at(3600)), pull)])];
    assert_eq!(settle(&*store, Settling { digests, ..settling(&user, at(60)) }).await.len(), 1);
    assert_eq!(crowd(0, 1).await, 1, "who was warned counts too");
}

pub async fn every_filter_narrows_the_list_of_warnings(store: Stage) {
    let pulls = [seen(&*store, "r-1", 0).await, drawn(&*store, "user-2", "r-2", at(0)).await].concat();
    let plans: Vec<Row> = (0..).zip(&pulls).map(|(n, pull)| planned(pull, at(SHUTS - 100 * n))).collect();
    plan(&*store, inserted(&[plans[0].clone(), with(&plans[1], RowState::Skipped(Skipped::Superseded))])).await;
    let other = known(&*store, "user-2").await;
    settle(&*store, Settling { changes: inserted(&plans[2..]), ..settling(&other, at(50)) }).await;
    let first = known(&*store, "user-1").await;
    let digests = vec![digest(vec![(plans[0].clone(), pulls[0].clone())])];
    settle(&*store, Settling { digests, ..settling(&first, at(60)) }).await;

    let all = WarningFilter { limit: 10, ..WarningFilter::default() };
    let moment = |n: usize| Some(plans[n].moment());
    let cases = [
        (all.clone(), vec![3, 2, 1, 0]),
        (WarningFilter { limit: 2, ..all.clone() }, vec![3, 2]),
        (WarningFilter { partner: Some(acme()), ..all.clone() }, vec![3, 2, 1, 0]),
        (WarningFilter { partner: Some(beta()), ..all.clone() }, vec![]),
        (WarningFilter { user: Some(user("user-2")), ..all.clone() }, vec![3, 2]),
        (WarningFilter { state: Some(WarningState::Planned), ..all.clone() }, vec![3, 2]),
        (WarningFilter { state: Some(WarningState::Sent), ..all.clone() }, vec![0]),
        (WarningFilter { state: Some(WarningState::Skipped), ..all.clone() }, vec![1]),
        (WarningFilter { from: moment(2), ..all.clone() }, vec![2, 1, 0]),
        (WarningFilter { until: moment(1), ..all.clone() }, vec![3, 2]),
        (WarningFilter { from: moment(2), until: moment(1), user: Some(user("user-1")), ..all }, vec![]),
    ];
    for (filter, expected) in cases {
        let listed = store.warnings(filter.clone()).await.unwrap();
        let expected: Vec<PullId> = expected.into_iter().map(|n: usize| pulls[n].id).collect();
        assert_eq!(listed.iter().map(|warning| warning.row.pull).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

pub async fn what_expires_unsold_is_told_earliest_first(store: Stage) {
    let pulls = [seen(&*store, "r-1", 0).await, drawn(&*store, "user-2", "r-2", at(0)).await].concat();
    drawn(&*store, "user-3", "no look yet", at(0)).await;
    look(&*store, at(30), &[(&pulls[2], Some(Expiry::At(at(500)))), (&pulls[3], Some(Expiry::Never))]).await;
    let of = async |partner: &PartnerId, from, until, limit| {
        let told = store.expiring(partner, at(from), at(until), limit).await.unwrap();
        told.iter().map(|pull| pulls.iter().position(|known| known.id == pull.id).expect("it is known")).collect::<Vec<_>>()
    };
    for (from, until, limit, expected) in [
        (0, SHUTS + 1, 10, vec![2, 0, 1]),
        (0, SHUTS, 10, vec![2]),
        (500, 501, 10, vec![2]),
        (501, SHUTS + 1, 10, vec![0, 1]),
        (0, SHUTS + 1, 2, vec![2, 0]),
    ] {
        assert_eq!(of(&acme(), from, until, limit).await, expected, "{from}..{until}");
    }
    assert!(of(&beta(), 0, SHUTS + 1, 10).await.is_empty());
    sell(&*store, "s-1", &pulls[0], at(60)).await;
    assert_eq!(of(&acme(), 0, SHUTS + 1, 10).await, [2, 1]);
}

pub async fn what_is_being_sold_is_told_until_it_is_settled(store: Stage) {
    let pulls = seen(&*store, "r-1", 0).await;
    let by_item = sale::sellback(acme(), "s-1", "item-0", at(10));
    let command = SellbackCommand { target: Target::Pull(pulls[1].id), ..sale::sale_command("s-2", "item-1") };
    let by_pull = Sellback::accept(acme(), command, at(20), trace());
    let mut targets = Vec::new();
    for row in [by_item, by_pull] {
        targets.push(row.command.target.clone());
        let row = sale::keep(&*store, Insertion::of(row)).await;
        assert_eq!(watching(&*store, "user-1").await.selling, targets);
        if targets.len() == 2 {
            sale::moved(&*store, sale::put_sale(&row, failed())).await;
        }
    }
    assert_eq!(watching(&*store, "user-1").await.selling, targets[..1]);
}

fn failed() -> State {
    let failure = Failure { code: FailureCode::Cancelled, message: "a test".into(), upstream_status: None };
    State::Failed { failure, evidence: None }
}
