//! A server that does exactly what its script says, and counts what reached it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clawback_domain::{
    Clock, PackId, SessionId, Time, UserId,
    answer::InitRequest,
    clock::{self, BoxFuture},
    poll::Timeouts,
};
use clawback_phygitals::{ApiKey, Phygitals};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the server does with a connection, in order. At the end of its script it closes the connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one whole request.
    Request,
    /// Reads at least so many bytes.
    Bytes(usize),
    Write(Vec<u8>),
    /// Writes a byte every ten milliseconds.
    Drip(Vec<u8>),
    /// Writes so many bytes of `x`, until nobody reads them.
    Flood(usize),
    /// Waits until the test says so.
    Wait,
    /// Waits until the client is gone.
    Gone,
    /// Closes with a reset.
    Reset,
}

pub struct Server {
    pub address: SocketAddr,
    pub base: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What each connection received, in the order in which they were accepted.
    received: Mutex<Vec<Vec<u8>>>,
    flooded: Mutex<usize>,
    /// Raised whenever something changes.
    changes: watch::Sender<u64>,
    go: watch::Sender<bool>,
}

impl Server {
    /// The n-th connection gets the n-th script; what comes after the last gets the last again.
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        tokio::spawn(accept(listener, scripts, state.clone()));
        Self { address, base: format!("http://{address}"), state }
    }

    pub async fn always(script: &[Step]) -> Self {
        Self::start(vec![script.to_vec()]).await
    }

    /// Lets every `Wait` pass.
    pub fn go(&self) {
        self.state.go.send_replace(true);
    }

    pub fn received(&self) -> Vec<String> {
        self.state.received.lock().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    pub fn bytes(&self) -> usize {
        self.state.received.lock().iter().map(Vec::len).sum()
    }

    pub fn flooded(&self) -> usize {
        *self.state.flooded.lock()
    }

    /// Waits until `condition` holds for what was received.
    pub async fn until(&self, condition: impl Fn(&[String]) -> bool) {
        let mut changes = self.state.changes.subscribe();
        let wait = changes.wait_for(|_| condition(&self.received()));
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition holds in time").unwrap();
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Vec<Step>>, state: Arc<State>) {
    for number in 0.. {
        let (socket, _) = listener.accept().await.unwrap();
        state.received.lock().push(Vec::new());
        state.changes.send_modify(|changes| *changes += 1);
        let script = scripts[number.min(scripts.len() - 1)].clone();
        tokio::spawn(Connection { socket, number, state: state.clone(), seen: 0 }.play(script));
    }
}

struct Connection {
    socket: TcpStream,
    number: usize,
    state: Arc<State>,
    /// How much of what was received belongs to requests already handled.
    seen: usize,
}

impl Connection {
    async fn play(mut self, script: Vec<Step>) {
        for step in script {
            let goes_on = match step {
                Step::Request => self.read_request().await,
                Step::Bytes(count) => self.read_until(|bytes| (bytes.len() >= count).then_some(count)).await,
                Step::Write(bytes) => self.socket.write_all(&bytes).await.is_ok(),
                Step::Drip(bytes) => self.drip(&bytes).await,
                Step::Flood(count) => self.flood(count).await,
                Step::Wait => self.state.go.subscribe().wait_for(|go| *go).await.is_ok(),
                Step::Gone => self.read_until(|_| None).await,
                Step::Reset => {
                    self.socket.set_zero_linger().unwrap();
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn read_request(&mut self) -> bool {
        self.read_until(|bytes| {
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let body: usize =
                text.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            (bytes.len() >= head + body).then_some(head + body)
        })
        .await
    }

    /// `false` when the client closed first.
    async fn read_until(&mut self, whole: impl Fn(&[u8]) -> Option<usize>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            if let Some(length) = whole(&self.state.received.lock()[self.number][self.seen..]) {
                self.seen += length;
                return true;
            }
            let Ok(count @ 1..) = self.socket.read(&mut buffer).await else { return false };
            self.state.received.lock()[self.number].extend_from_slice(&buffer[..count]);
            self.state.changes.send_modify(|changes| *changes += 1);
        }
    }

    async fn drip(&mut self, bytes: &[u8]) -> bool {
        let mut every = tokio::time::interval(Duration::from_millis(10));
        for byte in bytes {
            every.tick().await;
            if self.socket.write_all(&[*byte]).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn flood(&mut self, count: usize) -> bool {
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..count / chunk.len() {
            if self.socket.write_all(&chunk).await.is_err() {
                return false;
            }
            *self.state.flooded.lock() += chunk.len();
        }
        true
    }
}

/// An answer with its length.
pub fn answer(status: &str, headers: &str, body: &str) -> Step {
    Step::Write(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub fn ok(body: &str) -> Step {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        clock::micros(SystemTime::now().into())
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn draw(&self) -> u64 {
        4
    }
}

pub const KEY: &str = "sandbox-key-of-the-test";

pub fn client(base: &str) -> Phygitals {
    client_within(base, Duration::from_secs(10))
}

/// A client whose calls may each take `within`.
pub fn client_within(base: &str, within: Duration) -> Phygitals {
    let timeouts = Timeouts { connect: within, init: within, status: within, inventory: within, buyback: within };
    Phygitals::new(base, ApiKey::new(KEY).unwrap(), timeouts, Arc::new(SystemClock)).unwrap()
}

pub fn session() -> SessionId {
    SessionId::new("s-1").unwrap()
}

pub fn user() -> UserId {
    UserId::new("user_abc123").unwrap()
}

pub fn purchase(reference: &str) -> InitRequest {
    InitRequest {
        pack_id: PackId::new("BSG6Dy").unwrap(),
        amount: 2,
        user_id: user(),
        reference: reference.into(),
        send_by: clock::after(SystemClock.now(), Duration::from_secs(60)),
    }
}
