//! A way to the server that breaks when told to.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Where the next connection that comes to that place is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    Never,
    /// Every connection, as soon as it is there.
    Always,
    /// Once, when it sends an UPDATE or INSERT: the server has begun a transaction and got nothing.
    Statement,
    /// Once, with COMMIT on its way: the server never hears of it.
    BeforeCommit,
    /// Once, after the server has committed and before its answer is through.
    AfterCommit,
}

pub struct Proxy {
    pub url: String,
    cut: Arc<AtomicU8>,
    cuts: Arc<AtomicU32>,
}

impl Proxy {
    /// A proxy before the server of `url`.
    pub async fn before(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, database) = rest.rsplit_once('/').expect("a database");
        let (user, server) = authority.rsplit_once('@').expect("a user");
        let server = if server.contains(':') { server.to_owned() } else { format!("{server}:5432") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, cuts) = (Arc::new(AtomicU8::new(Cut::Never as u8)), Arc::new(AtomicU32::new(0)));
        let state = (cut.clone(), cuts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (cut, cuts) = state.clone();
                if cut.load(Ordering::SeqCst) == Cut::Always as u8 {
                    continue;
                }
                let server = TcpStream::connect(&server).await.expect("the server is there");
                tokio::spawn(async move { carry(client, server, &cut, &cuts).await });
            }
        });
        Self { url: format!("{scheme}://{user}@127.0.0.1:{port}/{database}"), cut, cuts }
    }

    pub fn cut(&self, place: Cut) {
        self.cut.store(place as u8, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Carries both ways until one side ends, or the connection comes to the place where it is cut.
async fn carry(mut client: TcpStream, mut server: TcpStream, cut: &AtomicU8, cuts: &AtomicU32) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let now = |place: Cut| {
        let here = cut.compare_exchange(place as u8, Cut::Never as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        cuts.fetch_add(u32::from(here), Ordering::SeqCst);
        here
    };
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                let sent = &up[..count];
                let commits = holds(sent, b"COMMIT\0");
                let writes = holds(sent, b"UPDATE ") || holds(sent, b"INSERT ");
                if (writes && now(Cut::Statement)) || (commits && now(Cut::BeforeCommit)) {
                    return;
                }
                if server.write_all(sent).await.is_err() {
                    return;
                }
                if commits && now(Cut::AfterCommit) {
                    // The server answers when it has committed; nobody is told.
                    server.readable().await.ok();
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
