//! An endpoint is a stranger's word: it never makes Clawback talk to what a stranger could not reach.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clawback_webhook::{Endpoint, Https, Outcome, Receiver, Timeouts};
use support::{
    Server, Step, answer, assert_refused, assert_unanswered, delivery, endpoint, https,
    resolvers::{Scripted, Silent, https_with},
    secrets,
};

fn public(url: &str) -> Endpoint {
    Endpoint::new(url, secrets(), false).unwrap()
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    for (address, why) in [
        ("127.0.0.1", "127.0.0.1, which is loopback"),
        ("10.0.0.1", "10.0.0.1, which is private"),
        ("169.254.169.254", "169.254.169.254, which is link-local, where clouds keep metadata"),
        ("::1", "::1, which is loopback"),
        ("::ffff:192.168.0.1", "::ffff:192.168.0.1, which is private"),
        ("64:ff9b::10.0.0.1", "which is private"),
        ("fd00:ec2::254", "fd00:ec2::254, which is private"),
        ("fe80::1", "fe80::1, which is link-local"),
    ] {
        let found = https_with(Scripted::new(&[&[address]])).deliver(&public("https://acme.example/"), delivery("{}")).await;
        assert_refused(&found, why);
    }
}

#[tokio::test]
async fn one_address_inside_refuses_all_of_them() {
    for addresses in [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2600::1", "fd00::1"]] {
        let found = https_with(Scripted::new(&[&addresses])).deliver(&public("https://acme.example/"), delivery("{}")).await;
        assert_refused(&found, "which is private");
    }
}

#[tokio::test]
async fn localhost_by_the_systems_own_resolver_is_refused() {
    assert_refused(&https().deliver(&public("https://localhost/"), delivery("{}")).await, "loopback");
}

#[tokio::test]
async fn development_reaches_loopback_but_nothing_else_inside() {
    for address in ["10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "fd00::1", "fe80::1", "0.0.0.0", "::"] {
        let names = Scripted::new(&[&["127.0.0.1", address]]);
        let found = https_with(names).deliver(&endpoint("http://acme.example:9/"), delivery("{}")).await;
        assert_refused(&found, &format!("{address}, which is"));
    }
}

/// The name is asked for once a connection: what was checked is what is connected to, and a later answer is checked anew.
#[tokio::test]
async fn a_name_that_changes_after_the_check_gains_nothing() {
    let server = Server::answering("200 OK", "Connection: close\r\n", "").await;
    let names = Scripted::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let https = https_with(names.clone());
    let endpoint = endpoint(&format!("http://acme.example:{}/", server.address.port()));

    assert_eq!(https.deliver(&endpoint, delivery("{}")).await, Outcome::Delivered { status: 200 });
    assert_eq!((names.asked(), server.connections()), (1, 1));
    assert_refused(&https.deliver(&endpoint, delivery("{}")).await, "10.0.0.1, which is private");
    assert_eq!((names.asked(), server.connections()), (2, 1));
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let elsewhere = Server::answering("200 OK", "", "").await;
        let server = Server::answering(status, &format!("Location: {}\r\n", elsewhere.url()), "").await;
        let found = https().deliver(&endpoint(&server.url()), delivery("{}")).await;
        let code = status[..3].parse().unwrap();
        assert_eq!(found, Outcome::answered(code, None));
        assert!(found.to_string().contains("no redirect is followed"), "{found}");
        assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
    }
}

/// Proxies are read from the environment when a client is made: so this test runs itself in a child.
#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    const NAME: &str = "no_proxy_of_the_environment_is_used";
    const CHILD: &str = "CLAWBACK_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let server = Server::answering("200 OK", "", "").await;
        let found = https().deliver(&endpoint(&server.url()), delivery("{}")).await;
        assert_eq!((found, server.connections()), (Outcome::Delivered { status: 200 }, 1));
        return;
    }
    let proxy = Server::always(&[Step::Request, answer("200 OK", "", "")]).await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", NAME]).env(CHILD, "1").env_remove("NO_PROXY").env_remove("no_proxy");
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, format!("http://{}", proxy.address));
    }
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(proxy.connections(), 0);
}

/// `.invalid` is nobody's (RFC 6761).
#[tokio::test]
async fn an_unknown_host_is_tried_again() {
    let found = https().deliver(&public("https://acme.invalid/"), delivery("{}")).await;
    assert_unanswered(&found, "the endpoint did not answer");
    let found = https_with(Scripted::new(&[&[]])).deliver(&public("https://acme.example/"), delivery("{}")).await;
    assert_unanswered(&found, "the host's name has no address");
}

#[tokio::test]
async fn a_resolver_that_says_nothing_is_not_waited_for() {
    let timeouts = Timeouts { resolve: Duration::from_millis(100), ..Timeouts::default() };
    let began = Instant::now();
    let https = Https::with_resolver(timeouts, Arc::new(Silent)).unwrap();
    let found = https.deliver(&public("https://acme.example/"), delivery("{}")).await;
    assert_unanswered(&found, "the host's name was not resolved in time");
    assert!(began.elapsed() < timeouts.connect);
}
