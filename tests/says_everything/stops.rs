//! What makes a purchase wait, and what lets it go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use clawback_broker::topology;
use clawback_domain::{
    Clock, PackId,
    answer::{Answer, StatusAnswer},
    pause::{CommandKind, Pause, PauseScope},
    purchase::{PERMIT_WAIT, State, StateName},
    reason::WaitCode,
};
use clawback_tests::{
    in_process::{Init, Stage, Status},
    wait::until,
};
use serde_json::json;

use crate::{FULFILLED, reads};

const SOON: Duration = Duration::from_secs(30);
const OLD_KEY: &str = "sandbox-key";
const NEW_KEY: &str = "sandbox-key-two";

pub async fn a_refused_key_pauses_the_partner_and_another_key_lifts_it(stage: Stage) -> Result<()> {
    assert!(stage.engine.lock().rotate_key(OLD_KEY, NEW_KEY));
    let first = stage.buy("first").await?;
    let row = stage.waits_for(first, WaitCode::Unauthorized).await?;
    assert!(
        row.due_at.is_some_and(|due| due <= row.updated_at + Duration::from_secs(600)),
        "it looks again by itself: {row:?}"
    );
    is_consumed(&stage, false).await?;
    let pauses = stage.store.pauses().await?;
    let pause = pauses.iter().find(|pause| pause.scope == PauseScope::partner(stage.partner.clone()));
    assert!(pause.is_some_and(|pause| pause.refused_key.is_some() && pause.by == "clawback"), "{pauses:?}");
    let second = stage.buy("second").await?;
    assert_eq!(stage.upstream.begun(), 1, "nothing of this partner is called");

    let rekeyed = stage.rekey(NEW_KEY);
    for id in [first, second] {
        stage.tells(id.0, &[FULFILLED]).await?;
    }
    assert_eq!((rekeyed.begun(), stage.bought(first), stage.bought(second)), (2, 1, 1));
    let row = stage.reaches(first, StateName::Fulfilled).await?;
    assert_eq!(row.attempts, 2);
    reads(
        &stage,
        first,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "accepted: the upstream refused the API key: Invalid API key",
            "initiating: attempt 2 begins",
            "pending: the upstream opened session …",
            "fulfilled: fulfilled",
        ],
    )
    .await?;
    stage.stop().await
}

/// Keys are exchanged under load: calls that left with the old one are still under way when the new one is there.
pub async fn an_old_key_refused_late_does_not_condemn_the_new_one(stage: Stage) -> Result<()> {
    stage.upstream.hang();
    let slow = stage.buy("slow").await?;
    stage.upstream.called(1).await;
    assert!(stage.engine.lock().rotate_key(OLD_KEY, NEW_KEY));
    stage.rekey(NEW_KEY);
    stage.upstream.go_on();
    stage.tells(slow.0, &[FULFILLED]).await?;
    let next = stage.buy("next").await?;
    stage.tells(next.0, &[FULFILLED]).await?;
    let scope = PauseScope::partner(stage.partner.clone());
    let pauses = stage.store.pauses().await?;
    assert!(pauses.iter().all(|pause| pause.scope != scope), "{pauses:?}");
    assert_eq!((stage.bought(slow), stage.bought(next)), (1, 1));
    stage.stop().await
}

pub async fn polling_goes_on_though_a_poll_was_refused(stage: Stage) -> Result<()> {
    stage.upstream.next_status(Status::Answer(StatusAnswer::Unauthorized));
    let first = stage.buy("first").await?;
    stage.tells(first.0, &[FULFILLED]).await?;
    is_fulfilled_straight(&stage, first).await?;
    is_consumed(&stage, false).await?;
    let second = stage.buy("second").await?;
    assert!(stage.engine.lock().rotate_key(OLD_KEY, NEW_KEY));
    stage.rekey(NEW_KEY);
    stage.tells(second.0, &[FULFILLED]).await?;
    assert_eq!((stage.upstream.begun(), stage.bought(second)), (1, 1));
    stage.stop().await
}

pub async fn a_paused_partner_is_not_consumed_until_resumed(stage: Stage) -> Result<()> {
    let scope = PauseScope::partner(stage.partner.clone());
    is_consumed(&stage, true).await?;
    pause(&stage, &scope, "the shop closes").await?;
    is_consumed(&stage, false).await?;
    let id = stage.buy("waiting").await?;
    let queue = topology::command_queue(&stage.partner, CommandKind::Purchase);
    until("it waits in its queue", SOON, || async {
        let ready = stage.broker.queue_state(&queue).await.map_err(|error| error.to_string())?.ready;
        if ready == 1 { Ok(()) } else { Err(format!("{ready} wait")) }
    })
    .await?;
    assert_eq!(stage.store.purchase(id).await?, None, "the rest stays in the queue");
    resume(&stage, &scope).await?;
    stage.tells(id.0, &[FULFILLED]).await?;
    is_fulfilled_straight(&stage, id).await?;
    stage.stop().await
}

pub async fn a_paused_pack_waits_as_accepted_and_others_go_on(stage: Stage) -> Result<()> {
    let scope = pause_rookie(&stage).await?;
    let held = stage.buy("held").await?;
    let row = stage.waits_for(held, WaitCode::PackPaused).await?;
    assert!(row.due_at.is_some_and(|due| due > stage.now()), "it looks again by itself");
    let other = stage.buy_with("other", json!({ "pack_id": "allstar" })).await?;
    stage.tells(other.0, &[FULFILLED]).await?;
    is_fulfilled_straight(&stage, other).await?;
    assert_eq!(stage.bought(held), 0);

    resume(&stage, &scope).await?;
    stage.tells(held.0, &[FULFILLED]).await?;
    reads(
        &stage,
        held,
        &[
            "accepted: stored; not called yet",
            "accepted: paused by ops since …: stock-taking",
            "initiating: attempt 1 begins",
            "pending: the upstream opened session …",
            "fulfilled: fulfilled",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn no_permit_within_a_minute_is_written_down(mut stage: Stage) -> Result<()> {
    stage.limit(1);
    stage.upstream.hang();
    let first = stage.buy("first").await?;
    stage.upstream.called(1).await;
    let second = stage.buy("second").await?;
    // It is in the worker's hands when it is in nobody else's.
    let queue = topology::command_queue(&stage.partner, CommandKind::Purchase);
    until("the second is delivered", SOON, || async {
        match stage.broker.queue_state(&queue).await {
            Ok(queue) if queue.ready == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    until("the second has waited for a minute", SOON, || async {
        stage.clock.advance(PERMIT_WAIT);
        stage.store.purchase(second).await.map_err(|error| error.to_string())?.ok_or("it has no row".to_owned())
    })
    .await?;
    stage.waits_for(second, WaitCode::Permit).await?;
    assert_eq!(stage.upstream.begun(), 1, "limits hold");
    stage.upstream.go_on();
    // Its `send_by` has passed.
    stage.waits_for(first, WaitCode::NotSent).await?;
    stage.step(second).await?;
    stage.tells(second.0, &[FULFILLED]).await?;
    reads(
        &stage,
        second,
        &[
            "accepted: stored; not called yet",
            "accepted: the partner's limits leave no permit for now",
            "initiating: attempt 1 begins",
            "pending: the upstream opened session …",
            "fulfilled: fulfilled",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn a_busy_upstream_is_asked_again_when_it_wishes(stage: Stage) -> Result<()> {
    let wish = Duration::from_secs(40);
    stage.upstream.next_init(Init::Answer(Answer::Busy { retry_after: Some(wish) }));
    stage.upstream.next_init(Init::Answer(Answer::Busy { retry_after: None }));
    let id = stage.buy("busy").await?;
    let row = stage.waits_for(id, WaitCode::Busy).await?;
    let State::Accepted { waiting: Some(waiting) } = &row.state else { unreachable!("it waits") };
    assert_eq!(waiting.until, Some(row.updated_at + wish), "Retry-After is kept to");
    // Timers may be early by a quarter, and late.
    stage.skip(wish.mul_f64(0.75)..wish.mul_f64(1.26)).await?;
    stage.tells(id.0, &[FULFILLED]).await?;
    let answers: Vec<_> = stage.store.attempts(id).await?.into_iter().map(|attempt| attempt.fact).collect();
    let names: Vec<_> = answers.iter().flatten().map(|fact| fact.answer.name()).collect();
    assert_eq!((names.as_slice(), stage.bought(id)), (["busy", "busy", "done"].as_slice(), 1));
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "accepted: the upstream is busy",
            "initiating: attempt 2 begins",
            "accepted: the upstream is busy",
            "initiating: attempt 3 begins",
            "pending: the upstream opened session …",
            "fulfilled: fulfilled",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn a_call_that_was_never_sent_is_made_again(stage: Stage) -> Result<()> {
    stage.engine.lock().set_unreachable(1.0);
    let id = stage.buy("unsent").await?;
    stage.waits_for(id, WaitCode::NotSent).await?;
    stage.engine.lock().set_unreachable(0.0);
    stage.tells(id.0, &[FULFILLED]).await?;
    assert_eq!(stage.bought(id), 1);
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "accepted: the call was never sent: connection refused",
            "initiating: attempt 2 begins",
            "pending: the upstream opened session …",
            "fulfilled: fulfilled",
        ],
    )
    .await?;
    stage.stop().await
}

async fn is_fulfilled_straight(stage: &Stage, id: clawback_domain::PurchaseId) -> Result<()> {
    let straight = [
        "accepted: stored; not called yet",
        "initiating: attempt 1 begins",
        "pending: the upstream opened session …",
        "fulfilled: fulfilled",
    ];
    reads(stage, id, &straight).await
}

async fn is_consumed(stage: &Stage, expected: bool) -> Result<()> {
    let queue = topology::command_queue(&stage.partner, CommandKind::Purchase);
    until(&format!("the purchase queue is consumed: {expected}"), SOON, || async {
        let consumers = stage.broker.queue_state(&queue).await.map_err(|error| error.to_string())?.consumers;
        if (consumers > 0) == expected { Ok(()) } else { Err(format!("{consumers} consumers")) }
    })
    .await
}

/// Stops one pack, and returns when the worker knows. It reads all pauses at once, and of a partner's one can see that it was read.
pub async fn pause_rookie(stage: &Stage) -> Result<PauseScope> {
    let partner = PauseScope::partner(stage.partner.clone());
    let pack = PauseScope { pack: Some(PackId::new("rookie")?), kind: Some(CommandKind::Purchase), ..partner.clone() };
    is_consumed(stage, true).await?;
    pause(stage, &pack, "stock-taking").await?;
    pause(stage, &partner, "to be seen").await?;
    is_consumed(stage, false).await?;
    ensure!(stage.store.resume(&partner, "ops", "seen", stage.now()).await?, "it was not paused");
    is_consumed(stage, true).await?;
    Ok(pack)
}

async fn pause(stage: &Stage, scope: &PauseScope, reason: &str) -> Result<()> {
    let pause = Pause { scope: scope.clone(), by: "ops".into(), reason: reason.into(), since: stage.now(), refused_key: None };
    ensure!(stage.store.pause(pause).await?, "it was paused already");
    Ok(())
}

/// As the verb does it: gone, known everywhere, then what waited is due.
async fn resume(stage: &Stage, scope: &PauseScope) -> Result<()> {
    const KNOWN_EVERYWHERE: Duration = Duration::from_millis(1200);
    ensure!(stage.store.resume(scope, "ops", "over", stage.now()).await?, "it was not paused");
    let clock: &dyn Clock = &*stage.clock;
    clock.sleep(KNOWN_EVERYWHERE).await;
    stage.store.lift(scope, &[WaitCode::Paused, WaitCode::PackPaused], stage.now(), 50).await?;
    Ok(())
}
