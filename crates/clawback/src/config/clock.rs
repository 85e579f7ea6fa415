//! `CLAWBACK_CLOCK`: which clock decides what is due.

use std::fmt;

use url::{Host, Url};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockSource {
    /// The system's, corrected to the store's.
    #[default]
    System,
    /// The sandbox's, which may be moved ahead.
    Upstream,
}

impl ClockSource {
    /// `upstream`: the base URL. A clock that anybody may move must never be followed where real money is spent, so it has to be on
    /// this machine.
    ///
    /// # Errors
    /// A word that is none of these, or an upstream that is not on this machine.
    pub fn read(value: Option<&str>, upstream: &str) -> Result<Self, String> {
        match value {
            None | Some("" | "system") => Ok(Self::System),
            Some("upstream") if is_loopback(upstream) => Ok(Self::Upstream),
            Some("upstream") => Err(format!(
                "`upstream` follows the clock of a sandbox on this machine, and PHYGITALS_URL is {upstream}: set that to the \
                 sandbox's loopback address (http://127.0.0.1:8090), or leave CLAWBACK_CLOCK out"
            )),
            Some(other) => Err(format!("must be `system` or `upstream`, not {other:?}")),
        }
    }
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Upstream => "upstream",
        })
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstreams_clock_is_followed_on_this_machine_only() {
        let check = |value: Option<&str>, upstream: &str, expected: Result<ClockSource, &str>| {
            let read = ClockSource::read(value, upstream);
            match expected {
                Ok(source) => assert_eq!(read, Ok(source), "{value:?} {upstream}"),
                Err(about) => assert!(read.as_ref().is_err_and(|why| why.contains(about)), "{value:?} {upstream}: {read:?}"),
            }
        };
        let production = "https://api.phygitals.com";
        check(None, production, Ok(ClockSource::System));
        check(Some(""), production, Ok(ClockSource::System));
        check(Some("system"), production, Ok(ClockSource::System));
        for url in ["http://127.0.0.1:8090", "http://127.9.9.9/_", "http://[::1]:1", "http://localhost:1", "http://LOCALHOST"] {
            check(Some("upstream"), url, Ok(ClockSource::Upstream));
        }
        for url in
            [production, "https://api.phygitals.com/_", "http://10.0.0.1", "http://127.0.0.1.example", "http://localhost.x"]
        {
            check(Some("upstream"), url, Err("PHYGITALS_URL is http"));
        }
        check(Some("upstream"), "rubbish", Err("PHYGITALS_URL is rubbish"));
        check(Some("sundial"), production, Err("must be `system` or `upstream`, not \"sundial\""));
    }
}
