//! What is written is read back equal, in every state, at every limit: whoever reads a row back after a lost answer compares it.

use clawback_domain::{
    AttemptToken, ItemId, PackId, PartnerId, PublicId, RequestId, SessionId, Time, TxHash, UserId,
    change::Insertion,
    command::Digest,
    evidence::{Evidence, Look},
    purchase::{Attempt, Fulfilled, Pending, Purchase, Reconciling, Review, State},
    reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting},
    trace::TraceContext,
};
use uuid::Uuid;

use crate::{build::*, stage::Stage};

const TEXT: &str = "ünïcödé \"quoted\" 'single' \\ backslash \\u0000 spelt, tab\t, line\nbreak, 界, 🎉, \u{200b}, %s, $1, ?";

/// Stores a purchase, puts it into `state`, and reads it back.
async fn check(store: &Stage, request: usize, state: State) {
    let mut before = stored(&**store, accepted(acme(), &format!("r-{request}"), at(0))).await;
    if let State::Initiating(attempt) = &state {
        before.attempts = attempt.number;
    }
    let after = applied(&**store, put(&before, state)).await;
    assert_eq!(read(&**store, after.id).await, after);
}

fn attempt(number: u32, token: u128) -> Attempt {
    let token = AttemptToken(Uuid::from_u128(token));
    Attempt {
        number,
        token,
        started_at: at(1),
        send_by: at(6),
        deadline: at(43),
        price: Some(clawback_domain::Money::usd(59_990_000)),
    }
}

fn evidence(items: usize) -> Evidence {
    let unexplained = |n| ItemId::new(format!("item-{n} é")).unwrap();
    let look = |good| Look {
        at: at(7),
        good,
        proof: good,
        listed: u32::MAX,
        missing: 3,
        unexplained: (0..items).map(unexplained).collect(),
        note: TEXT.into(),
    };
    Evidence { doubt: TEXT.into(), looks: vec![look(true), look(false)], verdict: TEXT.into(), ..Evidence::default() }
}

pub async fn every_state_reads_back_equal(store: Stage) {
    let review = Review {
        code: ReviewCode::UnknownOutcome,
        message: TEXT.into(),
        session: Some(session("s é 🎉")),
        cancelled: true,
        attempt: Some(AttemptToken(Uuid::max())),
        evidence: Some(evidence(100).into()),
        since: at(2),
    };
    let bare = Review { session: None, cancelled: false, attempt: None, evidence: None, ..review.clone() };
    let fulfilled = Fulfilled {
        session: Some(session("s")),
        public_id: Some(PublicId::new("_XKCD").unwrap()),
        tx_hash: Some(TxHash::new("sandbox_ü").unwrap()),
        recovered: true,
        evidence: Some(evidence(2).into()),
    };
    let untold = Fulfilled { session: None, public_id: None, tx_hash: None, recovered: false, evidence: None };
    let failure = Failure { code: FailureCode::Refused, message: TEXT.into(), upstream_status: Some(418) };
    let pending = Pending { session: session("s"), since: at(3), polls: 0, cancelled: false };
    let reconciling = |status| {
        let why = TEXT.into();
        State::Reconciling(Reconciling {
            attempt: attempt(3, 9),
            why,
            status,
            since: at(4),
            looks: 7,
            evidence: Some(evidence(1).into()),
        })
    };
    let states = [
        State::Accepted { waiting: None },
        State::Initiating(attempt(1, 1)),
        State::Pending(pending.clone()),
        State::Pending(Pending { polls: 40, cancelled: true, ..pending }),
        reconciling(None),
        reconciling(Some(504)),
        State::Review(review),
        State::Review(bare),
        State::Fulfilled(fulfilled),
        State::Fulfilled(untold),
        State::Failed { failure: failure.clone(), session: Some(session("s")), evidence: None },
        State::Failed {
            failure: Failure { upstream_status: None, message: String::new(), ..failure },
            session: None,
            evidence: Some(evidence(3).into()),
        },
    ];
    for (n, state) in states.into_iter().enumerate() {
        check(&store, n, state).await;
    }
}

pub async fn every_wait_code_reads_back_equal(store: Stage) {
    for (n, &code) in WaitCode::ALL.iter().enumerate() {
        for (m, until) in [None, Some(at(60))].into_iter().enumerate() {
            let waiting = Waiting { code, message: TEXT.into(), until };
            check(&store, n * 2 + m, State::Accepted { waiting: Some(waiting) }).await;
        }
    }
}

pub async fn every_failure_and_review_code_reads_back_equal(store: Stage) {
    for (n, &code) in FailureCode::ALL.iter().enumerate() {
        let failure = Failure { code, message: "why".into(), upstream_status: Some(400) };
        check(&store, n, State::Failed { failure, session: None, evidence: None }).await;
    }
    for (n, &code) in ReviewCode::ALL.iter().enumerate() {
        let (message, since) = ("why".into(), at(1));
        let review = Review { code, message, session: None, cancelled: false, attempt: None, evidence: None, since };
        check(&store, 100 + n, State::Review(review)).await;
    }
}

/// Lengths are counted in characters; four bytes each is the longest a text can be.
pub async fn the_longest_ids_read_back_equal(store: Stage) {
    let mut command = command("r-1");
    command.request_id = RequestId::new("🎉".repeat(128)).unwrap();
    command.user_id = UserId::new("🎉".repeat(256)).unwrap();
    command.pack_id = PackId::new("🎉".repeat(128)).unwrap();
    let partner = PartnerId::new("p".repeat(63)).unwrap();
    let row = stored(&*store, Insertion::of(Purchase::accept(partner, command, at(0), trace()))).await;
    assert_eq!(read(&*store, row.id).await, row);
    let fulfilled = Fulfilled {
        session: Some(SessionId::new("🎉".repeat(512)).unwrap()),
        public_id: Some(PublicId::new("🎉".repeat(512)).unwrap()),
        tx_hash: Some(TxHash::new("🎉".repeat(512)).unwrap()),
        recovered: false,
        evidence: None,
    };
    let after = applied(&*store, put(&row, State::Fulfilled(fulfilled))).await;
    assert_eq!(read(&*store, row.id).await, after);
}

pub async fn times_are_kept_to_the_microsecond(store: Stage) {
    let texts = [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00.1Z",
        "2026-03-01T12:00:00.000001Z",
        "2026-03-01T12:00:00.999999Z",
        "2024-02-29T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    for (n, text) in texts.iter().enumerate() {
        let time: Time = text.parse().unwrap();
        let mut command = command(&format!("r-{n}"));
        command.not_after = Some(time);
        let row = Purchase { due_at: Some(time), updated_at: time, ..Purchase::accept(acme(), command, time, trace()) };
        let row = stored(&*store, Insertion::of(row)).await;
        assert_eq!(read(&*store, row.id).await, row, "{text}");
        assert_eq!(store.timeline(row.id).await.unwrap()[0].at, time);
        let waiting = Waiting { code: WaitCode::Busy, message: String::new(), until: Some(time) };
        let after = applied(&*store, put(&row, State::Accepted { waiting: Some(waiting) })).await;
        assert_eq!(read(&*store, row.id).await, after, "{text}");
    }
}

pub async fn the_largest_counters_read_back_equal(store: Stage) {
    const MOST: u32 = i32::MAX as u32;
    let mut command = command("r-1");
    command.amount = 10_000;
    let row = Purchase {
        nudges: MOST,
        attempts: MOST - 1,
        panics: MOST,
        version: i64::MAX - 1,
        digest: Digest(std::array::from_fn(|n| 255 - n as u8)),
        ..Purchase::accept(acme(), command, at(0), trace())
    };
    let row = stored(&*store, Insertion::of(row)).await;
    assert_eq!(read(&*store, row.id).await, row);
    let called = Purchase { attempts: MOST, ..row };
    let after = applied(&*store, put(&called, State::Initiating(attempt(MOST, u128::MAX - 1)))).await;
    assert_eq!((read(&*store, after.id).await, after.version), (after.clone(), i64::MAX));
    assert_eq!(store.attempts(after.id).await.unwrap()[0].attempt, attempt(MOST, u128::MAX - 1));
}

pub async fn a_command_reads_back_with_everything_the_partner_gave(store: Stage) {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let contexts = [
        TraceContext::parse(parent, None).unwrap(),
        TraceContext::parse(parent, Some(&format!("a={}", "b".repeat(500)))).unwrap(),
        TraceContext::start(Uuid::max(), 1),
    ];
    for (n, trace) in contexts.into_iter().enumerate() {
        let body = format!(
            r#"{{"request_id":"r-{n}","user_id":"ü@x.de","pack_id":"p","amount":10000,"not_after":"2026-04-01T00:00:00.25Z",
                "metadata":{{"z":1.50,"a":{{"b":[null,true,"é 🎉 \" \\"]}},"big":123456789012345678901234567890}}}}"#
        );
        let command = clawback_domain::command::parse_purchase(Some("application/json"), body.as_bytes()).unwrap();
        assert!(command.metadata.is_some() && command.not_after.is_some());
        let row = stored(&*store, Insertion::of(Purchase::accept(acme(), command, at(0), trace))).await;
        assert_eq!(read(&*store, row.id).await, row);
    }
}

pub async fn a_timeline_reads_back_in_order(store: Stage) {
    let mut row = stored(&*store, accepted(acme(), "r-1", at(0))).await;
    let mut expected = Insertion::of(row.clone()).entries;
    for n in 0..12 {
        let mut change = held(&row, WaitCode::Permit, None, at(n));
        let entry = change.entry.as_mut().unwrap();
        entry.note = format!("{n}: {TEXT}");
        entry.by = (n % 2 == 0).then(|| "ann é".into());
        expected.push(entry.clone());
        row = applied(&*store, change).await;
    }
    let change = cancelled(&row, at(99));
    expected.extend(change.entry.clone());
    applied(&*store, change).await;
    assert_eq!(store.timeline(row.id).await.unwrap(), expected);
}
