//! A sandbox on a port of its own, and a client that sees what is really on the wire.

use std::{io, net::SocketAddr, time::Duration};

use clawback_domain::Time;
use clawback_sandbox::{Engine, Fault, Ledger, Mode, Options, Outcome, ServerOptions, engine::Shared, serve};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub const KEY: &str = "sandbox-demo";
pub const OTHER_KEY: &str = "sandbox-other";

pub fn options(mode: Mode) -> Options {
    Options { mode, settle: Duration::ZERO, seed: 42, api_keys: vec![KEY.into(), OTHER_KEY.into()], ..Options::default() }
}

pub fn faults(faults: &[&str]) -> Vec<Fault> {
    faults.iter().map(|fault| fault.parse().unwrap()).collect()
}

pub struct Sandbox {
    pub engine: Shared,
    address: SocketAddr,
}

impl Sandbox {
    pub async fn start(options: Options) -> Self {
        let (latency, hang) = (Duration::ZERO, Duration::from_millis(50));
        Self::start_with(options, ServerOptions { latency, hang }, std::future::pending()).await
    }

    pub async fn start_with(
        options: Options,
        server: ServerOptions,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let engine = Engine::shared(options);
        tokio::spawn(serve(listener, engine.clone(), server, shutdown));
        Self { engine, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One call on a connection of its own, with a good key.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        self.call_as(Some(KEY), method, path, body).await
    }

    pub async fn call_as(&self, key: Option<&str>, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        let mut stream = self.connect().await;
        let key = key.map(|key| format!("x-api-key: {key}\r\n")).unwrap_or_default();
        stream.write_all(request(method, path, &format!("connection: close\r\n{key}"), body).as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Reply::parse(&String::from_utf8(answer).unwrap())
    }

    pub async fn init(&self, pack: &str, amount: u32, user: &str) -> io::Result<Reply> {
        let body = format!(r#"{{"id":"{pack}","amount":{amount},"user_id":"{user}"}}"#);
        self.call("POST", "/api/v1/vm/buy/init", &body).await
    }

    pub async fn status(&self, session: &str) -> io::Result<Reply> {
        self.call("POST", "/api/v1/vm/buy/status", &format!(r#"{{"session_id":"{session}"}}"#)).await
    }

    pub async fn buyback(&self, item: &str) -> io::Result<Reply> {
        self.call("POST", "/api/v1/vm/buyback", &format!(r#"{{"item_id":"{item}"}}"#)).await
    }

    pub async fn inventory(&self, user: &str) -> io::Result<Reply> {
        self.call("GET", &format!("/api/v1/inventory/{user}"), "").await
    }

    pub async fn packs(&self) -> io::Result<Reply> {
        self.call("GET", "/api/v1/vm/available?platform=mainnet", "").await
    }

    pub async fn advance(&self, span: &str) -> Reply {
        self.call("POST", "/_control/clock", &format!(r#"{{"advance":"{span}"}}"#)).await.unwrap()
    }

    /// As tests of other crates read it.
    pub async fn ledger(&self) -> Ledger {
        serde_json::from_value(self.call_as(None, "GET", "/_control/ledger", "").await.unwrap().json()).unwrap()
    }
}

/// A request with these further header lines.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    /// # Errors
    /// `UnexpectedEof` when less came than was promised; its text is what came.
    fn parse(answer: &str) -> io::Result<Self> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, answer.to_owned());
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
        let reply = Self { status, head: head.to_owned(), body: body.to_owned() };
        match reply.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) if length == body.len() => Ok(reply),
            _ => Err(cut()),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find_map(|(found, value)| (found.to_lowercase() == name).then_some(value))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status and the error's text.
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        (self.status, body["error"].as_str().unwrap().to_owned())
    }
}

pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// The reply that must have arrived whole.
pub fn whole<R: std::fmt::Debug>(outcome: Outcome<R>) -> R {
    outcome.success().unwrap_or_else(|broken| panic!("{broken:?}"))
}
