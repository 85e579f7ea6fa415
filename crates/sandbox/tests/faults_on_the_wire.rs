//! Every fault over a real socket: what the caller sees, and what the ledger says happened.

#![allow(dead_code, reason = "each test target uses its part of the support module")]

mod support;

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use clawback_sandbox::{Mode, Options, ServerOptions};
use support::{KEY, Reply, Sandbox, faults, options, request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

/// What arrives, as a caller would say it.
fn seen(answer: io::Result<Reply>) -> String {
    match answer {
        Ok(reply) if reply.header("content-type") == Some("text/html") => format!("{} html", reply.status),
        Ok(reply) => reply.status.to_string(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "reset".to_owned(),
        Err(error) if error.to_string().is_empty() => "closed".to_owned(),
        Err(error) if error.to_string().starts_with("HTTP/1.1 200 OK") => "200 cut".to_owned(),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn each_fault_of_init_looks_as_it_should_and_happens_or_not() {
    let (never, always) = (0..=0, 10..=10);
    for (kind, look, bought) in [
        ("reset-before", "reset", never.clone()),
        ("reset-after", "reset", always.clone()),
        ("timeout-before", "closed", never.clone()),
        ("timeout-after", "closed", always.clone()),
        ("error-before", "500", never.clone()),
        ("error-after", "500", always.clone()),
        ("cut-body", "200 cut", always),
        ("rubbish", "200 html", 1..=9),
        ("redirect", "307", 1..=9),
        ("rate-limited", "429", never.clone()),
        ("unauthorized", "401", never.clone()),
        ("out-of-stock", "400", never.clone()),
        ("transaction-failed", "400", never),
    ] {
        let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
        sandbox.engine.lock().set_faults(faults(&[&format!("init:{kind}=1")]));
        for _ in 0..10 {
            assert_eq!(seen(sandbox.init("rookie", 1, "u").await), look, "{kind}");
        }
        let purchases = sandbox.ledger().await.purchases.len();
        assert!(bought.contains(&purchases), "{kind}: {purchases}");
    }
}

#[tokio::test]
async fn each_fault_of_a_reading_call_looks_as_it_should() {
    for (kind, look) in [
        ("reset-before", "reset"),
        ("reset-after", "reset"),
        ("timeout-before", "closed"),
        ("timeout-after", "closed"),
        ("error-before", "500"),
        ("error-after", "500"),
        ("cut-body", "200 cut"),
        ("rubbish", "200 html"),
        ("redirect", "307"),
        ("rate-limited", "429"),
        ("unauthorized", "401"),
    ] {
        let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
        let opened = sandbox.init("rookie", 1, "u").await.unwrap().json();
        sandbox.engine.lock().set_faults(faults(&[&format!("{kind}=1")]));
        assert_eq!(seen(sandbox.status(opened["session_id"].as_str().unwrap()).await), look, "status {kind}");
        assert_eq!(seen(sandbox.inventory("u").await), look, "inventory {kind}");
        assert_eq!(seen(sandbox.packs().await), look, "packs {kind}");
        assert_eq!(sandbox.ledger().await.purchases.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn each_fault_of_buyback_sells_or_not() {
    for (kind, look, sold) in [
        ("reset-before", "reset", 0),
        ("reset-after", "reset", 1),
        ("timeout-before", "closed", 0),
        ("timeout-after", "closed", 1),
        ("error-before", "500", 0),
        ("error-after", "500", 1),
        ("cut-body", "200 cut", 1),
        ("rate-limited", "429", 0),
        ("unauthorized", "401", 0),
        ("transaction-failed", "400", 0),
        ("sold-elsewhere", "400", 0),
    ] {
        let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
        let opened = sandbox.init("rookie", 1, "u").await.unwrap().json();
        sandbox.engine.lock().set_faults(faults(&[&format!("buyback:{kind}=1")]));
        assert_eq!(seen(sandbox.buyback(opened["nfts"][0]["id"].as_str().unwrap()).await), look, "{kind}");
        assert_eq!(sandbox.ledger().await.sellbacks.len(), sold, "{kind}");
    }
}

#[tokio::test]
async fn a_cut_body_shows_its_beginning_and_a_redirect_leads_back() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    sandbox.engine.lock().set_faults(faults(&["init:cut-body=1"]));
    let cut = sandbox.init("rookie", 1, "u").await.unwrap_err().to_string();
    let session = sandbox.ledger().await.purchases[0].session_id.clone();
    assert!(cut.contains(&format!(r#"{{"session_id":"{session}","nfts":[{{"#)), "{cut}");
    sandbox.engine.lock().set_faults(faults(&["init:redirect=1"]));
    let redirect = sandbox.init("rookie", 1, "u").await.unwrap();
    assert_eq!(redirect.header("location"), Some("/api/v1/vm/buy/init"));
}

#[tokio::test]
async fn a_429_names_its_wish_in_some_cases() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    sandbox.engine.lock().set_faults(faults(&["rate-limited=1"]));
    let mut wishes = std::collections::BTreeSet::new();
    for _ in 0..20 {
        wishes.insert(sandbox.init("rookie", 1, "u").await.unwrap().header("retry-after").map(str::to_owned));
    }
    assert_eq!(wishes.into_iter().collect::<Vec<_>>(), [None, Some("1".to_owned())]);
}

#[tokio::test]
async fn a_rate_is_the_share_of_calls_that_fail() {
    let sandbox = Sandbox::start(Options { faults: faults(&["init:error-before=0.3"]), ..options(Mode::Sandbox) }).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(sandbox.init("rookie", 1, "u").await.unwrap().status == 500);
    }
    assert!((40..=80).contains(&failed), "{failed}");
    assert_eq!(sandbox.ledger().await.purchases.len(), 200 - failed);
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_has_bought_all_the_same() {
    let server = ServerOptions { latency: Duration::from_secs(3600), ..ServerOptions::default() };
    let sandbox = Sandbox::start_with(options(Mode::Sandbox), server, std::future::pending()).await;
    let mut stream = sandbox.connect().await;
    let body = r#"{"id":"rookie","amount":1,"user_id":"u"}"#;
    let headers = format!("x-api-key: {KEY}\r\nx-request-id: purchase.1\r\n");
    stream.write_all(request("POST", "/api/v1/vm/buy/init", &headers, body).as_bytes()).await.unwrap();
    while sandbox.ledger().await.purchases.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    assert_eq!(sandbox.ledger().await.purchases[0].client_ref.as_deref(), Some("purchase.1"));
}

#[tokio::test]
async fn one_connection_carries_many_calls() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    let mut stream = sandbox.connect().await;
    let clock = request("GET", "/_control/clock", "", "");
    let mut one = [0; 512];
    for _ in 0..3 {
        stream.write_all(clock.as_bytes()).await.unwrap();
        let length = stream.read(&mut one).await.unwrap();
        assert!(one[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_poll_is_held_and_released_when_the_purchase_settles() {
    let settle = Duration::from_millis(300);
    let sandbox = Sandbox::start(Options { settle, poll_window: Duration::from_secs(60), ..options(Mode::Production) }).await;
    let begun = Instant::now();
    let session = sandbox.init("rookie", 1, "u").await.unwrap().json()["session_id"].as_str().unwrap().to_owned();
    let reply = sandbox.status(&session).await.unwrap();
    assert!(reply.json()["result"].is_object(), "{}", reply.body);
    assert!(begun.elapsed() >= settle - Duration::from_millis(1) && begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_poll_that_is_held_says_pending_when_the_window_closes() {
    let poll_window = Duration::from_millis(200);
    let sandbox = Sandbox::start(Options { settle: Duration::from_secs(3600), poll_window, ..options(Mode::Production) }).await;
    let session = sandbox.init("rookie", 1, "u").await.unwrap().json()["session_id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    assert_eq!(sandbox.status(&session).await.unwrap().body, r#"{"status":"pending"}"#);
    assert!(begun.elapsed() >= poll_window - Duration::from_millis(1));
}

#[tokio::test]
async fn moving_the_clock_releases_a_poll_that_is_held() {
    let hour = Duration::from_secs(3600);
    let sandbox = Sandbox::start(Options { settle: hour, poll_window: hour, ..options(Mode::Production) }).await;
    let session = sandbox.init("rookie", 1, "u").await.unwrap().json()["session_id"].as_str().unwrap().to_owned();
    let moved = async {
        // Whether the poll is held already or comes later, it finds the purchase settled.
        let before: clawback_domain::Time =
            sandbox.call("GET", "/_control/clock", "").await.unwrap().json()["now"].as_str().unwrap().parse().unwrap();
        let after: clawback_domain::Time = sandbox.advance("72h").await.json()["now"].as_str().unwrap().parse().unwrap();
        assert!(after - before >= chrono::TimeDelta::hours(72));
    };
    let (reply, ()) = tokio::join!(sandbox.status(&session), moved);
    assert!(reply.unwrap().json()["result"].is_object());
    assert_eq!(sandbox.advance("soon").await.status, 400);
}

#[tokio::test]
async fn windows_are_as_told_for_what_is_bought_from_then_on() {
    let sandbox = Sandbox::start(options(Mode::Sandbox)).await;
    let windows = async |body: &str| sandbox.call("POST", "/_control/windows", body).await.unwrap().status;
    assert_eq!(windows(r#"{"from":"90s","to":"2m"}"#).await, 200);
    sandbox.init("rookie", 3, "short").await.unwrap();
    assert_eq!(windows("{}").await, 200);
    sandbox.init("rookie", 3, "as documented").await.unwrap();
    for rubbish in ["", "[]", r#"{"from":"90s"}"#, r#"{"from":"soon","to":"2m"}"#] {
        assert_eq!(windows(rubbish).await, 400, "{rubbish}");
    }
    for (user, least, most) in [("short", 90, 120), ("as%20documented", 86_400, 30 * 86_400)] {
        let inventory = sandbox.inventory(user).await.unwrap().json();
        for item in inventory["items"].as_array().unwrap() {
            let time = |field: &str| item[field].as_str().unwrap().parse::<clawback_domain::Time>().unwrap();
            let window = (time("buyback_expires_at") - time("purchased_at")).num_seconds();
            assert!((least..=most).contains(&window), "{user}: {window} s");
        }
    }
}

#[tokio::test]
async fn when_told_to_stop_it_finishes_what_is_in_flight() {
    let (stop, stopped) = oneshot::channel::<()>();
    let server = ServerOptions { latency: Duration::from_millis(300), ..ServerOptions::default() };
    let sandbox = Sandbox::start_with(options(Mode::Sandbox), server, async { drop(stopped.await) }).await;
    let stopping = async {
        while sandbox.engine.lock().ledger().purchases.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
    };
    let (reply, ()) = tokio::join!(sandbox.init("rookie", 1, "u"), stopping);
    assert_eq!(reply.unwrap().status, 200);
    while tokio::net::TcpStream::connect(sandbox.address()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
