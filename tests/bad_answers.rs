//! Every bad answer of the upstream that concerns a purchase, through the whole worker: a table of lies on the wire, each told to a user of
//! its own, and the end that each purchase must have. `faults.md` lists them in words, beside the tests of all other faults.

#[path = "bad_answers/faults.rs"]
mod faults;
#[path = "bad_answers/liar.rs"]
mod liar;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use clawback_domain::{
    PurchaseId,
    poll::{PollRules, ReconcileRules, Timeouts},
    purchase::{Purchase, Rules, State},
};
use clawback_sandbox::{Engine, Options, server};
use clawback_tests::{
    in_process::{KEY, OverHttp, Plant, Setup, Stage},
    wait::until,
};
use clawback_worker::Limits;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;

use faults::{End, FAULTS, Fault};
use liar::{Call, Liar};

/// A whole table of purchases, each with time-outs of a second, on a busy machine.
const ENDED: Duration = Duration::from_secs(90);

fn rules() -> Rules {
    let millis = Duration::from_millis;
    let second = millis(1000);
    Rules {
        poll: PollRules { first: millis(50), max: millis(200), deadline: 3 * second },
        timeouts: Timeouts { connect: second, init: second, status: second, inventory: second, buyback: second },
        reconcile: ReconcileRules { first: millis(50), max: millis(200), window: 3 * second, clock_skew: 5 * second },
        ..Rules::default()
    }
}

fn user(place: usize) -> String {
    format!("user-{place}")
}

async fn holds_on(plant: Plant) -> Result<()> {
    let engine = Engine::shared(Options { api_keys: vec![KEY.into()], ..Options::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sandbox = listener.local_addr()?;
    tokio::spawn(server::serve(listener, engine.clone(), server::ServerOptions::default(), std::future::pending()));
    let lies: BTreeMap<_, _> = FAULTS.iter().enumerate().map(|(place, fault)| (user(place), fault.lies.to_vec())).collect();
    let liar = Liar::start(sandbox, lies).await?;
    let over_http = Some(OverHttp { engine, base: liar.base.clone() });
    let limits = Limits { rate_per_second: 1000, ..Limits::default() };
    let stage = Stage::set(&plant, "liar", Setup { over_http, limits, rules: rules(), ..Setup::default() }).await?;

    let played = FAULTS.iter().enumerate().map(|(place, fault)| play(&stage, &liar, place, fault));
    let wrong: Vec<_> = join_all(played).await.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{} of {} faults end wrongly:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
    stage.stop().await?;
    plant.close().await;
    Ok(())
}

async fn play(stage: &Stage, liar: &Liar, place: usize, fault: &Fault) -> Result<()> {
    let id = stage.buy_with(&format!("order-{place}"), json!({ "user_id": user(place), "amount": fault.amount })).await?;
    let row = ended(stage, id).await.context(fault.name)?;
    let check = || {
        let bought = stage.bought_items(id);
        ensure!(bought.len() <= 1, "bought {} times", bought.len());
        ensure!(
            is(&row.state) == fault.end || fault.end == End::Fulfilled && is(&row.state) == End::Recovered,
            "{:?}",
            row.state
        );
        let calls = liar.calls(&user(place), Call::Init);
        ensure!(calls <= fault.calls, "buy/init was called {calls} times");
        let told = fault.lies.iter().all(|lie| liar.calls(&user(place), lie.call) > 0);
        ensure!(told, "nobody was lied to");
        Ok(bought)
    };
    let bought = check().context(fault.name)?;
    if let State::Fulfilled(_) = &row.state {
        let mut items: Vec<_> = stage.store.pulls(id).await?.into_iter().map(|pull| pull.item.item_id.to_string()).collect();
        items.sort();
        ensure!(bought == [items.clone()], "{}: the ledger has {bought:?}, the store {items:?}", fault.name);
    }
    if let State::Failed { .. } = &row.state {
        ensure!(bought.is_empty(), "{}: it failed, and was bought", fault.name);
    }
    Ok(())
}

async fn ended(stage: &Stage, id: PurchaseId) -> Result<Purchase> {
    until("it ends, or needs a person", ENDED, || async {
        match stage.store.purchase(id).await? {
            Some(row) if matches!(row.state, State::Fulfilled(_) | State::Failed { .. } | State::Review(_)) => Ok(row),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await
}

fn is(state: &State) -> End {
    match state {
        State::Fulfilled(fulfilled) if fulfilled.recovered => End::Recovered,
        State::Fulfilled(_) => End::Fulfilled,
        State::Failed { failure, .. } => End::Failed(failure.code.as_str()),
        State::Review(review) => End::Review(review.code.as_str()),
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_) => End::Review("not ended"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_and_the_model() -> Result<()> {
    holds_on(Plant::in_memory().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rabbitmq_and_postgresql() -> Result<()> {
    holds_on(Plant::on_servers().await?).await
}

/// The list of faults names tests that exist, and each lie of the table is one that the list can mean.
#[test]
fn the_list_of_faults_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut code = String::new();
    for folder in ["tests", "crates"] {
        read_all(&root.join(folder), &mut code);
    }
    let list = std::fs::read_to_string(root.join("tests/faults.md")).expect("the list");
    let names = list
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
    let tests: Vec<_> = names.filter(|name| name.matches('_').count() > 1).collect();
    assert!(tests.len() > 40, "the list was read: {tests:?}");
    let missing: Vec<_> = tests.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn read_all(folder: &std::path::Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).expect("source is UTF-8"));
        }
    }
}
