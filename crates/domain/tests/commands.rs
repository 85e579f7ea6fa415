//! What is taken as a command, and how everything else is explained.

use clawback_domain::{
    ItemId, Money, PackId, RequestId, Time, UserId,
    command::{CLOUDEVENTS_JSON, MOST_BYTES, Metadata, PurchaseCommand, Rejected, Target, parse_purchase, parse_sellback},
    reason::RejectionCode,
};
use proptest::prelude::*;

const GOOD: &str = r#"{"request_id":"r","user_id":"u","pack_id":"p","amount":1}"#;

fn rejected(body: impl AsRef<[u8]>) -> Rejected {
    parse_purchase(None, body.as_ref()).unwrap_err()
}

/// Code and pointer of every problem, in the order they are told.
fn problems(rejected: &Rejected) -> Vec<(RejectionCode, &str)> {
    rejected.problems.iter().map(|problem| (problem.code, problem.pointer.as_str())).collect()
}

/// The one problem of a good command with `field` put in the place of what it had.
fn only_problem(field: &str, value: &str) -> (RejectionCode, String, Option<String>) {
    let body = with(field, value);
    let mut rejected = rejected(&body);
    assert_eq!(rejected.problems.len(), 1, "{body}: {rejected}");
    let problem = rejected.problems.remove(0);
    assert_eq!(problem.pointer, format!("/{field}"), "{body}");
    (problem.code, problem.message, problem.hint)
}

fn with(field: &str, value: &str) -> String {
    let fields = [("request_id", "\"r\""), ("user_id", "\"u\""), ("pack_id", "\"p\""), ("amount", "1")];
    let others = fields.iter().filter(|(name, _)| *name != field).map(|(name, value)| format!("\"{name}\":{value}"));
    let all: Vec<_> = others.chain([format!("\"{field}\":{value}")]).collect();
    format!("{{{}}}", all.join(","))
}

#[test]
fn a_good_command_is_read_bare_and_as_a_cloud_event() {
    let full = r#"{"request_id":"r","user_id":"u","pack_id":"p","amount":10000,"not_after":"2030-01-01T02:00:00.1234567+02:00","metadata":{"a":[1.0]}}"#;
    let command = parse_purchase(Some("application/json"), full.as_bytes()).unwrap();
    assert_eq!(command.amount, 10_000);
    assert_eq!(command.not_after, Some("2030-01-01T00:00:00.123456Z".parse::<Time>().unwrap()));
    assert_eq!(command.metadata.as_ref().unwrap().as_str(), r#"{"a":[1.0]}"#);
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/shop","type":"shop.bought","datacontenttype":"application/json","shopcode":7,"data": {full} }}"#
    );
    assert_eq!(parse_purchase(Some(CLOUDEVENTS_JSON), event.as_bytes()).unwrap(), command);
}

#[test]
fn all_problems_are_told_at_once() {
    let body = r#"{"requestId":"r","user_id":"a b","amount":0,"not_befor":1,"metadata":{"a":{"b":1,"b":2},"c":"\u0000"}}"#;
    let rejected = rejected(body);
    use RejectionCode::*;
    let expected = [
        (UnknownField, "/requestId"),
        (UnknownField, "/not_befor"),
        (MissingField, "/request_id"),
        (InvalidField, "/user_id"),
        (MissingField, "/pack_id"),
        (InvalidField, "/amount"),
        (InvalidField, "/metadata/a/b"),
        (InvalidEncoding, "/metadata/c"),
    ];
    assert_eq!(problems(&rejected), expected);
    assert_eq!(rejected.problems[0].hint.as_deref(), Some("did you mean request_id?"));
    assert_eq!((rejected.request_id, rejected.user_id), (None, None));
}

#[test]
fn the_ids_are_told_as_far_as_they_are_readable() {
    let rejected = rejected(r#"{"request_id":"r-1","user_id":"u-1","pack_id":7,"amount":1}"#);
    assert_eq!(rejected.request_id, Some(RequestId::new("r-1").unwrap()));
    assert_eq!(rejected.user_id, Some(UserId::new("u-1").unwrap()));
    let twice = parse_purchase(None, GOOD.replacen('{', "{\"request_id\":\"s\",", 1).as_bytes()).unwrap_err();
    assert_eq!(problems(&twice), [(RejectionCode::InvalidField, "/request_id")]);
    assert_eq!((twice.request_id, twice.user_id), (None, Some(UserId::new("u").unwrap())));
}

#[test]
fn an_amount_is_an_integer_between_one_and_ten_thousand() {
    let integer = |text: &str| format!("must be written as an integer, without fraction or exponent, not {text}");
    let range = |text: &str| format!("must be 1–10000, not {text}");
    let shape = |text: &str| format!("must be an integer, not {text}");
    for (value, expected) in [
        ("0", range("0")),
        ("-0", range("-0")),
        ("-1", range("-1")),
        ("10001", range("10001")),
        ("9223372036854775808", range("9223372036854775808")),
        ("1.5", integer("1.5")),
        ("1.0", integer("1.0")),
        ("1e2", integer("1e2")),
        ("1E400", integer("1E400")),
        ("\"one\"", shape("a string")),
        ("true", shape("a boolean")),
        ("null", shape("null")),
        ("[1]", shape("an array")),
        ("{}", shape("an object")),
    ] {
        let expected = (RejectionCode::InvalidField, expected, Some("for example 1".to_owned()));
        assert_eq!(only_problem("amount", value), expected, "{value}");
    }
    let quoted = (RejectionCode::InvalidField, shape("a string"), Some("without quotes: 1".to_owned()));
    assert_eq!(only_problem("amount", "\"1\""), quoted);
}

#[test]
fn ids_follow_their_rules() {
    let huge = format!("\"{}\"", "x".repeat(60_000));
    for (field, value, expected) in [
        ("request_id", "\"\"", "must be 1–128 characters, not 0"),
        ("request_id", &huge, "must be 1–128 characters, not 60000"),
        ("request_id", r#""a\u0000b""#, "must not contain the control character U+0000"),
        ("request_id", r#""a\u0085b""#, "must not contain the control character U+0085"),
        ("request_id", "\"auto:1\"", "must not begin with auto:, which is reserved"),
        ("request_id", r#""a\u202eb""#, "must not contain U+202E, which changes the direction of text"),
        ("request_id", "7", "must be a string, not a number"),
        ("request_id", "null", "must be a string, not null"),
        ("user_id", "\"../etc\"", "must not contain '/': it travels in a URL path"),
        ("user_id", "\"%2f\"", "must not contain '%': it travels in a URL path"),
        ("user_id", "\"a\\\\b\"", "must not contain '\\\\': it travels in a URL path"),
        ("user_id", "\"..\"", "must not be \"..\": it is a path segment of its own"),
        ("user_id", "\"a\u{2067}b\"", "must not contain U+2067, which changes the direction of text"),
        ("pack_id", &huge, "must be 1–128 characters, not 60000"),
        ("pack_id", r#""\n""#, "must not contain the control character U+000A"),
        ("pack_id", "[]", "must be a string, not an array"),
    ] {
        let (code, message, hint) = only_problem(field, value);
        assert_eq!((code, message.as_str()), (RejectionCode::InvalidField, expected));
        assert!(hint.unwrap().starts_with("for example \""));
    }
    assert_eq!(only_problem("user_id", r#""\ud800""#).0, RejectionCode::InvalidEncoding);
}

#[test]
fn a_time_has_a_zone_and_a_form() {
    for value in [
        "\"\"",
        "\"tomorrow\"",
        "\"2030-01-01\"",
        "\"2030-01-01T00:00:00\"",
        "\"2030-13-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59-01:00\"",
        "\"0000-01-01T00:00:00Z\"",
        "1893456000",
        "{}",
    ] {
        let (code, _, hint) = only_problem("not_after", value);
        assert_eq!(
            (code, hint.as_deref()),
            (RejectionCode::InvalidField, Some("for example \"2030-01-31T12:00:00Z\"")),
            "{value}"
        );
    }
    let leap = parse_purchase(None, with("not_after", "\"2016-12-31T23:59:60Z\"").as_bytes()).unwrap();
    assert_eq!(leap.not_after, Some("2017-01-01T00:00:00Z".parse::<Time>().unwrap()));
}

#[test]
fn metadata_is_a_small_object() {
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(4096));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let levels = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for (value, code, message) in [
        ("[]", RejectionCode::InvalidField, "must be an object, not an array"),
        ("\"{}\"", RejectionCode::InvalidField, "must be an object, not a string"),
        (&large, RejectionCode::TooLarge, "must be at most 4096 bytes of JSON, not 4104"),
        (&deep, RejectionCode::TooLarge, "must be at most 4096 bytes of JSON, not 20006"),
    ] {
        let (found, text, _) = only_problem("metadata", value);
        assert_eq!((found, text.as_str()), (code, message));
    }
    let levels = rejected(with("metadata", &levels));
    assert_eq!(levels.problems[0].message, "is nested too deeply (at most 64 levels)");
    let turned = parse_purchase(None, with("metadata", r#"{"a":"\u202e"}"#).as_bytes()).unwrap();
    assert_eq!(turned.metadata.unwrap().as_str(), "{\"a\":\"\u{202e}\"}");
}

#[test]
fn what_is_no_command_at_all_is_one_problem() {
    use RejectionCode::*;
    let nested = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat().into_bytes();
    let many = format!("{{{}}}", (0..5000).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(","));
    for (body, expected) in [
        (Vec::new(), InvalidJson),
        (b"{".to_vec(), InvalidJson),
        (b"not json".to_vec(), InvalidJson),
        (b"\0".to_vec(), InvalidJson),
        (format!("\u{feff}{GOOD}").into_bytes(), InvalidJson),
        (format!("{GOOD}{GOOD}").into_bytes(), InvalidJson),
        (b"{\"request_id\":\"a\0b\"}".to_vec(), InvalidJson),
        (b"{\"request_id\":\"\xff\"}".to_vec(), InvalidEncoding),
        (b"{\"\\ud800\":1}".to_vec(), InvalidEncoding),
        (b"null".to_vec(), InvalidField),
        (b"[]".to_vec(), InvalidField),
        (nested("[", "]"), InvalidField),
        (nested("{\"a\":", "}"), InvalidJson),
        (b"[".repeat(10_000), InvalidJson),
        (format!("{GOOD}{}", " ".repeat(MOST_BYTES - GOOD.len() + 1)).into_bytes(), TooLarge),
    ] {
        let rejected = rejected(&body);
        assert_eq!(problems(&rejected), [(expected, "")], "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
    }
    assert!(parse_purchase(None, format!("{GOOD}{}", " ".repeat(MOST_BYTES - GOOD.len())).as_bytes()).is_ok());
    let many = rejected(many);
    assert_eq!(many.problems.len(), 17);
    assert_eq!(many.problems[16].message, "and 4988 more problems");
}

#[test]
fn a_hostile_name_is_told_cut_and_clean() {
    let rejected = rejected(GOOD.replacen('{', &format!("{{\"\\u0000~/{}\":1,", "x".repeat(30_000)), 1));
    assert_eq!(rejected.problems[0].pointer, format!("/\u{fffd}~0~1{}…", "x".repeat(61)));
    assert_eq!(rejected.problems[0].hint, None);
}

#[test]
fn the_envelope_is_read_as_strictly_as_it_concerns_us() {
    let check = |body: String, expected: &[(RejectionCode, &str)]| {
        let rejected = parse_purchase(Some(CLOUDEVENTS_JSON), body.as_bytes()).unwrap_err();
        assert_eq!(problems(&rejected), expected, "{body}");
    };
    use RejectionCode::*;
    check(GOOD.into(), &[(MissingField, "/specversion"), (MissingField, "/data")]);
    check(format!(r#"{{"specversion":"0.3","data":{GOOD}}}"#), &[(InvalidField, "/specversion")]);
    check(format!(r#"{{"specversion":"1.0","data":{GOOD},"data":{GOOD}}}"#), &[(InvalidField, "/data")]);
    check(
        format!(r#"{{"specversion":"1.0","datacontenttype":"text/xml","data":{GOOD}}}"#),
        &[(InvalidField, "/datacontenttype")],
    );
    check(r#"{"specversion":"1.0","data_base64":"e30="}"#.into(), &[(MissingField, "/data")]);
    check(r#"{"specversion":"1.0","data":"{}"}"#.into(), &[(InvalidField, "/data")]);
    let wrong = GOOD.replace("\"amount\":1", "\"amount\":0,\"colour\":1");
    check(
        format!(r#"{{"specversion":"1.0","data":{wrong}}}"#),
        &[(UnknownField, "/data/colour"), (InvalidField, "/data/amount")],
    );
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("JSON has no other numbers", |n| n.is_finite()).prop_map(Into::into),
        "[^\\x00]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map("[^\\x00]{0,6}", inner, 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn command()(
        request in "[a-zA-Z0-9 ._:/%é-]{1,120}".prop_filter("reserved", |text| !text.starts_with("auto:")),
        user in "[a-zA-Z0-9@._é-]{3,200}".prop_filter("a path", |text| text != "..."),
        pack in "\\PC{1,60}".prop_filter("direction", |text| !text.chars().any(|c| "\u{61c}\u{200e}\u{200f}".contains(c)
            || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c))),
        amount in 1..=10_000u32,
        micros in prop::option::of(0..250_000_000_000_000_000i64),
        metadata in prop::option::of(prop::collection::btree_map("[^\\x00]{0,6}", json(), 0..4)),
    ) -> PurchaseCommand {
        PurchaseCommand {
            request_id: RequestId::new(request).unwrap(),
            user_id: UserId::new(user).unwrap(),
            pack_id: PackId::new(pack).unwrap(),
            amount,
            not_after: micros.map(|micros| Time::from_timestamp_micros(micros).unwrap()),
            metadata: metadata.and_then(|members| Metadata::parse(&serde_json::to_string(&members).unwrap()).ok()),
        }
    }
}

proptest! {
    #[test]
    fn every_command_reads_back_equal(command in command()) {
        let read = parse_purchase(None, command.to_json().as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&command));
        prop_assert_eq!(read.unwrap().digest(), command.digest());
    }

    #[test]
    fn order_space_and_escapes_do_not_change_the_digest(command in command()) {
        let fields: serde_json::Map<_, _> = serde_json::from_str(&command.to_json()).unwrap();
        let escape = |text: String| text.replace('é', "\\u00e9");
        let turned: Vec<_> = fields.iter().rev().map(|(name, value)| format!("\"{name}\" : {value:#}")).collect();
        let other = escape(format!(" {{ {} }}\n", turned.join(" , ")));
        // What the spaces add may lift metadata over its bound; then it is another command.
        if let Ok(read) = parse_purchase(None, other.as_bytes()) {
            prop_assert_eq!(read.digest(), command.digest());
        } else {
            prop_assert!(command.metadata.is_some_and(|metadata| metadata.as_str().len() > 512));
        }
    }

    #[test]
    fn no_bytes_are_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), cloud in any::<bool>()) {
        let _ = parse_purchase(cloud.then_some(CLOUDEVENTS_JSON), &body);
    }

    #[test]
    fn nearly_a_command_is_taken_or_explained(command in command(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = command.to_json().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Err(rejected) = parse_purchase(None, &body) {
            prop_assert!(!rejected.problems.is_empty());
            prop_assert!(rejected.problems.iter().all(|problem| !problem.pointer.contains('\0') && !problem.message.contains('\0')));
        }
    }
}

fn sellback_problems(body: &str) -> Vec<(RejectionCode, String)> {
    let rejected = parse_sellback(None, body.as_bytes()).unwrap_err();
    rejected.problems.into_iter().map(|problem| (problem.code, problem.pointer)).collect()
}

#[test]
fn a_sellback_names_an_item_or_a_pull() {
    let pull = "6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11";
    let of_item =
        parse_sellback(None, br#"{"request_id":"r","user_id":"u","item_id":"i","pull_id":null,"min_price":"8.5"}"#).unwrap();
    assert_eq!(of_item.target, Target::Item(ItemId::new("i").unwrap()));
    assert_eq!(of_item.min_price, Some(Money::usd(8_500_000)));
    let of_pull = format!(r#"{{"request_id":"r","user_id":"u","pull_id":"{pull}"}}"#);
    assert_eq!(parse_sellback(None, of_pull.as_bytes()).unwrap().target, Target::Pull(pull.parse().unwrap()));
}

#[test]
fn what_is_wrong_with_a_sellback_is_told_at_once() {
    use RejectionCode::*;
    let cases: &[(&str, &[(RejectionCode, &str)])] = &[
        (r#"{"request_id":"r","user_id":"u"}"#, &[(MissingField, "/item_id")]),
        (r#"{"request_id":"r","user_id":"u","item_id":null}"#, &[(InvalidField, "/item_id")]),
        (
            r#"{"request_id":"r","user_id":"u","item_id":"i","pull_id":"6a0e3c1e-93f4-5c59-8b5c-0d9c1aa7be11"}"#,
            &[(InvalidField, "/item_id")],
        ),
        (r#"{"request_id":"r","user_id":"u","pull_id":"6A0E3C1E93F45C598B5C0D9C1AA7BE11"}"#, &[(InvalidField, "/pull_id")]),
        (
            r#"{"request_id":"auto:r","itemid":"i","min_price":"-1","amount":1}"#,
            &[
                (UnknownField, "/itemid"),
                (UnknownField, "/amount"),
                (InvalidField, "/request_id"),
                (MissingField, "/user_id"),
                (MissingField, "/item_id"),
                (InvalidField, "/min_price"),
            ],
        ),
    ];
    for (body, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(code, pointer)| (*code, (*pointer).to_owned())).collect();
        assert_eq!(sellback_problems(body), expected, "{body}");
    }
    for price in ["8,50", "1e2", "+1", "", "0.0000001", "NaN", "-0", " 1"] {
        let body = format!(r#"{{"request_id":"r","user_id":"u","item_id":"i","min_price":"{price}"}}"#);
        assert_eq!(sellback_problems(&body), [(InvalidField, "/min_price".to_owned())], "{price}");
    }
}
