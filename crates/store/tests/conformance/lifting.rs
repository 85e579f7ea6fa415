use std::collections::BTreeSet;

use clawback_domain::{
    PartnerId, PurchaseId, Time,
    change::Insertion,
    pause::{CommandKind, PauseScope},
    purchase::Purchase,
    reason::WaitCode,
};
use clawback_store::Applied;

use crate::{build::*, stage::Stage};

const PAUSED: &[WaitCode] = &[WaitCode::Paused];

/// Waits for `code` until far away.
async fn waiting(store: &Stage, partner: PartnerId, pack: &str, request: &str, code: WaitCode) -> Purchase {
    let mut command = command(request);
    command.pack_id = pack_of(pack);
    let row = stored(&**store, Insertion::of(Purchase::accept(partner, command, at(0), trace()))).await;
    applied(&**store, held(&row, code, Some(at(9_000)), at(1))).await
}

async fn due_times(store: &Stage, rows: &[Purchase]) -> BTreeSet<Time> {
    let mut times = BTreeSet::new();
    for row in rows {
        times.extend(read(&**store, row.id).await.due_at);
    }
    times
}

pub async fn lifted_rows_become_due_spread_over_the_rate(store: Stage) {
    let mut rows = Vec::new();
    for n in 0..10 {
        rows.push(waiting(&store, acme(), "pack-1", &format!("r-{n}"), WaitCode::Paused).await);
    }
    assert_eq!(store.lift(&PauseScope::partner(acme()), PAUSED, at(100), 4).await.unwrap(), 10);
    let expected = (0..10).map(|place| at(100) + chrono::TimeDelta::milliseconds(250 * place)).collect();
    assert_eq!(due_times(&store, &rows).await, expected);
    assert_eq!(store.claim_due(at(101), 100, &[]).await.unwrap().len(), 5);
    assert_eq!(store.claim_due(at(103), 100, &[]).await.unwrap().len(), 5);
}

pub async fn only_the_codes_that_are_lifted_are_touched(store: Stage) {
    let mut rows = Vec::new();
    for &code in WaitCode::ALL {
        rows.push((code, waiting(&store, acme(), "pack-1", code.as_str(), code).await));
    }
    let plain = stored(&*store, accepted(acme(), "waits for nothing", at(0))).await;
    let called = pending(&*store, acme(), "called", at(0)).await;
    let codes = [WaitCode::Paused, WaitCode::Unauthorized];
    assert_eq!(store.lift(&PauseScope::default(), &codes, at(100), 1_000_000).await.unwrap(), 2);
    for (code, row) in rows {
        let lifted = read(&*store, row.id).await.due_at < Some(at(101));
        assert_eq!(lifted, codes.contains(&code), "{code}");
    }
    assert_eq!(read(&*store, plain.id).await, plain);
    assert_eq!(read(&*store, called.id).await, called);
}

pub async fn a_scope_covers_what_it_names(store: Stage) {
    let rows = [
        waiting(&store, acme(), "gold", "r-1", WaitCode::Paused).await,
        waiting(&store, acme(), "iron", "r-2", WaitCode::Paused).await,
        waiting(&store, beta(), "gold", "r-3", WaitCode::Paused).await,
    ];
    let scope = |partner: Option<PartnerId>, pack: Option<&str>, kind| PauseScope { partner, pack: pack.map(pack_of), kind };
    let (purchase, sellback) = (Some(CommandKind::Purchase), Some(CommandKind::Sellback));
    let cases = [
        (scope(Some(acme()), Some("gold"), None), [true, false, false]),
        (scope(Some(acme()), Some("gold"), sellback), [false, false, false]),
        (scope(Some(beta()), Some("iron"), None), [false, false, false]),
        (scope(Some(acme()), None, purchase), [true, true, false]),
        (scope(Some(beta()), None, None), [false, false, true]),
        (scope(None, None, None), [true, true, true]),
        (scope(None, None, purchase), [true, true, true]),
        (scope(None, None, sellback), [false, false, false]),
    ];
    for (n, (scope, expected)) in cases.into_iter().enumerate() {
        let now = at(1_000 - n as i64);
        let before = versions(&store, &rows).await;
        let count = store.lift(&scope, PAUSED, now, 1_000_000).await.unwrap();
        assert_eq!(count, expected.iter().filter(|covered| **covered).count() as u64, "{scope:?}");
        let after = versions(&store, &rows).await;
        assert_eq!([0, 1, 2].map(|row| after[row].1 != before[row].1), expected, "{scope:?}");
    }
}

fn pack_of(text: &str) -> clawback_domain::PackId {
    pack(text)
}

async fn versions(store: &Stage, rows: &[Purchase]) -> Vec<(PurchaseId, i64)> {
    let mut versions = Vec::new();
    for row in rows {
        versions.push((row.id, read(&**store, row.id).await.version));
    }
    versions
}

/// A turn that is under way is told by its number that the row has changed.
pub async fn a_lift_takes_the_rows_next_number(store: Stage) {
    let row = waiting(&store, acme(), "pack-1", "r-1", WaitCode::Paused).await;
    store.lift(&PauseScope::default(), PAUSED, at(100), 1).await.unwrap();
    let lifted = Purchase { version: row.version + 1, due_at: Some(at(100)), ..row.clone() };
    assert_eq!(read(&*store, row.id).await, lifted);
    assert_eq!(store.apply(held(&row, WaitCode::Paused, None, at(101))).await.unwrap(), Applied::Lost);
    assert_eq!(read(&*store, row.id).await, lifted);
}

pub async fn a_lift_never_delays_a_row(store: Stage) {
    let mut rows = Vec::new();
    for n in 0..10 {
        rows.push(waiting(&store, acme(), "pack-1", &format!("r-{n}"), WaitCode::Paused).await);
    }
    assert_eq!(store.lift(&PauseScope::default(), PAUSED, at(8_995), 1).await.unwrap(), 10);
    assert_eq!(due_times(&store, &rows).await, (8_995..=9_000).map(at).collect());
}

pub async fn a_lift_of_nothing_is_nothing(store: Stage) {
    assert_eq!(store.lift(&PauseScope::default(), PAUSED, at(0), 10).await.unwrap(), 0);
    let row = waiting(&store, acme(), "pack-1", "r-1", WaitCode::Paused).await;
    assert_eq!(store.lift(&PauseScope::default(), &[], at(0), 10).await.unwrap(), 0);
    assert_eq!(read(&*store, row.id).await, row);
}
