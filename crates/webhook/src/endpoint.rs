//! Where a partner wants its events: checked once, when it is configured, as far as that can be told without asking anybody.
//!
//! What the host's name leads to is checked again and again, for each connection (see `resolve`). An address in place of a name is
//! checked here, in whatever form it was written: the URL standard has forms like `0x7f.1` and `2130706433` for `127.0.0.1`, and the
//! parser that normalises them is the one the HTTP client uses.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

use crate::{
    SigningSecrets,
    address::{self, Reach},
};

/// An URL that may be delivered to, and the secrets to sign with.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    secrets: SigningSecrets,
    reach: Reach,
}

/// Why an URL is not one to deliver to. It does not repeat the URL: credentials and tokens are found in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error("the webhook's URL cannot be read: {0}")]
    Unreadable(url::ParseError),
    #[error("the webhook's URL begins with {0}: where it should be https:")]
    Scheme(String),
    #[error("the webhook's URL begins with http: which allow_insecure = true permits, for development")]
    Insecure,
    #[error("the webhook's URL has no host")]
    NoHost,
    #[error("the webhook's URL carries a user or a password: deliveries are authenticated by their signature")]
    UserInfo,
    #[error("the webhook's URL has a fragment (#…), which is never sent")]
    Fragment,
    #[error("the webhook's URL has port {0}: only 443 and 8443 are delivered to (any, with allow_insecure = true)")]
    Port(u16),
    #[error("the webhook's URL leads to {address}, which is {why}")]
    Address { address: IpAddr, why: &'static str },
}

/// What HTTPS servers listen on. Others are services that an HTTP request should not be sent to on a stranger's word.
const PORTS: [u16; 2] = [443, 8443];

impl Endpoint {
    /// With `allow_insecure` (development) also http, any port, and loopback.
    ///
    /// # Errors
    /// An URL that nothing will be delivered to, whoever answers there.
    pub fn new(url: &str, secrets: SigningSecrets, allow_insecure: bool) -> Result<Self, InvalidEndpoint> {
        let reach = reach(allow_insecure);
        Ok(Self { url: read(url, reach)?, secrets, reach })
    }

    /// The same without secrets, for who only reads a configuration.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn check(url: &str, allow_insecure: bool) -> Result<(), InvalidEndpoint> {
        read(url, reach(allow_insecure)).map(drop)
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn secrets(&self) -> &SigningSecrets {
        &self.secrets
    }

    pub fn allow_insecure(&self) -> bool {
        self.reach == Reach::Development
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }
}

fn reach(allow_insecure: bool) -> Reach {
    if allow_insecure { Reach::Development } else { Reach::Public }
}

fn read(url: &str, reach: Reach) -> Result<Url, InvalidEndpoint> {
    let url = Url::parse(url).map_err(|error| match error {
        url::ParseError::EmptyHost => InvalidEndpoint::NoHost,
        other => InvalidEndpoint::Unreadable(other),
    })?;
    check(&url, reach)?;
    Ok(url)
}

fn check(url: &Url, reach: Reach) -> Result<(), InvalidEndpoint> {
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Development) => {}
        ("http", Reach::Public) => return Err(InvalidEndpoint::Insecure),
        (other, _) => return Err(InvalidEndpoint::Scheme(other.into())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidEndpoint::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(InvalidEndpoint::Fragment);
    }
    let address = match url.host() {
        None => return Err(InvalidEndpoint::NoHost),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    if let Some(address) = address
        && let Some(why) = address::refusal(address, reach)
    {
        return Err(InvalidEndpoint::Address { address, why });
    }
    match url.port_or_known_default() {
        Some(port) if reach == Reach::Public && !PORTS.contains(&port) => Err(InvalidEndpoint::Port(port)),
        _ => Ok(()),
    }
}

/// Without what may be a token: its query.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url.origin().ascii_serialization(), self.url.path())?;
        if self.url.query().is_some() { f.write_str("?…") } else { Ok(()) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, {:?}, {:?})", self.secrets, self.reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, allow_insecure: bool) -> Result<Endpoint, InvalidEndpoint> {
        let secrets = SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        Endpoint::new(url, secrets, allow_insecure)
    }

    fn check(url: &str, allow_insecure: bool, expected: &str) {
        match endpoint(url, allow_insecure) {
            Ok(endpoint) => assert_eq!(endpoint.url().as_str(), expected, "{url}"),
            Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{url}: {error}"),
        }
    }

    #[test]
    fn an_endpoint_is_https_on_a_port_of_https() {
        check("https://acme.example/hooks", false, "https://acme.example/hooks");
        check("HTTPS://ACME.example:443/hooks?for=us", false, "https://acme.example/hooks?for=us");
        check("https://acme.example:8443", false, "https://acme.example:8443/");
        check("https://93.184.215.14/", false, "https://93.184.215.14/");
        check("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", false, "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/");
        for (url, expected) in [
            ("", "cannot be read"),
            ("acme.example/hooks", "cannot be read"),
            ("https:///", "no host"),
            ("https://", "no host"),
            ("http://acme.example/", "begins with http:"),
            ("ftp://acme.example/", "begins with ftp:"),
            ("file:///etc/passwd", "begins with file:"),
            ("data:,x", "begins with data:"),
            ("https://us@acme.example/", "a user or a password"),
            ("https://us:topsecret@acme.example/", "a user or a password"),
            ("https://:topsecret@acme.example/", "a user or a password"),
            ("https://acme.example/#here", "fragment"),
            ("https://acme.example:80/", "port 80"),
            ("https://acme.example:22/", "port 22"),
            ("https://acme.example:5672/", "port 5672"),
            ("https://acme.example:0/", "port 0"),
            ("https://acme.example:99999/", "cannot be read"),
        ] {
            check(url, false, expected);
        }
    }

    #[test]
    fn an_address_is_checked_however_it_is_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "127。0。0。1",
            "１２７.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
        ] {
            check(&format!("https://{host}/"), false, "loopback");
            assert!(endpoint(&format!("http://{host}:9/"), true).is_ok(), "{host}");
        }
        for (host, expected) in [
            ("169.254.169.254", "metadata"),
            ("0xa9fea9fe", "metadata"),
            ("2852039166", "metadata"),
            ("[::ffff:a9fe:a9fe]", "metadata"),
            ("[64:ff9b::a9fe:a9fe]", "metadata"),
            ("[64:ff9b::7f00:1]", "loopback"),
            ("[2002:7f00:1::]", "6to4"),
            ("[::127.0.0.1]", "compatible"),
            ("[fd00:ec2::254]", "private"),
            ("[fe80::1]", "link-local"),
            ("[fe80::1%25eth0]", "cannot be read"),
            ("0", "unspecified"),
            ("0.0.0.0", "unspecified"),
            ("10.0.0.1", "private"),
            ("1.2.3.256", "cannot be read"),
            ("4294967296", "cannot be read"),
        ] {
            check(&format!("https://{host}/"), false, expected);
            check(&format!("https://{host}/"), true, expected);
        }
    }

    #[test]
    fn development_has_http_and_any_port() {
        check("http://localhost:3000/hooks", true, "http://localhost:3000/hooks");
        check("http://127.0.0.1/", true, "http://127.0.0.1/");
        check("https://localhost:9/", true, "https://localhost:9/");
        check("ftp://localhost/", true, "begins with ftp:");
        check("http://us@localhost/", true, "a user or a password");
    }

    #[test]
    fn neither_an_endpoint_nor_its_errors_print_what_may_be_secret() {
        let good = endpoint("https://acme.example/hooks?token=topsecret", false).unwrap();
        assert_eq!(good.to_string(), "https://acme.example/hooks?…");
        let mut printed = format!("{good:?}");
        for url in ["https://us:topsecret@x/", "https://x/?topsecret#a", "http://x/topsecret", "https://x y/topsecret"] {
            printed += &format!("{0} {0:?}", endpoint(url, false).unwrap_err());
        }
        assert!(!printed.contains("topsecret") && !printed.contains("MfKQ"), "{printed}");
    }
}
