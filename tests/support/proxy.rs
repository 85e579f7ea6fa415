//! A way to a server that delays, holds back, refuses and cuts when told to: the network, as far as one machine can play it.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// What is under way in one direction: pieces of at most [`PIECE`] bytes. More waits in the sender's socket.
const PIECES: usize = 256;
const PIECE: usize = 16 * 1024;

/// What happens to bytes and connections from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Everything arrives this much later, in order.
    Slow(Duration),
    /// Nothing arrives, nothing is closed, and connections are taken all the same: only silence tells. What was held back arrives
    /// when the weather changes.
    Silent,
    /// New connections are closed at once; those that stand go on.
    Refusing,
}

/// Carries connections to its servers until it drops; then all of them are cut.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    /// Its value counts the cuts: connections live as long as the value they began with.
    cuts: watch::Sender<u64>,
    carried: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct Way {
    /// Ports on loopback. Each connection begins with the next one and takes the first that accepts.
    servers: Arc<[u16]>,
    next: Arc<AtomicUsize>,
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
    carried: Arc<AtomicU64>,
}

impl Proxy {
    /// Before servers on these ports of loopback.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn before(servers: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port for the proxy")?;
        let port = listener.local_addr()?.port();
        let (weather, cuts) = (watch::Sender::new(Weather::Fair), watch::Sender::new(0));
        let carried = Arc::new(AtomicU64::new(0));
        let way = Way {
            servers: servers.into(),
            next: Arc::default(),
            weather: weather.subscribe(),
            cuts: cuts.subscribe(),
            carried: carried.clone(),
        };
        let accepting = tokio::spawn(accept(listener, way));
        Ok(Self { port, weather, cuts, carried, accepting })
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have reached a server so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Closes every connection that stands; what was under way in it is lost.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, way: Way) {
    loop {
        // Out of file descriptors, for example: the next one may do.
        let Ok((client, _)) = listener.accept().await else { continue };
        if *way.weather.borrow() == Weather::Refusing {
            continue;
        }
        tokio::spawn(carry(client, way.clone()));
    }
}

async fn carry(client: TcpStream, mut way: Way) {
    way.cuts.mark_unchanged();
    let Some(server) = way.server().await else { return };
    way.carried.fetch_add(1, Ordering::SeqCst);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = one_way(from_client, to_server, way.weather.clone());
    let back = one_way(from_server, to_client, way.weather.clone());
    // One direction may end before the other: HTTP/1.0 style closes are carried, too.
    tokio::select! {
        _ = way.cuts.changed() => {}
        _ = async { tokio::join!(there, back) } => {}
    }
}

impl Way {
    async fn server(&self) -> Option<TcpStream> {
        let first = self.next.fetch_add(1, Ordering::SeqCst);
        for turn in 0..self.servers.len() {
            let port = self.servers[(first + turn) % self.servers.len()];
            if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                return Some(server);
            }
        }
        None
    }
}

async fn one_way(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            if under_way.send((Instant::now(), piece[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((sent, bytes)) = arriving.recv().await {
            if !arrives(sent, &mut weather).await || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Completes when what was sent then may arrive; `false` when the proxy is gone.
async fn arrives(sent: Instant, weather: &mut watch::Receiver<Weather>) -> bool {
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair | Weather::Refusing => return true,
            Weather::Slow(by) => {
                tokio::select! {
                    () = sleep_until(sent + by) => return true,
                    changed = weather.changed() => if changed.is_err() { return false },
                }
            }
            Weather::Silent => {
                if weather.changed().await.is_err() {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that says back what it hears.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap()
    }

    /// What comes back within a bound; empty when the connection is over.
    async fn said(socket: &mut TcpStream, text: &str) -> Vec<u8> {
        let mut heard = vec![0; text.len()];
        let talk = async {
            socket.write_all(text.as_bytes()).await?;
            socket.read_exact(&mut heard).await
        };
        if timeout(SOON, talk).await.expect("an answer or an end").is_err() {
            heard.clear();
        }
        heard
    }

    #[tokio::test]
    async fn it_carries_both_ways_and_cuts_what_stands_but_not_what_comes() {
        let proxy = Proxy::before(&[echo().await]).await.unwrap();
        let mut first = connect(&proxy).await;
        assert_eq!(said(&mut first, "hello").await, b"hello");
        proxy.cut();
        assert_eq!(said(&mut first, "still there?").await, b"");
        assert_eq!(said(&mut connect(&proxy).await, "again").await, b"again");
        assert_eq!(proxy.carried(), 2);
    }

    #[tokio::test]
    async fn it_refuses_new_connections_and_spares_those_that_stand() {
        let proxy = Proxy::before(&[echo().await]).await.unwrap();
        let mut first = connect(&proxy).await;
        assert_eq!(said(&mut first, "hello").await, b"hello");
        proxy.set(Weather::Refusing);
        assert_eq!(said(&mut connect(&proxy).await, "hello").await, b"");
        assert_eq!(said(&mut first, "still there?").await, b"still there?");
    }

    #[tokio::test]
    async fn silence_holds_back_and_loses_nothing() {
        let proxy = Proxy::before(&[echo().await]).await.unwrap();
        let mut socket = connect(&proxy).await;
        proxy.set(Weather::Silent);
        socket.write_all(b"held").await.unwrap();
        let mut heard = [0; 4];
        let silence = timeout(Duration::from_millis(200), socket.read_exact(&mut heard)).await;
        assert!(silence.is_err(), "it came through: {heard:?}");
        proxy.set(Weather::Fair);
        timeout(SOON, socket.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"held");
    }

    #[tokio::test]
    async fn slow_is_late_by_as_much_each_way() {
        let proxy = Proxy::before(&[echo().await]).await.unwrap();
        let mut socket = connect(&proxy).await;
        proxy.set(Weather::Slow(Duration::from_millis(100)));
        let began = Instant::now();
        assert_eq!(said(&mut socket, "hello").await, b"hello");
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_passed_over() {
        let proxy = Proxy::before(&[crate::ports::free(), echo().await]).await.unwrap();
        for _ in 0..2 {
            assert_eq!(said(&mut connect(&proxy).await, "hello").await, b"hello");
        }
    }
}
