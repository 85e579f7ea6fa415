//! A network between client and broker that can fall silent, refuse new connections, or change what passes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

pub struct Proxy {
    pub port: u16,
    silent: watch::Sender<bool>,
    door: Arc<Door>,
    /// One byte value of what the client sends that becomes another; both 0 while nothing is changed.
    change: Arc<(AtomicU16, AtomicU16)>,
}

#[derive(Default)]
struct Door {
    shut: AtomicBool,
    refused: AtomicU32,
}

impl Proxy {
    /// To `port` on this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (silent, hears) = watch::channel(false);
        let change = Arc::new((AtomicU16::new(0), AtomicU16::new(0)));
        let door = Arc::new(Door::default());
        let address = listener.local_addr().expect("an address");
        let proxy = Self { port: address.port(), silent, door: door.clone(), change: change.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if door.shut.load(Ordering::Acquire) {
                    door.refused.fetch_add(1, Ordering::Release);
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(pass(client.0, server.1, hears.clone(), Some(change.clone())));
                tokio::spawn(pass(server.0, client.1, hears.clone(), None));
            }
        });
        proxy
    }

    /// Packets are dropped from now on: nobody is told anything.
    pub fn fall_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// New connections are closed at once from now on; those that stand go on.
    pub fn refuse(&self, refuse: bool) {
        self.door.shut.store(refuse, Ordering::Release);
    }

    /// How many it has refused.
    pub fn refused(&self) -> u32 {
        self.door.refused.load(Ordering::Acquire)
    }

    pub fn change(&self, from: u8, to: u8) {
        self.change.1.store(u16::from(to), Ordering::Release);
        self.change.0.store(u16::from(from), Ordering::Release);
    }
}

type Change = Arc<(AtomicU16, AtomicU16)>;

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>, change: Option<Change>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        // What was sent into the silence is gone, and with it the connection.
        if *silent.borrow_and_update() {
            let _ = silent.wait_for(|silent| !silent).await;
            return;
        }
        if let Some(change) = &change {
            let (before, after) = (change.0.load(Ordering::Acquire), change.1.load(Ordering::Acquire));
            buffer[..read]
                .iter_mut()
                .filter(|byte| before != 0 && u16::from(**byte) == before)
                .for_each(|byte| *byte = after as u8);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
