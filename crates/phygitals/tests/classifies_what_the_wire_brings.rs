//! Scripted sockets: each way in which a connection or an answer can go wrong, and what the client makes of it.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::time::Duration;

use clawback_domain::answer::{Answer, BuybackRequest, InventoryAnswer, PacksAnswer, StatusAnswer};
use clawback_domain::{ItemId, reason::FailureCode};
use clawback_phygitals::Upstream;
use support::{KEY, Server, Step, answer, client, client_within, ok, purchase, session, user};

const OPENED: &str = r#"{"session_id":"s-1","nfts":[{"id":"i-1","buyback_price":8.50}]}"#;
const FULFILLED: &str =
    r#"{"result":{"session_id":"s-1","user_id":"user_abc123","public_id":"_X","nfts":[{"id":"i-1"}],"tx_hash":"t"}}"#;
/// What an answer must be.
type Check<T> = fn(&T) -> bool;

const SHORT: Duration = Duration::from_millis(300);

fn head(status: &str, rest: &str) -> Step {
    Step::Write(format!("HTTP/1.1 {status}\r\n{rest}\r\n").into_bytes())
}

/// Calls `buy/init` against the script; the class must be `expected` and the reason contain `why`.
async fn check_init(name: &str, script: &[Step], expected: &str, why: &str) {
    let server = Server::always(script).await;
    let found = client_within(&server.base, SHORT).buy_init(purchase("p.1")).await;
    let text = format!("{found:?}");
    assert_eq!(found.name(), expected, "{name}: {text}");
    assert!(text.contains(why), "{name}: {text}");
    assert!(server.received().len() <= 1, "{name}: one connection, no second try");
}

#[tokio::test]
async fn each_broken_exchange_of_buy_init_has_its_class() {
    use Step::{Bytes, Drip, Gone, Request, Reset, Wait};
    let cases: &[(&str, &[Step], &str, &str)] = &[
        ("accepted, then closed", &[], "never_sent", ""),
        ("accepted, then reset", &[Reset], "never_sent", ""),
        ("reset within the request", &[Bytes(20), Reset], "unknown", "status: None"),
        ("reset after the request", &[Request, Reset], "unknown", "status: None"),
        ("closed after the request", &[Request], "unknown", "status: None"),
        ("no answer", &[Request, Gone], "unknown", "no answer in time"),
        ("never read", &[Wait], "unknown", "no answer in time"),
        ("half a head", &[Request, Step::Write(b"HTTP/1.1 200 O".to_vec())], "unknown", "status: None"),
        ("not HTTP", &[Request, Step::Write(b"SSH-2.0-OpenSSH\r\n".to_vec())], "unknown", "status: None"),
        ("body cut", &[Request, head("200 OK", "Content-Length: 900\r\n"), Step::Write(OPENED.into())], "unknown", "s-1"),
        (
            "chunked body cut",
            &[Request, head("200 OK", "Transfer-Encoding: chunked\r\n"), Step::Write(b"5\r\n{\"ses".to_vec())],
            "unknown",
            "Some(200)",
        ),
        (
            "body dripping",
            &[Request, head("200 OK", "Content-Length: 63\r\n"), Drip(OPENED.into())],
            "unknown",
            "did not end in time",
        ),
        (
            "head dripping",
            &[Request, Drip(format!("HTTP/1.1 200 OK\r\nX-Long: {:>99}\r\n\r\n{OPENED}", 1).into())],
            "unknown",
            "no answer in time",
        ),
        ("rubbish", &[Request, ok("\u{1}\u{2}\u{3}")], "unknown", "Some(200)"),
        ("HTML", &[Request, answer("200 OK", "Content-Type: text/html\r\n", "<html>Welcome</html>")], "unknown", "<html>"),
        ("no session", &[Request, ok(r#"{"nfts":[]}"#)], "unknown", "missing field"),
        ("no content", &[Request, head("204 No Content", "")], "unknown", "Some(204)"),
        ("gzip", &[Request, answer("200 OK", "Content-Encoding: gzip\r\n", OPENED)], "done", "i-1"),
        ("without a length", &[Request, head("200 OK", ""), Step::Write(OPENED.into())], "done", "i-1"),
        ("301", &[Request, answer("301 Moved Permanently", "Location: /elsewhere\r\n", "")], "unknown", "Some(301)"),
        ("307", &[Request, answer("307 Temporary Redirect", "Location: /elsewhere\r\n", "")], "unknown", "Some(307)"),
        ("308", &[Request, answer("308 Permanent Redirect", "Location: /elsewhere\r\n", "")], "unknown", "Some(308)"),
        (
            "500",
            &[Request, answer("500 Internal Server Error", "", r#"{"error":"Error during transaction"}"#)],
            "unknown",
            "Some(500)",
        ),
        ("503", &[Request, answer("503 Service Unavailable", "Retry-After: 1\r\n", "")], "unknown", "Some(503)"),
        ("408", &[Request, answer("408 Request Timeout", "Connection: close\r\n", "")], "unknown", "Some(408)"),
        (
            "429 with JSON",
            &[Request, answer("429 Too Many Requests", "Retry-After: 7\r\n", r#"{"error":"slow"}"#)],
            "busy",
            "Some(7s)",
        ),
        ("429, empty", &[Request, answer("429 Too Many Requests", "", "")], "busy", "None"),
        ("429, rubbish wish", &[Request, answer("429 Too Many Requests", "Retry-After: soon\r\n", "")], "busy", "None"),
        (
            "429, ten years",
            &[Request, answer("429 Too Many Requests", "Retry-After: 315360000\r\n", "")],
            "busy",
            "Some(315360000s)",
        ),
        (
            "401",
            &[Request, answer("401 Unauthorized", "", r#"{"error":"Invalid API key"}"#)],
            "unauthorized",
            "Invalid API key",
        ),
        ("400", &[Request, answer("400 Bad Request", "", r#"{"error":"VM not found"}"#)], "refused", "UnknownPack"),
        ("400 with another text", &[Request, answer("400 Bad Request", "", r#"{"error":"No"}"#)], "unknown", "No"),
        ("200", &[Request, ok(OPENED)], "done", "8500000"),
    ];
    for (name, script, expected, why) in cases {
        check_init(name, script, expected, why).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_never_made_was_never_sent_on() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (base, why) in [(format!("http://{nobody}"), "refused"), ("http://no-such-host.invalid".into(), "dns error")] {
        let Answer::NeverSent { why: found } = client(&base).buy_init(purchase("p.1")).await else { panic!("{base}") };
        assert!(found.contains(why), "{found}");
    }
}

#[tokio::test]
async fn the_request_is_what_the_pages_show() {
    let server = Server::always(&[Step::Request, ok(OPENED)]).await;
    client(&server.base).buy_init(purchase("p.1")).await;
    let request = &server.received()[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/v1/vm/buy/init HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, r#"{"id":"BSG6Dy","amount":2,"user_id":"user_abc123"}"#);
    for header in ["content-type: application/json", "x-request-id: p.1", &format!("x-api-key: {KEY}"), "content-length: 50"] {
        assert!(head.to_lowercase().contains(header), "{header} in {head}");
    }
    assert!(!head.to_lowercase().contains("accept-encoding"), "{head}");
}

#[tokio::test]
async fn no_error_text_holds_the_key() {
    let server = Server::always(&[Step::Request, answer("500 Oops", "", "x")]).await;
    let client = client(&server.base);
    let texts = format!(
        "{:?} {:?} {:?}",
        client.buy_init(purchase("p.1")).await,
        client.inventory(&user()).await,
        client.packs().await
    );
    assert!(!texts.contains(KEY) && !texts.contains("user_abc123"), "{texts}");
    assert!(!client.key_fingerprint().is_empty() && !KEY.contains(&client.key_fingerprint()));
}

#[tokio::test]
async fn a_flood_is_cut_at_its_bound() {
    const HUNDRED_MB: usize = 100_000_000;
    let flood = [Step::Request, head("200 OK", "Content-Length: 100000000\r\n"), Step::Flood(HUNDRED_MB)];
    let server = Server::always(&flood).await;
    let client = client(&server.base);
    let found = client.buy_init(purchase("p.1")).await;
    assert!(format!("{found:?}").contains("longer than 16777216 bytes"), "{found:?}");
    assert!(matches!(client.buy_status(&session()).await, StatusAnswer::Unreadable { .. }));
    assert!(matches!(client.packs().await, PacksAnswer::Unreadable { .. }));
    assert!(matches!(client.inventory(&user()).await, InventoryAnswer::Unreadable { .. }));
    assert!(server.flooded() < 3 * HUNDRED_MB, "{} bytes of 400 MB were taken", server.flooded());
}

#[tokio::test]
async fn a_gzip_bomb_is_not_inflated() {
    // The first bytes of a gzip stream; a client that inflates would fail otherwise than by reading it as JSON.
    let bomb = Step::Write(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
    );
    let server = Server::always(&[Step::Request, bomb]).await;
    let Answer::Unknown { why, status } = client(&server.base).buy_init(purchase("p.1")).await else { panic!("unknown") };
    assert!(status == Some(200) && why.contains("expected value at line 1"), "{why}");
}

#[tokio::test]
async fn buy_status_asks_for_its_session_and_reads_each_answer() {
    let failed = answer("400 Bad Request", "", r#"{"error":"Transaction failed"}"#);
    let cases: [(Step, Check<StatusAnswer>); 3] = [
        (ok(r#"{"status":"pending"}"#), |found| *found == StatusAnswer::Pending),
        (failed, |found| *found == StatusAnswer::TransactionFailed),
        (
            ok(FULFILLED),
            |found| matches!(found, StatusAnswer::Fulfilled(f) if f.session == session() && f.user_id == Some(user()) && f.nfts.len() == 1),
        ),
    ];
    for (step, expected) in cases {
        let server = Server::always(&[Step::Request, step]).await;
        let found = client(&server.base).buy_status(&session()).await;
        assert!(expected(&found), "{found:?}");
        let received = server.received().concat();
        assert!(received.starts_with("POST /api/v1/vm/buy/status HTTP/1.1\r\n"), "{received}");
        assert!(received.ends_with(r#"{"session_id":"s-1"}"#), "{received}");
    }
}

#[tokio::test]
async fn reading_calls_are_unreadable_whatever_breaks() {
    let scripts: &[&[Step]] = &[
        &[],
        &[Step::Request, Step::Reset],
        &[Step::Request, Step::Gone],
        &[Step::Request, ok("<html></html>")],
        &[
            Step::Request,
            head("200 OK", "Content-Length: 900\r\n"),
            Step::Write(br#"{"user_id":"user_abc123","items":[]}"#.to_vec()),
        ],
        &[Step::Request, answer("307 Temporary Redirect", "Location: /x\r\n", "")],
        &[Step::Request, answer("404 Not Found", "", "<html>nginx</html>")],
        &[Step::Request, answer("500 Oops", "", "")],
    ];
    for script in scripts {
        let server = Server::always(script).await;
        let client = client_within(&server.base, SHORT);
        let (session, user) = (session(), user());
        let (status, inventory, packs) = tokio::join!(client.buy_status(&session), client.inventory(&user), client.packs());
        assert!(matches!(status, StatusAnswer::Unreadable { .. }), "{script:?}: {status:?}");
        assert!(matches!(inventory, InventoryAnswer::Unreadable { .. }), "{script:?}: {inventory:?}");
        assert!(matches!(packs, PacksAnswer::Unreadable { .. }), "{script:?}: {packs:?}");
    }
}

#[tokio::test]
async fn an_inventory_is_read_or_says_why_not() {
    let body = r#"{"user_id":"user_abc123","items":[{"id":"i-1","claw_id":"BSG6Dy","purchased_at":"2026-08-01T00:00:00Z","buyback_expires_at":null}]}"#;
    let other = body.replace("user_abc123", "user_abc124");
    let not_found = answer("404 Not Found", "", r#"{"error":"User not found"}"#);
    let cases: [(Step, Check<InventoryAnswer>); 4] = [
        (ok(body), |found| {
            matches!(found, InventoryAnswer::Read(look)
                if look.user_id == user() && look.items.len() == 1 && look.items[0].claw_id.as_deref() == Some("BSG6Dy"))
        }),
        (ok(&other), |found| matches!(found, InventoryAnswer::Unreadable { why } if why.contains("another user"))),
        (not_found, |found| *found == InventoryAnswer::UserNotFound),
        (answer("401 Unauthorized", "", ""), |found| *found == InventoryAnswer::Unauthorized),
    ];
    for (step, expected) in cases {
        let server = Server::always(&[Step::Request, step]).await;
        let found = client(&server.base).inventory(&user()).await;
        assert!(expected(&found), "{found:?}");
        assert!(server.received()[0].starts_with("GET /api/v1/inventory/user_abc123 HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn packs_are_listed() {
    let server =
        Server::always(&[Step::Request, ok(r#"[{"id":"BSG6Dy","enable":true,"in_stock":true,"mint_price":100}]"#)]).await;
    let PacksAnswer::Listed(packs) = client(&server.base).packs().await else { panic!("listed") };
    assert_eq!(packs.len(), 1);
    assert!(server.received()[0].starts_with("GET /api/v1/vm/available?platform=mainnet HTTP/1.1\r\n"));
}

#[tokio::test]
async fn buyback_is_sent_once_like_a_purchase() {
    let sale =
        || BuybackRequest { item_id: ItemId::new("i-1").unwrap(), reference: "s.1".into(), send_by: purchase("").send_by };
    let cases: &[(&[Step], Check<Answer>)] = &[
        (&[Step::Request, ok(r#"{"success":true,"amount":98.5}"#)], |found| matches!(found, Answer::Sold { amount: Some(_) })),
        (&[], |found| matches!(found, Answer::NeverSent { .. })),
        (&[Step::Request, Step::Reset], |found| matches!(found, Answer::Unknown { status: None, .. })),
    ];
    for (script, expected) in cases {
        let server = Server::always(script).await;
        let found = client(&server.base).buyback(sale()).await;
        assert!(expected(&found), "{script:?}: {found:?}");
        assert!(server.received().len() == 1);
    }
}

#[tokio::test]
async fn a_refusal_carries_its_code() {
    let server =
        Server::always(&[Step::Request, answer("400 Bad Request", "", r#"{"error":"Claw machine is out of stock"}"#)]).await;
    let expected =
        Answer::Refused { code: FailureCode::OutOfStock, message: "Claw machine is out of stock".into(), status: 400 };
    assert_eq!(client(&server.base).buy_init(purchase("p.1")).await, expected);
}
