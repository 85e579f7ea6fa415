//! What was judged *never sent* was never received, and nothing is received twice: counted by the server, byte by byte.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    sync::{Arc, mpsc},
    time::Duration,
};

use clawback_domain::{Clock, answer::Answer, clock};
use clawback_phygitals::{Phygitals, Upstream};
use futures_util::{FutureExt, future::join_all};
use parking_lot::Mutex;
use support::{Server, Step, SystemClock, client, client_within, ok, purchase, session};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const OPENED: &str = r#"{"session_id":"s-1","nfts":[]}"#;
const PENDING: &str = r#"{"status":"pending"}"#;

#[tokio::test]
async fn after_send_by_not_a_byte_leaves_on_a_fresh_connection_or_a_kept_one() {
    let kept = vec![Step::Request, ok(PENDING), Step::Gone];
    let server = Server::start(vec![vec![Step::Gone], kept, vec![Step::Request, ok(OPENED)]]).await;
    let client = client(&server.base);
    let late = || {
        let mut late = purchase("late.1");
        late.send_by = SystemClock.now() - chrono::TimeDelta::milliseconds(1);
        late
    };
    let fresh = client.buy_init(late()).await;
    assert!(matches!(&fresh, Answer::NeverSent { why } if why.contains("send_by has passed")), "{fresh:?}");
    server.until(|received| received.len() == 1).await;
    assert_eq!(server.bytes(), 0);

    client.buy_status(&session()).await;
    let before = server.bytes();
    let kept = client.buy_init(late()).await;
    assert_eq!(kept.name(), "never_sent", "{kept:?}");
    let intime = client.buy_init(purchase("intime.1")).await;
    assert_eq!(intime.name(), "done", "{intime:?}");
    assert!(server.bytes() > before && !server.received().concat().contains("late.1"));
}

#[tokio::test]
async fn a_call_dropped_before_it_was_sent_is_never_sent_later() {
    let server = Server::always(&[Step::Request, ok(OPENED), Step::Request, ok(OPENED)]).await;
    let client = client(&server.base);
    for polls in 1..4 {
        let mut call = Box::pin(client.buy_init(purchase("dropped.1")));
        for _ in 0..polls {
            assert!(call.as_mut().now_or_never().is_none(), "this thread's runtime has not connected yet");
        }
        drop(call);
    }
    // Whatever the pool still had in hand goes out before or with this one.
    assert_eq!(client.buy_init(purchase("kept.1")).await.name(), "done");
    let received = server.received().concat();
    assert!(received.contains("kept.1") && !received.contains("dropped.1"), "{received}");
}

/// A kept connection that the server closed. If our side has noticed, the purchase goes out on another; if it has not, what was
/// written is lost and the answer is *unknown*, which is true. In no case is it sent twice, or called *never sent*.
#[tokio::test]
async fn a_connection_that_ended_in_the_meantime_costs_an_unknown_at_worst() {
    for noticed in [true, false] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap()));
        let (tell, closed) = mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            drop(answer_one(&listener, PENDING));
            tell.send(()).unwrap();
            answer_one(&listener, OPENED).1
        });
        client.buy_status(&session()).await;
        // Blocks this thread, and with it the runtime: the connection's task sees the end only if it gets a turn below.
        closed.recv().unwrap();
        if noticed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let found = client.buy_init(purchase("p.1")).await;
        match found.name() {
            "unknown" if !noticed => assert_eq!(client.buy_init(purchase("p.2")).await.name(), "done"),
            name => assert_eq!(name, "done", "{found:?}"),
        }
        let expected = if found.name() == "done" { "p.1" } else { "p.2" };
        assert!(server.join().unwrap().contains(&format!("x-request-id: {expected}")));
    }
}

/// Accepts a connection, reads one request and answers it.
fn answer_one(listener: &std::net::TcpListener, body: &str) -> (std::net::TcpStream, String) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut request = String::new();
    let mut buffer = [0; 4096];
    while !request.ends_with('}') {
        let length = socket.read(&mut buffer).unwrap();
        request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    (socket, request)
}

/// A kept connection that dies under the request: it may have had an effect, so it is *unknown*, and it is not sent again.
#[tokio::test]
async fn a_kept_connection_that_dies_under_the_request_is_unknown() {
    for last in [Step::Reset, Step::Gone] {
        let dies = vec![Step::Request, ok(PENDING), Step::Bytes(20), last];
        let server = Server::start(vec![dies.clone(), dies, vec![Step::Request, ok(OPENED)]]).await;
        let client = client_within(&server.base, Duration::from_millis(300));
        let (mut found, mut connections) = (None, 0);
        // On a machine that stalls, the kept connection may grow too old to be used: then it is tried with the next.
        while found.is_none() && connections < 2 {
            client.buy_status(&session()).await;
            connections = server.received().len();
            let answer = client.buy_init(purchase("p.1")).await;
            found = server.received().iter().any(|text| text.contains("status") && text.contains("p.1")).then_some(answer);
        }
        assert!(matches!(found, Some(Answer::Unknown { status: None, .. })), "{found:?}");
        assert_eq!(server.received().len(), connections, "no second connection");
    }
}

#[tokio::test]
async fn a_connection_that_idled_is_not_used_again() {
    let server = Server::always(&[Step::Request, ok(PENDING), Step::Request, ok(PENDING)]).await;
    let client = client(&server.base);
    client.buy_status(&session()).await;
    // The time itself is what is tested.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    client.buy_status(&session()).await;
    assert_eq!(server.received().len(), 2);
}

const TASKS: usize = 8;
const POSTS: usize = 750;

/// Eight tasks post as fast as they can and are cut off at moments between "before the first poll" and "answered".
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_thousands_of_cancelled_calls_none_judged_never_sent_was_received() {
    let counts = Counter::start().await;
    let judged = join_all((0..TASKS).map(|task| tokio::spawn(post_many(counts.base.clone(), task)))).await;
    let judged: BTreeMap<String, &'static str> = judged.into_iter().flat_map(|task| task.expect("no task panicked")).collect();
    let received = counts.settled(&judged).await;

    let twice: Vec<_> = received.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "received twice: {twice:?}");
    let of = |name| judged.iter().filter(|(_, class)| **class == name).map(|(reference, _)| reference).collect::<BTreeSet<_>>();
    let (never, unknown, done) = (of("never_sent"), of("unknown"), of("done"));
    println!("never sent {}, unknown {}, done {}", never.len(), unknown.len(), done.len());
    assert_eq!(never.iter().filter(|reference| received.contains_key(**reference)).count(), 0);
    assert!(done.iter().all(|reference| received.contains_key(*reference)));
    for (name, set) in [("never sent", &never), ("unknown", &unknown), ("done", &done)] {
        assert!(set.len() > 100, "too few calls ended {name} for the test to tell anything: {}", set.len());
    }
    assert_eq!(never.len() + unknown.len() + done.len(), TASKS * POSTS);
}

async fn post_many(base: String, task: usize) -> Vec<(String, &'static str)> {
    let within: Vec<Phygitals> =
        [0, 0, 1, 2, 3, 1000].iter().map(|millis| client_within(&base, Duration::from_millis(*millis))).collect();
    let mut judged = Vec::with_capacity(POSTS);
    for number in 0..POSTS {
        let reference = format!("{task}.{number}");
        let mut request = purchase(&reference);
        if number % 11 == 0 {
            request.send_by = clock::after(SystemClock.now(), Duration::from_micros(number as u64 % 400));
        }
        let answer = within[number * 7 % within.len()].buy_init(request).await;
        judged.push((reference, answer.name()));
    }
    judged
}

/// Counts the references of all requests whose head reached it, and answers after up to two milliseconds.
struct Counter {
    base: String,
    heads: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Counter {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = heads.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(count(socket, seen.clone()));
            }
        });
        Self { base, heads }
    }

    /// What was received once a last call, sent after all others, has come through, and every unknown one had its chance.
    async fn settled(&self, judged: &BTreeMap<String, &'static str>) -> BTreeMap<String, usize> {
        for number in 0..TASKS {
            assert_eq!(client(&self.base).buy_init(purchase(&format!("last.{number}"))).await.name(), "done");
        }
        let mut received = self.heads.lock().clone();
        received.retain(|reference, _| judged.contains_key(reference));
        received
    }
}

/// A reference counts as soon as it arrives, whether or not the rest of its request does.
async fn count(mut socket: TcpStream, heads: Arc<Mutex<BTreeMap<String, usize>>>) {
    let mut request = String::new();
    let mut counted = None;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if counted.is_none() {
            counted = reference(&request);
            *heads.lock().entry(counted.clone().expect("a head arrives in one piece")).or_default() += 1;
        }
        if !request.ends_with('}') {
            continue;
        }
        let pause = counted.take().iter().flat_map(|text| text.bytes()).map(u64::from).sum::<u64>() % 3;
        request.clear();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{OPENED}", OPENED.len());
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn reference(request: &str) -> Option<String> {
    request.lines().find_map(|line| line.strip_prefix("x-request-id: ")).map(str::to_owned)
}
