//! Which call a request is.

use std::borrow::Cow;

use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Init,
    Status,
    Buyback,
    Inventory(Cow<'a, str>),
    /// Whether the platform asked for is the one there is.
    Packs(bool),
    Ledger,
    Clock,
    MoveClock,
    Windows,
}

/// `None` for what is no call of the API: 404.
pub(super) fn route<'a>(method: &Method, uri: &'a Uri) -> Option<Route<'a>> {
    let path = uri.path();
    // The sandbox lives at `/_`, production at the root.
    let path = path.strip_prefix("/_").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let found = match path {
        "/api/v1/vm/buy/init" => (Method::POST, Route::Init),
        "/api/v1/vm/buy/status" => (Method::POST, Route::Status),
        "/api/v1/vm/buyback" => (Method::POST, Route::Buyback),
        "/api/v1/vm/available" => (Method::GET, Route::Packs(is_our_platform(uri.query()))),
        "/_control/ledger" => (Method::GET, Route::Ledger),
        "/_control/clock" if method == Method::POST => (Method::POST, Route::MoveClock),
        "/_control/clock" => (Method::GET, Route::Clock),
        "/_control/windows" => (Method::POST, Route::Windows),
        _ => (Method::GET, Route::Inventory(user(path.strip_prefix("/api/v1/inventory/")?)?)),
    };
    (*method == found.0).then_some(found.1)
}

/// One path segment, decoded. A decoded slash belongs to the name; a bare one is another path.
fn user(segment: &str) -> Option<Cow<'_, str>> {
    let one = !segment.is_empty() && !segment.contains('/');
    one.then(|| percent_decode_str(segment).decode_utf8().ok())?
}

fn is_our_platform(query: Option<&str>) -> bool {
    let asked = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("platform=")));
    asked.is_none_or(|platform| platform == crate::wire::PLATFORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_live_at_the_root_and_below_the_sandboxs_prefix() {
        let user = |name: &str| Some(Route::Inventory(name.to_owned().into()));
        let cases = [
            (Method::POST, "/api/v1/vm/buy/init", Some(Route::Init)),
            (Method::POST, "/_/api/v1/vm/buy/init", Some(Route::Init)),
            (Method::GET, "/api/v1/vm/buy/init", None),
            (Method::POST, "/api/v1/vm/buy/status", Some(Route::Status)),
            (Method::POST, "/_/api/v1/vm/buyback", Some(Route::Buyback)),
            (Method::GET, "/_/api/v1/inventory/user_abc123", user("user_abc123")),
            (Method::GET, "/api/v1/inventory/%C3%BC%40x.de?x=1", user("ü@x.de")),
            (Method::GET, "/api/v1/inventory/a%2Fb", user("a/b")),
            (Method::GET, "/api/v1/inventory/a/b", None),
            (Method::GET, "/api/v1/inventory/", None),
            (Method::GET, "/api/v1/inventory/%FF", None),
            (Method::GET, "/api/v1/vm/available?platform=mainnet", Some(Route::Packs(true))),
            (Method::GET, "/api/v1/vm/available", Some(Route::Packs(true))),
            (Method::GET, "/api/v1/vm/available?platform=devnet", Some(Route::Packs(false))),
            (Method::GET, "/_control/ledger", Some(Route::Ledger)),
            (Method::GET, "/_control/clock", Some(Route::Clock)),
            (Method::POST, "/_control/clock", Some(Route::MoveClock)),
            (Method::DELETE, "/_control/clock", None),
            (Method::POST, "/_control/windows", Some(Route::Windows)),
            (Method::GET, "/_control/windows", None),
            (Method::GET, "/", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(route(&method, &path.parse().unwrap()), expected, "{method} {path}");
        }
    }
}
