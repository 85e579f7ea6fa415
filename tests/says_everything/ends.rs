//! The ways to an end, and to a review.

use std::time::Duration;

use anyhow::{Result, bail};
use clawback_domain::{
    PurchaseId, UserId,
    answer::StatusAnswer,
    change::Change,
    purchase::{Decision, Happened, Rules, StateName, decide},
    reason::{FailureCode, WaitCode},
};
use clawback_store::Applied;
use clawback_tests::in_process::{Setup, Stage, Status};
use serde_json::json;

use crate::{FAILED, FULFILLED, REVIEW, reads, reason, stops::pause_rookie};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn out_of_stock_fails_one_by_the_call_and_others_by_the_list(stage: Stage) -> Result<()> {
    stage.engine.lock().set_stock("rookie", false);
    let first = stage.buy("first").await?;
    let told = stage.tells(first.0, &[FAILED]).await?;
    assert_eq!(reason(&told[0]), ("out_of_stock", Some(400)));
    let second = stage.buy("second").await?;
    let told = stage.tells(second.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.upstream.begun()), (("out_of_stock", None), 1), "without a call");
    let other = stage.buy_with("other", json!({ "pack_id": "allstar" })).await?;
    stage.tells(other.0, &[FULFILLED]).await?;
    reads(
        &stage,
        first,
        &["accepted: stored; not called yet", "initiating: attempt 1 begins", "failed: failed: Claw machine is out of stock"],
    )
    .await?;
    reads(
        &stage,
        second,
        &["accepted: stored; not called yet", "failed: failed: the packs list says that the pack is out of stock"],
    )
    .await?;

    stage.engine.lock().set_stock("rookie", true);
    stage.clock.advance(Duration::from_secs(60));
    let third = stage.buy("third").await?;
    stage.tells(third.0, &[FULFILLED]).await?;
    stage.stop().await
}

pub async fn not_after_is_kept_to(stage: Stage) -> Result<()> {
    let id = stage.buy_with("late", json!({ "not_after": "2020-01-01T00:00:00Z" })).await?;
    let told = stage.tells(id.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.upstream.begun()), (("expired", None), 0));
    let expected = ["accepted: stored; not called yet", "failed: failed: it was not called in time and never will be"];
    reads(&stage, id, &expected).await?;

    // The call is begun in time, but what is sent must be sent in time.
    stage.upstream.hang();
    let id = stage.buy_with("begun", json!({ "not_after": stage.now() + Duration::from_secs(30) })).await?;
    stage.upstream.called(1).await;
    stage.clock.advance(Duration::from_secs(31));
    stage.upstream.go_on();
    let told = stage.tells(id.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.upstream.begun(), stage.bought(id)), (("expired", None), 1, 0));
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "accepted: the call was never sent: send_by passed",
            "failed: failed: it was not called in time and never will be",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn nothing_waits_longer_than_max_wait(stage: Stage) -> Result<()> {
    pause_rookie(&stage).await?;
    let id = stage.buy("held").await?;
    let row = stage.waits_for(id, WaitCode::PackPaused).await?;
    assert!(row.due_at.is_some_and(|due| due <= row.created_at + Rules::default().max_wait), "{row:?}");
    stage.clock.advance(Rules::default().max_wait);
    stage.step(id).await?;
    let told = stage.tells(id.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.upstream.begun()), (("expired", None), 0));
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "accepted: paused by ops since …: stock-taking",
            "failed: failed: it was not called in time and never will be",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn cancelled_before_the_call_and_never_after(stage: Stage) -> Result<()> {
    let scope = pause_rookie(&stage).await?;
    let id = stage.buy("held").await?;
    stage.waits_for(id, WaitCode::PackPaused).await?;
    assert_eq!(cancel(&stage, id).await?, None);
    assert_eq!(cancel(&stage, id).await?, None, "twice is no error");
    // Nobody who cancels publishes: the relay's look finds the event.
    stage.clock.advance(Duration::from_secs(60));
    let told = stage.tells(id.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.upstream.begun()), (("cancelled", None), 0));
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "accepted: paused by ops since …: stock-taking",
            "failed: failed: cancelled before it was called: a child ordered it",
        ],
    )
    .await?;
    let by: Vec<_> = stage.store.timeline(id).await?.into_iter().filter_map(|entry| entry.by).collect();
    assert_eq!(by, ["kim"]);
    stage.step(id).await?;

    stage.store.resume(&scope, "ops", "done", stage.now()).await?;
    stage.upstream.hang();
    let late = stage.buy_with("late", json!({ "pack_id": "allstar" })).await?;
    stage.upstream.called(1).await;
    let refused = cancel(&stage, late).await?;
    assert_eq!(refused, Some("it is past the point of no return"));
    stage.upstream.go_on();
    stage.tells(late.0, &[FULFILLED]).await?;
    assert_eq!((stage.bought(id), stage.bought(late)), (0, 1));
    stage.stop().await
}

pub async fn a_documented_refusal_fails_it(stage: Stage) -> Result<()> {
    for (request, fields, code, words) in [
        ("large", json!({ "amount": 11 }), FailureCode::AmountTooLarge, "Amount must be less than or equal to 10"),
        ("unknown", json!({ "pack_id": "no-such-pack" }), FailureCode::UnknownPack, "VM not found"),
    ] {
        let id = stage.buy_with(request, fields).await?;
        let told = stage.tells(id.0, &[FAILED]).await?;
        assert_eq!(reason(&told[0]), (code.as_str(), Some(400)));
        assert_eq!(told[0]["reason"]["message"], words);
        let failed = format!("failed: failed: {words}");
        reads(&stage, id, &["accepted: stored; not called yet", "initiating: attempt 1 begins", &failed]).await?;
    }
    assert_eq!(stage.engine.lock().ledger().purchases, []);
    stage.stop().await
}

pub async fn a_failed_transaction_is_believed_after_a_look(stage: Stage) -> Result<()> {
    stage.engine.lock().set_faults(vec!["status:transaction-failed=1".parse()?]);
    let id = stage.buy("cancelled-upstream").await?;
    let told = stage.tells(id.0, &[FAILED]).await?;
    assert_eq!((reason(&told[0]), stage.bought(id)), (("transaction_failed", Some(400)), 0));
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "pending: the upstream opened session …",
            "failed: failed: Transaction failed",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn a_failed_transaction_whose_items_are_there_is_not_believed(stage: Stage) -> Result<()> {
    stage.upstream.next_status(Status::Answer(StatusAnswer::TransactionFailed));
    let id = stage.buy("both").await?;
    let told = stage.tells(id.0, &[REVIEW]).await?;
    assert_eq!(told[0]["reason"]["code"], "item_mismatch");
    assert_eq!(told[0]["evidence"]["looks"][0]["unexplained"].as_array().map(Vec::len), Some(1), "{}", told[0]);
    reads(
        &stage,
        id,
        &[
            "accepted: stored; not called yet",
            "initiating: attempt 1 begins",
            "pending: the upstream opened session …",
            "review: needs a person: the upstream says that the transaction failed, yet the inventory shows items that no purchase \
             explains",
        ],
    )
    .await?;
    stage.stop().await
}

pub async fn still_pending_is_reviewed_and_settles_itself(stage: Stage) -> Result<()> {
    stage.upstream.pend(true);
    let id = stage.buy("slow").await?;
    stage.reaches(id, StateName::Pending).await?;
    stage.clock.advance(Setup::default().rules.poll.deadline);
    let told = stage.tells(id.0, &[REVIEW]).await?;
    assert_eq!(told[0]["reason"]["code"], "still_pending");
    let row = stage.reaches(id, StateName::Review).await?;
    assert_eq!(row.due_at, Some(row.updated_at + HOUR), "it goes on being polled, hourly");
    let pending = [
        "accepted: stored; not called yet",
        "initiating: attempt 1 begins",
        "pending: the upstream opened session …",
        "review: needs a person: not fulfilled in time; the last answer: still pending",
    ];
    reads(&stage, id, &pending).await?;

    stage.upstream.pend(false);
    stage.clock.advance(HOUR);
    stage.step(id).await?;
    let told = stage.tells(id.0, &[REVIEW, FULFILLED]).await?;
    assert_eq!((told[1]["recovered"].as_bool(), told[1]["items"].as_array().map(Vec::len)), (Some(false), Some(1)));
    reads(&stage, id, &[&pending[..], &["fulfilled: fulfilled"]].concat()).await?;
    assert_eq!((stage.upstream.begun(), stage.bought(id)), (1, 1));
    stage.stop().await
}

pub async fn a_fulfilment_that_does_not_fit_is_reviewed(stage: Stage) -> Result<()> {
    let partial: Status = Status::Twist(|mut told| {
        told.nfts.pop();
        told
    });
    let surplus = Status::Twist(|mut told| {
        told.nfts.extend(told.nfts.first().cloned());
        told
    });
    let stranger = Status::Twist(|mut told| {
        told.user_id = UserId::new("mallory").ok();
        told
    });
    for (request, status, code, words) in [
        ("partial", partial, "partial_items", "fulfilled with 1 of 2 items"),
        ("surplus", surplus, "item_mismatch", "fulfilled with 3 items instead of 2"),
        ("stranger", stranger, "item_mismatch", "the status told of another user"),
    ] {
        stage.upstream.next_status(status);
        let id = stage.buy_with(request, json!({ "amount": 2 })).await?;
        let told = stage.tells(id.0, &[REVIEW]).await?;
        assert_eq!(told[0]["reason"], json!({ "code": code, "message": words }));
        assert_eq!(stage.store.pulls(id).await?, [], "nothing is recorded that is not believed");
        let review = format!("review: needs a person: {words}");
        let opened = "pending: the upstream opened session …";
        reads(&stage, id, &["accepted: stored; not called yet", "initiating: attempt 1 begins", opened, &review]).await?;
    }
    stage.stop().await
}

/// As the verb does it. `Some` is why not.
async fn cancel(stage: &Stage, id: PurchaseId) -> Result<Option<&'static str>> {
    loop {
        let row = stage.row("it is there", id, |_| true).await?;
        let happened = Happened::Cancelled { by: "kim".into(), why: "a child ordered it".into() };
        let what = happened.name();
        match decide(&row, happened, stage.now(), &Rules::default()) {
            Decision::Transition(transition) => {
                if stage.store.apply(Change::of(&row, *transition, what, None)).await? == Applied::Committed {
                    return Ok(None);
                }
            }
            Decision::Repeat => return Ok(None),
            Decision::Illegal(why) => return Ok(Some(why)),
            Decision::Orphan(session) => bail!("no session is told here: {session}"),
            Decision::TooLate(why) => bail!("nothing is answered here: {why}"),
        }
    }
}
