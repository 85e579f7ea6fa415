//! `buy/init` spends money and is not idempotent; `buy/status` tells what came of it.

use std::sync::Arc;

use clawback_domain::{Time, clock};
use uuid::Uuid;

use super::{Call, Engine, Session};
use crate::{
    chance::Chance,
    fault::{Endpoint, Kind},
    options::Mode,
    outcome::{self, Outcome, Refusal},
    pull::Pulled,
};

/// The body of `buy/init`. What is missing is empty, or 0.
#[derive(Debug, Clone, Copy)]
pub struct Init<'a> {
    pub pack_id: &'a str,
    pub amount: i64,
    pub user_id: &'a str,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub session_id: Uuid,
    pub nfts: Vec<Pulled>,
}

/// What `buy/status` comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Poll {
    Fulfilled(Fulfilled),
    Pending,
    /// The server's window is open: ask again with [`Engine::resume`] at `until`, or when the clock was moved.
    Hold(Held),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fulfilled {
    pub session_id: Uuid,
    pub user_id: Arc<str>,
    pub public_id: String,
    pub tx_hash: String,
    pub nfts: Vec<Pulled>,
}

/// A poll that the upstream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    session: usize,
    /// When there will be something to say, on the upstream's clock.
    pub until: Time,
    closes: Time,
}

impl Engine {
    /// `POST /api/v1/vm/buy/init`. Two calls with one body are two purchases. `reference` is the `X-Request-Id`: ignored, but kept
    /// in the ledger.
    pub fn init(&mut self, now: Time, key: &str, request: &Init<'_>, reference: Option<&str>) -> Outcome<Opened> {
        self.call(now, key, Endpoint::Init, |engine, call| {
            let pack = engine.check(request)?;
            Ok(engine.buy(&call, request, pack, reference))
        })
    }

    fn check(&self, request: &Init<'_>) -> Result<usize, Refusal> {
        if request.user_id.is_empty() {
            return Err(outcome::USER_REQUIRED);
        }
        let found = self.shelves.iter().position(|shelf| shelf.pack.id == request.pack_id);
        let pack = found.ok_or(outcome::UNKNOWN_PACK)?;
        let shelf = &self.shelves[pack];
        match request.amount {
            ..=0 => Err(outcome::AMOUNT_TOO_SMALL),
            amount if amount > i64::from(shelf.pack.max_per_mint) => Err(Refusal::amount_above(shelf.pack.max_per_mint)),
            _ if !shelf.can_be_bought_from() => Err(outcome::OUT_OF_STOCK),
            _ => Ok(pack),
        }
    }

    fn buy(&mut self, call: &Call, request: &Init<'_>, pack: usize, reference: Option<&str>) -> Opened {
        let mode = self.options.mode;
        let (shelf, items) = (&self.shelves[pack], &mut self.items);
        let settles_at = match mode {
            Mode::Sandbox => call.now,
            Mode::Production => clock::after(call.now, self.options.settle),
        };
        let session = Session {
            id: items.uuid(),
            account: call.account,
            user: request.user_id.into(),
            pack,
            purchased_at: call.now,
            settles_at,
            reference: reference.map(str::to_owned),
            pulls: (0..request.amount)
                .map(|_| shelf.pull(items, mode, call.now).closing(items, self.options.windows, call.now))
                .collect(),
            polls: 0,
            shown: false,
            cancelled: false,
        };
        let nfts = if self.options.nfts_at_init { pulled(&session) } else { Vec::new() };
        let opened = Opened { session_id: session.id, nfts };
        self.record(session);
        opened
    }

    fn record(&mut self, session: Session) {
        let place = self.sessions.len();
        let account = &mut self.accounts[session.account];
        account.users.entry(Arc::clone(&session.user)).or_default().push(place);
        for (position, pull) in session.pulls.iter().enumerate() {
            account.by_item.entry(Arc::clone(&pull.pulled.id)).or_default().push((place, position));
        }
        self.by_session.insert(session.id, place);
        self.sessions.push(session);
    }

    /// `POST /api/v1/vm/buy/status`. Another partner's session is as unknown as one that never was.
    pub fn status(&mut self, now: Time, key: &str, session_id: &str) -> Outcome<Poll> {
        self.call(now, key, Endpoint::Status, |engine, call| {
            let known = Uuid::parse_str(session_id).ok().and_then(|id| engine.by_session.get(&id).copied());
            let place = known.filter(|place| engine.sessions[*place].account == call.account);
            let place = place.ok_or(outcome::TRANSACTION_FAILED)?;
            if call.twist == Some(Kind::TransactionFailed) {
                engine.cancel(place);
            }
            let closes = clock::after(call.now, engine.options.poll_window);
            engine.poll(call.now, place, closes)
        })
    }

    /// Asks again for a poll that was held.
    ///
    /// # Errors
    /// The purchase was cancelled in the meantime.
    pub fn resume(&mut self, now: Time, held: &Held) -> Result<Poll, Refusal> {
        self.poll(self.time(now), held.session, held.closes)
    }

    fn poll(&mut self, now: Time, place: usize, closes: Time) -> Result<Poll, Refusal> {
        let (mode, least) = (self.options.mode, self.options.pending_polls);
        let session = &mut self.sessions[place];
        if session.cancelled {
            return Err(outcome::TRANSACTION_FAILED);
        }
        let polled_enough = mode == Mode::Sandbox || session.polls >= least;
        if polled_enough && session.is_fulfilled(now) {
            session.shown = true;
            return Ok(Poll::Fulfilled(fulfilled(session, mode)));
        }
        if now < closes {
            let until = if polled_enough { session.settles_at.min(closes) } else { closes };
            return Ok(Poll::Hold(Held { session: place, until, closes }));
        }
        session.polls += 1;
        Ok(Poll::Pending)
    }

    /// Undoes a purchase that nobody was shown to be fulfilled: it cannot be both cancelled and in somebody's hands.
    fn cancel(&mut self, place: usize) {
        let session = &mut self.sessions[place];
        let touched = session.shown || session.pulls.iter().any(|pull| pull.gone_at.is_some());
        session.cancelled |= !touched;
    }
}

fn pulled(session: &Session) -> Vec<Pulled> {
    session.pulls.iter().map(|pull| pull.pulled.clone()).collect()
}

/// Public id and hash follow from the session id, so that every poll says the same.
fn fulfilled(session: &Session, mode: Mode) -> Fulfilled {
    const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut chance = Chance::new(session.id.as_u64_pair().0, "transaction");
    Fulfilled {
        session_id: session.id,
        user_id: Arc::clone(&session.user),
        public_id: format!("_{}", chance.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 6)),
        tx_hash: match mode {
            Mode::Sandbox => format!("sandbox_{}", chance.text(BASE64URL, 32)),
            Mode::Production => chance.text(BASE58, 88),
        },
        nfts: pulled(session),
    }
}
