//! The table: each way in which the upstream can answer wrongly, and how the purchase must end.

use super::liar::{Call, Instead, Lie};

/// How it must end, by what was really bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As `buy/status` said or from the inventory: with what the ledger has.
    Fulfilled,
    /// From the inventory alone.
    Recovered,
    Failed(&'static str),
    Review(&'static str),
}

pub struct Fault {
    pub name: &'static str,
    pub lies: &'static [Lie],
    pub amount: u32,
    pub end: End,
    /// Calls of `buy/init`: never more than one unless it was refused as too busy.
    pub calls: usize,
}

const ALWAYS: usize = usize::MAX;

const fn lie(call: Call, times: usize, acts: bool, instead: Instead) -> Lie {
    Lie { call, times, acts, instead }
}

/// The answer of a `buy/init` that bought.
const fn init(instead: Instead) -> Lie {
    lie(Call::Init, 1, true, instead)
}

/// The answer of a `buy/init` that did not.
const fn idle(instead: Instead) -> Lie {
    lie(Call::Init, 1, false, instead)
}

const fn status(times: usize, instead: Instead) -> Lie {
    lie(Call::Status, times, true, instead)
}

const fn inventory(times: usize, instead: Instead) -> Lie {
    lie(Call::Inventory, times, true, instead)
}

const fn fault(name: &'static str, lies: &'static [Lie], end: End) -> Fault {
    Fault { name, lies, amount: 1, end, calls: 1 }
}

/// A `buy/init` whose answer is lost, and what the inventory says then.
const LOST: Lie = init(Instead::Reset);

const HTML: Instead = Instead::Body("<!doctype html><html><body>We will be back soon</body></html>");
const NOT_FOUND: Instead =
    Instead::Raw("HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\nConnection: close\r\n\r\n{\"error\":\"User not found\"}");
const INTERNAL: Instead = Instead::Raw(
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 36\r\nConnection: close\r\n\r\n{\"error\":\"Error during transaction\"}",
);
const GZIP_BOMB: Instead = Instead::Raw(
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\nConnection: close\r\n\r\n\u{1f}\u{8}aaaaaaaaaaaaaaaaaa",
);

macro_rules! redirect {
    ($status:literal) => {
        Instead::Raw(concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nLocation: /api/v1/vm/buy/init\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
}

macro_rules! too_many {
    ($header:literal) => {
        Instead::Raw(concat!("HTTP/1.1 429 Too Many Requests\r\n", $header, "Content-Length: 0\r\nConnection: close\r\n\r\n"))
    };
}

fn without_session(body: String) -> String {
    body.replacen("session_id", "sessionId", 1)
}

fn numeric_session(body: String) -> String {
    let end = body.find(",\"nfts\"").unwrap_or(body.len() - 1);
    format!("{{\"session_id\":7{}", &body[end..])
}

fn nfts_as_object(body: String) -> String {
    let end = body.find(",\"nfts\"").unwrap_or(body.len() - 1);
    format!("{},\"nfts\":{{\"0\":\"x\"}}}}", &body[..end])
}

fn of_another_user(body: String) -> String {
    body.replace("\"user_id\":\"", "\"user_id\":\"not-")
}

fn of_another_session(body: String) -> String {
    body.replace("\"session_id\":\"", "\"session_id\":\"not-")
}

/// Every number of a price becomes `price`.
fn priced(body: &str, price: &str) -> String {
    let mut parts = body.split("\"buyback_price\":");
    let mut priced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find([',', '}']).map_or("", |end| &part[end..]);
        priced.push_str(&format!("\"buyback_price\":{price}{rest}"));
    }
    priced
}

fn with_a_nul(body: String) -> String {
    body.replacen("\"name\":\"", "\"name\":\"a\\u0000b", 1)
}

fn nothing_held(body: String) -> String {
    let end = body.find("\"items\"").unwrap_or(0);
    format!("{}\"items\":[]}}", &body[..end])
}

pub const FAULTS: &[Fault] = &[
    // buy/init: the answer that does not come, or says nothing.
    fault("time-out before the effect", &[idle(Instead::Silence)], End::Review("unknown_outcome")),
    fault("time-out after the effect", &[init(Instead::Silence)], End::Recovered),
    fault("reset after the effect", &[LOST], End::Recovered),
    fault("500 without an effect", &[idle(INTERNAL)], End::Review("unknown_outcome")),
    fault("500 after the effect", &[init(INTERNAL)], End::Recovered),
    fault("200 with half its body", &[init(Instead::Half)], End::Recovered),
    fault("200 with HTML", &[init(HTML)], End::Recovered),
    fault("200 without a session", &[init(Instead::Twisted(without_session))], End::Recovered),
    fault("a session that is a number", &[init(Instead::Twisted(numeric_session))], End::Recovered),
    fault("nfts that are an object", &[init(Instead::Twisted(nfts_as_object))], End::Fulfilled),
    fault("a body without an end", &[init(Instead::Endless)], End::Recovered),
    fault("compressed though nobody asked", &[init(GZIP_BOMB)], End::Recovered),
    fault("a byte at a time", &[init(Instead::Dripping)], End::Recovered),
    fault("not HTTP at all", &[init(Instead::Raw("SSH-2.0-OpenSSH_9.9\r\n"))], End::Recovered),
    fault("301 after the effect", &[init(redirect!("301 Moved Permanently"))], End::Recovered),
    fault("302 after the effect", &[init(redirect!("302 Found"))], End::Recovered),
    fault("307 without an effect", &[idle(redirect!("307 Temporary Redirect"))], End::Review("unknown_outcome")),
    fault("308 after the effect", &[init(redirect!("308 Permanent Redirect"))], End::Recovered),
    fault(
        "408 after the effect",
        &[init(Instead::Raw("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))],
        End::Recovered,
    ),
    fault(
        "400 in words nobody documented, without an effect",
        &[idle(Instead::Raw(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{\"error\":\"Nope\"}",
        ))],
        End::Failed("refused"),
    ),
    fault(
        "400 in words nobody documented, after the effect",
        &[init(Instead::Raw(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{\"error\":\"Nope\"}",
        ))],
        End::Recovered,
    ),
    Fault { calls: 2, ..fault("429 with seconds", &[idle(too_many!("Retry-After: 1\r\n"))], End::Fulfilled) },
    Fault { calls: 2, ..fault("429 with rubbish", &[idle(too_many!("Retry-After: soon\r\n"))], End::Fulfilled) },
    Fault { calls: 2, ..fault("429 with nothing", &[idle(too_many!(""))], End::Fulfilled) },
    Fault {
        calls: 2,
        ..fault(
            "429 with a date that has passed",
            &[idle(too_many!("Retry-After: Sat, 01 Aug 2020 12:00:30 GMT\r\n"))],
            End::Fulfilled,
        )
    },
    // buy/status: asked again, never believed beyond what it says.
    fault("a status with HTML, once", &[status(1, HTML)], End::Fulfilled),
    fault("a status with half its body, once", &[status(1, Instead::Half)], End::Fulfilled),
    fault("a status with 500, once", &[status(1, INTERNAL)], End::Fulfilled),
    fault("a status that is reset, once", &[status(1, Instead::Reset)], End::Fulfilled),
    fault("a status that redirects, once", &[status(1, redirect!("307 Temporary Redirect"))], End::Fulfilled),
    fault("a status of neither kind, once", &[status(1, Instead::Body("{\"status\":\"done\"}"))], End::Fulfilled),
    fault("a status of another user", &[status(ALWAYS, Instead::Twisted(of_another_user))], End::Review("item_mismatch")),
    fault("a status of another session", &[status(ALWAYS, Instead::Twisted(of_another_session))], End::Review("item_mismatch")),
    Fault {
        amount: 2,
        ..fault(
            "a status with fewer items than ordered",
            &[status(ALWAYS, Instead::Twisted(one_item))],
            End::Review("partial_items"),
        )
    },
    fault(
        "a status with more items than ordered",
        &[status(ALWAYS, Instead::Twisted(twice_the_items))],
        End::Review("item_mismatch"),
    ),
    fault("pending for ever", &[status(ALWAYS, Instead::Body("{\"status\":\"pending\"}"))], End::Review("still_pending")),
    fault("a price that is no number", &[status(ALWAYS, Instead::Twisted(|body| priced(&body, "\"a lot\"")))], End::Fulfilled),
    fault("a price of 1e400", &[status(ALWAYS, Instead::Twisted(|body| priced(&body, "1e400")))], End::Fulfilled),
    fault("a negative price", &[status(ALWAYS, Instead::Twisted(|body| priced(&body, "-3")))], End::Fulfilled),
    fault(
        "a price with 20 decimals",
        &[status(ALWAYS, Instead::Twisted(|body| priced(&body, "1.12345678901234567891")))],
        End::Fulfilled,
    ),
    fault("a name with a NUL", &[status(ALWAYS, Instead::Twisted(with_a_nul))], End::Fulfilled),
    // The inventory, while an outcome is unknown.
    fault("an inventory with HTML, twice", &[LOST, inventory(2, HTML)], End::Recovered),
    fault("an inventory with half its body, twice", &[LOST, inventory(2, Instead::Half)], End::Recovered),
    fault("an inventory that says 404, twice", &[LOST, inventory(2, NOT_FOUND)], End::Recovered),
    fault("an inventory of another user, twice", &[LOST, inventory(2, Instead::Twisted(of_another_user))], End::Recovered),
    fault("an empty inventory, twice", &[LOST, inventory(2, Instead::Twisted(nothing_held))], End::Recovered),
    fault(
        "an upstream whose clock is an hour behind, and says so",
        &[LOST, inventory(ALWAYS, Instead::AnHourBehind(an_hour_ago))],
        End::Recovered,
    ),
    fault(
        "an upstream whose clock is an hour behind behind a proxy that is right",
        &[LOST, inventory(ALWAYS, Instead::Twisted(an_hour_ago))],
        End::Review("unknown_outcome"),
    ),
    fault(
        "an inventory without an end, for ever",
        &[LOST, inventory(ALWAYS, Instead::Endless)],
        End::Review("unknown_outcome"),
    ),
    fault("an inventory that says 404 for ever", &[LOST, inventory(ALWAYS, NOT_FOUND)], End::Review("unknown_outcome")),
    fault(
        "an empty inventory for ever",
        &[LOST, inventory(ALWAYS, Instead::Twisted(nothing_held))],
        End::Review("unknown_outcome"),
    ),
    fault("items without a time, for ever", &[LOST, inventory(ALWAYS, Instead::Twisted(undated))], End::Review("ambiguous")),
];

fn one_item(body: String) -> String {
    keep_items(&body, |items| items.truncate(1))
}

fn twice_the_items(body: String) -> String {
    keep_items(&body, |items| items.extend_from_within(..))
}

fn keep_items(body: &str, change: impl Fn(&mut Vec<serde_json::Value>)) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else { return body.to_owned() };
    if let Some(items) = value["result"]["nfts"].as_array_mut() {
        change(items);
    }
    value.to_string()
}

/// The items as an upstream would stamp them whose clock is behind.
fn an_hour_ago(body: String) -> String {
    change_items(&body, |item| {
        let at: Option<chrono::DateTime<chrono::Utc>> = item["purchased_at"].as_str().and_then(|text| text.parse().ok());
        if let Some(at) = at {
            item["purchased_at"] = (at - chrono::TimeDelta::hours(1)).to_rfc3339().into();
        }
    })
}

fn undated(body: String) -> String {
    change_items(&body, |item| item["purchased_at"] = serde_json::Value::Null)
}

fn change_items(body: &str, change: impl Fn(&mut serde_json::Value)) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else { return body.to_owned() };
    value["items"].as_array_mut().into_iter().flatten().for_each(change);
    value.to_string()
}
