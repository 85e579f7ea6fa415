//! Our own bugs: a handler that panics takes neither the worker nor its purchase with it.

use std::time::Duration;

use anyhow::Result;
use clawback_domain::{
    answer::StatusAnswer,
    clock::after,
    purchase::{MARGIN, MOST_PANICS, State, StateName},
};
use clawback_tests::in_process::{Init, Plant, Status};

use crate::stage;

const PANICKED: &str = "its handler panicked: the upstream's client broke";

pub async fn of_the_call_leave_the_row_to_its_due_time(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "panics-calling").await?;
    stage.upstream.next_init(Init::Panic);
    let broken = stage.buy("broken").await?;
    let row = stage.row("the panic is written down", broken, |row| row.panics == 1).await?;
    let State::Initiating(attempt) = row.state else { anyhow::bail!("it may have bought: {row:?}") };
    assert_eq!(row.due_at, Some(after(attempt.deadline, MARGIN)), "nobody touches it before its call has surely ended");
    assert_eq!(
        stage.story(broken).await?,
        ["accepted: stored; not called yet", "initiating: attempt 1 begins", &format!("initiating: {PANICKED}")]
    );
    let next = stage.buy("next").await?;
    stage.tells(next.0, &["clawback.purchase.fulfilled"]).await?;

    // Due: nobody knows what the call did, so it is never repeated.
    stage.clock.advance(Duration::from_secs(60));
    stage.step(broken).await?;
    let row = stage.reaches(broken, StateName::Review).await?;
    assert_eq!((row.attempts, stage.upstream.begun(), stage.bought(broken)), (1, 2, 0));
    stage.tells(broken.0, &["clawback.purchase.review"]).await?;
    assert!(stage.lives());
    stage.stop().await
}

/// The first poll runs beside the commit of its session, which does not end with it.
pub async fn of_the_first_poll_leave_its_session_stored(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "panics-opening").await?;
    stage.upstream.next_status(Status::Panic);
    let broken = stage.buy("broken").await?;
    let row = stage.row("the panic is written down", broken, |row| row.panics == 1).await?;
    assert!(matches!(&row.state, State::Pending(_)), "its session was lost: {row:?}");
    let story = stage.story(broken).await?;
    assert!(story[2].starts_with("pending: the upstream opened session"), "{story:#?}");
    assert_eq!(story[3..], [format!("pending: {PANICKED}")]);
    stage.step(broken).await?;
    stage.tells(broken.0, &["clawback.purchase.fulfilled"]).await?;
    assert_eq!((stage.upstream.begun(), stage.bought(broken)), (1, 1));
    assert!(stage.lives());
    stage.stop().await
}

pub async fn several_while_polling_end_in_review(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "panics-polling").await?;
    // The first poll is part of the call; what panics is a turn of its own.
    stage.upstream.next_status(Status::Answer(StatusAnswer::Pending));
    for _ in 0..MOST_PANICS {
        stage.upstream.next_status(Status::Panic);
    }
    let broken = stage.buy("broken").await?;
    for panics in 1..=MOST_PANICS {
        let row = stage.row("one panic more", broken, |row| row.panics >= panics).await?;
        assert_eq!(row.panics, panics);
        if panics < MOST_PANICS {
            assert!(row.state.name() == StateName::Pending && row.due_at.is_some_and(|due| due > stage.now()), "{row:?}");
            stage.step(broken).await?;
        }
    }
    let next = stage.buy("next").await?;
    stage.tells(next.0, &["clawback.purchase.fulfilled"]).await?;

    let [told] = stage.tells(broken.0, &["clawback.purchase.review"]).await?.try_into().expect("it is one");
    assert_eq!(told["reason"]["code"], "unknown_outcome");
    assert_eq!(told["reason"]["message"], "its handler panicked 5 times, last: the upstream's client broke");
    let story = stage.story(broken).await?;
    assert_eq!(story.iter().filter(|line| **line == format!("pending: {PANICKED}")).count(), 4, "{story:#?}");

    // Review is not final: it goes on being polled, rarely, and the answer settles it.
    stage.step(broken).await?;
    stage.tells(broken.0, &["clawback.purchase.review", "clawback.purchase.fulfilled"]).await?;
    assert_eq!((stage.upstream.begun(), stage.bought(broken)), (2, 1));
    assert!(stage.lives());
    stage.stop().await
}
