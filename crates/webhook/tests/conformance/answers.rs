//! What an answer means.

use std::time::Duration;

use clawback_webhook::Outcome;

use crate::{
    fixture::{Answer, Fixture},
    support::delivery,
};

async fn outcomes<F: Fixture>(answers: &[Answer]) -> Vec<Outcome> {
    let fixture = F::answering(answers).await;
    let mut outcomes = Vec::new();
    for _ in answers {
        outcomes.push(fixture.deliver(delivery("{}")).await);
    }
    outcomes
}

pub async fn any_success_is_delivered<F: Fixture>() {
    let statuses = [200, 201, 202, 204, 299];
    let found = outcomes::<F>(&statuses.map(|status| (status, None))).await;
    assert_eq!(found, statuses.map(|status| Outcome::Delivered { status }));
}

pub async fn gone_is_gone<F: Fixture>() {
    assert_eq!(outcomes::<F>(&[(410, None), (410, Some(7))]).await, [Outcome::Gone, Outcome::Gone]);
}

pub async fn every_other_answer_is_tried_again_and_keeps_its_status<F: Fixture>() {
    let statuses = [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 408, 409, 413, 422, 429, 499, 500, 502, 503, 504, 599];
    let found = outcomes::<F>(&statuses.map(|status| (status, None))).await;
    for (outcome, status) in found.iter().zip(statuses) {
        let right = matches!(outcome, Outcome::Retry { status: Some(said), retry_after: None, .. } if *said == status);
        assert!(right && outcome.to_string().contains(&status.to_string()), "{outcome:?}");
    }
}

pub async fn a_wish_to_wait_is_passed_on_up_to_a_day<F: Fixture>() {
    let answers =
        [(429, Some(0)), (429, Some(7)), (503, Some(86_400)), (503, Some(86_401)), (500, Some(315_360_000)), (404, None)];
    let wish = |outcome| match outcome {
        Outcome::Retry { retry_after, .. } => retry_after,
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = outcomes::<F>(&answers).await.into_iter().map(wish).collect();
    let day = Some(Duration::from_secs(86_400));
    assert_eq!(found, [Some(Duration::ZERO), Some(Duration::from_secs(7)), day, day, day, None]);
}

pub async fn answers_come_in_the_order_they_were_given<F: Fixture>() {
    let found = outcomes::<F>(&[(503, Some(1)), (200, None), (410, None)]).await;
    assert_eq!(
        found,
        [Outcome::answered(503, Some(Duration::from_secs(1))), Outcome::Delivered { status: 200 }, Outcome::Gone]
    );
}
