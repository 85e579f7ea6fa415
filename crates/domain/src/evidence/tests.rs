//! Each rule of the verdict on a small scene. Times are seconds; the purchase in doubt is called at 1000 and doubted from 1010 on, its
//! window ends at 1310.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    AttemptToken, PartnerId, SessionId,
    answer::{Answer, Inventory, InventoryAnswer},
    change::Fact,
    clock::after,
    command::parse_purchase,
    item::{Item, Sight},
    poll::ReconcileRules,
    purchase::{Attempt, Pending, Reconciling, Review, Rules, State},
    trace::TraceContext,
};

const CALLED: u64 = 1000;
const DOUBTED: u64 = 1010;
const WINDOW: u64 = 300;
const SKEW: u64 = 10;

fn at(seconds: u64) -> Time {
    after(Time::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn rules() -> Rules {
    let seconds = Duration::from_secs;
    let reconcile = ReconcileRules { window: seconds(WINDOW), clock_skew: seconds(SKEW), ..ReconcileRules::default() };
    Rules { reconcile, ..Rules::default() }
}

fn accepted(name: &str, pack: &str, amount: u32, created: u64) -> Purchase {
    let body = format!(r#"{{"request_id":"{name}","user_id":"u","pack_id":"{pack}","amount":{amount}}}"#);
    let command = parse_purchase(None, body.as_bytes()).unwrap();
    Purchase::accept(PartnerId::new("acme").unwrap(), command, at(created), TraceContext::start(Uuid::from_u128(1), 1))
}

fn attempt(purchase: &Purchase, called: u64) -> Attempt {
    let token = AttemptToken(Uuid::new_v5(&purchase.id.0, b"1"));
    Attempt { number: 1, token, started_at: at(called), send_by: at(called + 5), deadline: at(called + 42), price: None }
}

fn doubted(mut purchase: Purchase, called: u64, status: Option<u16>) -> Open {
    let attempt = attempt(&purchase, called);
    let fact = Fact { token: attempt.token, answer: Answer::Unknown { why: "reset".into(), status }, at: at(called + 10) };
    let since = at(called + 10);
    purchase.state = State::Reconciling(Reconciling { attempt, why: "reset".into(), status, since, looks: 0, evidence: None });
    purchase.attempts = 1;
    Open { attempts: vec![AttemptRecord { order: purchase.id, attempt, fact: Some(fact) }], purchase }
}

/// An attempt that has no answer yet.
fn under_way(mut purchase: Purchase, called: u64) -> Open {
    let attempt = attempt(&purchase, called);
    purchase.state = State::Initiating(attempt);
    Open { attempts: vec![AttemptRecord { order: purchase.id, attempt, fact: None }], purchase }
}

/// One with a session, whose items were told or not.
fn pending(mut purchase: Purchase, called: u64, told: &[&str]) -> Open {
    let attempt = attempt(&purchase, called);
    let session = SessionId::new(format!("session of {}", purchase.command.request_id)).unwrap();
    let answer = Answer::Done { session: session.clone(), nfts: told.iter().map(|name| item(name)).collect() };
    let fact = Fact { token: attempt.token, answer, at: at(called + 1) };
    purchase.state = State::Pending(Pending { session, since: at(called + 1), polls: 0, cancelled: false });
    Open { attempts: vec![AttemptRecord { order: purchase.id, attempt, fact: Some(fact) }], purchase }
}

fn item(name: &str) -> Item {
    Item::bare(ItemId::new(name).unwrap())
}

fn held(name: &str, pack: &str, bought: u64) -> HeldItem {
    HeldItem { claw_id: Some(pack.into()), purchased_at: Some(at(bought)), ..item(name).into() }
}

/// A pull that became known at `known`, and what looks have shown of it.
fn pull(name: &str, known: u64, sight: Sight) -> Pull {
    let purchase = PurchaseId(Uuid::new_v5(&Uuid::nil(), format!("{name} {known}").as_bytes()));
    Pull {
        id: crate::PullId::of(purchase, 0),
        purchase,
        position: 0,
        partner: PartnerId::new("acme").unwrap(),
        user_id: UserId::new("u").unwrap(),
        pack_id: crate::PackId::new("gold").unwrap(),
        item: item(name),
        created_at: at(known),
        sight,
        sale: None,
        told: Default::default(),
    }
}

fn seen(bought: u64, when: u64) -> Sight {
    Sight::default().after(at(when), Some(Shown { purchased_at: Some(at(bought)), ..Shown::default() }))
}

/// The purchase in doubt, what else is known, and one look after the other.
struct Scenario {
    case: Case,
    rules: Rules,
}

impl Scenario {
    fn new(amount: u32, status: Option<u16>) -> Self {
        let ours = doubted(accepted("ours", "gold", amount, CALLED), CALLED, status);
        Self { case: Case { open: vec![ours], ..Case::default() }, rules: rules() }
    }

    fn with(mut self, other: Open) -> Self {
        self.case.open.push(other);
        self
    }

    fn knowing(mut self, pull: Pull) -> Self {
        self.case.pulls.push(pull);
        self
    }

    fn read(&mut self, when: u64, answer: InventoryAnswer) -> Examined {
        let reading = Reading { answer, began: at(when), ended: at(when) };
        let examined = examine(&self.case.open[0].purchase, &reading, &self.case, &self.rules).expect("it is in doubt");
        if let State::Reconciling(doubt) = &mut self.case.open[0].purchase.state {
            doubt.evidence = Some(Box::new(examined.evidence.clone()));
        }
        if let Some(survey) = &examined.survey {
            for pull in &mut self.case.pulls {
                let shown = survey.sightings.pulls.iter().find(|(purchase, ..)| *purchase == pull.purchase);
                pull.sight = pull.sight.after(at(when), shown.and_then(|(.., shown)| *shown));
            }
            self.case.unexplained.retain(|known| !survey.explained.contains(known));
            for one in &survey.unexplained {
                self.case.unexplained.retain(|known| known.key() != one.key());
                self.case.unexplained.push(one.clone());
            }
        }
        examined
    }

    fn look(&mut self, when: u64, items: &[HeldItem]) -> Verdict {
        self.examine(when, items).verdict
    }

    fn examine(&mut self, when: u64, items: &[HeldItem]) -> Examined {
        let inventory = Inventory { user_id: UserId::new("u").unwrap(), items: items.to_vec(), upstream_time: Some(at(when)) };
        self.read(when, InventoryAnswer::Read(inventory))
    }

    /// Looks every minute from when the doubt began until after the window, always at the same; the last verdict.
    fn until_it_ends(&mut self, items: &[HeldItem]) -> Verdict {
        let times = (DOUBTED + 5..=DOUBTED + WINDOW + 60).step_by(60);
        times.map(|when| self.look(when, items)).last().expect("there was a look")
    }
}

fn waits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Wait(_))
}

fn code(verdict: &Verdict) -> Option<ReviewCode> {
    match verdict {
        Verdict::Unclear(code, _) => Some(*code),
        _ => None,
    }
}

fn recovered(verdict: &Verdict) -> Vec<&str> {
    match verdict {
        Verdict::Recovered(items) => items.iter().map(|held| held.item.item_id.as_str()).collect(),
        other => panic!("not recovered: {other:?}"),
    }
}

#[test]
fn what_nobody_else_explains_is_the_purchases() {
    let mut scene = Scenario::new(2, None);
    let verdict = scene.look(1020, &[held("a", "gold", 1001), held("b", "gold", 1001), held("old", "silver", 1001)]);
    assert_eq!(recovered(&verdict), ["a", "b"]);
}

#[test]
fn of_equals_bought_in_one_instant_each_takes_what_stands_together() {
    let mut scene = Scenario::new(2, None).with(doubted(accepted("other", "gold", 2, CALLED), CALLED, None));
    let items = ["d", "a", "c", "b"].map(|name| held(name, "gold", 1001));
    assert_eq!(recovered(&scene.look(1020, &items)), ["a", "d"]);
}

#[test]
fn what_was_bought_before_the_call_or_from_another_pack_is_not() {
    let mut scene = Scenario::new(1, None);
    assert!(waits(&scene.look(1020, &[held("a", "gold", CALLED - SKEW - 1)])));
    assert!(waits(&scene.look(1030, &[held("a", "silver", 1001)])));
    assert_eq!(recovered(&scene.look(1040, &[held("a", "gold", CALLED - SKEW)])), ["a"], "the clocks may differ that much");
}

#[test]
fn an_upstream_whose_clock_is_behind_is_reckoned_with() {
    let mut scene = Scenario::new(1, None);
    let items = vec![held("a", "gold", CALLED - 100)];
    let inventory = Inventory { user_id: UserId::new("u").unwrap(), items, upstream_time: Some(at(1020 - 120)) };
    assert_eq!(recovered(&scene.read(1020, InventoryAnswer::Read(inventory)).verdict), ["a"]);
}

#[test]
fn a_known_pull_explains_one_item_and_no_more() {
    let mut scene = Scenario::new(1, None).knowing(pull("a", 900, seen(890, 950)));
    assert!(waits(&scene.look(1020, &[held("a", "gold", 890)])));
    let both = [held("a", "gold", 890), held("a", "gold", 1001)];
    let Verdict::Recovered(items) = scene.look(1080, &both) else { panic!("the second of its id is ours") };
    assert_eq!(items[0].purchased_at, Some(at(1001)));
}

#[test]
fn a_pull_that_was_sold_does_not_explain_another_of_its_id() {
    let mut scene = Scenario::new(1, None).knowing(pull("a", 900, seen(890, 950)));
    assert_eq!(recovered(&scene.look(1020, &[held("a", "gold", 1001)])), ["a"]);
}

#[test]
fn evidence_accumulates_over_looks_whatever_becomes_of_the_items() {
    let mut scene = Scenario::new(2, None);
    assert!(waits(&scene.look(1020, &[held("a", "gold", 1001)])));
    assert!(waits(&scene.look(1080, &[])), "one bad read forgets nothing");
    assert_eq!(recovered(&scene.look(1140, &[held("b", "gold", 1001)])), ["a", "b"]);
}

#[test]
fn what_a_competitor_turns_out_to_have_bought_is_no_evidence_any_more() {
    let other = accepted("other", "gold", 1, CALLED);
    let mut scene = Scenario::new(1, None).with(pending(other, CALLED, &[]));
    assert!(waits(&scene.look(1020, &[held("a", "gold", 1001)])));
    scene.case.open.truncate(1);
    scene.case.pulls.push(pull("a", 1030, Sight::default()));
    let examined = scene.examine(1080, &[held("a", "gold", 1001)]);
    assert!(waits(&examined.verdict), "{:?}", examined.verdict);
}

#[test]
fn who_may_still_bring_a_session_makes_the_verdict_wait() {
    let a = [held("a", "gold", 1001)];
    let other = || accepted("other", "gold", 1, CALLED);
    assert!(waits(&Scenario::new(1, None).with(under_way(other(), CALLED)).look(1020, &a)));
    assert!(waits(&Scenario::new(1, None).with(pending(other(), CALLED, &[])).look(1020, &a)));
    let silver = accepted("other", "silver", 1, CALLED);
    assert_eq!(recovered(&Scenario::new(1, None).with(under_way(silver, CALLED)).look(1020, &a)), ["a"], "another pack");
    let later = Scenario::new(1, None).with(under_way(other(), 1050)).look(1060, &a);
    assert_eq!(recovered(&later), ["a"], "it was called after the item was bought");
}

#[test]
fn a_call_without_an_answer_is_unknown_after_its_deadline_and_no_sooner() {
    let other = accepted("other", "gold", 1, CALLED);
    let mut scene = Scenario::new(1, None).with(under_way(other, CALLED));
    let both = [held("a", "gold", 1001), held("b", "gold", 1002)];
    assert!(waits(&scene.look(1041, &both)));
    assert_eq!(recovered(&scene.look(1042, &both)), ["a"]);
}

#[test]
fn items_told_when_a_session_was_opened_are_known_pulls() {
    let other = accepted("other", "gold", 1, CALLED);
    let mut scene = Scenario::new(1, None).with(pending(other, CALLED, &["x"]));
    assert_eq!(recovered(&scene.look(1020, &[held("x", "gold", 1001), held("a", "gold", 1002)])), ["a"]);
}

#[test]
fn a_competitor_in_review_whose_items_were_never_told_needs_a_person() {
    let mut other = pending(accepted("other", "gold", 1, CALLED), CALLED, &[]);
    let State::Pending(Pending { session, .. }) = &other.purchase.state else { unreachable!() };
    other.purchase.state = State::Review(Review {
        code: ReviewCode::StillPending,
        message: "late".into(),
        session: Some(session.clone()),
        cancelled: false,
        attempt: None,
        evidence: None,
        since: at(1015),
    });
    let verdict = Scenario::new(1, None).with(other).look(1020, &[held("a", "gold", 1001)]);
    assert_eq!(code(&verdict), Some(ReviewCode::Ambiguous));
}

#[test]
fn one_group_and_two_equal_purchases_are_ambiguous_until_there_are_two() {
    let other = || doubted(accepted("other", "gold", 1, CALLED), CALLED, None);
    let one = [held("a", "gold", 1001)];
    assert_eq!(code(&Scenario::new(1, None).with(other()).until_it_ends(&one)), Some(ReviewCode::Ambiguous));
    let mut scene = Scenario::new(1, None).with(other());
    assert!(waits(&scene.look(1020, &one)));
    assert_eq!(recovered(&scene.look(1080, &[held("a", "gold", 1001), held("b", "gold", 1003)])), ["a"]);
}

#[test]
fn amounts_tell_purchases_apart_once_a_second_look_agrees() {
    let mut scene = Scenario::new(2, None).with(doubted(accepted("other", "gold", 1, CALLED), CALLED, None));
    let items = [held("a", "gold", 1001), held("b", "gold", 1001)];
    assert!(waits(&scene.look(1020, &items)), "the group may not be whole yet");
    assert_eq!(recovered(&scene.look(1080, &items)), ["a", "b"]);
}

#[test]
fn fewer_or_more_items_than_ordered_are_for_a_person_when_the_window_is_over() {
    let verdict = Scenario::new(2, None).until_it_ends(&[held("a", "gold", 1001)]);
    assert_eq!(code(&verdict), Some(ReviewCode::PartialItems));
    let verdict = Scenario::new(1, None).until_it_ends(&[held("a", "gold", 1001), held("b", "gold", 1001)]);
    assert_eq!(code(&verdict), Some(ReviewCode::Ambiguous));
    let verdict = Scenario::new(1, None).until_it_ends(&[]);
    assert_eq!(code(&verdict), Some(ReviewCode::UnknownOutcome));
}

#[test]
fn an_unrecognised_refusal_is_believed_after_enough_looks_and_no_other_answer_is() {
    assert_eq!(Scenario::new(1, Some(422)).until_it_ends(&[]), Verdict::Absent);
    for status in [None, Some(500), Some(408), Some(200)] {
        assert_eq!(code(&Scenario::new(1, status).until_it_ends(&[])), Some(ReviewCode::UnknownOutcome), "{status:?}");
    }
}

#[test]
fn absence_counts_only_after_the_window() {
    let mut scene = Scenario::new(1, Some(422));
    for when in [1015, 1020, 1025, 1030, 1035, 1040] {
        assert!(waits(&scene.look(when, &[])));
    }
    assert!(waits(&scene.look(DOUBTED + WINDOW - 1, &[])));
    assert_eq!(scene.look(DOUBTED + WINDOW, &[]), Verdict::Absent);
}

#[test]
fn five_looks_must_have_shown_all_they_had_to_show() {
    let mut scene = Scenario::new(1, Some(422));
    for when in [1015, 1020, 1025] {
        scene.look(when, &[]);
    }
    let unreadable = InventoryAnswer::Unreadable { why: "502".into() };
    assert_eq!(code(&scene.read(DOUBTED + WINDOW, unreadable).verdict), Some(ReviewCode::UnknownOutcome));
    assert!(waits(&scene.look(DOUBTED + WINDOW + 1, &[])), "the fourth");
    assert_eq!(scene.look(DOUBTED + WINDOW + 60, &[]), Verdict::Absent);
}

#[test]
fn a_look_that_misses_a_held_pull_proves_nothing_but_what_it_shows_counts() {
    let known = || pull("k", 900, seen(890, 950));
    let mut blind = Scenario::new(1, Some(422)).knowing(known());
    // Missing in the first look; after that it is no control any more.
    assert!(!blind.examine(1015, &[]).evidence.looks[0].proof);
    assert!(blind.examine(1020, &[]).evidence.looks[1].proof);
    assert_eq!(recovered(&Scenario::new(1, Some(422)).knowing(known()).look(1015, &[held("a", "gold", 1001)])), ["a"]);
}

#[test]
fn a_pull_that_no_look_has_shown_is_no_control() {
    let mut scene = Scenario::new(1, Some(422)).knowing(pull("k", 900, Sight::default()));
    assert!(scene.examine(1015, &[]).evidence.looks[0].proof);
}

#[test]
fn an_unknown_user_proves_absence_only_if_we_know_of_no_pull() {
    let end = |mut scene: Scenario| {
        let times = (DOUBTED + 5..=DOUBTED + WINDOW + 60).step_by(60);
        times.map(|when| scene.read(when, InventoryAnswer::UserNotFound).verdict).last().unwrap()
    };
    assert_eq!(end(Scenario::new(1, Some(422))), Verdict::Absent);
    let known = Scenario::new(1, Some(422)).knowing(pull("k", 900, Sight::default()));
    assert_eq!(code(&end(known)), Some(ReviewCode::UnknownOutcome));
}

#[test]
fn evidence_once_seen_forbids_absence() {
    let mut scene = Scenario::new(2, Some(422));
    scene.look(1015, &[held("a", "gold", 1001)]);
    assert_eq!(code(&scene.until_it_ends(&[])), Some(ReviewCode::PartialItems));
}

#[test]
fn an_item_that_might_have_been_ours_forbids_absence() {
    // A pull that no look has shown, of a purchase that ran beside ours: its item could be ours as well.
    let mut scene = Scenario::new(1, Some(422)).knowing(pull("a", 1012, Sight::default()));
    assert_eq!(code(&scene.until_it_ends(&[held("a", "gold", 1001)])), Some(ReviewCode::UnknownOutcome));
}

#[test]
fn where_others_buy_with_the_key_the_inventory_proves_nothing() {
    let mut scene = Scenario::new(1, Some(422));
    scene.rules.exclusive = false;
    assert_eq!(code(&scene.look(1020, &[held("a", "gold", 1001)])), Some(ReviewCode::UnknownOutcome));
    let mut scene = Scenario::new(1, Some(422));
    scene.rules.exclusive = false;
    assert_eq!(code(&scene.until_it_ends(&[])), Some(ReviewCode::UnknownOutcome));
}

#[test]
fn after_a_persons_retry_earlier_doubts_of_the_user_are_for_a_person() {
    let mut scene = Scenario::new(1, None);
    scene.case.retried_at = Some(at(1500));
    assert_eq!(code(&scene.look(1020, &[held("a", "gold", 1001)])), Some(ReviewCode::Ambiguous));
    scene.case.retried_at = Some(at(CALLED - 1));
    assert_eq!(recovered(&scene.look(1080, &[held("a", "gold", 1001)])), ["a"]);
}

#[test]
fn an_item_without_a_time_decides_nothing() {
    let undated = HeldItem { purchased_at: None, ..held("a", "gold", 0) };
    assert_eq!(code(&Scenario::new(1, None).until_it_ends(&[undated])), Some(ReviewCode::Ambiguous));
}

#[test]
fn a_pack_is_matched_by_its_slug_too() {
    let slug = HeldItem { claw_id: Some("7f1c".into()), claw_slug: Some("gold".into()), ..held("a", "", 1001) };
    assert_eq!(recovered(&Scenario::new(1, None).look(1020, std::slice::from_ref(&slug))), ["a"]);
    let by_id = accepted("other", "7f1c", 1, CALLED);
    assert!(waits(&Scenario::new(1, None).with(under_way(by_id, CALLED)).look(1020, &[slug])), "the same pack by its id");
}

fn cancelled(amount: u32, told: &[&str]) -> Scenario {
    let mut ours = pending(accepted("ours", "gold", amount, CALLED), CALLED, told);
    if let State::Pending(pending) = &mut ours.purchase.state {
        pending.cancelled = true;
    }
    Scenario { case: Case { open: vec![ours], ..Case::default() }, rules: rules() }
}

#[test]
fn a_failed_transaction_is_believed_after_one_look_that_shows_all_it_had_to_show() {
    assert_eq!(cancelled(1, &[]).look(1020, &[]), Verdict::Absent);
    let mut blind = cancelled(1, &[]).knowing(pull("k", 900, seen(890, 950)));
    assert!(waits(&blind.look(1020, &[])));
    assert!(waits(&cancelled(1, &[]).read(1020, InventoryAnswer::Unauthorized).verdict));
    let there = cancelled(1, &[]).look(1020, &[held("a", "gold", 1001)]);
    assert_eq!(code(&there), Some(ReviewCode::ItemMismatch));
    assert_eq!(cancelled(1, &["x"]).look(1020, &[held("a", "gold", 1001)]), Verdict::Absent, "other items than were told");
}

#[test]
fn an_item_that_nobody_explains_or_may_still_explain_is_an_orphan() {
    let mut scene = Scenario::new(1, None).knowing(pull("k", 900, seen(890, 950)));
    let items = [held("k", "gold", 890), held("a", "gold", 1001), held("x", "gold", 950), held("y", "silver", 1001)];
    let survey = scene.examine(1020, &items).survey.unwrap();
    let orphans: Vec<_> = survey.unexplained.iter().filter(|one| !one.claimed).collect();
    let ids: Vec<_> = orphans.iter().map(|orphan| orphan.item_id.as_str()).collect();
    assert_eq!(ids, ["x", "y"], "a is ours; k is known");
    assert_eq!(orphans[0].candidates, [scene.case.pulls[0].purchase]);
    let before_us = [held("older", "gold", 100)];
    let survey = scene.examine(1080, &before_us).survey.unwrap();
    assert!(survey.unexplained.is_empty(), "bought before the user came to us; the orphans are known");
    assert!(survey.explained.is_empty(), "what has left the inventory remains unexplained");
}

#[test]
fn a_look_keeps_what_it_showed_of_each_pull() {
    let mut scene = Scenario::new(1, None).knowing(pull("k", 900, Sight::default())).knowing(pull("l", 901, seen(895, 950)));
    scene.look(1020, &[held("k", "gold", 890)]);
    let sights: Vec<_> = scene.case.pulls.iter().map(|pull| pull.sight.standing()).collect();
    assert_eq!(sights, [crate::item::Standing::Held, crate::item::Standing::Missing]);
    assert_eq!(scene.case.pulls[0].sight.purchased_at, Some(at(890)));
    scene.look(1020 + 120, &[]);
    assert_eq!(scene.case.pulls[1].sight.standing(), crate::item::Standing::Gone);
}

#[test]
fn what_a_pull_may_have_been_exchanged_for_shows_it_under_another_id() {
    let told = Sight::default().after(at(950), Some(Shown::default()));
    let mut scene = Scenario::new(1, None).knowing(pull("x", 900, told)).knowing(pull("x", 910, told));
    let survey = scene.examine(1020, &[held("x", "gold", 895), held("y", "gold", 890)]).survey.unwrap();
    let sights: Vec<_> = scene.case.pulls.iter().map(|pull| (pull.sight.standing(), pull.sight.exchanged)).collect();
    assert_eq!(sights, [(crate::item::Standing::Held, true), (crate::item::Standing::Held, false)]);
    assert!(survey.unexplained.is_empty(), "y may be what the first bought: {:?}", survey.unexplained);
}

#[test]
fn what_was_cancelled_yields_to_a_doubt_that_explains_the_items() {
    let mut failed = pending(accepted("failed", "gold", 1, CALLED), CALLED, &[]);
    if let State::Pending(pending) = &mut failed.purchase.state {
        pending.cancelled = true;
    }
    assert_eq!(recovered(&Scenario::new(1, None).with(failed).look(1020, &[held("a", "gold", 1001)])), ["a"]);
    let mut scene = cancelled(1, &[]).with(doubted(accepted("other", "gold", 1, CALLED), CALLED, None));
    assert!(waits(&scene.look(1020, &[held("a", "gold", 1001)])), "the doubt is settled first");
}

#[test]
fn half_a_group_is_not_given_to_another_purchase() {
    // The pull of x became known late: the nearest x is of the group that the other purchase bought.
    let mut scene = Scenario::new(1, None).with(doubted(accepted("other", "gold", 2, CALLED), CALLED, None)).knowing(pull(
        "x",
        1100,
        Sight::default(),
    ));
    let items = [held("x", "gold", 950), held("x", "gold", 1003), held("k", "gold", 1003)];
    assert!(waits(&scene.look(1200, &items)));
    assert_eq!(scene.case.pulls[0].sight.purchased_at, None, "a time that may be another's is not kept");
    assert!(waits(&scene.look(1260, &items)));
    scene.case.pulls[0].sight = seen(950, 1270);
    assert!(waits(&scene.look(1300, &items)), "the group is the other's");
}

#[test]
fn a_doubt_whose_window_is_over_breeds_no_others() {
    // Nothing came of it, and nobody has decided yet: what is bought an hour later is not its.
    let mut old = doubted(accepted("old", "gold", 1, CALLED), CALLED, None);
    old.purchase.state = State::Review(Review {
        code: ReviewCode::UnknownOutcome,
        message: "reset".into(),
        session: None,
        cancelled: false,
        attempt: Some(old.attempts[0].attempt.token),
        evidence: Some(Box::new(Evidence { window_ends_at: Some(at(DOUBTED + WINDOW)), ..Evidence::default() })),
        since: at(DOUBTED + WINDOW),
    });
    let hour = CALLED + 3600;
    let ours = doubted(accepted("ours", "gold", 1, hour), hour, None);
    let mut scene = Scenario { case: Case { open: vec![ours, old], ..Case::default() }, rules: rules() };
    assert_eq!(recovered(&scene.look(hour + 20, &[held("a", "gold", hour + 1)])), ["a"]);
}

#[test]
fn what_is_bought_after_the_window_is_not_the_purchases() {
    let mut scene = Scenario::new(1, None);
    let late = held("a", "gold", DOUBTED + WINDOW + SKEW + 30);
    assert_eq!(code(&scene.look(DOUBTED + WINDOW + 60, &[late])), Some(ReviewCode::UnknownOutcome));
}

/// What a look for another purchase showed, and has left since.
fn shown_before(name: &str, bought: u64) -> Unexplained {
    Unexplained {
        partner: PartnerId::new("acme").unwrap(),
        user_id: UserId::new("u").unwrap(),
        item_id: ItemId::new(name).unwrap(),
        purchased_at: Some(at(bought)),
        claw_id: Some("gold".into()),
        claw_slug: None,
        count: 1,
        claimed: true,
        found_at: at(bought + 12),
        candidates: Vec::new(),
    }
}

#[test]
fn what_a_look_for_another_purchase_showed_counts() {
    // The other bought two; one of them was sold after its own look.
    let mut scene = Scenario::new(1, None).with(doubted(accepted("other", "gold", 2, CALLED), CALLED, None));
    scene.case.unexplained = vec![shown_before("x", 1003), shown_before("y", 1003)];
    for when in [1020, 1080, 1140] {
        assert!(waits(&scene.look(when, &[held("y", "gold", 1003)])));
    }
}

#[test]
fn what_another_saw_is_not_absent_though_the_other_has_ended() {
    let refused = || Scenario::new(1, Some(422));
    assert_eq!(refused().until_it_ends(&[]), Verdict::Absent);
    let mut seen = refused();
    seen.case.unexplained = vec![shown_before("x", 1003)];
    assert_eq!(recovered(&seen.look(1020, &[])), ["x"], "it was sold before our own look");
    let mut half = Scenario::new(2, Some(422));
    half.case.unexplained = vec![shown_before("x", 1003)];
    assert_eq!(code(&half.until_it_ends(&[])), Some(ReviewCode::PartialItems));
    let mut of_another_pack = refused();
    of_another_pack.case.unexplained = vec![Unexplained { claw_id: Some("silver".into()), ..shown_before("x", 1003) }];
    assert_eq!(of_another_pack.until_it_ends(&[]), Verdict::Absent);
}

#[test]
fn what_another_may_have_bought_is_kept_until_it_is_explained() {
    let mut scene = Scenario::new(1, None).with(under_way(accepted("other", "gold", 1, CALLED), CALLED));
    scene.rules.item_ids_repeat = false;
    let claimed =
        |scene: &Scenario| scene.case.unexplained.iter().map(|one| (one.item_id.to_string(), one.claimed)).collect::<Vec<_>>();
    scene.look(1020, &[held("a", "gold", 1001), held("b", "gold", 1002)]);
    assert_eq!(claimed(&scene), [("a".into(), true), ("b".into(), true)]);
    scene.look(1030, &[held("b", "gold", 1002)]);
    assert_eq!(claimed(&scene).len(), 2, "a has left, and is remembered");
    scene.case.open.pop();
    scene = scene.knowing(pull("a", 1033, Sight::default()));
    assert_eq!(recovered(&scene.look(1040, &[held("b", "gold", 1002)])), ["b"], "a was the other's");
    assert_eq!(claimed(&scene), [], "one is explained by its pull, the other by the verdict");
}

#[test]
fn what_nobody_claims_any_more_becomes_an_orphan() {
    let mut scene = Scenario::new(1, None).with(under_way(accepted("other", "silver", 1, CALLED), CALLED));
    scene.look(1020, &[held("x", "silver", 1001)]);
    assert!(scene.case.unexplained[0].claimed);
    scene.case.open.pop();
    scene.look(1030, &[]);
    assert!(!scene.case.unexplained[0].claimed, "the other ended without it, and it has left");
}

#[test]
fn a_look_that_misses_half_a_group_does_not_make_it_whole() {
    // Whose x is whose nobody knows yet; then a look shows k alone.
    let mut scene = Scenario::new(1, None).with(doubted(accepted("other", "gold", 2, CALLED), CALLED, None)).with(pending(
        accepted("told", "gold", 1, CALLED),
        CALLED,
        &["x"],
    ));
    let all = [held("x", "gold", 1001), held("x", "gold", 1003), held("k", "gold", 1003)];
    assert!(waits(&scene.look(1020, &all)));
    for when in [1080, 1140, 1200] {
        assert!(waits(&scene.look(when, &[held("k", "gold", 1003)])));
    }
}
