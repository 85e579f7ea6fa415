//! The stand-in as the worker's upstream: what each fault is to the caller, on virtual time and without a runtime.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use clawback_domain::{
    Clock, ItemId, PackId, SessionId, Time, UserId,
    answer::{Answer, BuybackRequest, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
    clock::{self, BoxFuture},
    poll::Timeouts,
    reason::FailureCode,
};
use clawback_phygitals::Upstream;
use clawback_sandbox::{Engine, InProcess, Mode, Options, engine::Shared, options::DEMO_KEY};
use parking_lot::Mutex;

/// Time that passes only while somebody sleeps.
struct Virtual(Arc<Mutex<Time>>);

impl Clock for Virtual {
    fn now(&self) -> Time {
        *self.0.lock()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let now = Arc::clone(&self.0);
        Box::pin(async move {
            let mut now = now.lock();
            *now = clock::after(*now, span);
        })
    }

    fn draw(&self) -> u64 {
        0
    }
}

struct Account {
    engine: Shared,
    clock: Arc<Virtual>,
    upstream: InProcess,
}

impl Account {
    fn new(options: Options) -> Self {
        let engine = Engine::shared(options);
        let clock = Arc::new(Virtual(Arc::new(Mutex::new(Time::UNIX_EPOCH))));
        let upstream = InProcess::new(engine.clone(), clock.clone(), DEMO_KEY);
        Self { engine, clock, upstream }
    }

    fn with_fault(fault: &str) -> Self {
        let account = Self::new(Options { settle: Duration::ZERO, ..Options::production() });
        account.engine.lock().set_faults(vec![fault.parse().unwrap()]);
        account
    }

    fn init(&self, pack: &str, amount: u32) -> Answer {
        run(self.upstream.buy_init(InitRequest {
            pack_id: PackId::new(pack).unwrap(),
            amount,
            user_id: user(),
            reference: "purchase.1".into(),
            send_by: self.clock.now(),
        }))
    }

    fn buy(&self) -> SessionId {
        let Answer::Done { session, .. } = self.init("rookie", 1) else { panic!("not bought") };
        session
    }

    fn bought(&self) -> usize {
        self.engine.lock().ledger().purchases.len()
    }

    fn elapsed(&self) -> Duration {
        clock::until(Time::UNIX_EPOCH, self.clock.now())
    }
}

fn user() -> UserId {
    UserId::new("user_abc123").unwrap()
}

/// Nothing here waits for anything but the virtual clock.
fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("waits for something other than the clock"),
    }
}

#[test]
fn a_purchase_goes_all_the_way() {
    let account = Account::new(Options { settle: Duration::from_secs(5), ..Options::production() });
    let Answer::Done { session, nfts } = account.init("rookie", 3) else { panic!("not bought") };
    assert_eq!(run(account.upstream.buy_status(&session)), StatusAnswer::Pending);
    assert_eq!(run(account.upstream.inventory(&user())), InventoryAnswer::UserNotFound);
    account.engine.lock().advance(Duration::from_secs(5));
    let StatusAnswer::Fulfilled(fulfilment) = run(account.upstream.buy_status(&session)) else { panic!("not fulfilled") };
    assert_eq!((fulfilment.session, fulfilment.user_id, &fulfilment.nfts), (session, Some(user()), &nfts));
    let InventoryAnswer::Read(inventory) = run(account.upstream.inventory(&user())) else { panic!("not read") };
    let held: Vec<_> = inventory.items.iter().map(|held| held.item.item_id.clone()).collect();
    assert_eq!(held, nfts.iter().map(|item| item.item_id.clone()).collect::<Vec<_>>());
    assert!(inventory.items.iter().all(|held| held.claw_id.as_deref() == Some("rookie")));
}

#[test]
fn refusals_are_the_documented_ones() {
    let account = Account::new(Options::default());
    for (pack, amount, code) in [
        ("vault", 1, FailureCode::OutOfStock),
        ("rookie", 0, FailureCode::AmountTooSmall),
        ("rookie", 11, FailureCode::AmountTooLarge),
        ("nowhere", 1, FailureCode::UnknownPack),
    ] {
        let Answer::Refused { code: found, status: 400, .. } = account.init(pack, amount) else { panic!("{pack}") };
        assert_eq!(found, code);
    }
    let unknown = SessionId::new("unknown").unwrap();
    assert_eq!(run(account.upstream.buy_status(&unknown)), StatusAnswer::TransactionFailed);
}

#[test]
fn each_fault_of_init_is_what_a_client_can_know() {
    for (kind, answer, bought) in [
        ("reset-before", "unknown", 0),
        ("reset-after", "unknown", 1),
        ("timeout-before", "unknown", 0),
        ("timeout-after", "unknown", 1),
        ("error-before", "unknown", 0),
        ("error-after", "unknown", 1),
        ("cut-body", "unknown", 1),
        ("rate-limited", "busy", 0),
        ("unauthorized", "unauthorized", 0),
        ("out-of-stock", "refused", 0),
        ("transaction-failed", "unknown", 0),
    ] {
        let account = Account::with_fault(&format!("init:{kind}=1"));
        assert_eq!(account.init("rookie", 1).name(), answer, "{kind}");
        assert_eq!(account.bought(), bought, "{kind}");
        let timed_out = kind.starts_with("timeout");
        assert_eq!(account.elapsed(), if timed_out { Timeouts::default().init } else { Duration::ZERO }, "{kind}");
    }
    for kind in ["rubbish", "redirect"] {
        assert_eq!(Account::with_fault(&format!("init:{kind}=1")).init("rookie", 1).name(), "unknown", "{kind}");
    }
}

#[test]
fn before_and_after_are_the_same_to_the_caller() {
    for kind in ["reset", "timeout", "error"] {
        let answer = |when| Account::with_fault(&format!("init:{kind}-{when}=1")).init("rookie", 1);
        assert_eq!(answer("before"), answer("after"), "{kind}");
    }
}

#[test]
fn each_fault_of_the_other_calls_is_what_a_client_can_know() {
    let sell = BuybackRequest { item_id: ItemId::new("x").unwrap(), reference: "s.1".into(), send_by: Time::MAX_UTC };
    let unknown = SessionId::new("unknown").unwrap();
    for kind in ["reset-before", "timeout-after", "error-after", "rubbish", "redirect", "rate-limited"] {
        let account = Account::with_fault(&format!("{kind}=1"));
        assert!(matches!(run(account.upstream.buy_status(&unknown)), StatusAnswer::Unreadable { .. }), "{kind}");
        assert!(matches!(run(account.upstream.inventory(&user())), InventoryAnswer::Unreadable { .. }), "{kind}");
        assert!(matches!(run(account.upstream.packs()), PacksAnswer::Unreadable { .. }), "{kind}");
        let sold = run(account.upstream.buyback(sell.clone()));
        match kind {
            "rate-limited" => assert!(matches!(sold, Answer::Busy { .. })),
            _ => assert!(matches!(sold, Answer::Unknown { .. }), "{kind}: {sold:?}"),
        }
    }
    let account = Account::with_fault("cut-body=1");
    assert!(matches!(run(account.upstream.packs()), PacksAnswer::Unreadable { .. }));
    assert_eq!(code(&run(account.upstream.buyback(sell.clone()))), Some(FailureCode::ItemNotFound), "a refusal is not cut");
    let account = Account::with_fault("unauthorized=1");
    assert_eq!(run(account.upstream.inventory(&user())), InventoryAnswer::Unauthorized);
    assert_eq!(run(account.upstream.packs()), PacksAnswer::Unauthorized);
    assert!(matches!(run(account.upstream.buyback(sell)), Answer::Unauthorized { .. }));
}

fn code(answer: &Answer) -> Option<FailureCode> {
    if let Answer::Refused { code, .. } = answer { Some(*code) } else { None }
}

#[test]
fn an_item_is_sold_once() {
    let account = Account::with_fault("buyback:transaction-failed=1");
    account.buy();
    let InventoryAnswer::Read(inventory) = run(account.upstream.inventory(&user())) else { panic!("not read") };
    let item = inventory.items[0].item.clone();
    let request = BuybackRequest { item_id: item.item_id, reference: "s.1".into(), send_by: account.clock.now() };
    assert_eq!(code(&run(account.upstream.buyback(request.clone()))), Some(FailureCode::TransactionFailed));
    account.engine.lock().set_faults(Vec::new());
    assert_eq!(run(account.upstream.buyback(request.clone())), Answer::Sold { amount: item.buyback_price });
    assert_eq!(code(&run(account.upstream.buyback(request))), Some(FailureCode::ItemNotFound));
}

#[test]
fn never_sent_comes_from_send_by_and_from_the_hook_alone() {
    let account = Account::new(Options { unreachable: 1.0, ..Options::default() });
    assert_eq!(account.init("rookie", 1).name(), "never_sent");
    assert!(matches!(run(account.upstream.packs()), PacksAnswer::Unreadable { .. }));
    account.engine.lock().set_unreachable(0.0);
    let late = InitRequest {
        pack_id: PackId::new("rookie").unwrap(),
        amount: 1,
        user_id: user(),
        reference: "purchase.1".into(),
        send_by: account.clock.now() - Duration::from_secs(1),
    };
    assert_eq!(run(account.upstream.buy_init(late)).name(), "never_sent");
    assert_eq!(account.bought(), 0);
    assert_eq!(account.init("rookie", 1).name(), "done");
}

#[test]
fn a_poll_takes_as_long_as_the_window_lets_it() {
    let held = |settle: u64, window: u64| {
        let seconds = Duration::from_secs;
        let account = Account::new(Options { settle: seconds(settle), poll_window: seconds(window), ..Options::production() });
        let session = account.buy();
        (run(account.upstream.buy_status(&session)), account.elapsed().as_secs())
    };
    assert!(matches!(held(5, 20), (StatusAnswer::Fulfilled(_), 5)));
    assert!(matches!(held(60, 20), (StatusAnswer::Pending, 20)));
    let patience = Timeouts::default().status.as_secs();
    let (answer, seconds) = held(3600, 3600);
    assert!(matches!(answer, StatusAnswer::Unreadable { .. }) && seconds == patience, "{answer:?} after {seconds} s");
}

#[test]
fn latency_beyond_the_time_out_makes_a_bought_purchase_unknown() {
    let limit = Timeouts::default().init;
    for (latency, answer) in [(limit, "done"), (limit + Duration::from_millis(1), "unknown")] {
        let mut account = Account::new(Options::default());
        account.upstream = account.upstream.with_latency(latency);
        assert_eq!(account.init("rookie", 1).name(), answer);
        assert_eq!((account.bought(), account.elapsed()), (1, limit));
    }
}

#[test]
fn another_key_has_another_fingerprint_and_none_shows_the_key() {
    let account = Account::new(Options { mode: Mode::Sandbox, ..Options::default() });
    let other = InProcess::new(account.engine.clone(), account.clock.clone(), "sandbox-other");
    assert_ne!(account.upstream.key_fingerprint(), other.key_fingerprint());
    assert!(!other.key_fingerprint().contains("sandbox-other"));
    assert_eq!(run(other.packs()), PacksAnswer::Unauthorized);
}
