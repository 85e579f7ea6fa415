//! HTTPS: a server that cannot be trusted gets nothing, one that can gets the event.

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clawback_webhook::{Https, Outcome, Receiver, Timeouts};
use parking_lot::Mutex;
use support::{
    Server, Step, answer, assert_unanswered, delivery, endpoint, https, read_request,
    resolvers::{Scripted, https_with},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/localhost.cert.pem");

#[tokio::test]
async fn a_server_that_cannot_be_trusted_gets_nothing() {
    let server = TlsServer::start().await;
    let found = https().deliver(&endpoint(&format!("https://localhost:{}/", server.port)), delivery("{}")).await;
    assert_unanswered(&found, "certificate");
    assert_eq!(*server.bodies.lock(), [] as [String; 0]);
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing() {
    for script in [vec![], vec![Step::Reset], vec![answer("200 OK", "", ""), Step::Gone]] {
        let server = Server::always(&script).await;
        let url = server.url().replace("http:", "https:");
        assert_unanswered(&https().deliver(&endpoint(&url), delivery("{}")).await, "the endpoint did not answer: ");
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_not_waited_for() {
    let (server, began) = (Server::always(&[Step::Gone]).await, Instant::now());
    let timeouts = Timeouts { connect: Duration::from_millis(300), ..Timeouts::default() };
    let url = server.url().replace("http:", "https:");
    let found = Https::new(timeouts).unwrap().deliver(&endpoint(&url), delivery("{}")).await;
    assert_unanswered(&found, "timed out");
    assert!((timeouts.connect..timeouts.total).contains(&began.elapsed()));
}

/// The system's roots are read once a process, from a place that the environment names: so this test runs itself in a child.
#[tokio::test]
async fn a_server_that_can_be_trusted_gets_the_event_under_its_own_name_alone() {
    const NAME: &str = "a_server_that_can_be_trusted_gets_the_event_under_its_own_name_alone";
    if std::env::var_os("SSL_CERT_FILE").is_none_or(|file| file != CERTIFICATE) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME]).env("SSL_CERT_FILE", CERTIFICATE).env_remove("SSL_CERT_DIR");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let server = TlsServer::start().await;
    let found = https().deliver(&endpoint(&format!("https://localhost:{}/", server.port)), delivery("{}")).await;
    assert_eq!(found, Outcome::Delivered { status: 200 });

    let elsewhere = https_with(Scripted::new(&[&["127.0.0.1"]]));
    let found = elsewhere.deliver(&endpoint(&format!("https://acme.example:{}/", server.port)), delivery("{}")).await;
    assert_unanswered(&found, "certificate");
    assert_eq!(*server.bodies.lock(), ["{}"]);
}

struct TlsServer {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), bodies: Arc::default() };
        tokio::spawn(accept(listener, acceptor(), server.bodies.clone()));
        server
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::try_from(include_bytes!("support/localhost.key.der").as_slice()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, bodies: Arc<Mutex<Vec<String>>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (acceptor, bodies) = (acceptor.clone(), bodies.clone());
        // A client that does not trust us ends the handshake, and there is nothing to answer.
        tokio::spawn(async move {
            let mut socket = acceptor.accept(socket).await.ok()?;
            let body = read_request(&mut socket).await?.body;
            bodies.lock().push(body);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()
        });
    }
}
