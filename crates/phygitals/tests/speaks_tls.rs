//! HTTPS: what fails before the handshake is over was never sent, and what comes after works like plain HTTP.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::{process::Command, sync::Arc, time::Duration};

use clawback_domain::answer::Answer;
use clawback_phygitals::Upstream;
use support::{Server, Step, answer, client, client_within, purchase};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/localhost.cert.pem");

#[tokio::test]
async fn a_failed_tls_handshake_is_never_sent() {
    let not_tls: &[&[Step]] =
        &[&[], &[Step::Bytes(20)], &[Step::Bytes(20), Step::Reset], &[Step::Bytes(20), answer("400 Bad Request", "", "")]];
    for script in not_tls {
        let server = Server::always(script).await;
        let found = client(&server.base.replace("http:", "https:")).buy_init(purchase("p.1")).await;
        assert_eq!(found.name(), "never_sent", "{script:?}: {found:?}");
        assert!(!server.received().concat().contains("p.1"));
    }
}

#[tokio::test]
async fn a_server_that_never_ends_the_handshake_is_never_sent() {
    let server = Server::always(&[Step::Gone]).await;
    let found =
        client_within(&server.base.replace("http:", "https:"), Duration::from_millis(300)).buy_init(purchase("p.1")).await;
    assert_eq!(found.name(), "never_sent", "{found:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_gets_nothing() {
    let base = tls_server().await;
    let found = client(&base).buy_init(purchase("p.1")).await;
    assert!(matches!(&found, Answer::NeverSent { why } if why.contains("certificate")), "{found:?}");
}

/// The system's roots are read once a process, from a place that the environment names: so this test runs itself in a child.
#[tokio::test]
async fn a_server_that_can_be_trusted_gets_the_purchase() {
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != CERTIFICATE) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_server_that_can_be_trusted_gets_the_purchase"]).env("SSL_CERT_FILE", CERTIFICATE);
        let output = child.env_remove("SSL_CERT_DIR").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let base = tls_server().await;
    let found = client(&base).buy_init(purchase("p.1")).await;
    assert!(matches!(&found, Answer::Done { session, .. } if session.as_str() == "p.1"), "{found:?}");
}

/// Answers each request with its own reference as the session.
async fn tls_server() -> String {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::try_from(include_bytes!("support/localhost.key.der").as_slice()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            // A client that does not trust us ends the handshake, and there is nothing to answer.
            tokio::spawn(async move { answer_once(acceptor.accept(socket).await?).await });
        }
    });
    base
}

async fn answer_once(mut socket: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> std::io::Result<()> {
    let mut request = String::new();
    while !request.ends_with('}') {
        let mut buffer = [0; 4096];
        let length = socket.read(&mut buffer).await?;
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let reference = request.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let body = format!(r#"{{"session_id":"{reference}"}}"#);
    socket.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    socket.shutdown().await
}
