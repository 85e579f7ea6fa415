//! What an answer means: the one place that decides it, a function per call.
//!
//! | answer to `buy/init` | class |
//! |---|---|
//! | 200 with a readable `session_id` | done |
//! | 400 with a documented text, as JSON `{error}` | refused |
//! | 401 | unauthorized: refused too, but it concerns the key, not the purchase |
//! | 429, JSON or empty body | busy |
//! | our request body was never asked for, or refused because `send_by` had passed | never sent |
//! | everything else: other 4xx or text, 408, all 3xx and 5xx, time-out, reset, cut or unreadable 200 | unknown |
//!
//! `buyback` is judged by the same rules. The other calls only read: what they cannot use is *unreadable*, and asking again is free.
//!
//! A documented text is compared whole. What merely resembles one was written for a case that we do not know.

use clawback_domain::{
    SessionId,
    answer::{Answer, PacksAnswer, StatusAnswer},
    reason::FailureCode,
};

use crate::{
    reply::Reply,
    wire::{self, Status},
};

/// How a call that is sent at most once ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Answered(Reply),
    /// The gate was closed before the body was asked for.
    Never(String),
    /// The body was asked for, and no status came back.
    Lost(String),
}

pub(crate) fn init(sent: Sent) -> Answer {
    let reply = match sent {
        Sent::Answered(reply) => reply,
        Sent::Never(why) => return Answer::NeverSent { why },
        Sent::Lost(why) => return Answer::Unknown { why, status: None },
    };
    let unknown = |why: &str| Answer::Unknown { why: reply.describe(why), status: Some(reply.status) };
    match reply.status {
        200 => match reply.whole().and_then(wire::opened) {
            Ok((session, nfts)) => Answer::Done { session, nfts },
            Err(why) => unknown(&why),
        },
        400 => match reply.error().and_then(|text| Some((refusal(&text)?, text.into_owned()))) {
            Some((code, message)) => Answer::Refused { code, message, status: 400 },
            None => unknown("not a documented refusal"),
        },
        401 => Answer::Unauthorized { message: reply.error().map_or_else(|| reply.describe(""), |text| text.into_owned()) },
        429 if is_json_or_empty(&reply) => Answer::Busy { retry_after: reply.retry_after },
        _ => unknown("not documented"),
    }
}

/// The documented refusals of `buy/init`. `N` is whatever the pack allows.
fn refusal(text: &str) -> Option<FailureCode> {
    match text {
        "Claw machine is out of stock" => Some(FailureCode::OutOfStock),
        "Amount must be greater than 0" => Some(FailureCode::AmountTooSmall),
        "VM not found" => Some(FailureCode::UnknownPack),
        "user_id is required" => Some(FailureCode::UserRequired),
        _ => {
            let most = text.strip_prefix("Amount must be less than or equal to ")?;
            let is_number = !most.is_empty() && most.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(FailureCode::AmountTooLarge)
        }
    }
}

pub(crate) fn status(reply: Result<Reply, String>, asked: &SessionId) -> StatusAnswer {
    let reply = match reply {
        Ok(reply) => reply,
        Err(why) => return StatusAnswer::Unreadable { why },
    };
    let unreadable = |why: &str| StatusAnswer::Unreadable { why: reply.describe(why) };
    match reply.status {
        200 => match reply.whole().and_then(|body| wire::status(body, asked)) {
            Ok(Status::Fulfilled(fulfilment)) => StatusAnswer::Fulfilled(fulfilment),
            Ok(Status::Pending) => StatusAnswer::Pending,
            Err(why) => unreadable(&why),
        },
        400 if reply.error().as_deref() == Some("Transaction failed") => StatusAnswer::TransactionFailed,
        401 => StatusAnswer::Unauthorized,
        _ => unreadable("not documented"),
    }
}

pub(crate) fn buyback(sent: Sent) -> Answer {
    let reply = match sent {
        Sent::Answered(reply) => reply,
        Sent::Never(why) => return Answer::NeverSent { why },
        Sent::Lost(why) => return Answer::Unknown { why, status: None },
    };
    let unknown = |why: &str| Answer::Unknown { why: reply.describe(why), status: Some(reply.status) };
    match reply.status {
        200 => match reply.whole().and_then(wire::sold) {
            Ok(amount) => Answer::Sold { amount },
            Err(why) => unknown(&why),
        },
        400 => match reply.error().as_deref() {
            Some("Item already has an active buyback session") => Answer::Busy { retry_after: None },
            Some(text) => match sale_refusal(text) {
                Some(code) => Answer::Refused { code, message: text.into(), status: 400 },
                None => unknown("not a documented refusal"),
            },
            None => unknown("not a documented refusal"),
        },
        401 => Answer::Unauthorized { message: reply.error().map_or_else(|| "401".into(), |text| text.into_owned()) },
        429 if is_json_or_empty(&reply) => Answer::Busy { retry_after: reply.retry_after },
        _ => unknown("not documented"),
    }
}

fn sale_refusal(text: &str) -> Option<FailureCode> {
    match text {
        "Item not found" => Some(FailureCode::ItemNotFound),
        "Item has expired" => Some(FailureCode::ItemExpired),
        "Transaction failed" => Some(FailureCode::TransactionFailed),
        _ => None,
    }
}

/// What an inventory says that is not a 200. A 404 counts only with the upstream's own text: a proxy's 404 would "prove" absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoInventory {
    UserNotFound,
    Unauthorized,
    Unreadable(String),
}

pub(crate) fn no_inventory(reply: &Reply) -> NoInventory {
    match reply.status {
        404 if reply.error().as_deref() == Some("User not found") => NoInventory::UserNotFound,
        401 => NoInventory::Unauthorized,
        _ => NoInventory::Unreadable(reply.describe("not documented")),
    }
}

pub(crate) fn packs(reply: Result<Reply, String>) -> PacksAnswer {
    let reply = match reply {
        Ok(reply) => reply,
        Err(why) => return PacksAnswer::Unreadable { why },
    };
    match reply.status {
        200 => match reply.whole().and_then(wire::packs) {
            Ok(packs) => PacksAnswer::Listed(packs),
            Err(why) => PacksAnswer::Unreadable { why: reply.describe(&why) },
        },
        401 => PacksAnswer::Unauthorized,
        _ => PacksAnswer::Unreadable { why: reply.describe("not documented") },
    }
}

fn is_json_or_empty(reply: &Reply) -> bool {
    reply.whole().is_ok_and(|body| body.is_empty() || wire::is_json(body))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use clawback_domain::{Money, UserId};

    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply { status, retry_after: None, body: Bytes::from_static(body.as_bytes()), cut: None }
    }

    fn cut(status: u16, body: &'static str) -> Reply {
        Reply { cut: Some("connection reset".into()), ..reply(status, body) }
    }

    fn asking(status: u16, body: &'static str, seconds: u64) -> Reply {
        Reply { retry_after: Some(Duration::from_secs(seconds)), ..reply(status, body) }
    }

    fn session() -> SessionId {
        SessionId::new("s-1").unwrap()
    }

    /// The class of an answer, with what the class carries besides sentences.
    fn init_class(answer: Answer) -> String {
        match answer {
            Answer::Done { session, nfts } => format!("done {session} {}", nfts.len()),
            Answer::Refused { code, message, status } => format!("refused {code} {status} {message}"),
            Answer::Busy { retry_after } => format!("busy {:?}", retry_after.map(|span| span.as_secs())),
            Answer::Unknown { status, .. } => format!("unknown {status:?}"),
            Answer::Sold { .. } | Answer::Unauthorized { .. } | Answer::NeverSent { .. } => answer.name().into(),
        }
    }

    #[test]
    fn every_row_of_the_table_for_buy_init() {
        use Sent::{Answered, Lost, Never};
        const HTML: &str = "<html><body>Bad gateway</body></html>";
        let refused = |text: &'static str| reply(400, text);
        let cases: Vec<(Sent, &str)> = vec![
            // 200 with a readable session_id: done
            (Answered(reply(200, r#"{"session_id":"s-1","nfts":[{"id":"i"}]}"#)), "done s-1 1"),
            (Answered(reply(200, r#"{"session_id":"s-1"}"#)), "done s-1 0"),
            (Answered(reply(200, r#"{"session_id":"s-1","nfts":null,"new":[1.5]}"#)), "done s-1 0"),
            (Answered(reply(200, r#"{"session_id":"s-1","nfts":[{"id":"i"},{"id":7},3,null,{"id":"j"}]}"#)), "done s-1 2"),
            (Answered(reply(200, r#"{"session_id":"s-1","nfts":"none"}"#)), "done s-1 0"),
            // 400 with a documented text: refused
            (
                Answered(refused(r#"{"error":"Claw machine is out of stock"}"#)),
                "refused out_of_stock 400 Claw machine is out of stock",
            ),
            (
                Answered(refused(r#"{"error":"Amount must be greater than 0"}"#)),
                "refused amount_too_small 400 Amount must be greater than 0",
            ),
            (
                Answered(refused(r#"{"error":"Amount must be less than or equal to 10"}"#)),
                "refused amount_too_large 400 Amount must be less than or equal to 10",
            ),
            (Answered(refused(r#"{"error":"VM not found","request":"r"}"#)), "refused unknown_pack 400 VM not found"),
            (Answered(refused(r#"{"error":"user_id is required"}"#)), "refused user_required 400 user_id is required"),
            // 401
            (Answered(reply(401, r#"{"error":"Invalid API key"}"#)), "unauthorized"),
            (Answered(reply(401, "")), "unauthorized"),
            (Answered(cut(401, "")), "unauthorized"),
            // 429, JSON or empty, with or without Retry-After: busy
            (Answered(reply(429, r#"{"error":"slow down"}"#)), "busy None"),
            (Answered(reply(429, "")), "busy None"),
            (Answered(asking(429, "", 7)), "busy Some(7)"),
            (Answered(asking(429, "{}", 315_360_000)), "busy Some(315360000)"),
            // the body was never asked for, or refused
            (Never("connection refused".into()), "never_sent"),
            (Never("send_by has passed".into()), "never_sent"),
            // everything else: unknown
            (Answered(reply(429, HTML)), "unknown Some(429)"),
            (Answered(cut(429, "")), "unknown Some(429)"),
            (Answered(refused(r#"{"error":"Amount must be less than or equal to "}"#)), "unknown Some(400)"),
            (Answered(refused(r#"{"error":"Amount must be less than or equal to ten"}"#)), "unknown Some(400)"),
            (Answered(refused(r#"{"error":"claw machine is out of stock"}"#)), "unknown Some(400)"),
            (Answered(refused(r#"{"error":"VM not found "}"#)), "unknown Some(400)"),
            (Answered(refused(r#"{"error":["VM not found"]}"#)), "unknown Some(400)"),
            (Answered(refused(r#"{"message":"VM not found"}"#)), "unknown Some(400)"),
            (Answered(refused("VM not found")), "unknown Some(400)"),
            (Answered(refused("")), "unknown Some(400)"),
            (Answered(cut(400, r#"{"error":"VM not found"}"#)), "unknown Some(400)"),
            (Answered(reply(402, r#"{"error":"VM not found"}"#)), "unknown Some(402)"),
            (Answered(reply(403, "")), "unknown Some(403)"),
            (Answered(reply(404, r#"{"error":"VM not found"}"#)), "unknown Some(404)"),
            (Answered(reply(408, "")), "unknown Some(408)"),
            (Answered(reply(409, "")), "unknown Some(409)"),
            (Answered(reply(422, "")), "unknown Some(422)"),
            (Answered(reply(301, "")), "unknown Some(301)"),
            (Answered(reply(307, "")), "unknown Some(307)"),
            (Answered(reply(500, r#"{"error":"Error during transaction"}"#)), "unknown Some(500)"),
            (Answered(reply(502, HTML)), "unknown Some(502)"),
            (Answered(reply(503, "")), "unknown Some(503)"),
            (Answered(reply(504, "")), "unknown Some(504)"),
            (Answered(reply(201, r#"{"session_id":"s-1"}"#)), "unknown Some(201)"),
            (Answered(reply(204, "")), "unknown Some(204)"),
            (Answered(cut(200, r#"{"session_id":"s-1","nfts":["#)), "unknown Some(200)"),
            (Answered(cut(200, r#"{"session_id":"s-1"}"#)), "unknown Some(200)"),
            (Answered(reply(200, "")), "unknown Some(200)"),
            (Answered(reply(200, HTML)), "unknown Some(200)"),
            (Answered(reply(200, "{}")), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":null}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":""}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":17}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":"a\u0000b"}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":"a","session_id":"b"}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"session_id":"a"}{"session_id":"b"}"#)), "unknown Some(200)"),
            (Answered(reply(200, r#"{"error":"Error during transaction"}"#)), "unknown Some(200)"),
            (Lost("no answer in time".into()), "unknown None"),
            (Lost("connection reset".into()), "unknown None"),
        ];
        for (sent, expected) in cases {
            assert_eq!(init_class(init(sent.clone())), expected, "{sent:?}");
        }
    }

    #[test]
    fn an_unknown_answer_quotes_what_a_person_needs() {
        let Answer::Unknown { why, .. } = init(Sent::Answered(cut(200, "{\"session_id\":\"s-1\",\"n\0"))) else {
            panic!("unknown")
        };
        assert_eq!(why, "HTTP 200: connection reset (\"{\\\"session_id\\\":\\\"s-1\\\",\\\"n\u{fffd}\")");
    }

    #[test]
    fn every_answer_of_buy_status() {
        const DONE: &str =
            r#"{"result":{"session_id":"s-1","user_id":"u","public_id":"_X","nfts":[{"id":"i"}],"tx_hash":"t"}}"#;
        let class = |reply| match status(reply, &session()) {
            StatusAnswer::Fulfilled(f) => format!(
                "fulfilled {} {:?} {:?} {:?} {}",
                f.session,
                f.user_id.as_ref().map(UserId::as_str),
                f.public_id.map(|id| id.to_string()),
                f.tx_hash.map(|id| id.to_string()),
                f.nfts.len()
            ),
            StatusAnswer::Pending => "pending".into(),
            StatusAnswer::TransactionFailed => "failed".into(),
            StatusAnswer::Unauthorized => "unauthorized".into(),
            StatusAnswer::Unreadable { .. } => "unreadable".into(),
        };
        let cases: Vec<(Result<Reply, String>, &str)> = vec![
            (Ok(reply(200, DONE)), r#"fulfilled s-1 Some("u") Some("_X") Some("t") 1"#),
            (Ok(reply(200, r#"{"result":{"nfts":[]}}"#)), "fulfilled s-1 None None None 0"),
            (
                Ok(reply(200, r#"{"result":{"session_id":"other","user_id":"v","nfts":[]}}"#)),
                r#"fulfilled other Some("v") None None 0"#,
            ),
            (
                Ok(reply(200, r#"{"result":{"public_id":7,"tx_hash":null,"nfts":[]},"status":"pending"}"#)),
                "fulfilled s-1 None None None 0",
            ),
            (Ok(reply(200, r#"{"status":"pending"}"#)), "pending"),
            (Ok(reply(200, r#"{"status":"pending","result":null}"#)), "pending"),
            (Ok(reply(400, r#"{"error":"Transaction failed"}"#)), "failed"),
            (Ok(reply(401, r#"{"error":"Invalid API key"}"#)), "unauthorized"),
            (Ok(reply(200, r#"{"result":{"session_id":"s-1"}}"#)), "unreadable"),
            (Ok(reply(200, r#"{"result":{"session_id":"s-1","nfts":[{}]}}"#)), "unreadable"),
            (Ok(reply(200, r#"{"result":{"session_id":"","nfts":[]}}"#)), "unreadable"),
            (Ok(reply(200, r#"{"result":{"user_id":"a/b","nfts":[]}}"#)), "unreadable"),
            (Ok(reply(200, r#"{"result":{"user_id":7,"nfts":[]}}"#)), "unreadable"),
            (Ok(reply(200, r#"{"status":"shipped"}"#)), "unreadable"),
            (Ok(reply(200, r#"{"status":7}"#)), "unreadable"),
            (Ok(reply(200, "[]")), "unreadable"),
            (Ok(cut(200, r#"{"status":"pending"}"#)), "unreadable"),
            (Ok(cut(400, r#"{"error":"Transaction failed"}"#)), "unreadable"),
            (Ok(reply(400, r#"{"error":"Transaction failed again"}"#)), "unreadable"),
            (Ok(reply(404, r#"{"error":"Transaction failed"}"#)), "unreadable"),
            (Ok(reply(429, "")), "unreadable"),
            (Ok(reply(500, "")), "unreadable"),
            (Ok(reply(504, r#"{"status":"pending"}"#)), "unreadable"),
            (Err("no answer in time".into()), "unreadable"),
        ];
        for (reply, expected) in cases {
            assert_eq!(class(reply.clone()), expected, "{reply:?}");
        }
    }

    #[test]
    fn every_answer_of_buyback() {
        use Answer::{Busy, Refused, Sold, Unauthorized};
        let known = |status, body| buyback(Sent::Answered(reply(status, body)));
        let sold = |millionths| Sold { amount: Some(Money::usd(millionths)) };
        assert_eq!(known(200, r#"{"success":true,"amount":98.5}"#), sold(98_500_000));
        assert_eq!(known(200, r#"{"success":true}"#), Sold { amount: None });
        assert_eq!(known(200, r#"{"success":true,"amount":-1}"#), Sold { amount: None });
        for (text, code) in [
            ("Item not found", FailureCode::ItemNotFound),
            ("Item has expired", FailureCode::ItemExpired),
            ("Transaction failed", FailureCode::TransactionFailed),
        ] {
            let refused = Refused { code, message: text.into(), status: 400 };
            let body = format!(r#"{{"error":"{text}"}}"#);
            assert_eq!(buyback(Sent::Answered(reply(400, body.leak()))), refused);
        }
        let active = r#"{"error":"Item already has an active buyback session"}"#;
        assert_eq!(known(400, active), Busy { retry_after: None });
        let busy = r#"{"error":"A buyback request for this item is already being processed"}"#;
        assert_eq!(known(429, busy), Busy { retry_after: None });
        let wish = Some(Duration::from_secs(2));
        assert_eq!(buyback(Sent::Answered(asking(429, "", 2))), Busy { retry_after: wish });
        assert_eq!(known(401, ""), Unauthorized { message: "401".into() });
        assert_eq!(buyback(Sent::Never("refused".into())), Answer::NeverSent { why: "refused".into() });
        let unknown: [(u16, &str); 8] = [
            (500, r#"{"error":"An unexpected error occurred"}"#),
            (200, r#"{"success":false,"amount":1}"#),
            (200, r#"{"amount":1}"#),
            (200, "sold"),
            (400, r#"{"error":"Item is odd"}"#),
            (404, r#"{"error":"Item not found"}"#),
            (307, ""),
            (408, ""),
        ];
        for (status, body) in unknown {
            assert!(matches!(known(status, body), Answer::Unknown { .. }), "{status} {body}");
        }
        let lost = buyback(Sent::Lost("reset".into()));
        assert_eq!(lost, Answer::Unknown { why: "reset".into(), status: None });
    }

    #[test]
    fn only_the_upstreams_own_404_says_that_a_user_is_not_there() {
        assert_eq!(no_inventory(&reply(404, r#"{"error":"User not found"}"#)), NoInventory::UserNotFound);
        assert_eq!(no_inventory(&reply(401, r#"{"error":"Invalid API key"}"#)), NoInventory::Unauthorized);
        for strange in [
            reply(404, "<html>404</html>"),
            reply(404, ""),
            reply(404, r#"{"error":"Not found"}"#),
            cut(404, r#"{"error":"User not found"}"#),
            reply(400, r#"{"error":"User not found"}"#),
            reply(500, r#"{"error":"An unexpected error occurred"}"#),
            reply(301, ""),
        ] {
            assert!(matches!(no_inventory(&strange), NoInventory::Unreadable(_)), "{strange:?}");
        }
    }

    #[test]
    fn every_answer_of_the_list_of_packs() {
        let PacksAnswer::Listed(list) =
            packs(Ok(reply(200, r#"[{"id":"p","enable":true,"in_stock":false,"mint_price":100}]"#)))
        else {
            panic!("listed")
        };
        assert_eq!((list.len(), list[0].enabled, list[0].in_stock), (1, true, false));
        assert_eq!(packs(Ok(reply(401, ""))), PacksAnswer::Unauthorized);
        for strange in [Ok(reply(200, "{}")), Ok(cut(200, "[]")), Ok(reply(500, "[]")), Err("no answer in time".into())] {
            assert!(matches!(packs(strange.clone()), PacksAnswer::Unreadable { .. }), "{strange:?}");
        }
    }
}
