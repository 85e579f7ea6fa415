//! Each verb against an SQLite store: its happy path, its errors, its exit code, and `--json` that parses.

mod support;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use clawback_domain::{DeadLetterId, PartnerId, command::Rejected, event, reason::RejectionCode};
use clawback_store::{DeadLetter, DeadLetterState, Store};
use support::{Place, until};

const ONE: &[&str] = &["enqueue", "purchase", "--user", "kim", "--pack", "rookie", "--request-id", "order-1"];

#[test]
fn a_store_that_is_not_there_is_named_and_how_to_get_one() {
    let place = Place::empty();
    place.run(&["list", "purchases"]).failed(1, "there is no store at");
    place.run(&["migrate", "--check"]).failed(1, "there is no store at");
    let applied = place.json(&["migrate"]);
    assert!(!applied["applied"].as_array().unwrap().is_empty());
    assert_eq!(place.json(&["migrate"])["applied"].as_array().unwrap().len(), 0);
    assert_eq!(place.json(&["migrate", "--check"])["pending"].as_array().unwrap().len(), 0);
}

#[test]
fn a_command_is_accepted_once_however_often_it_is_sent() {
    let place = Place::migrated();
    let first = place.json(ONE);
    assert_eq!(first["result"], "accepted");
    let again = place.json(ONE);
    assert_eq!((again["result"].as_str(), &again["purchase_id"]), (Some("repeat"), &first["purchase_id"]));
    place.run(&[ONE, &["--amount", "2"]].concat()).failed(1, "request_id_conflict");
    assert_eq!(place.json(&["list", "purchases"])["purchases"].as_array().unwrap().len(), 1);
}

#[test]
fn a_command_that_is_none_is_refused_with_all_its_problems() {
    let place = Place::migrated();
    let base = ["enqueue", "purchase", "--user", "a/b", "--pack", "rookie", "--amount", "0"];
    let said = place.run(&base).failed(2, "/user_id must not contain");
    assert!(said.err.contains("/amount"), "{}", said.err);
    place.run(&[ONE, &["--metadata", "{"]].concat()).failed(2, "--metadata is not JSON");
    place.run(&[ONE, &["--partner", "beta"]].concat()).failed(2, "there is no partner beta; there is: default");
    place.run(&["enqueue", "purchase"]).failed(2, "--user");
    place.run(&["enqueue"]).failed(2, "Usage");
    let dry = place.json(&[ONE, &["--dry-run"]].concat());
    assert_eq!(dry["dry_run"], true);
    assert_eq!(place.json(&["list", "purchases"])["purchases"].as_array().unwrap().len(), 0);
}

#[test]
fn a_purchase_is_shown_by_either_id_and_says_why_it_waits() {
    let place = Place::migrated();
    let id = place.json(&[ONE, &["--as", "jo"]].concat())["purchase_id"].as_str().unwrap().to_owned();
    for name in ["order-1", id.as_str()] {
        let shown = place.json(&["show", name]);
        assert_eq!((shown["purchase_id"].as_str(), shown["state"].as_str()), (Some(id.as_str()), Some("accepted")));
        assert_eq!(shown["timeline"][0]["by"], "jo");
        assert_eq!(shown["why"], "it was just accepted; a worker takes it next");
    }
    place.run(&["pause", "--partner", "default", "--reason", "stocktaking", "--as", "jo"]).ok();
    let text = place.run(&["show", "order-1"]).ok().out;
    assert!(text.contains("partner default is paused by jo: stocktaking"), "{text}");
    assert!(text.contains("1 × rookie for kim of default, request order-1"), "{text}");
    place.run(&["show", "order-2"]).failed(1, "there is no purchase or sellback order-2");
    place.run(&["show"]).failed(2, "Usage");
}

#[test]
fn rules_read_as_sentences_and_say_when_an_item_would_be_warned_of_and_sold() {
    let place = Place::empty();
    place.write(
        "clawback.toml",
        "[defaults]\nwarnings = { leads = [\"24h\", \"1h\"], quiet = { zone = \"UTC\" } }\n\
         [[partner]]\nname = \"acme\"\napi_key_env = \"A\"\nsell_before_expiry = { min_share = \"0.9\" }\n\
         [[partner.pack]]\nid = \"gold\"\nleads = [\"2h\"]\n\
         [[partner]]\nname = \"beta\"\napi_key_env = \"B\"\nwarnings = false\n",
    );
    assert_eq!(place.json(&["rules", "preview", "--partner", "acme"])["partners"][0]["sales"], serde_json::Value::Null);
    place.run(&["migrate"]).ok();
    assert_eq!(place.json(&["rules", "preview", "--partner", "acme"])["partners"][0]["sales"]["sales"], 0);
    let [acme, beta] =
        ["acme", "beta"].map(|partner| place.json(&["rules", "preview", "--partner", partner])["partners"][0].clone());
    assert_eq!(acme["warnings"][1], "For items of pack gold it is 2h before.");
    assert_eq!(acme["sale"][1], "It is sold for 90 % of its price at purchase or more.");
    assert_eq!((&beta["warnings"][0], &beta["item"]), (&"Users are not warned.".into(), &serde_json::Value::Null));
    let text = place.run(&["rules", "preview"]).ok().out;
    assert!(text.contains("acme\n  Users are warned 24h and 1h") && text.contains("beta\n  Users are not warned."), "{text}");

    let item = ["rules", "preview", "--partner", "acme", "--expires-at", "2026-03-02T06:00:00Z", "--pack"];
    let previewed =
        |pack: &str, flags: &[&str]| place.json(&[&item[..], &[pack], flags].concat())["partners"][0]["item"].clone();
    let held = previewed("gold", &[]);
    assert_eq!(
        held["warnings"][0],
        "2h before: Mon 2026-03-02 04:00:00 UTC, in quiet hours, but not held: the item expires before they end."
    );
    assert_eq!(held["sale"], "It is sold between Mon 2026-03-02 05:30:00 UTC and Mon 2026-03-02 05:55:00 UTC.");
    let nepal = previewed("tin", &["--zone", "Asia/Kathmandu"]);
    assert_eq!(nepal["warnings"][1], "1h before: Mon 2026-03-02 10:45:00 +0545.");
    place.run(&[&item[..], &["tin", "--zone", "Katmandu"]].concat()).failed(2, "did you mean Asia/Katmandu?");
    place.run(&item[..6]).failed(2, "--pack");
    place.run(&["rules", "preview", "--partner", "gamma"]).failed(2, "there is no partner gamma");
}

#[test]
fn warnings_are_asked_for_by_what_they_are() {
    let place = Place::migrated();
    assert_eq!(place.json(&["warnings", "list"])["warnings"], serde_json::json!([]));
    for flags in [&["--due-within", "24h"][..], &["--state", "sent", "--partner", "acme"], &["--user", "kim", "--limit", "1"]] {
        assert!(place.run(&[&["warnings", "list"], flags].concat()).ok().out.contains("no warning is like that"));
    }
    place.run(&["warnings", "list", "--state", "lost"]).failed(2, "must be one of planned, sent, skipped");
    place.run(&["warnings", "list", "--state", "sent", "--due-within", "1h"]).failed(2, "cannot be used with");
    Place::empty().run(&["warnings", "list"]).failed(1, "there is no store at");
}

const SALE: &[&str] = &["enqueue", "sellback", "--user", "kim", "--request-id", "sale-1"];

#[test]
fn a_sellback_is_asked_for_once_and_refused_with_all_its_problems() {
    let place = Place::migrated();
    let item = [SALE, &["--item", "card", "--min-price", "8.50"]].concat();
    let dry = place.json(&[&item[..], &["--dry-run"]].concat());
    assert_eq!((&dry["dry_run"], place.json(&["list", "sellbacks"])["sellbacks"].as_array().unwrap().len()), (&true.into(), 0));
    let first = place.json(&item);
    assert_eq!(first["result"], "accepted");
    let again = place.json(&item);
    assert_eq!((again["result"].as_str(), &again["sellback_id"]), (Some("repeat"), &first["sellback_id"]));
    place.run(&[SALE, &["--item", "card"]].concat()).failed(1, "request_id_conflict");
    place.run(&[ONE, &["--request-id", "sale-1"]].concat()).failed(2, "cannot be used multiple times");

    let pull = uuid::Uuid::from_u128(7).to_string();
    let by_pull = place.json(&["enqueue", "sellback", "--user", "kim", "--pull", &pull]);
    assert_eq!(place.json(&["show", by_pull["sellback_id"].as_str().unwrap()])["pull_id"], pull.as_str());
    for (flags, code, about) in [
        (&[][..], 2, "--expiring-within"),
        (&["--item", "a", "--pull", &pull], 2, "cannot be used with"),
        (&["--item", "a", "--expiring-within", "1h"], 2, "cannot be used with"),
        (&["--expiring-within", "1h"], 2, "cannot be used with"),
        (&["--item", "a", "--prefix", "p"], 2, "--expiring-within"),
        (&["--item", "a", "--min-price", "cheap"], 2, "/min_price must be a decimal"),
        (&["--pull", "x"], 2, "/pull_id must be"),
    ] {
        place.run(&[SALE, flags].concat()).failed(code, about);
    }
    let all = ["enqueue", "sellback", "--user", "kim", "--expiring-within", "24h"];
    place.run(&all).failed(2, "say --yes, or --dry-run");
    assert!(place.run(&[&all[..], &["--dry-run"]].concat()).ok().out.contains("nothing that kim holds expires by then"));
}

#[test]
fn a_sellback_is_listed_shown_and_cancelled_as_a_purchase_is() {
    let place = Place::migrated();
    place.run(ONE).ok();
    let item = [SALE, &["--item", "card", "--min-price", "8.50", "--as", "jo"]].concat();
    let id = place.json(&item)["sellback_id"].as_str().unwrap().to_owned();
    let listed = place.json(&["list", "sellbacks", "--user", "kim"])["sellbacks"].clone();
    assert_eq!((listed.as_array().unwrap().len(), listed[0]["sellback_id"].as_str()), (1, Some(id.as_str())));
    assert_eq!(place.json(&["list", "purchases"])["purchases"].as_array().unwrap().len(), 1);
    assert!(place.run(&["list", "sellbacks"]).ok().out.contains("item card"));
    assert!(place.run(&["list", "sellbacks", "--state", "sold"]).ok().out.contains("no sellback is like that"));

    place.run(&["pause", "--all", "--kind", "sellback", "--reason", "prices", "--as", "jo"]).ok();
    let text = place.run(&["show", "sale-1"]).ok().out;
    for said in ["item card from kim of default, request sale-1", "for at least 8.50 USD", "sellbacks is paused by jo: prices"]
    {
        assert!(text.contains(said), "{said:?} is not in {text}");
    }
    assert_eq!(place.json(&["show", "order-1"])["why"], "it was just accepted; a worker takes it next", "purchases go on");
    let cancelled = place.json(&["cancel", &id]);
    assert_eq!((cancelled["sellback_id"].as_str(), cancelled["state"].as_str()), (Some(id.as_str()), Some("failed")));
    assert_eq!(place.json(&["show", &id])["reason"]["code"], "cancelled");
}

#[test]
fn a_file_holds_both_kinds() {
    let place = Place::migrated();
    place.write("both.csv", "command,request_id,user_id,pack_id,amount,item_id\n,b,u,p,1,\nsellback,s,u,,,i\n");
    assert_eq!(place.json(&["enqueue", "--file", "both.csv"])["accepted"], 2);
    let line = "{\"command\":\"sellback\",\"request_id\":\"s\",\"user_id\":\"u\",\"item_id\":\"i\"}\n";
    place.write("again.ndjson", line);
    assert_eq!(place.json(&["enqueue", "--file", "again.ndjson"])["repeats"], 1);
    assert_eq!(place.json(&["show", "s"])["item_id"], "i");
    place.write("gift.ndjson", &line.replace("sellback", "gift"));
    place.run(&["enqueue", "--file", "gift.ndjson"]).failed(1, "line 1: /command must be purchase or sellback, not gift");
}

#[test]
fn purchases_are_listed_by_what_they_are_and_page_by_page() {
    let place = Place::migrated();
    let commands: String = (0..5)
        .map(|n| format!("{{\"request_id\":\"r{n}\",\"user_id\":\"u{}\",\"pack_id\":\"p\",\"amount\":1}}\n", n % 2))
        .collect();
    place.write("c.ndjson", &commands);
    place.run(&["enqueue", "--file", "c.ndjson"]).ok();
    let count =
        |arguments: &[&str]| place.json(&[&["list", "purchases"], arguments].concat())["purchases"].as_array().unwrap().len();
    assert_eq!((count(&[]), count(&["--user", "u1"]), count(&["--state", "accepted"])), (5, 2, 5));
    assert_eq!((count(&["--state", "failed"]), count(&["--older-than", "1h"]), count(&["--partner", "beta"])), (0, 0, 0));

    let page = place.json(&["list", "purchases", "--limit", "3"]);
    let next = page["next"].as_str().unwrap();
    let rest = place.json(&["list", "purchases", "--limit", "3", "--after", next]);
    assert_eq!((page["purchases"].as_array().unwrap().len(), rest["purchases"].as_array().unwrap().len()), (3, 2));
    assert!(rest["next"].is_null());
    place.run(&["list", "purchases", "--state", "lost"]).failed(2, "must be one of accepted, initiating");
    place.run(&["list", "purchases", "--after", "x"]).failed(2, "--after takes the `next` of a page before");
    assert!(place.run(&["list", "purchases"]).ok().out.contains("1 × p"));
}

#[test]
fn what_was_not_called_can_be_cancelled() {
    let place = Place::migrated();
    place.run(ONE).ok();
    let cancelled = place.json(&["cancel", "order-1", "--as", "jo", "--reason", "too late"]);
    assert_eq!(cancelled["state"], "failed");
    assert_eq!(place.json(&["cancel", "order-1"])["state"], "failed", "cancelling twice is one cancellation");
    let shown = place.json(&["show", "order-1"]);
    assert_eq!((shown["reason"]["code"].as_str(), shown["why"].as_str()), (Some("cancelled"), None));
    assert_eq!(shown["timeline"][1]["by"], "jo");
    place.run(&["cancel", "order-2"]).failed(1, "there is no purchase or sellback order-2");
}

#[test]
fn a_pause_says_who_and_why_and_is_taken_away_as_it_was_made() {
    let place = Place::migrated();
    place.run(&["pause", "--all"]).failed(2, "say why with --reason");
    place.run(&["pause", "--reason", "x"]).failed(2, "--all");
    place.run(&["pause", "--all", "--partner", "default", "--reason", "x"]).failed(2, "cannot be used with");
    place.run(&["pause", "--partner", "beta", "--reason", "x"]).failed(2, "there is no partner beta");
    place.run(&["pause", "--all", "--kind", "gift", "--reason", "x"]).failed(2, "gift");
    let dry = place.json(&["pause", "--all", "--reason", "x", "--dry-run"]);
    assert_eq!(dry["would_pause"], "everything");
    assert_eq!(place.json(&["paused"])["pauses"].as_array().unwrap().len(), 0);

    let pack = ["--partner", "default", "--pack", "rookie", "--kind", "purchase", "--reason", "price", "--as", "jo"];
    assert_eq!(place.json(&[&["pause"], &pack[..]].concat())["paused"], true);
    assert_eq!(place.json(&[&["pause"], &pack[..]].concat())["paused"], false, "the first pause stands");
    let pauses = place.json(&["paused"])["pauses"].clone();
    assert_eq!((pauses[0]["pack"].as_str(), pauses[0]["by"].as_str()), (Some("rookie"), Some("jo")));
    assert!(place.run(&["paused"]).ok().out.contains("partner default, pack rookie, purchases"));
    place.run(&["resume", "--all", "--reason", "x"]).failed(1, "everything is not paused as such");
    assert_eq!(place.json(&[&["resume"], &pack[..]].concat())["resumed"], true);
    assert_eq!(place.json(&["paused"])["pauses"].as_array().unwrap().len(), 0);
}

#[test]
fn a_file_is_checked_as_a_whole_and_an_interrupted_run_goes_on() {
    let place = Place::migrated();
    place.write("bad.csv", "request_id,user_id,pack_id,amount\nr1,u,p,1\nr2,u,p,0\n");
    let said = place.run(&["enqueue", "--file", "bad.csv"]).failed(1, "nothing was sent; bad.csv has problems");
    assert!(said.err.contains("line 3: /amount"), "{}", said.err);
    assert_eq!(place.json(&["list", "purchases"])["purchases"].as_array().unwrap().len(), 0);

    place.write("good.csv", "request_id,user_id,pack_id,amount,metadata\nr1,u,p,1,\nr2,u,p,2,\"{\"\"a\"\":1}\"\n");
    assert_eq!(place.json(&["enqueue", "--file", "good.csv", "--dry-run"])["commands"], 2);
    let sent = place.json(&["enqueue", "--file", "good.csv"]);
    assert_eq!((sent["accepted"].as_u64(), sent["repeats"].as_u64()), (Some(2), Some(0)));
    assert_eq!(place.json(&["enqueue", "--file", "good.csv"])["repeats"], 2);

    let bytes = std::fs::metadata(place.path("good.csv")).unwrap().len();
    let mark = |bytes: u64| format!("{{\"partner\":\"default\",\"bytes\":{bytes},\"done\":1}}");
    place.write("good.csv.clawback-progress", &mark(bytes));
    let rest = place.json(&["enqueue", "--file", "good.csv"]);
    assert_eq!((rest["sent_before"].as_u64(), rest["repeats"].as_u64()), (Some(1), Some(1)));
    assert!(!place.path("good.csv.clawback-progress").exists(), "a finished run leaves no mark");
    place.write("good.csv.clawback-progress", &mark(bytes + 1));
    place.run(&["enqueue", "--file", "good.csv"]).failed(2, "--restart begins anew");
    assert_eq!(place.json(&["enqueue", "--file", "good.csv", "--restart"])["repeats"], 2);

    place.write("conflict.csv", "request_id,user_id,pack_id,amount\nr1,u,p,9\n");
    place.run(&["enqueue", "--file", "conflict.csv"]).failed(1, "1 request ids were used for other commands");
    place.run(&["enqueue", "--file", "x.txt"]).failed(2, "neither .ndjson nor .csv");
    place.run(&["enqueue", "--file", "nowhere.csv"]).failed(1, "nowhere.csv");
}

#[test]
fn a_file_is_sent_no_faster_than_asked() {
    let place = Place::migrated();
    let rows: String = (0..21).map(|n| format!("r{n},u,p,1\n")).collect();
    place.write("c.csv", &format!("request_id,user_id,pack_id,amount\n{rows}"));
    let began = Instant::now();
    place.run(&["enqueue", "--file", "c.csv", "--rate", "20"]).ok();
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dead_letter_is_shown_redriven_or_given_up() {
    let place = Place::migrated();
    let good = bury(&place, "purchase", br#"{"request_id":"late","user_id":"u","pack_id":"p","amount":1}"#).await;
    let sale = bury(&place, "sellback", br#"{"request_id":"late-sale","user_id":"u","item_id":"i"}"#).await;
    let bad = bury(&place, "purchase", b"{\"request_id\":\x1b").await;
    assert_eq!(place.json(&["dead", "list"])["dead_letters"].as_array().unwrap().len(), 3);
    let shown = place.json(&["dead", "show", &good]);
    assert!(shown["body"].as_str().unwrap().contains("late"), "{shown}");
    let text = place.run(&["dead", "show", &bad]).ok().out;
    assert!(!text.contains('\u{1b}'), "what is shown never steers the terminal");

    let dry = place.json(&["dead", "redrive", "--all", "--dry-run"]);
    assert_eq!(dry["would_settle"].as_array().unwrap().len(), 3);
    place.run(&["dead", "redrive", &bad]).failed(1, "not JSON");
    assert_eq!(place.json(&["dead", "redrive", &good, "--as", "jo", "--reason", "reopened"])["redriven"][0], good.as_str());
    assert_eq!(place.json(&["show", "late"])["state"], "accepted");
    assert_eq!(place.json(&["dead", "redrive", &sale])["redriven"][0], sale.as_str());
    let sellback = place.json(&["show", "late-sale"]);
    assert_eq!((sellback["state"].as_str(), sellback["item_id"].as_str()), (Some("accepted"), Some("i")));
    place.run(&["dead", "redrive", &good]).failed(1, "it was redriven already");
    place.run(&["dead", "discard", &bad, "--as", "jo"]).ok();
    let listed = place.json(&["dead", "list"])["dead_letters"].clone();
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|letter| letter["state"].as_str().unwrap()).collect();
    assert!(states.contains(&"redriven") && states.contains(&"discarded"), "{states:?}");
    assert!(listed.to_string().contains("jo: reopened"));
    let unknown = uuid::Uuid::from_u128(1).to_string();
    place.run(&["dead", "show", &unknown]).failed(1, "there is no dead letter");
    place.run(&["dead", "discard"]).failed(2, "Usage");
}

/// Puts a dead letter into the store, as a worker does.
async fn bury(place: &Place, kind: &str, body: &[u8]) -> String {
    let store = clawback_store::sql::connect(&place.store_url(), clawback_store::sql::Options::default()).await.unwrap();
    let partner = PartnerId::new("default").unwrap();
    let queue = format!("clawback.{kind}s.default");
    let id = DeadLetterId::of(&queue, body);
    let now = store.clock().await.unwrap();
    let rejected = Rejected::one(RejectionCode::PartnerClosed, "this partner takes no new commands");
    let letter = DeadLetter {
        id,
        partner: partner.clone(),
        queue,
        exchange: "clawback.commands.default".into(),
        routing_key: kind.into(),
        reason: "partner_closed".into(),
        problems: serde_json::to_string(&rejected.problems).unwrap(),
        body: body.to_vec(),
        content_type: None,
        message_id: None,
        headers: Default::default(),
        received_at: now,
        state: DeadLetterState::Kept,
        settled_by: None,
    };
    assert!(store.bury(letter, event::rejected(&partner, id, &rejected, now, None)).await.unwrap());
    store.close().await;
    id.to_string()
}

#[test]
fn events_are_told_as_they_are_stored() {
    let place = Place::migrated();
    for n in ["a", "b"] {
        place.run(&["enqueue", "purchase", "--user", "u", "--pack", "p", "--request-id", n]).ok();
    }
    place.run(&["cancel", "a"]).ok();
    let said = place.run(&["events", "tail", "--last", "1", "--count", "1", "--json"]).ok();
    assert_eq!(
        (said.json()["type"].as_str(), said.json()["data"]["request_id"].as_str()),
        (Some("clawback.purchase.failed"), Some("a"))
    );

    let mut tail = place.command(&["events", "tail", "--count", "1"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // The tail begins wherever the end is when it looks; cancel again and again until it has seen one.
    let mut n = 0;
    until("the tail tells of an event", || {
        n += 1;
        let id = format!("later-{n}");
        place.run(&["enqueue", "purchase", "--user", "u", "--pack", "p", "--request-id", &id]).ok();
        place.run(&["cancel", &id]).ok();
        tail.try_wait().unwrap()
    });
    let said = support::Said::from(tail.wait_with_output().unwrap()).ok();
    assert!(said.out.contains("clawback.purchase.failed") && said.out.contains("later-"), "{}", said.out);
}

#[test]
fn the_topology_is_printed_without_a_server_and_applied_only_to_one() {
    let place = Place::empty();
    let definitions = place.json(&["topology", "print", "--vhost", "shop"]);
    let names: Vec<_> = definitions["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"clawback.purchases.default") && names.contains(&"clawback.sellbacks.default"), "{names:?}");
    assert_eq!(definitions["queues"][0]["vhost"], "shop");
    assert!(place.run(&["topology", "print"]).ok().out.contains("clawback.commands.default"));
    for verb in ["apply", "check"] {
        place.run(&["topology", verb]).failed(2, "this needs AMQP_URL");
        place.run(&["topology", verb, "--amqp-url", "amqp://me:topsecret@127.0.0.1:1"]).failed(1, "amqp://me:…@127.0.0.1:1");
    }
}

#[test]
fn schemas_and_completions_are_printed() {
    let place = Place::empty();
    let all = place.json(&["schema"]);
    assert_eq!(all["asyncapi"]["asyncapi"], "3.0.0");
    let command = place.json(&["schema", "clawback.command.purchase"]);
    assert_eq!((&command, &command["additionalProperties"]), (&all["schemas"]["clawback.command.purchase"], &false.into()));
    assert_eq!(place.json(&["schema", "asyncapi"]), all["asyncapi"]);
    let sale = place.json(&["schema", "clawback.command.sellback"]);
    assert_eq!((&sale["additionalProperties"], sale["oneOf"].as_array().unwrap().len()), (&false.into(), 2));
    for event in ["completed", "failed", "review"] {
        let schema = place.json(&["schema", &format!("clawback.sellback.{event}")]);
        assert!(schema["properties"]["sellback_id"].is_object(), "{event}");
    }
    place.run(&["schema", "clawback.comand.purchase"]).failed(2, "did you mean clawback.command.purchase?");
    assert!(place.run(&["completions", "bash"]).ok().out.contains("clawback"));
    place.run(&["completions", "tcsh"]).failed(2, "tcsh");
}

#[test]
fn the_doctor_looks_at_each_part_and_says_what_to_do() {
    let mut place = Place::empty();
    place.set("PHYGITALS_URL", "http://127.0.0.1:1");
    let healthy = place.json(&["doctor"]);
    assert_eq!(healthy["ok"], true, "{healthy}");
    place.set("PHYGITALS_API_KEY", "sandbox-topsecret");
    place.run(&["migrate"]).ok();
    place.run(&["pause", "--all", "--reason", "x"]).ok();
    let said = place.run(&["doctor", "--json"]).failed(1, "1 part(s) need attention");
    let findings = said.json()["findings"].clone();
    let verdict = |part: &str| {
        let finding = findings.as_array().unwrap().iter().find(|finding| finding["part"] == part).expect(part);
        finding["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!((verdict("store").as_str(), verdict("pauses").as_str()), ("ok", "warning"));
    assert_eq!(verdict("upstream of default"), "wrong");
    assert!(!said.out.contains("topsecret"));
    place.write("clawback.toml", "drian = 1");
    place.run(&["doctor"]).failed(1, "1 part(s) need attention");
}

#[test]
fn whoever_closes_the_output_early_is_no_error() {
    let place = Place::migrated();
    let mut verb = place.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(verb.stdout.take());
    let said = support::Said::from(verb.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn every_verb_shows_an_example_and_knows_wrong_usage() {
    let place = Place::empty();
    for verb in [
        "demo",
        "up",
        "worker",
        "scheduler",
        "api",
        "sandbox",
        "audit",
        "enqueue",
        "show",
        "cancel",
        "pause",
        "resume",
        "paused",
        "prune",
        "migrate",
        "schema",
        "doctor",
        "completions",
    ] {
        assert!(place.run(&[verb, "--help"]).ok().out.contains("Example"), "{verb}");
        place.run(&[verb, "--no-such-flag"]).failed(2, "--no-such-flag");
    }
    for verb in [["enqueue", "purchase"], ["enqueue", "sellback"], ["list", "purchases"], ["list", "sellbacks"]] {
        assert!(place.run(&[&verb[..], &["--help"]].concat()).ok().out.contains("Example"), "{verb:?}");
    }
    place.run(&["no-such-verb"]).failed(2, "no-such-verb");
}
