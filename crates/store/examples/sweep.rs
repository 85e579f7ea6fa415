//! Measures the group commit on PostgreSQL, two ways.
//!
//! `cargo run --release -p clawback-store --example sweep [-- URL [lives | inserts]]` prints
//! - the whole life of a purchase (inserted with its attempt, pending, fulfilled with one pull and its event, marked sent) in groups:
//!   CPU of the server's backend and of this process per purchase, and WAL, by phase. *Quiet* is the server's in the cheapest tenth
//!   of the batches: on a machine that others use, the closest to what it would be alone;
//! - inserts by batch size and row width, with the slowest batch: where statements outgrow a TCP segment, a batch stalls for about
//!   40 ms, so a slowest batch far from the typical one shows at once.
//!
//! With `?sslmode=require` it measures an encrypted connection, whose statements are smaller.
//!
//! It makes a database of its own on the server at URL and drops it.

use std::{fs, time::Instant};

use clawback_domain::{
    AttemptToken, ItemId, PackId, PartnerId, RequestId, SessionId, Time, UserId,
    answer::{Answer, Fulfilment, StatusAnswer},
    change::{Change, Fact, Insertion},
    clock::micros,
    command::{Metadata, PurchaseCommand},
    item::{Attribute, Item},
    money::Money,
    purchase::{Decision, Happened, Purchase, Rules, Transition, decide},
    trace::TraceContext,
};
use clawback_store::{
    Sent, Store,
    sql::{Options, Sql, connect},
};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use uuid::Uuid;

const PURCHASES: usize = 19_200;
const NAME: &str = "clawback_sweep";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "postgres://postgres@127.0.0.1:5432/postgres".into());
    let admin = Database::connect(&url).await.expect("a PostgreSQL server at the URL");
    let (address, options) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = address.rsplit_once('/').expect("the URL ends with a database");
    let url = format!("{server}/{NAME}?{options}");
    let only = std::env::args().nth(2);
    let wanted = |what: &str| only.as_deref().is_none_or(|only| only == what);
    for group in [16, 64, 128, 256].into_iter().filter(|_| wanted("lives")) {
        let bench = Bench::new(&admin, &url).await;
        bench.lives(group).await;
        bench.end(&admin).await;
    }
    if !wanted("inserts") {
        return;
    }
    println!("\n| rows a batch | metadata bytes | rows/s | typical batch, ms | slowest batch, ms |\n|---|---|---|---|---|");
    for width in [0, 500, 4000] {
        for batch in [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256, 384, 512] {
            let bench = Bench::new(&admin, &url).await;
            bench.inserts(batch, width).await;
            bench.end(&admin).await;
        }
    }
}

struct Bench {
    store: Sql,
    db: DatabaseConnection,
    /// The writer's backend, by process id.
    backend: Option<i32>,
}

impl Bench {
    async fn new(admin: &DatabaseConnection, url: &str) -> Self {
        admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")).await.expect("dropped");
        admin.execute_unprepared(&format!("CREATE DATABASE {NAME}")).await.expect("created");
        let store = connect(url, Options::default()).await.expect("the store opens");
        store.migrate().await.expect("it migrates");
        let db = Database::connect(url).await.expect("a second connection");
        // What the plans of the first batches are made from: tables analyzed while empty.
        db.execute_unprepared("ANALYZE").await.expect("analyzed");
        let mut bench = Self { store, db, backend: None };
        bench.store.insert(insertion(usize::MAX, 0)).await.expect("the first insert");
        bench.backend = Some(bench.writer().await);
        bench
    }

    async fn end(self, admin: &DatabaseConnection) {
        self.store.close().await;
        self.db.close().await.expect("closed");
        admin.execute_unprepared(&format!("DROP DATABASE {NAME} WITH (FORCE)")).await.expect("dropped");
    }

    async fn writer(&self) -> i32 {
        let sql =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'clawback writer'";
        self.ask(sql).await
    }

    async fn ask<T: sea_orm::TryGetable>(&self, sql: &str) -> T {
        let row = self.db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
        row.expect("an answer").expect("a row").try_get_by_index(0).expect("a value")
    }

    async fn wal(&self) -> i64 {
        self.ask("SELECT (pg_current_wal_lsn() - '0/0')::bigint").await
    }

    async fn lives(&self, group: usize) {
        let lives: Vec<_> = (0..PURCHASES).map(Life::new).collect();
        println!(
            "\ngroups of {group}\n\n| phase | server µs | quiet | client µs | WAL bytes | purchases/s |\n|---|---|---|---|---|---|"
        );
        let (commits, _) = self.store.commits();
        let store = &self.store;
        let mut sum = [0.0; 4];
        for phase in ["insert", "pending", "fulfilled", "mark_sent"] {
            let (wal, server, client, start) = (self.wal().await, cpu(self.backend), cpu(None), Instant::now());
            let (mut quiet, mut last) = (Vec::new(), server);
            for part in lives.chunks(group) {
                match phase {
                    "insert" => drop(join_all(part.iter().map(|life| store.insert(life.insertion.clone()))).await),
                    "pending" => drop(join_all(part.iter().map(|life| store.apply(life.pending.clone()))).await),
                    "fulfilled" => drop(join_all(part.iter().map(|life| store.apply(life.fulfilled.clone()))).await),
                    _ => drop(join_all(part.iter().map(|life| store.mark_sent(vec![life.sent]))).await),
                }
                let now = cpu(self.backend);
                quiet.push((now - last) as f64 / 1e3 / part.len() as f64);
                last = now;
            }
            let per = |total: f64| total / PURCHASES as f64;
            let server = per((cpu(self.backend) - server) as f64 / 1e3);
            let client = per((cpu(None) - client) as f64 / 1e3);
            let wal = per((self.wal().await - wal) as f64);
            let rate = PURCHASES as f64 / start.elapsed().as_secs_f64();
            quiet.sort_by(f64::total_cmp);
            let quiet = quiet[quiet.len() / 20];
            println!("| {phase} | {server:.1} | {quiet:.1} | {client:.1} | {wal:.0} | {rate:.0} |");
            [server, quiet, client, wal].iter().zip(&mut sum).for_each(|(value, sum)| *sum += value);
        }
        println!("| **life** | **{:.1}** | **{:.1}** | **{:.1}** | **{:.0}** | |", sum[0], sum[1], sum[2], sum[3]);
        let (after, _) = self.store.commits();
        let hot: f64 = self.ask(HOT).await;
        println!(
            "\nwrites a commit: {:.0}; HOT updates of purchases: {hot:.0} %",
            4.0 * PURCHASES as f64 / (after - commits) as f64
        );
        let fulfilled: i64 = self.ask("SELECT count(*) FROM orders WHERE state = 'fulfilled'").await;
        let sent: i64 = self.ask("SELECT count(*) FROM events WHERE sent_at IS NOT NULL").await;
        assert_eq!((fulfilled, sent), (PURCHASES as i64, PURCHASES as i64), "all of it was written");
    }

    async fn inserts(&self, batch: usize, width: usize) {
        let rounds = (4096 / batch).clamp(16, 256);
        let mut times = Vec::new();
        for round in 0..rounds {
            let rows: Vec<_> = (0..batch).map(|n| insertion(round * batch + n, width)).collect();
            let start = Instant::now();
            for result in join_all(rows.into_iter().map(|row| self.store.insert(row))).await {
                result.expect("it is stored");
            }
            times.push(start.elapsed().as_secs_f64());
        }
        let rate = (rounds * batch) as f64 / times.iter().sum::<f64>();
        times.sort_by(f64::total_cmp);
        let millis = |time: f64| time * 1e3;
        println!(
            "| {batch} | {width} | {rate:.0} | {:.1} | {:.1} |",
            millis(times[times.len() / 2]),
            millis(times[times.len() - 1])
        );
    }
}

const HOT: &str =
    "SELECT 100 * n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) FROM pg_stat_user_tables WHERE relname = 'orders'";

/// Nanoseconds of CPU that a process, or this one, has used.
fn cpu(process: Option<i32>) -> u64 {
    let process = process.map_or("self".into(), |id| id.to_string());
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a running process on Linux");
    let spent = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(spent).sum()
}

struct Life {
    insertion: Insertion,
    pending: Change,
    fulfilled: Change,
    sent: Sent,
}

impl Life {
    fn new(n: usize) -> Self {
        let insertion = insertion(n, 200);
        let called = insertion.order.purchase().expect("it is a purchase");
        let now = now();
        let token = insertion.attempt.expect("it is called").token;
        let session = SessionId::new(format!("cs_live_{}", Uuid::new_v4())).expect("a session");
        let answer = Answer::Done { session: session.clone(), nfts: vec![] };
        let what = Happened::Answered { token, answer: answer.clone() };
        let fact = Fact { token, answer, at: now };
        let pending = change(called, what, Some(fact), now);
        let told = Fulfilment { session, user_id: None, public_id: None, tx_hash: None, nfts: vec![item(n)] };
        let paid = pending.after.purchase().expect("it is a purchase");
        let fulfilled = change(paid, Happened::Polled(StatusAnswer::Fulfilled(told)), None, now);
        let sent = Sent { event: fulfilled.event.as_ref().expect("an event").id, at: now, unrouted: false };
        Self { insertion, pending, fulfilled, sent }
    }
}

fn now() -> Time {
    micros(chrono::Utc::now())
}

fn transition(before: &Purchase, happened: Happened, now: Time) -> Transition {
    match decide(before, happened, now, &Rules::default()) {
        Decision::Transition(transition) => *transition,
        other => panic!("no transition: {other:?}"),
    }
}

fn change(before: &Purchase, happened: Happened, fact: Option<Fact>, now: Time) -> Change {
    let what = happened.name();
    Change::of(before, transition(before, happened, now), what, fact)
}

fn insertion(n: usize, width: usize) -> Insertion {
    let metadata = (width > 0).then(|| format!(r#"{{"order":"{}"}}"#, "x".repeat(width)));
    let metadata = metadata.map(|text| Metadata::parse(&text).expect("an object"));
    let command = PurchaseCommand {
        request_id: RequestId::new(format!("order-2026-{n:012}")).expect("a request id"),
        user_id: UserId::new(format!("user_{:08}", n % 10_000)).expect("a user"),
        pack_id: PackId::new("0f8fad5b-d9cb-469f-a165-70867728950e").expect("a pack"),
        amount: 1,
        not_after: None,
        metadata,
    };
    let now = now();
    let partner = PartnerId::new(format!("partner-{}", n % 20)).expect("a partner");
    let accepted = Purchase::accept(partner, command, now, TraceContext::start(Uuid::new_v4(), 7));
    let attempt = accepted.attempt(AttemptToken(Uuid::new_v4()), now, &Rules::default());
    let happened = Happened::Initiated(attempt);
    let what = happened.name();
    let transition = transition(&accepted, happened, now);
    Insertion::of(accepted).then(transition, what)
}

fn item(n: usize) -> Item {
    let attribute = |name: &str, value: &str| Attribute { trait_type: name.into(), value: value.into() };
    Item {
        name: Some(format!("1999 Holo Card #{n}")),
        image: Some(format!("https://images.example.com/cards/front/{n}.png")),
        back_image: Some(format!("https://images.example.com/cards/back/{n}.png")),
        kind: Some("enft".into()),
        attributes: vec![attribute("Grade", "PSA 9"), attribute("Year", "1999"), attribute("Set", "Base Set")],
        buyback_price: Some(Money::usd(8_500_000)),
        ..Item::bare(ItemId::new(format!("item-{n}")).expect("an item"))
    }
}
