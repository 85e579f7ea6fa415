//! The upstream as a state machine: told the time, seeded, without I/O.
//!
//! The same seed and the same calls at the same times give the same answers. Items and faults draw from separate streams, so that
//! another fault rate leaves the items alone. Every effect is complete when a method returns: who calls may be frozen or killed
//! afterwards, the purchase stands, as it would at the real upstream.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::SubsecRound;
use clawback_domain::{Time, clock};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    catalogue::PackSpec,
    chance::Chance,
    fault::{Endpoint, Fault, Kind},
    ledger::{Ledger, LedgerItem, LedgerPurchase, LedgerSellback},
    options::{Mode, Options, Windows},
    outcome::{self, Outcome, Refusal},
    pull::{Pull, Shelf},
};

mod buy;
mod items;

pub use buy::{Fulfilled, Held, Init, Opened, Poll};
pub use items::{HeldPull, Holdings};

/// How far behind the truth a lagging inventory may be.
pub const INVENTORY_LAG: Duration = Duration::from_secs(30);

/// One engine behind all its doors. The lock is never held across anything that waits.
pub type Shared = Arc<Mutex<Engine>>;

#[derive(Debug)]
pub struct Engine {
    options: Options,
    /// How far this upstream's clock was moved ahead.
    offset: Duration,
    keys: HashMap<String, usize>,
    accounts: Vec<Account>,
    shelves: Vec<Shelf>,
    sessions: Vec<Session>,
    by_session: HashMap<Uuid, usize>,
    sellbacks: Vec<LedgerSellback>,
    items: Chance,
    faults: Chance,
}

/// What one API key addresses.
#[derive(Debug, Default)]
struct Account {
    /// The purchases of each user, oldest first.
    users: HashMap<Arc<str>, Vec<usize>>,
    /// Where an item id was handed out: (session, position), oldest first. In the sandbox more than once.
    by_item: HashMap<Arc<str>, Vec<(usize, usize)>>,
    /// Sellbacks that were cut off, and when (production).
    selling: HashMap<Arc<str>, Time>,
}

/// One purchase.
#[derive(Debug)]
struct Session {
    id: Uuid,
    account: usize,
    user: Arc<str>,
    pack: usize,
    purchased_at: Time,
    settles_at: Time,
    reference: Option<String>,
    pulls: Vec<Pull>,
    /// How often it was said to be pending.
    polls: u32,
    /// Whether anybody was ever shown that it is fulfilled. Such a purchase is never cancelled.
    shown: bool,
    cancelled: bool,
}

impl Session {
    fn is_fulfilled(&self, at: Time) -> bool {
        !self.cancelled && self.settles_at <= at
    }
}

/// A call that got past the key.
struct Call {
    now: Time,
    account: usize,
    /// A fault that only the effect itself can play.
    twist: Option<Kind>,
}

impl Engine {
    pub fn new(options: Options) -> Self {
        let mut items = Chance::new(options.seed, "items");
        let mut engine = Self {
            offset: Duration::ZERO,
            keys: HashMap::new(),
            accounts: Vec::new(),
            shelves: options.packs.iter().map(|pack| Shelf::new(&mut items, pack.clone())).collect(),
            sessions: Vec::new(),
            by_session: HashMap::new(),
            sellbacks: Vec::new(),
            items,
            faults: Chance::new(options.seed, "faults"),
            options,
        };
        for key in engine.options.api_keys.clone() {
            engine.add_key(key);
        }
        engine
    }

    /// An engine that several doors can share.
    pub fn shared(options: Options) -> Shared {
        Arc::new(Mutex::new(Self::new(options)))
    }

    pub fn mode(&self) -> Mode {
        self.options.mode
    }

    /// The upstream's time when the caller's is `now`, in whole milliseconds.
    pub fn time(&self, now: Time) -> Time {
        clock::after(now, self.offset).trunc_subsecs(3)
    }

    /// Moves the upstream's clock ahead for good.
    pub fn advance(&mut self, span: Duration) {
        self.offset = self.offset.saturating_add(span);
    }

    /// A new partner; a key that exists already stays as it is. An empty key is no key.
    pub fn add_key(&mut self, key: impl Into<String>) {
        let (key, next) = (key.into(), self.accounts.len());
        if !key.is_empty() && *self.keys.entry(key).or_insert(next) == next {
            self.accounts.push(Account::default());
        }
    }

    /// The partner of `old` is addressed by `new` from now on, `old` is unknown. `false` when `old` was no key.
    pub fn rotate_key(&mut self, old: &str, new: impl Into<String>) -> bool {
        self.keys.remove(old).map(|account| self.keys.insert(new.into(), account)).is_some()
    }

    pub fn knows(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Replaces the faults; none heals the upstream.
    pub fn set_faults(&mut self, faults: Vec<Fault>) {
        self.options.faults = faults;
    }

    /// For what is bought from now on.
    pub fn set_windows(&mut self, windows: Windows) {
        self.options.windows = windows;
    }

    /// The share of in-process calls, from 0 to 1, that find no connection.
    pub fn set_unreachable(&mut self, rate: f64) {
        self.options.unreachable = rate;
    }

    /// Draws whether an in-process call finds no connection.
    pub fn is_unreachable(&mut self) -> bool {
        self.options.unreachable > 0.0 && self.faults.hits(self.options.unreachable)
    }

    /// Puts a pack in or out of stock. `false` when there is no such pack.
    pub fn set_stock(&mut self, pack: &str, in_stock: bool) -> bool {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.pack.id == pack);
        shelf.map(|shelf| Arc::make_mut(&mut shelf.pack).in_stock = in_stock).is_some()
    }

    /// `GET /api/v1/vm/available`: every pack, also what cannot be bought.
    pub fn packs(&mut self, now: Time, key: &str) -> Outcome<Vec<Arc<PackSpec>>> {
        self.call(now, key, Endpoint::Packs, |engine, _| {
            Ok(engine.shelves.iter().map(|shelf| Arc::clone(&shelf.pack)).collect())
        })
    }

    /// What was really bought and sold by all partners.
    pub fn ledger(&self) -> Ledger {
        let bought = self.sessions.iter().filter(|session| !session.cancelled);
        Ledger { purchases: bought.map(|session| self.entry(session)).collect(), sellbacks: self.sellbacks.clone() }
    }

    fn entry(&self, session: &Session) -> LedgerPurchase {
        let item = |pull: &Pull| LedgerItem { item_id: pull.pulled.id.to_string(), buyback_price: pull.pulled.price.money() };
        LedgerPurchase {
            session_id: session.id.to_string(),
            user_id: session.user.to_string(),
            pack_id: self.shelves[session.pack].pack.id.clone(),
            amount: session.pulls.len() as u32,
            items: session.pulls.iter().map(item).collect(),
            purchased_at: session.purchased_at,
            client_ref: session.reference.clone(),
        }
    }

    /// Every call goes through here: the key, then what goes wrong on the way, then the effect.
    fn call<R>(
        &mut self,
        now: Time,
        key: &str,
        endpoint: Endpoint,
        effect: impl FnOnce(&mut Self, Call) -> Result<R, Refusal>,
    ) -> Outcome<R> {
        let Some(&account) = self.keys.get(key) else { return Outcome::Error(outcome::INVALID_KEY) };
        let fault = self.draw_fault(endpoint);
        let call = Call { now: self.time(now), account, twist: fault };
        let Some(kind) = fault else { return effect(self, call).into() };
        match kind {
            Kind::ResetBefore => Outcome::Reset,
            Kind::TimeoutBefore => Outcome::Hang,
            Kind::ErrorBefore => Outcome::Error(internal_error(endpoint)),
            Kind::ResetAfter => after(effect(self, call), Outcome::Reset),
            Kind::TimeoutAfter => after(effect(self, call), Outcome::Hang),
            Kind::ErrorAfter => after(effect(self, call), Outcome::Error(internal_error(endpoint))),
            Kind::CutBody => effect(self, call).map_or_else(Outcome::Error, Outcome::CutBody),
            Kind::Rubbish if self.faults.hits(0.5) => after(effect(self, call), Outcome::Rubbish),
            Kind::Rubbish => Outcome::Rubbish,
            Kind::Redirect if self.faults.hits(0.5) => after(effect(self, call), Outcome::Redirect),
            Kind::Redirect => Outcome::Redirect,
            Kind::RateLimited => Outcome::Error(self.rate_limited(endpoint)),
            Kind::Unauthorized => Outcome::Error(outcome::INVALID_KEY),
            Kind::OutOfStock => Outcome::Error(outcome::OUT_OF_STOCK),
            Kind::TransactionFailed if endpoint != Endpoint::Status => Outcome::Error(outcome::TRANSACTION_FAILED),
            Kind::TransactionFailed | Kind::InventoryLag | Kind::SoldElsewhere => effect(self, call).into(),
        }
    }

    /// Every fault of the endpoint draws at each call, so that muting one leaves the draws of the others where they were.
    fn draw_fault(&mut self, endpoint: Endpoint) -> Option<Kind> {
        let faults = &mut self.faults;
        let hits = |fault: &&Fault| fault.concerns(endpoint) && faults.hits(fault.rate());
        let hit: Vec<_> = self.options.faults.iter().filter(hits).collect();
        hit.first().map(|fault| fault.kind())
    }

    fn rate_limited(&mut self, endpoint: Endpoint) -> Refusal {
        let retry_after = self.faults.hits(0.5).then_some(Duration::from_secs(1));
        let refusal = if endpoint == Endpoint::Buyback { outcome::ALREADY_PROCESSED } else { outcome::RATE_LIMITED };
        Refusal { retry_after, ..refusal }
    }
}

/// The effect stands; its answer is lost.
fn after<R>(_effect: Result<R, Refusal>, seen: Outcome<R>) -> Outcome<R> {
    seen
}

/// The 500 that the endpoint's page documents.
fn internal_error(endpoint: Endpoint) -> Refusal {
    match endpoint {
        Endpoint::Init => outcome::ERROR_DURING_TRANSACTION,
        Endpoint::Status | Endpoint::Buyback | Endpoint::Inventory | Endpoint::Packs => outcome::UNEXPECTED_ERROR,
    }
}
