//! An endpoint that does exactly what its script says, and keeps what reached it.

pub mod python;
pub mod resolvers;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use clawback_domain::{EventId, Time};
use clawback_webhook::{Delivery, Endpoint, Https, Outcome, SigningSecrets, Timeouts};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const OTHER_SECRET: &str = "whsec_dGhlIHNlY29uZCBzZWNyZXQgb2YgYWNtZSBpcyBsb25nZXI=";

/// What is done with a connection, in order. At the end of its script it is closed.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one whole request.
    Request,
    Write(Vec<u8>),
    /// Writes a byte every ten milliseconds.
    Drip(Vec<u8>),
    /// Writes the text again and again, up to so many bytes, until nobody reads them.
    Flood(&'static str, usize),
    /// Waits until the other side is gone.
    Gone,
    /// Closes with a reset.
    Reset,
}

pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    flooded: AtomicUsize,
    /// The whole requests, in the order in which they were read.
    requests: Mutex<Vec<Request>>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    /// Names as they came, in order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    /// The n-th connection gets the n-th script; what comes after the last gets the last again.
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        tokio::spawn(accept(listener, scripts, state.clone()));
        Self { address, state }
    }

    pub async fn always(script: &[Step]) -> Self {
        Self::start(vec![script.to_vec()]).await
    }

    /// Reads a request and answers it.
    pub async fn answering(status: &str, headers: &str, body: &str) -> Self {
        Self::always(&[Step::Request, answer(status, headers, body)]).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().clone()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub fn flooded(&self) -> usize {
        self.state.flooded.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Vec<Step>>, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let script = scripts[number.min(scripts.len() - 1)].clone();
        tokio::spawn(play(socket, script, state.clone()));
    }
}

async fn play(mut socket: TcpStream, script: Vec<Step>, state: Arc<State>) {
    for step in script {
        let goes_on = match step {
            Step::Request => match read_request(&mut socket).await {
                Some(request) => {
                    state.requests.lock().push(request);
                    true
                }
                None => false,
            },
            Step::Write(bytes) => socket.write_all(&bytes).await.is_ok(),
            Step::Drip(bytes) => drip(&mut socket, &bytes).await,
            Step::Flood(text, count) => flood(&mut socket, text, count, &state.flooded).await,
            Step::Gone => tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.is_ok(),
            Step::Reset => {
                socket.set_zero_linger().unwrap();
                false
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// `None` when the other side closed first.
pub async fn read_request(socket: &mut (impl AsyncReadExt + Unpin)) -> Option<Request> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        if let Some(request) = whole(&bytes) {
            return Some(request);
        }
        let Ok(count @ 1..) = socket.read(&mut buffer).await else { return None };
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn whole(bytes: &[u8]) -> Option<Request> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let mut request = Request { line: line.into(), headers: rest.lines().map(header).collect(), body: String::new() };
    let length: usize = request.header("content-length").unwrap().parse().unwrap();
    let body = &bytes[end + 4..];
    (body.len() >= length).then(|| request.body = String::from_utf8(body.to_vec()).unwrap())?;
    Some(request)
}

async fn drip(socket: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut every = tokio::time::interval(Duration::from_millis(10));
    for byte in bytes {
        every.tick().await;
        if socket.write_all(&[*byte]).await.is_err() {
            return false;
        }
    }
    true
}

async fn flood(socket: &mut TcpStream, text: &str, count: usize, flooded: &AtomicUsize) -> bool {
    let chunk = text.repeat(64 * 1024 / text.len());
    for _ in 0..count / chunk.len() {
        if socket.write_all(chunk.as_bytes()).await.is_err() {
            return false;
        }
        flooded.fetch_add(chunk.len(), Ordering::SeqCst);
    }
    true
}

/// An answer with its length.
pub fn answer(status: &str, headers: &str, body: &str) -> Step {
    Step::Write(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub fn https() -> Https {
    Https::new(Timeouts::default()).unwrap()
}

/// Gives up everything after `total`.
pub fn https_within(total: Duration) -> Https {
    Https::new(Timeouts { total, ..Timeouts::default() }).unwrap()
}

/// An endpoint for development.
pub fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url, secrets(), true).unwrap()
}

pub fn secrets() -> SigningSecrets {
    SigningSecrets::parse(SECRET).unwrap()
}

/// An event, attempted now.
pub fn delivery(body: &str) -> Delivery {
    Delivery { id: id(1), body: body.into(), timestamp: SystemTime::now().into() }
}

pub fn delivery_at(body: &str, timestamp: Time) -> Delivery {
    Delivery { timestamp, ..delivery(body) }
}

pub fn id(sequence: u64) -> EventId {
    EventId::of(uuid::Uuid::nil(), sequence)
}

/// That no answer came, and that the sentence says why.
#[track_caller]
pub fn assert_unanswered(found: &Outcome, why: &str) {
    let right = matches!(found, Outcome::Retry { status: None, retry_after: None, why: said } if said.contains(why));
    assert!(right, "{found:?}, not {why:?}");
}

#[track_caller]
pub fn assert_refused(found: &Outcome, why: &str) {
    assert!(matches!(found, Outcome::Refused { why: said } if said.contains(why)), "{found:?}, not {why:?}");
}
