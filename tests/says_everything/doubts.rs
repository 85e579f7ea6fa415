//! Nobody knows whether it bought: what the inventory shows settles it, and it is never called again.

use anyhow::{Result, ensure};
use clawback_domain::{
    PackId, PurchaseId, UserId,
    answer::{Answer, InitRequest},
    clock::after,
    purchase::StateName,
};
use clawback_tests::in_process::{Init, KEY, Stage};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{FAILED, FULFILLED, REVIEW, reads, reason};

/// Each hides the answer of a call that has bought, in another way.
const HIDDEN: [(&str, &str); 4] = [
    ("reset-after", "the connection was reset"),
    ("timeout-after", "no answer in time"),
    ("error-after", "Error during transaction"),
    ("cut-body", "the body of the 200 broke off"),
];

pub async fn what_was_bought_is_recovered_whatever_hid_the_answer(stage: Stage) -> Result<()> {
    for (fault, words) in HIDDEN {
        let id = doubted(&stage, fault, fault, json!({ "amount": 2 })).await?;
        let told = stage.tells(id.0, &[FULFILLED]).await?.remove(0);
        assert_eq!((&told["recovered"], &told["session_id"]), (&json!(true), &Value::Null), "{fault}: {told}");
        assert_eq!((items(&told), stage.bought(id)), (stage.bought_items(id).concat(), 1), "{fault}");
        assert_eq!(
            (told["evidence"]["doubt"].as_str(), told["evidence"]["found"][0]["count"].as_u64()),
            (Some(words), Some(1))
        );
        let unknown = format!("reconciling: the outcome of attempt 1 is unknown: {words}");
        let recovered = "fulfilled: recovered from the inventory";
        reads(&stage, id, &["accepted: stored; not called yet", "initiating: attempt 1 begins", &unknown, recovered]).await?;
    }
    assert_eq!(stage.upstream.begun(), HIDDEN.len());
    stage.stop().await
}

pub async fn what_was_not_bought_is_for_a_person_when_the_window_is_over(stage: Stage) -> Result<()> {
    let id = doubted(&stage, "broken", "reset-before", json!({})).await?;
    let told = stage.tells(id.0, &[REVIEW]).await?.remove(0);
    assert_eq!(told["reason"]["code"], "unknown_outcome");
    let evidence = &told["evidence"];
    ensure!(evidence["looked"].as_u64() > Some(1) && evidence["window_ends_at"].is_string(), "{told}");
    assert_eq!((stage.upstream.begun(), stage.bought(id)), (1, 0));
    let review = "review: needs a person: the connection was reset; the inventory shows nothing that no purchase explains";
    let unknown = "reconciling: the outcome of attempt 1 is unknown: the connection was reset";
    // The sandbox does not know a user who never bought anything.
    let story = stage.story(id).await?;
    ensure!(
        story[2] == unknown && story[3].starts_with("review: needs a person: the connection was reset; "),
        "{story:?}, {review}"
    );
    let next = stage.buy("next").await?;
    stage.tells(next.0, &[FULFILLED]).await?;
    stage.stop().await
}

pub async fn an_unrecognised_refusal_fails_once_every_look_has_proved_absence(stage: Stage) -> Result<()> {
    stage.upstream.next_init(Init::Answer(Answer::Unknown { why: "422 no luck today".into(), status: Some(422) }));
    let id = stage.buy("refused").await?;
    let told = stage.tells(id.0, &[FAILED]).await?.remove(0);
    assert_eq!(reason(&told), ("refused", Some(422)));
    ensure!(told["evidence"]["proofs"].as_u64() >= Some(5), "{told}");
    assert_eq!((stage.upstream.begun(), stage.bought(id)), (1, 0));
    stage.stop().await
}

pub async fn a_review_settles_itself_when_its_items_appear(stage: Stage) -> Result<()> {
    let id = doubted(&stage, "slow", "reset-before", json!({})).await?;
    stage.tells(id.0, &[REVIEW]).await?;
    // What was cut off on the way arrives after all.
    let answer = buy_aside(&stage, &format!("{id}.1"));
    ensure!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    stage.step(id).await?;
    let told = stage.tells(id.0, &[REVIEW, FULFILLED]).await?.remove(1);
    assert_eq!((items(&told), &told["recovered"]), (stage.bought_items(id).concat(), &json!(true)));
    assert_eq!((stage.upstream.begun(), stage.bought(id)), (1, 1));
    stage.stop().await
}

pub async fn two_doubts_of_one_user_share_what_was_bought(stage: Stage) -> Result<()> {
    stage.engine.lock().set_faults(vec!["init:reset-after=1".parse()?]);
    let ids = [stage.buy("one").await?, stage.buy("two").await?];
    let mut told = Vec::new();
    for id in ids {
        told.extend(items(&stage.tells(id.0, &[FULFILLED]).await?[0]));
    }
    told.sort();
    let mut bought: Vec<_> = ids.into_iter().flat_map(|id| stage.bought_items(id).concat()).collect();
    bought.sort();
    assert_eq!((told, stage.upstream.begun()), (bought, 2));
    stage.stop().await
}

pub async fn two_equal_doubts_and_one_item_are_for_a_person(stage: Stage) -> Result<()> {
    let nothing = doubted(&stage, "nothing", "reset-before", json!({})).await?;
    let something = doubted(&stage, "something", "reset-after", json!({})).await?;
    for id in [nothing, something] {
        let told = stage.tells(id.0, &[REVIEW]).await?.remove(0);
        assert_eq!(told["reason"]["code"], "ambiguous", "{told}");
        ensure!(told["evidence"]["rivals"].as_array().is_some_and(|rivals| rivals.len() == 1), "{told}");
    }
    assert_eq!((stage.bought(nothing), stage.bought(something)), (0, 1));
    stage.stop().await
}

pub async fn an_item_that_nobody_ordered_is_an_orphan(stage: Stage) -> Result<()> {
    let first = stage.buy("first").await?;
    stage.tells(first.0, &[FULFILLED]).await?;
    // Long enough ago that no purchase in doubt can have brought it.
    let answer = buy_aside(&stage, "somebody-else");
    let Answer::Done { nfts, .. } = &answer else { anyhow::bail!("{answer:?}") };
    stage.clock.advance(Duration::from_secs(120));
    let id = doubted(&stage, "doubted", "reset-after", json!({})).await?;
    stage.tells(id.0, &[FULFILLED]).await?;
    let user = UserId::new("alice")?;
    let left = stage.store.unexplained(Some(&stage.partner), Some(&user), 10).await?;
    let orphans: Vec<_> = left.iter().map(|one| (&one.item_id, one.claimed, &one.candidates)).collect();
    assert_eq!(orphans, [(&nfts[0].item_id, false, &vec![first])]);
    stage.stop().await
}

/// A purchase whose call ended in `fault`; the upstream is well afterwards.
async fn doubted(stage: &Stage, request: &str, fault: &str, fields: Value) -> Result<PurchaseId> {
    stage.engine.lock().set_faults(vec![format!("init:{fault}=1").parse()?]);
    let id = stage.buy_with(request, fields).await?;
    stage.row("its call is over", id, |row| !matches!(row.state.name(), StateName::Accepted | StateName::Initiating)).await?;
    stage.engine.lock().set_faults(Vec::new());
    Ok(id)
}

/// One `rookie` for alice that no worker called for.
fn buy_aside(stage: &Stage, reference: &str) -> Answer {
    let now = stage.now();
    let request = InitRequest {
        pack_id: PackId::new("rookie").expect("a good id"),
        amount: 1,
        user_id: UserId::new("alice").expect("a good id"),
        reference: reference.into(),
        send_by: after(now, Duration::from_secs(5)),
    };
    stage.engine.lock().buy_init(now, KEY, &request)
}

fn items(told: &Value) -> Vec<String> {
    let mut items: Vec<_> =
        told["items"].as_array().into_iter().flatten().filter_map(|item| item["item_id"].as_str().map(str::to_owned)).collect();
    items.sort();
    items
}
