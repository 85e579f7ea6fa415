//! Configuration errors name the file, the key and the nearest known key; secrets are never printed.

mod support;

use support::Place;

/// A file with one partner, and something wrong with it.
fn check(extra: &str, expected: &str) {
    let place = Place::empty();
    place.write("key", "sandbox-topsecret\n");
    let text = format!("{extra}\n[[partner]]\nname = \"acme\"\napi_key_file = \"key\"\n");
    place.write("clawback.toml", &text);
    let said = place.run(&["config", "check"]).failed(1, expected);
    assert!(said.err.contains("clawback.toml: "), "{}", said.err);
    assert!(!said.err.contains("topsecret") && !said.out.contains("topsecret"));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (extra, expected) in [
        ("drian = \"1s\"", "drian: unknown key; did you mean `drain`?"),
        ("drain = \"5 minutes\"", "drain: must be a duration such as 20ms, 1s, 45m, 72h or 6d, not \"5 minutes\""),
        ("drain = 45", "drain: must be a duration such as \"45m\", not 45"),
        ("drain = \"2h\"", "drain: must be 1s to 1h, not 2h"),
        ("drain = \"1s", "line 1, column"),
        ("retention = { events = \"6d\" }", "retention.events: must be 7d to 36500d, or false, not 6d"),
        ("retention = { orders = \"80d\" }", "retention.orders: must not be shorter than timelines, \"90d\""),
        ("retention = { timelines = false }", "retention.orders: must not be shorter than timelines, false"),
        ("retention = { dead_letters = true }", "retention.dead_letters: must be a duration"),
        ("retention = { order = \"90d\" }", "retention.order: unknown key; did you mean `orders`?"),
        ("[defaults]\nconcurency = 1", "defaults.concurency: unknown key; did you mean `concurrency`?"),
        ("[defaults]\nconcurrency = 0", "defaults.concurrency: must be 1 to 16384, not 0"),
        ("[defaults]\nconcurrency = \"many\"", "defaults.concurrency: must be a whole number, not \"many\""),
        ("[defaults]\nexclusive = 1", "defaults.exclusive: must be true or false, not 1"),
        ("[defaults]\npoll = { frist = \"1s\" }", "defaults.poll.frist: unknown key; did you mean `first`?"),
        ("[defaults]\npoll = { first = \"1m\" }", "defaults.poll.first: must not be longer than `max`"),
        ("[defaults]\npoll = false", "defaults.poll: must be a table, not false"),
        ("[defaults]\nsell = false", "defaults.sell: must be a table, not false"),
        ("[defaults]\nwarnings = 5", "defaults.warnings: must be a table, or false, not 5"),
        ("[defaults]\nwarnings = { leads = [] }", "defaults.warnings.leads: must name at least one lead time"),
        ("[defaults]\nwarnings = { leads = [\"1h\", \"60m\"] }", "must not name the lead time 1h twice"),
        ("[defaults]\nwarnings = { leads = [\"8d\"] }", "each lead time must be 1m to 7d in whole seconds, not 192h"),
        ("[defaults]\nwarnings = { leads = \"1h\" }", "defaults.warnings.leads: must be a list of durations"),
        ("[defaults]\nwarnings = { digest = \"25h\" }", "defaults.warnings.digest: must be at most 24h, not 25h"),
        ("[defaults]\nwarnings = { quiet = { zone = \"Berlin\" } }", "not \"Berlin\"; did you mean Europe/Berlin?"),
        ("[defaults]\nwarnings = { quiet = { to = \"22:00\" } }", "defaults.warnings.quiet.to: must not be the same as `from`"),
        ("[defaults]\npack = []", "defaults.pack: belongs under [[partner]]"),
        (
            "[[partner]]\nname = \"beta\"\napi_key_env = \"K\"\n[[partner.pack]]\nid = \"p\"\nleads = [\"1s\"]",
            "partner \"beta\".pack \"p\".leads: each lead time must be 1m to 7d in whole seconds, not 1s",
        ),
        (
            "[[partner]]\nname = \"beta\"\napi_key_env = \"K\"\npack = [{ id = \"p\" }, { id = \"p\" }]",
            "partner \"beta\".pack \"p\".id: there are two packs of this id",
        ),
        ("[defaults]\nwarnings = { quiet = { from = \"25:00\" } }", "defaults.warnings.quiet.from: must be a time of day"),
        ("[defaults]\nname = \"x\"", "defaults.name: belongs under [[partner]]"),
        ("[defaults]\nwebhook = { url = \"http://x.example\", secret_file = \"key\" }", "must be https"),
        ("[defaults]\nwebhook = { url = \"https://x.example\" }", "a webhook needs `secret_file` or `secret_env`"),
        ("[defaults]\nsell_before_expiry = { min_share = \"1.1\" }", "must be a share from 0 to 1"),
        ("[defaults]\nsell_before_expiry = { at = \"1m\" }", "`stop_before` (5m) must be shorter than `at` (1m)"),
        ("[defaults]\nsell_before_expiry = { min_price = \"-1\" }", "defaults.sell_before_expiry.min_price: is negative"),
        ("[[partner]]\nname = \"Acme\"\napi_key_env = \"PATH\"", "must match [a-z0-9][a-z0-9-]{0,62}"),
        ("[[partner]]\nname = \"beta\"", "a partner needs a readable `api_key_file` or `api_key_env`"),
        ("[[partner]]\nname = \"beta\"\napi_key = \"inline-topsecret\"", "a secret does not stand in this file"),
        ("[[partner]]\nname = \"beta\"\napi_key_file = \"nowhere\"", "the secret file nowhere cannot be read"),
        ("[[partner]]\nname = \"beta\"\napi_key_env = \"NOT_THERE\"", "the environment variable NOT_THERE is not set"),
        (
            "[[partner]]\nname = \"beta\"\napi_key_file = \"key\"\napi_key_env = \"K\"",
            "give either `api_key_file` or `api_key_env`",
        ),
        ("[[partner]]\nname = \"beta\"\napi_key_file = \"key\"", "has the same API key as partner \"beta\""),
        ("partners = 1", "partners: unknown key; did you mean `partner`?"),
    ] {
        check(extra, expected);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let place = Place::empty();
    place.write("clawback.toml", "drian = 1\n[defaults]\nconcurrency = 0\n[[partner]]\nname = \"acme\"\npol = {}\n");
    let said = place.run(&["config", "check"]).failed(1, "drian");
    for part in ["defaults.concurrency", "partner \"acme\".pol: unknown key; did you mean `poll`?", "api_key_file"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
}

#[test]
fn a_key_of_the_other_environment_is_refused() {
    for (key, url, expected) in [
        ("sandbox-topsecret", "https://api.phygitals.com", Some("has a sandbox key, but")),
        ("live-topsecret", "https://api.phygitals.com/_", Some("has a production key, but")),
        ("sandbox-topsecret", "https://api.phygitals.com/_", None),
        ("live-topsecret", "https://api.phygitals.com", None),
        ("live-topsecret", "http://127.0.0.1:1", None),
        ("sandbox-topsecret", "http://localhost:1", None),
    ] {
        let mut place = Place::empty();
        place.set("PHYGITALS_API_KEY", key);
        place.set("PHYGITALS_URL", url);
        let said = place.run(&["config", "check"]);
        match expected {
            None => assert_eq!(said.code, 0, "{key} {url}: {}", said.err),
            Some(expected) => assert!(said.code == 1 && said.err.contains(expected), "{key} {url}: {}", said.err),
        }
        assert!(!said.err.contains("topsecret"), "{}", said.err);
    }
}

#[test]
fn the_environment_is_checked_as_well() {
    for (name, value, expected) in [
        ("AMQP_URL", "http://user:topsecret@x", "AMQP_URL: must be amqp://… or amqps://…, not http://…"),
        ("DATABASE_URL", "mysql://user:topsecret@x", "DATABASE_URL: must be postgres://…"),
        ("PHYGITALS_URL", "ftp://x", "PHYGITALS_URL: must be an http or https URL"),
        ("CLAWBACK_CLOCK", "upstream", "CLAWBACK_CLOCK: `upstream`"),
        ("CLAWBACK_CLOCK", "sundial", "must be `system`"),
        ("PHYGITALS_API_KEY_FILE", "/nowhere", "the secret file /nowhere cannot be read"),
        ("DATABASE_URL_FILE", "/nowhere", "the secret file /nowhere cannot be read"),
    ] {
        let mut place = Place::empty();
        place.set(name, value);
        let said = place.run(&["config", "check"]).failed(1, expected);
        assert!(!said.err.contains("topsecret"), "{}", said.err);
    }
}

#[test]
fn flags_win_over_the_environment() {
    let mut place = Place::empty();
    place.set("AMQP_URL", "amqp://env.example/%2f");
    let environment =
        |place: &Place, arguments: &[&str]| place.json(&[&["config", "print"], arguments].concat())["environment"].clone();
    assert_eq!(environment(&place, &[])["AMQP_URL"], "amqp://env.example/%2f");
    let shown = environment(&place, &["--amqp-url", "amqp://me:topsecret@flag.example/%2f"]);
    assert_eq!(shown["AMQP_URL"], "amqp://me:…@flag.example/%2f");
}

#[test]
fn what_is_printed_is_a_configuration_and_says_where_each_value_stands() {
    let place = Place::empty();
    place.write("key", "live-topsecret\n");
    place.write(
        "clawback.toml",
        "retention = { events = \"7d\", timelines = \"400d\", dead_letters = false }\n[defaults]\nrate_per_second = 7\nwarnings = false\n[[partner]]\nname = \"acme\"\napi_key_file = \"key\"\nconcurrency = 3\n\
         poll = { max = \"10s\" }\n[[partner.pack]]\nid = \"p\"\nleads = [\"12h\", \"1h\"]\n",
    );
    let values = place.json(&["config", "print"])["values"].clone();
    for (path, value, from) in [
        ("partner[\"acme\"].concurrency", "3", Some("partner \"acme\".concurrency")),
        ("partner[\"acme\"].rate_per_second", "7", Some("defaults.rate_per_second")),
        ("partner[\"acme\"].poll.max", "\"10s\"", Some("partner \"acme\".poll.max")),
        ("partner[\"acme\"].poll.first", "\"1s\"", None),
        ("partner[\"acme\"].warnings", "false", Some("defaults.warnings")),
        ("partner[\"acme\"].reconcile.window", "\"45m\"", None),
        ("partner[\"acme\"].pack[\"p\"].leads", "[\"12h\", \"1h\"]", Some("partner \"acme\".pack \"p\".leads")),
        ("drain", "\"45s\"", None),
        ("retention.events", "\"7d\"", Some("retention.events")),
        ("retention.dead_letters", "false", Some("retention.dead_letters")),
        ("retention.orders", "\"400d\"", None),
    ] {
        assert_eq!(values[path]["value"], value, "{path}: {values:#}");
        assert_eq!(values[path]["from"].as_str(), from, "{path}");
    }
    let printed = place.run(&["config", "print"]).ok().out;
    assert!(!printed.contains("topsecret"));
    place.write("clawback.toml", &printed);
    place.run(&["config", "check"]).ok();
    let again = place.json(&["config", "print"])["values"].clone();
    for (path, entry) in values.as_object().unwrap() {
        assert_eq!(again[path]["value"], entry["value"], "{path}");
    }
}

#[test]
fn wrong_configuration_is_wrong_usage_for_everything_but_its_check() {
    let place = Place::empty();
    place.write("clawback.toml", "drian = 1");
    for verb in [&["list", "purchases"] as &[_], &["up"], &["worker"], &["paused"]] {
        place.run(verb).failed(2, "clawback.toml: drian");
    }
    place.write("clawback.toml", "");
    for role in ["worker", "scheduler", "api"] {
        place.run(&[role]).failed(2, "needs both AMQP_URL and DATABASE_URL");
    }
    place.run(&["up", "--listen", "127.0.0.1:0"]).failed(2, "no partner is configured");
}
