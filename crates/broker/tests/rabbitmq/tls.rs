//! `amqps://`, against a node with a certificate of the test's own authority.

use std::{path::Path, process::Command};

use clawback_broker::{Amqp, BrokerError, amqp::Options};

use crate::support::node::{Node, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_over_tls_and_only_to_a_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let (port, path) = (free_port(), folder.path().display());
    let node = tokio::task::block_in_place(|| {
        Node::start_with(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {path}/ca.pem\nssl_options.certfile = {path}/cert.pem\nssl_options.keyfile = {path}/key.pem\n"
        ))
    });
    let url = format!("amqps://guest:guest@localhost:{port}");

    let untrusted = Amqp::connect(&url, Options::default()).await.err();
    assert!(matches!(&untrusted, Some(BrokerError::Unreachable(text)) if text.contains("certificate")), "{untrusted:?}");

    // Which authorities are trusted is the environment's, and a process of its own can be given another one.
    let output = tokio::process::Command::new(throughput())
        .args(["200", "10"])
        .env("AMQP_URL", &url)
        .env("SSL_CERT_FILE", folder.path().join("ca.pem"))
        .output();
    let output = output.await.expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(node);
}

/// `cargo test` builds examples beside the tests.
fn throughput() -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let example = profile.join("examples/throughput");
    assert!(example.exists(), "cargo build -p clawback-broker --example throughput makes {}", example.display());
    example
}

fn make_certificates(folder: &Path) {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    let new = "-newkey rsa:2048 -nodes";
    for arguments in [
        format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=clawback-tests -days 2"),
        format!("req {new} -keyout key.pem -out request.pem -subj /CN=localhost"),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names".to_owned(),
    ] {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let made = made.unwrap_or_else(|error| panic!("openssl: {error} (Debian, Ubuntu: apt-get install openssl)"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}
