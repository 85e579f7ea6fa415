//! Whatever stops a purchase, or ends it, is told: by its state, by its events in order, and by its timeline in words.
//!
//! A row of the contract's table of what stops a purchase is a scene here, and so is each way to an end. Every scene is played on
//! all parts; each has a partner, an upstream and a clock of its own, so that all play at once.

#[path = "says_everything/doubts.rs"]
mod doubts;
#[path = "says_everything/ends.rs"]
mod ends;
#[path = "says_everything/stops.rs"]
mod stops;

use anyhow::{Context, Result, bail};
use clawback_domain::PurchaseId;
use clawback_tests::in_process::{Plant, Setup, Stage};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde_json::Value;

const FULFILLED: &str = "clawback.purchase.fulfilled";
const FAILED: &str = "clawback.purchase.failed";
const REVIEW: &str = "clawback.purchase.review";

/// The scene's name is its partner's.
type Scene = (&'static str, fn(Stage) -> BoxFuture<'static, Result<()>>);

macro_rules! scenes {
    ($($module:ident::$scene:ident,)*) => { [$((stringify!($scene), |stage| $module::$scene(stage).boxed()),)*] };
}

const SCENES: [Scene; 24] = scenes![
    stops::a_refused_key_pauses_the_partner_and_another_key_lifts_it,
    stops::an_old_key_refused_late_does_not_condemn_the_new_one,
    stops::polling_goes_on_though_a_poll_was_refused,
    stops::a_paused_partner_is_not_consumed_until_resumed,
    stops::a_paused_pack_waits_as_accepted_and_others_go_on,
    stops::no_permit_within_a_minute_is_written_down,
    stops::a_busy_upstream_is_asked_again_when_it_wishes,
    stops::a_call_that_was_never_sent_is_made_again,
    ends::out_of_stock_fails_one_by_the_call_and_others_by_the_list,
    ends::not_after_is_kept_to,
    ends::nothing_waits_longer_than_max_wait,
    ends::cancelled_before_the_call_and_never_after,
    ends::a_documented_refusal_fails_it,
    doubts::what_was_bought_is_recovered_whatever_hid_the_answer,
    doubts::what_was_not_bought_is_for_a_person_when_the_window_is_over,
    doubts::an_unrecognised_refusal_fails_once_every_look_has_proved_absence,
    doubts::a_review_settles_itself_when_its_items_appear,
    doubts::two_doubts_of_one_user_share_what_was_bought,
    doubts::two_equal_doubts_and_one_item_are_for_a_person,
    doubts::an_item_that_nobody_ordered_is_an_orphan,
    ends::a_failed_transaction_is_believed_after_a_look,
    ends::a_failed_transaction_whose_items_are_there_is_not_believed,
    ends::still_pending_is_reviewed_and_settles_itself,
    ends::a_fulfilment_that_does_not_fit_is_reviewed,
];

/// Plays every scene; an error names all that failed.
async fn says_everything(plant: Plant) -> Result<()> {
    let played = SCENES.iter().map(async |(name, scene)| {
        let stage = Stage::set(&plant, &name.replace('_', "-")[..name.len().min(63)], Setup::default()).await?;
        let end = std::panic::AssertUnwindSafe(scene(stage)).catch_unwind().await;
        let end = end.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            bail!("{}", text.unwrap_or_else(|| "it panicked".into()))
        });
        end.context(*name)
    });
    let failed: Vec<String> =
        join_all(played).await.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !failed.is_empty() {
        bail!("{} scenes failed:\n{}", failed.len(), failed.join("\n"));
    }
    plant.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_and_the_model() -> Result<()> {
    says_everything(Plant::in_memory().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_and_sqlite() -> Result<()> {
    says_everything(Plant::on_sqlite().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rabbitmq_and_postgresql() -> Result<()> {
    says_everything(Plant::on_servers().await?).await
}

/// The timeline is these lines; `…` stands for what differs from run to run. A status that came before its session's commit was taken
/// has joined it: then one line tells both.
async fn reads(stage: &Stage, id: PurchaseId, expected: &[&str]) -> Result<()> {
    let story = stage.story(id).await?;
    let expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
    let fit = |expected: &[String]| {
        story.len() == expected.len() && story.iter().zip(expected).all(|(line, expected)| is_like(line, expected))
    };
    anyhow::ensure!(fit(&expected) || fit(&joined(&expected)), "the timeline reads\n{story:#?}\nand not\n{expected:#?}");
    Ok(())
}

/// The first line of a session and the line after it as one.
fn joined(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    let opened = lines.iter().position(|line| line.starts_with("pending: the upstream opened session"));
    if let Some(at) = opened.filter(|at| at + 1 < lines.len()) {
        let (next, opened) = (lines.remove(at + 1), lines.remove(at));
        let (state, note) = next.split_once(": ").expect("a line begins with its state");
        let session = opened.trim_start_matches("pending: ");
        lines.insert(at, format!("{state}: {session}; {note}"));
    }
    lines
}

fn is_like(line: &str, expected: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else { return line == expected };
    let Some(line) = line.strip_prefix(first) else { return false };
    line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| is_like(&line[at..], rest))
}

/// Why it failed, as told: code and the upstream's status.
fn reason(data: &Value) -> (&str, Option<u64>) {
    (data["reason"]["code"].as_str().unwrap_or_default(), data["reason"]["upstream_status"].as_u64())
}

#[test]
fn a_line_is_like_its_pattern() {
    for (line, pattern, expected) in [
        ("a b c", "a b c", true),
        ("a b c", "a…c", true),
        ("a b c", "a…", true),
        ("a b c", "…c", true),
        ("a b c", "b…", false),
        ("a b c", "a…b", false),
        ("a b c", "a…x…c", false),
    ] {
        assert_eq!(is_like(line, pattern), expected, "{line} {pattern}");
    }
}
