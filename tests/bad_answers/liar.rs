//! A socket before the sandbox that answers wrongly, for chosen users and calls: the effect happens or not, as the lie has it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Init,
    Status,
    Inventory,
}

/// What is answered instead.
#[derive(Clone, Copy)]
pub enum Instead {
    /// These bytes, then the connection closes.
    Raw(&'static str),
    /// A 200 with this body.
    Body(&'static str),
    /// The true body, changed.
    Twisted(fn(String) -> String),
    /// The true body, changed, with a `Date` of an hour ago.
    AnHourBehind(fn(String) -> String),
    /// Half of the true body.
    Half,
    /// The true body, a byte at a time, slower than anybody waits.
    Dripping,
    /// A 200 with so many bytes that have no end.
    Endless,
    /// The connection is reset.
    Reset,
    /// Nothing, for longer than anybody waits.
    Silence,
}

#[derive(Clone, Copy)]
pub struct Lie {
    pub call: Call,
    /// Only the first calls of this kind are lied to.
    pub times: usize,
    /// Whether the sandbox gets the call.
    pub acts: bool,
    pub instead: Instead,
}

pub struct Liar {
    pub base: String,
    shared: Arc<Shared>,
}

struct Shared {
    sandbox: SocketAddr,
    lies: BTreeMap<String, Vec<Lie>>,
    told: Mutex<BTreeMap<(String, Call), usize>>,
    /// Whose session it is.
    sessions: Mutex<BTreeMap<String, String>>,
}

/// Longer than every time-out of the tests.
const FOREVER: Duration = Duration::from_secs(20);

impl Liar {
    /// `lies` by the user who is lied to. It ends with the runtime.
    pub async fn start(sandbox: SocketAddr, lies: BTreeMap<String, Vec<Lie>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { sandbox, lies, told: Mutex::default(), sessions: Mutex::default() });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // Who hangs up early is no concern of ours.
                tokio::spawn(async move { shared.serve(stream).await.ok() });
            }
        });
        Ok(Self { base, shared })
    }

    /// How often a call of this kind came for a user.
    pub fn calls(&self, user: &str, call: Call) -> usize {
        self.shared.told.lock().get(&(user.to_owned(), call)).copied().unwrap_or_default()
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let request = read_request(&mut stream).await?;
        let (call, user) = self.whose(&request);
        let lie = call.and_then(|call| self.lie(&user, call));
        let Some(lie) = lie else {
            let answer = self.forward(&request).await?;
            self.remember(&answer, &user);
            return Ok(stream.write_all(&answer).await?);
        };
        let truth = if lie.acts { self.forward(&request).await? } else { Vec::new() };
        self.remember(&truth, &user);
        tell(stream, lie.instead, &truth).await
    }

    /// What is called, and for whom.
    fn whose(&self, request: &[u8]) -> (Option<Call>, String) {
        let text = String::from_utf8_lossy(request);
        let path = text.split_whitespace().nth(1).unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let field = |name: &str| serde_json::from_str::<Value>(body).ok()?[name].as_str().map(str::to_owned);
        if path.ends_with("/vm/buy/init") {
            (Some(Call::Init), field("user_id").unwrap_or_default())
        } else if path.ends_with("/vm/buy/status") {
            let session = field("session_id").unwrap_or_default();
            (Some(Call::Status), self.sessions.lock().get(&session).cloned().unwrap_or_default())
        } else if let Some((_, user)) = path.split_once("/inventory/") {
            (Some(Call::Inventory), user.to_owned())
        } else {
            (None, String::new())
        }
    }

    fn lie(&self, user: &str, call: Call) -> Option<Lie> {
        let mut told = self.told.lock();
        let times = told.entry((user.to_owned(), call)).or_default();
        *times += 1;
        self.lies.get(user)?.iter().copied().find(|lie| lie.call == call && *times <= lie.times)
    }

    async fn forward(&self, request: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.sandbox).await?;
        let text = String::from_utf8_lossy(request);
        let closing = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        stream.write_all(closing.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    fn remember(&self, answer: &[u8], user: &str) {
        let body = body(answer);
        if let Some(session) =
            serde_json::from_str::<Value>(&body).ok().and_then(|body| body["session_id"].as_str().map(str::to_owned))
        {
            self.sessions.lock().insert(session, user.to_owned());
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await?;
        ensure!(read > 0, "it hung up");
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Ok(request);
        }
    }
}

fn body(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

fn ok(body: &str, header: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn tell(mut stream: TcpStream, instead: Instead, truth: &[u8]) -> Result<()> {
    match instead {
        Instead::Raw(bytes) => stream.write_all(bytes.as_bytes()).await?,
        Instead::Body(text) => stream.write_all(ok(text, "").as_bytes()).await?,
        Instead::Twisted(twist) => stream.write_all(ok(&twist(body(truth)), "").as_bytes()).await?,
        Instead::AnHourBehind(twist) => {
            let date = (chrono::Utc::now() - chrono::TimeDelta::hours(1)).format("Date: %a, %d %b %Y %H:%M:%S GMT\r\n");
            stream.write_all(ok(&twist(body(truth)), &date.to_string()).as_bytes()).await?;
        }
        Instead::Half => {
            let whole = ok(&body(truth), "");
            let cut = whole.len() - body(truth).len() / 2;
            stream.write_all(&whole.as_bytes()[..cut]).await?;
        }
        Instead::Dripping => {
            for byte in ok(&body(truth), "").bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Instead::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            // Until the client has had enough.
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
        Instead::Reset => stream.set_zero_linger().context("no RST")?,
        Instead::Silence => tokio::time::sleep(FOREVER).await,
    }
    Ok(())
}
