//! What a purchase's two calls cost this process: `cargo run --release -p clawback-phygitals --example cost`.
//!
//! The upstream is a process of its own, as lean as it can be, so that it is not what is measured.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use clawback_domain::{
    Clock, PackId, SessionId, Time, UserId,
    answer::{Answer, InitRequest, StatusAnswer},
    clock::{self, BoxFuture},
    poll::Timeouts,
};
use clawback_phygitals::{ApiKey, Phygitals, Upstream};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

const PURCHASES: usize = 20_000;
const AT_ONCE: usize = 64;
const ITEM: &str = r#"{"id":"9XnYmint","buyback_price":8.50,"type":"enft","mint_address":"9XnYmint","collection_address":null,"token_standard":"pNFT","content":{"metadata":{"name":"Juan Soto RC Auto /25","image":"https://cdn.phygitals.com/cards/soto.png","back_image":"https://cdn.phygitals.com/cards/soto-back.png","attributes":[{"trait_type":"Year","value":"2024"},{"trait_type":"Category","value":"Baseball"}]},"links":{"image":"https://cdn.phygitals.com/cards/soto.png","back_image":"https://cdn.phygitals.com/cards/soto-back.png"}}}"#;

struct SystemClock;

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

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve().await;
    }
    let mut server = tokio::process::Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut base = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut base).await?;
    let key = ApiKey::new("sandbox-demo").expect("a key");
    let client = Arc::new(Phygitals::new(base.trim(), key, Timeouts::default(), Arc::new(SystemClock)).expect("a client"));

    purchase(client.clone(), 0..AT_ONCE * 10).await;
    let (wall, cpu) = (Instant::now(), cpu_micros());
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| tokio::spawn(purchase(client.clone(), task * PURCHASES / AT_ONCE..(task + 1) * PURCHASES / AT_ONCE)))
        .collect();
    for task in tasks {
        task.await.expect("no task panicked");
    }
    let (cpu, wall) = (cpu_micros() - cpu, wall.elapsed());
    println!(
        "{PURCHASES} pairs of buy/init and buy/status, {AT_ONCE} at once: {:.1} CPU-µs a pair, {:.0} pairs a second",
        cpu as f64 / PURCHASES as f64,
        PURCHASES as f64 / wall.as_secs_f64()
    );
    Ok(())
}

async fn purchase(client: Arc<Phygitals>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let request = InitRequest {
            pack_id: PackId::new("BSG6Dy").expect("an id"),
            amount: 1,
            user_id: UserId::new("user_abc123").expect("an id"),
            reference: format!("{number}.1"),
            send_by: clock::after(SystemClock.now(), Duration::from_secs(5)),
        };
        let answer = client.buy_init(request).await;
        assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
        let answer = client.buy_status(&SessionId::new("550e8400-e29b-41d4-a716-446655440000").expect("an id")).await;
        assert!(matches!(answer, StatusAnswer::Fulfilled(_)), "{answer:?}");
    }
}

/// User and system time of this process.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("a name in brackets").split(' ').collect();
    let ticks = |place: usize| fields[place].parse::<u64>().expect("a number");
    (ticks(11) + ticks(12)) * 10_000
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(answer(socket));
    }
}

async fn answer(mut socket: TcpStream) {
    let init = format!(r#"{{"session_id":"550e8400-e29b-41d4-a716-446655440000","nfts":[{ITEM}]}}"#);
    let status = format!(
        r#"{{"result":{{"session_id":"550e8400-e29b-41d4-a716-446655440000","user_id":"user_abc123","public_id":"_XKCD","nfts":[{ITEM}],"tx_hash":"t"}}}}"#
    );
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
        let body = if buffer[..length].windows(10).any(|part| part == b"/buy/init ") { &init } else { &status };
        let text = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if socket.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
