use std::time::Duration;

use clawback_domain::{
    AttemptToken,
    answer::Answer,
    purchase::{Happened, Rules},
    reason::FailureCode,
};
use clawback_store::Applied;
use uuid::Uuid;

use crate::{build::*, pulls, stage::Stage};

pub async fn a_fact_is_written_once(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&initiating).token;
    let first = fact(token, done("s-1"), at(1));
    store.record_fact(first.clone()).await.unwrap();
    store.record_fact(first.clone()).await.unwrap();
    store.record_fact(fact(token, done("s-2"), at(2))).await.unwrap();
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, Some(first));
    assert_eq!(read(&*store, initiating.id).await, initiating);
}

pub async fn a_fact_is_written_by_its_token_only(store: Stage) {
    let ours = stored(&*store, called(acme(), "r-1", at(0))).await;
    let theirs = stored(&*store, called(acme(), "r-2", at(0))).await;
    store.record_fact(fact(AttemptToken(Uuid::from_u128(1)), done("nobody's"), at(1))).await.unwrap();
    let known = fact(attempt_of(&theirs).token, done("s-2"), at(1));
    store.record_fact(known.clone()).await.unwrap();
    assert_eq!(store.attempts(ours.id).await.unwrap()[0].fact, None);
    assert_eq!(store.attempts(theirs.id).await.unwrap()[0].fact, Some(known));
}

pub async fn a_fact_is_written_whatever_became_of_its_purchase(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&initiating).token;
    let refused = Answer::Refused { code: FailureCode::OutOfStock, message: "sold out".into(), status: 400 };
    let failed = applied(&*store, then(&initiating, Happened::Answered { token, answer: refused }, at(1))).await;
    let late = fact(token, done("s-1"), at(2));
    store.record_fact(late.clone()).await.unwrap();
    assert_eq!(store.attempts(failed.id).await.unwrap()[0].fact, Some(late));
    assert_eq!(read(&*store, failed.id).await, failed);
}

pub async fn a_fact_in_a_change_is_written_once(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let first = fact(attempt_of(&initiating).token, done("s-1"), at(1));
    store.record_fact(first.clone()).await.unwrap();
    let pending = applied(&*store, answered(&initiating, done("s-2"), at(2))).await;
    assert_eq!(read(&*store, pending.id).await.state.session(), Some(&session("s-2")));
    assert_eq!(store.attempts(pending.id).await.unwrap()[0].fact, Some(first));
}

pub async fn a_bare_session_reads_as_an_answer_without_items(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&initiating).token;
    store.record_bare_session(token, session("s-1"), at(1)).await.unwrap();
    assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, Some(fact(token, done("s-1"), at(1))));
}

pub async fn a_bare_session_and_an_answer_do_not_replace_each_other(store: Stage) {
    let ours = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&ours).token;
    store.record_bare_session(token, session("bare"), at(1)).await.unwrap();
    store.record_fact(fact(token, done("whole"), at(2))).await.unwrap();
    assert_eq!(store.attempts(ours.id).await.unwrap()[0].fact, Some(fact(token, done("bare"), at(1))));

    let theirs = stored(&*store, called(acme(), "r-2", at(0))).await;
    let token = attempt_of(&theirs).token;
    store.record_fact(fact(token, done("whole"), at(1))).await.unwrap();
    store.record_bare_session(token, session("bare"), at(2)).await.unwrap();
    assert_eq!(store.attempts(theirs.id).await.unwrap()[0].fact, Some(fact(token, done("whole"), at(1))));
}

pub async fn of_facts_of_one_token_at_once_the_first_stands(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let token = attempt_of(&initiating).token;
    at_once((0..16).map(|n| {
        let (store, initiating) = (store.shared(), initiating.clone());
        async move {
            match n % 3 {
                0 => store.record_fact(fact(token, done(&format!("s-{n}")), at(n))).await.unwrap(),
                1 => store.record_bare_session(token, session(&format!("s-{n}")), at(n)).await.unwrap(),
                _ => drop(store.apply(answered(&initiating, done(&format!("s-{n}")), at(n))).await.unwrap()),
            }
        }
    }))
    .await;
    let first = store.attempts(initiating.id).await.unwrap();
    store.record_fact(fact(token, done("late"), at(99))).await.unwrap();
    assert_eq!(store.attempts(initiating.id).await.unwrap(), first);
    let said = first[0].fact.as_ref().expect("one was written");
    let Answer::Done { session, .. } = &said.answer else { panic!("{said:?}") };
    assert_eq!(session.as_str(), format!("s-{}", (said.at - at(0)).num_seconds()), "a fact is one caller's, not a mixture");
}

pub async fn every_answer_reads_back_equal(store: Stage) {
    let text = || "said \"no\", \\ and \n ünïcödé 🎉".to_owned();
    let mut answers = vec![
        done("s"),
        Answer::Done { session: session(&"s".repeat(512)), nfts: vec![pulls::full_item("item-1"), item("item-1")] },
        Answer::Unauthorized { message: text() },
        Answer::Busy { retry_after: None },
        Answer::Busy { retry_after: Some(Duration::ZERO) },
        Answer::Busy { retry_after: Some(Duration::from_millis(1_500)) },
        Answer::NeverSent { why: text() },
        Answer::Unknown { why: text(), status: None },
        Answer::Unknown { why: String::new(), status: Some(504) },
    ];
    answers.extend(FailureCode::ALL.iter().map(|&code| Answer::Refused { code, message: text(), status: 400 }));
    for (n, answer) in answers.into_iter().enumerate() {
        let initiating = stored(&*store, called(acme(), &format!("r-{n}"), at(0))).await;
        let told = fact(attempt_of(&initiating).token, answer, at(n as i64));
        store.record_fact(told.clone()).await.unwrap();
        assert_eq!(store.attempts(initiating.id).await.unwrap()[0].fact, Some(told));
    }
}

pub async fn an_answer_with_ten_thousand_items_reads_back_equal(store: Stage) {
    let initiating = stored(&*store, called(acme(), "r-1", at(0))).await;
    let nfts = (0..10_000).map(|n| pulls::full_item(&format!("item-{n}"))).collect();
    let change = answered(&initiating, Answer::Done { session: session("s-1"), nfts }, at(1));
    applied(&*store, change.clone()).await;
    assert!(store.attempts(initiating.id).await.unwrap()[0].fact == change.fact, "10,000 items read back as they came");
}

pub async fn attempts_stand_in_their_order(store: Stage) {
    let mut row = stored(&*store, called(acme(), "r-1", at(0))).await;
    for n in 1..12 {
        let busy = Answer::Busy { retry_after: None };
        row = applied(&*store, answered(&row, busy, at(100 * n))).await;
        let token = AttemptToken(Uuid::from_u128(u128::MAX - n as u128));
        let attempt = row.attempt(token, at(100 * n + 50), &Rules::default());
        row = applied(&*store, then(&row, Happened::Initiated(attempt), at(100 * n + 50))).await;
    }
    let attempts = store.attempts(row.id).await.unwrap();
    assert_eq!(attempts.iter().map(|row| row.attempt.number).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    assert_eq!(attempts.iter().filter(|row| row.fact.is_some()).count(), 11);
    assert_eq!(attempts[11].attempt, attempt_of(&row));
    let late = answered(&row, done("s-1"), at(9000));
    assert_eq!(store.apply(late).await.unwrap(), Applied::Committed);
    assert!(store.attempts(row.id).await.unwrap()[11].fact.is_some());
}
