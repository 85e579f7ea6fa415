//! The table of bad input.

use anyhow::Result;
use clawback_broker::{Properties, topology};
use clawback_domain::{DeadLetterId, pause::CommandKind, purchase::StateName};
use clawback_store::DeadLetterState;
use clawback_tests::in_process::{Plant, Stage};
use serde_json::{Value, json};

use crate::stage;

/// A message, and what is told of it: the code and the place of every problem.
struct Bad {
    name: &'static str,
    key: &'static str,
    body: Vec<u8>,
    properties: Properties,
    problems: Vec<(&'static str, &'static str)>,
    /// The `request_id` and `user_id` that the event can still name.
    known: (Option<&'static str>, Option<&'static str>),
}

fn bad(name: &'static str, body: impl Into<Vec<u8>>, problems: &[(&'static str, &'static str)]) -> Bad {
    let (body, problems) = (body.into(), problems.to_vec());
    Bad { name, key: "purchase", body, properties: Properties::default(), problems, known: (None, None) }
}

/// A good command but for this one field, given as JSON text.
fn field(name: &'static str, field: &'static str, value: &str, problem: (&'static str, &'static str)) -> Bad {
    let good = [("request_id", "\"bad\""), ("user_id", "\"bob\""), ("pack_id", "\"rookie\""), ("amount", "1")];
    let others = good.iter().filter(|(each, _)| *each != field).map(|(each, value)| format!("\"{each}\":{value}"));
    let all: Vec<_> = others.chain([format!("\"{field}\":{value}")]).collect();
    let known = |id: &str, value| (id != field).then_some(value);
    Bad {
        known: (known("request_id", "bad"), known("user_id", "bob")),
        ..bad(name, format!("{{{}}}", all.join(",")), &[problem])
    }
}

/// As a command, all of it good.
const GOOD: &str = r#"{"request_id":"bad","user_id":"bob","pack_id":"rookie","amount":1}"#;

fn what_is_no_command_at_all() -> Vec<Bad> {
    let nested = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    vec![
        bad("nothing", "", &[("invalid_json", "")]),
        bad("not JSON", "buy me a pack", &[("invalid_json", "")]),
        bad("cut off", &GOOD[..40], &[("invalid_json", "")]),
        bad("two commands in one message", format!("{GOOD}{GOOD}"), &[("invalid_json", "")]),
        bad("not an object", "[]", &[("invalid_field", "")]),
        bad("not UTF-8", b"{\"request_id\":\"\xff\"}", &[("invalid_encoding", "")]),
        bad("UTF-16", GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), &[("invalid_json", "")]),
        bad("a NUL", b"{\"request_id\":\"a\0b\"}", &[("invalid_json", "")]),
        bad("only a NUL", b"\0", &[("invalid_json", "")]),
        bad("a byte too large", " ".repeat(65_537 - GOOD.len()) + GOOD, &[("too_large", "")]),
        bad("a mebibyte", "x".repeat(1 << 20), &[("too_large", "")]),
        bad("arrays 10,000 deep", nested("[", "]"), &[("invalid_field", "")]),
        bad("objects 10,000 deep", nested("{\"a\":", "}"), &[("invalid_json", "")]),
        bad("brackets that never close", "[".repeat(60_000), &[("invalid_json", "")]),
        Bad { properties: typed("text/xml"), ..bad("another content type", GOOD, &[("invalid_encoding", "")]) },
        Bad {
            properties: typed("application/cloudevents+json"),
            ..bad("a CloudEvent that is none", GOOD, &[("missing_field", "/specversion"), ("missing_field", "/data")])
        },
        Bad { key: "refund", ..bad("a command nobody knows", GOOD, &[("unknown_command", "")]) },
        Bad { key: "", ..bad("no command's name at all", GOOD, &[("unknown_command", "")]) },
    ]
}

fn typed(content_type: &str) -> Properties {
    Properties { content_type: Some(content_type.into()), ..Properties::default() }
}

fn fields_that_are_wrong() -> Vec<Bad> {
    let missing = ["/request_id", "/user_id", "/pack_id", "/amount"].map(|at| ("missing_field", at));
    vec![
        bad("all fields missing", "{}", &missing),
        Bad {
            known: (Some("bad"), Some("bob")),
            ..bad(
                "one misspelt",
                r#"{"request_id":"bad","user_id":"bob","pack_id":"rookie","amount":1,"notafter":"2000-01-01T00:00:00Z"}"#,
                &[("unknown_field", "/notafter")],
            )
        },
        Bad {
            known: (Some("bad"), Some("bob")),
            ..bad(
                "one twice",
                r#"{"amount":1,"request_id":"bad","user_id":"bob","pack_id":"rookie","amount":2}"#,
                &[("invalid_field", "/amount")],
            )
        },
        bad(
            "all types wrong",
            r#"{"request_id":7,"user_id":null,"pack_id":["rookie"],"amount":"one","not_after":1,"metadata":[]}"#,
            &["/request_id", "/user_id", "/pack_id", "/amount", "/not_after", "/metadata"].map(|at| ("invalid_field", at)),
        ),
        field("an unpaired surrogate", "user_id", r#""\ud800""#, ("invalid_encoding", "/user_id")),
        field("an escaped NUL in metadata", "metadata", r#"{"a":"\u0000"}"#, ("invalid_encoding", "/metadata/a")),
        field("metadata too large", "metadata", &format!("{{\"a\":\"{}\"}}", "x".repeat(4096)), ("too_large", "/metadata")),
        field("a time without a zone", "not_after", "\"2030-01-01T00:00:00\"", ("invalid_field", "/not_after")),
    ]
}

fn values_that_are_wrong() -> Vec<Bad> {
    let huge = format!("\"{}\"", "x".repeat(60_000));
    let mut table = Vec::new();
    for (name, amount) in [
        ("0", "0"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("2^63", "9223372036854775808"),
        ("2^64 + 1, which a careless cast takes for 1", "18446744073709551617"),
        ("1 as text", "\"1\""),
        ("1e400", "1e400"),
        ("more than anybody buys", "10001"),
    ] {
        table.push(field(name, "amount", amount, ("invalid_field", "/amount")));
    }
    for (name, id) in [
        ("an empty request_id", "\"\""),
        ("a huge request_id", huge.as_str()),
        ("an escaped NUL in the request_id", r#""a\u0000b""#),
        ("a line break in the request_id", r#""a\nb""#),
        ("a reserved request_id", "\"auto:1\""),
        ("a request_id that is read backwards", r#""a\u202eb""#),
    ] {
        table.push(field(name, "request_id", id, ("invalid_field", "/request_id")));
    }
    for (name, id) in [
        ("an empty user_id", "\"\""),
        ("a huge user_id", huge.as_str()),
        ("a path out of the inventory", "\"../admin\""),
        ("a path segment of its own", "\"..\""),
        ("an encoded slash", "\"a%2fb\""),
        ("a backslash", r#""a\\b""#),
        ("a query", "\"a?key=b\""),
        ("a fragment", "\"a#b\""),
        ("a space", "\"a b\""),
        ("a delete", r#""a\u007fb""#),
    ] {
        table.push(field(name, "user_id", id, ("invalid_field", "/user_id")));
    }
    table.push(field("an empty pack_id", "pack_id", "\"\"", ("invalid_field", "/pack_id")));
    table.push(field("a huge pack_id", "pack_id", &huge, ("invalid_field", "/pack_id")));
    table
}

pub async fn each_becomes_a_dead_letter_and_an_event_and_the_next_message_is_handled(plant: &Plant) -> Result<()> {
    let stage = stage(plant, "bad-input").await?;
    let table = [what_is_no_command_at_all(), fields_that_are_wrong(), values_that_are_wrong()];
    let mut fulfilled = 0;
    for (number, bad) in table.into_iter().flatten().enumerate() {
        let message_id = format!("message-{number}");
        let properties = Properties { message_id: Some(message_id.clone()), ..bad.properties.clone() };
        stage.publish(bad.key, bad.body.clone(), properties).await?;
        let next = stage.buy(&format!("after-{number}")).await?;
        is_refused(&stage, &bad, &message_id).await?;
        stage.reaches(next, StateName::Fulfilled).await?;
        fulfilled += 1;
    }
    assert!(stage.lives());
    let ledger = stage.engine.lock().ledger();
    assert_eq!(ledger.purchases.len(), fulfilled, "what was refused was not bought");
    assert!(ledger.purchases.iter().all(|bought| bought.user_id == "alice"));
    stage.stop().await
}

async fn is_refused(stage: &Stage, bad: &Bad, message_id: &str) -> Result<()> {
    let known = bad.key == "purchase";
    let own = topology::command_queue(&stage.partner, CommandKind::Purchase);
    let queue = if known { own.as_str() } else { topology::UNROUTED };
    let id = DeadLetterId::of(queue, message_id.as_bytes());
    let letter = stage.buried(id).await?;
    assert_eq!(letter.body, bad.body, "{}: kept as it came", bad.name);
    assert_eq!(letter.reason, bad.problems[0].0, "{}", bad.name);
    assert_eq!((letter.queue.as_str(), letter.routing_key.as_str()), (queue, bad.key), "{}", bad.name);
    assert_eq!(letter.exchange, topology::commands(&stage.partner), "{}", bad.name);
    assert_eq!((letter.message_id.as_deref(), letter.state), (Some(message_id), DeadLetterState::Kept), "{}", bad.name);
    assert_eq!(letter.content_type, bad.properties.content_type, "{}", bad.name);

    let [data] = stage.tells(id.0, &["clawback.command.rejected"]).await?.try_into().expect("it is one");
    let problems: Vec<_> = data["errors"].as_array().into_iter().flatten().map(problem).collect();
    assert_eq!(problems, bad.problems, "{}: {data}", bad.name);
    assert_eq!(data["dead_letter_id"], json!(id), "{}", bad.name);
    assert_eq!((data["request_id"].as_str(), data["user_id"].as_str()), bad.known, "{}: {data}", bad.name);
    Ok(())
}

fn problem(told: &Value) -> (&str, &str) {
    assert!(told["message"].as_str().is_some_and(|message| message.len() > 3), "{told}");
    (told["code"].as_str().unwrap_or_default(), told["pointer"].as_str().unwrap_or("no pointer"))
}
