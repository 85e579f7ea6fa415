//! Endpoints that answer never, for ever, too much, or rubbish: a delivery ends all the same, and says what happened.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::time::{Duration, Instant};

use clawback_webhook::{Outcome, Receiver};
use support::{SECRET, Server, Step, answer, assert_unanswered, delivery, delivery_at, endpoint, https, https_within};
use tokio::net::TcpListener;

const BRIEFLY: Duration = Duration::from_millis(300);

/// Far above what any of these takes, and far below what an endpoint could make it take.
const LONG: Duration = Duration::from_secs(10);

const HUNDRED_MEGABYTES: usize = 100 * 1024 * 1024;

/// What sockets on both ends buffer, with room to spare.
const BUFFERED: usize = 16 * 1024 * 1024;

fn head(status: &str, headers: &str) -> Step {
    Step::Write(format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes())
}

#[tokio::test]
async fn the_wire_shows_what_was_promised_and_no_more() {
    let server = Server::answering("200 OK", "Connection: close\r\nSet-Cookie: a=b\r\n", "").await;
    let (https, endpoint) = (https(), endpoint(&format!("{}?for=us", server.url())));
    for _ in 0..2 {
        assert_eq!(https.deliver(&endpoint, delivery(r#"{"ü":1}"#)).await, Outcome::Delivered { status: 200 });
    }
    for request in server.requests() {
        assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /hooks?for=us HTTP/1.1", r#"{"ü":1}"#));
        assert_eq!(request.header("content-type"), Some("application/cloudevents+json"));
        assert_eq!(request.header("user-agent"), Some(concat!("clawback-webhooks/", env!("CARGO_PKG_VERSION"))));
        let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let webhook = ["webhook-id", "webhook-signature", "webhook-timestamp"];
        assert_eq!(names, [&["accept", "content-length", "content-type", "host", "user-agent"][..], &webhook].concat());
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_short_answer() {
    let short = answer("200 OK", "", "thanks");
    let server = Server::always(&[Step::Request, short.clone(), Step::Request, short, Step::Gone]).await;
    let (https, endpoint) = (https(), endpoint(&server.url()));
    for _ in 0..2 {
        assert_eq!(https.deliver(&endpoint, delivery("{}")).await, Outcome::Delivered { status: 200 });
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn an_answer_cut_before_its_head_is_over_is_no_answer() {
    for (script, why) in [
        (vec![Step::Request], "the endpoint did not answer: "),
        (vec![Step::Request, Step::Reset], "the endpoint did not answer: "),
        (vec![Step::Reset], "the endpoint did not answer: "),
        (vec![Step::Request, Step::Write(b"HTTP/1.1 200 OK\r\nContent-".to_vec())], "the endpoint did not answer: "),
        (vec![Step::Request, Step::Write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), Step::Gone], "invalid HTTP version"),
    ] {
        let server = Server::always(&script).await;
        assert_unanswered(&https().deliver(&endpoint(&server.url()), delivery("{}")).await, why);
    }
}

#[tokio::test]
async fn an_answer_counts_once_its_head_is_there() {
    let cut = head("200 OK", "Content-Length: 1000\r\n");
    for (script, status) in [
        (vec![Step::Request, cut.clone()], 200),
        (vec![Step::Request, cut.clone(), Step::Reset], 200),
        (vec![Step::Request, cut, Step::Gone], 200),
        (vec![Step::Request, head("202 Accepted", "Transfer-Encoding: chunked\r\n"), Step::Write(b"rubbish".to_vec())], 202),
        (vec![Step::Request, head("500 Internal Server Error", "Content-Length: 1000\r\n"), Step::Drip(vec![b'x'; 999])], 500),
    ] {
        let (server, began) = (Server::always(&script).await, Instant::now());
        assert_eq!(https().deliver(&endpoint(&server.url()), delivery("{}")).await, Outcome::answered(status, None));
        assert!(began.elapsed() < LONG);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_slow_or_silent_is_not_waited_for() {
    let slow = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Slow: loris\r\n".repeat(100)).into_bytes();
    for script in [
        vec![Step::Gone],
        vec![Step::Request, Step::Gone],
        vec![Step::Request, Step::Drip(slow)],
        vec![Step::Request, Step::Drip("HTTP/1.1 100 Continue\r\n\r\n".repeat(100).into_bytes())],
    ] {
        let (server, began) = (Server::always(&script).await, Instant::now());
        let found = https_within(BRIEFLY).deliver(&endpoint(&server.url()), delivery("{}")).await;
        assert_unanswered(&found, "the endpoint did not answer in time");
        assert!((BRIEFLY..LONG).contains(&began.elapsed()));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_hung_up_on() {
    let length = format!("Content-Length: {HUNDRED_MEGABYTES}\r\n");
    for (status, code) in [("200 OK", 200), ("503 Service Unavailable", 503)] {
        let server = Server::always(&[Step::Request, head(status, &length), Step::Flood("x", HUNDRED_MEGABYTES)]).await;
        let (found, began) = (https().deliver(&endpoint(&server.url()), delivery("{}")).await, Instant::now());
        assert_eq!(found, Outcome::answered(code, None));
        assert!(server.flooded() < BUFFERED && began.elapsed() < LONG, "{} bytes", server.flooded());
    }
}

#[tokio::test]
async fn a_head_without_end_is_hung_up_on() {
    for rubbish in ["x", "X-Flood: x\r\n"] {
        let begin = Step::Write(b"HTTP/1.1 200 OK\r\nX-Flood: ".to_vec());
        let server = Server::always(&[Step::Request, begin, Step::Flood(rubbish, HUNDRED_MEGABYTES)]).await;
        assert_unanswered(&https().deliver(&endpoint(&server.url()), delivery("{}")).await, "the endpoint did not answer: ");
        assert!(server.flooded() < BUFFERED, "{} bytes", server.flooded());
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=topsecret", listener.local_addr().unwrap());
    drop(listener);
    let found = https().deliver(&endpoint(&url), delivery("{}")).await;
    assert_unanswered(&found, "refused");
    assert!(!format!("{found:?}").contains("topsecret"), "{found:?}");
}

#[tokio::test]
async fn a_wish_to_wait_is_read_in_every_form() {
    let attempted = "2026-08-01T12:00:00Z".parse().unwrap();
    let date = "Date: Sat, 01 Aug 2026 15:00:00 GMT\r\n";
    for (headers, expected) in [
        ("Retry-After: 7\r\n".to_owned(), Some(7)),
        ("Retry-After: Sat, 01 Aug 2026 12:00:30 GMT\r\n".into(), Some(30)),
        (format!("{date}Retry-After: Sat, 01 Aug 2026 15:00:30 GMT\r\n"), Some(30)),
        (format!("{date}Retry-After: 7\r\n"), Some(7)),
        ("Date: soon\r\nRetry-After: Sat, 01 Aug 2026 12:00:30 GMT\r\n".into(), Some(30)),
        ("Retry-After: Fri, 01 Aug 2036 12:00:00 GMT\r\n".into(), Some(86_400)),
        ("Retry-After: 315360000\r\n".into(), Some(86_400)),
        ("Retry-After: soon\r\n".into(), None),
        ("Retry-After: \r\n".into(), None),
        (String::new(), None),
    ] {
        let server = Server::answering("503 Service Unavailable", &headers, "").await;
        let found = https().deliver(&endpoint(&server.url()), delivery_at("{}", attempted)).await;
        assert_eq!(found, Outcome::answered(503, expected.map(Duration::from_secs)), "{headers:?}");
    }
}

#[tokio::test]
async fn what_an_endpoint_says_is_not_repeated() {
    let said = format!("your secret is {SECRET}");
    let server = Server::answering("500 Internal Server Error", &format!("X-Secret: {SECRET}\r\n"), &said).await;
    let found = https().deliver(&endpoint(&server.url()), delivery("{}")).await;
    assert_eq!(found.to_string(), "the endpoint answered 500");
    assert!(!format!("{found:?}").contains(&SECRET[6..]));
}
