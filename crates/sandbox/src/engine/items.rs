//! `inventory` shows what a user holds; `buyback` sells one of it.
//!
//! `buyback` takes an item id and nothing else. In the sandbox one id can be held by several users and twice by one: what is sold
//! then is the oldest that can be.

use std::{sync::Arc, time::Duration};

use clawback_domain::Time;

use super::{Call, Engine, INVENTORY_LAG};
use crate::{
    catalogue::{Cents, PackSpec},
    fault::{Endpoint, Kind},
    ledger::LedgerSellback,
    options::Mode,
    outcome::{self, Outcome, Refusal},
    pull::{Pull, Pulled},
};

/// What a user holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Holdings {
    pub user_id: String,
    pub items: Vec<HeldPull>,
    /// The upstream's clock.
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HeldPull {
    /// With the price as it is now.
    pub pulled: Pulled,
    pub pack: Arc<PackSpec>,
    pub purchased_at: Time,
    pub expires_at: Option<Time>,
}

impl Engine {
    /// `GET /api/v1/inventory/{user_id}`. A user exists once a purchase of theirs was fulfilled; expired items stay listed.
    pub fn inventory(&mut self, now: Time, key: &str, user_id: &str) -> Outcome<Holdings> {
        self.call(now, key, Endpoint::Inventory, |engine, call| {
            let mut at = call.now;
            match call.twist {
                Some(Kind::InventoryLag) => at -= engine.draw_lag(),
                Some(Kind::SoldElsewhere) => engine.lose_one(&call, user_id),
                _ => (),
            }
            let items = engine.held_by(call.account, user_id, at).ok_or(outcome::USER_NOT_FOUND)?;
            Ok(Holdings { user_id: user_id.to_owned(), items, at: call.now })
        })
    }

    fn draw_lag(&mut self) -> Duration {
        Duration::from_millis(1 + self.faults.below(INVENTORY_LAG.as_millis() as u64))
    }

    /// `None` for a user without a fulfilled purchase.
    fn held_by(&mut self, account: usize, user_id: &str, at: Time) -> Option<Vec<HeldPull>> {
        let (mut items, mut known) = (Vec::new(), false);
        for &place in self.accounts[account].users.get(user_id)? {
            let session = &mut self.sessions[place];
            if !session.is_fulfilled(at) {
                continue;
            }
            (known, session.shown) = (true, true);
            let pack = &self.shelves[session.pack].pack;
            for pull in session.pulls.iter().filter(|pull| pull.is_held(at)) {
                items.push(HeldPull {
                    pulled: Pulled { price: pull.price(self.options.mode, pack, at), ..pull.pulled.clone() },
                    pack: Arc::clone(pack),
                    purchased_at: session.purchased_at,
                    expires_at: pull.expires_at,
                });
            }
        }
        known.then_some(items)
    }

    /// `POST /api/v1/vm/buyback`.
    pub fn buyback(&mut self, now: Time, key: &str, item_id: &str) -> Outcome<Cents> {
        let outcome = self.call(now, key, Endpoint::Buyback, |engine, call| engine.sell(&call, item_id));
        let broken_off = matches!(outcome, Outcome::Reset | Outcome::Hang);
        if broken_off && self.options.mode == Mode::Production {
            self.keep_session_open(now, key, item_id);
        }
        outcome
    }

    fn sell(&mut self, call: &Call, item_id: &str) -> Result<Cents, Refusal> {
        self.check_session(call, item_id)?;
        let (place, position) = self.sellable(call, item_id)?;
        if call.twist == Some(Kind::SoldElsewhere) {
            self.sessions[place].pulls[position].gone_at = Some(call.now);
            return Err(outcome::ITEM_NOT_FOUND);
        }
        let session = &mut self.sessions[place];
        let pull = &mut session.pulls[position];
        let amount = pull.price(self.options.mode, &self.shelves[session.pack].pack, call.now);
        pull.gone_at = Some(call.now);
        self.sellbacks.push(LedgerSellback {
            user_id: session.user.to_string(),
            item_id: item_id.to_owned(),
            amount: amount.money(),
            sold_at: call.now,
        });
        Ok(amount)
    }

    /// The oldest pull of this id that is held and not expired.
    fn sellable(&self, call: &Call, item_id: &str) -> Result<(usize, usize), Refusal> {
        let pulls = self.accounts[call.account].by_item.get(item_id).map(Vec::as_slice).unwrap_or_default();
        let held = || pulls.iter().copied().filter(|&(place, position)| self.is_held(place, position, call.now));
        let fresh = held().find(|&(place, position)| !self.pull(place, position).is_expired(call.now));
        match fresh {
            Some(pull) => Ok(pull),
            None if held().next().is_some() => Err(outcome::ITEM_EXPIRED),
            None => Err(outcome::ITEM_NOT_FOUND),
        }
    }

    /// Takes the oldest held pull of this item away, as a sale or a shipment by another way would. `false` when none is held.
    pub fn take_away(&mut self, now: Time, key: &str, item_id: &str) -> bool {
        let Some(&account) = self.keys.get(key) else { return false };
        let call = Call { now: self.time(now), account, twist: None };
        let pulls = self.accounts[account].by_item.get(item_id).map(Vec::as_slice).unwrap_or_default();
        let Some(&(place, position)) = pulls.iter().find(|&&(place, position)| self.is_held(place, position, call.now)) else {
            return false;
        };
        self.sessions[place].pulls[position].gone_at = Some(call.now);
        true
    }

    /// One of the user's items, drawn, is sold by another way.
    fn lose_one(&mut self, call: &Call, user_id: &str) {
        let places = self.accounts[call.account].users.get(user_id).cloned().unwrap_or_default();
        let all = places.iter().flat_map(|&place| (0..self.sessions[place].pulls.len()).map(move |position| (place, position)));
        let held: Vec<_> = all.filter(|&(place, position)| self.is_held(place, position, call.now)).collect();
        if !held.is_empty() {
            let &(place, position) = self.faults.pick(&held);
            self.sessions[place].pulls[position].gone_at = Some(call.now);
        }
    }

    fn pull(&self, place: usize, position: usize) -> &Pull {
        &self.sessions[place].pulls[position]
    }

    fn is_held(&self, place: usize, position: usize, at: Time) -> bool {
        self.sessions[place].is_fulfilled(at) && self.pull(place, position).is_held(at)
    }

    /// Production: a sellback that broke off keeps its session for a while, whether or not it sold.
    fn keep_session_open(&mut self, now: Time, key: &str, item_id: &str) {
        let now = self.time(now);
        let Some(account) = self.keys.get(key).map(|&account| &mut self.accounts[account]) else { return };
        if let Some((item_id, _)) = account.by_item.get_key_value(item_id) {
            account.selling.insert(Arc::clone(item_id), now);
        }
    }

    fn check_session(&mut self, call: &Call, item_id: &str) -> Result<(), Refusal> {
        const PROCESSING: Duration = Duration::from_secs(1);
        const ACTIVE: Duration = Duration::from_secs(5);
        let selling = &mut self.accounts[call.account].selling;
        let Some(&since) = selling.get(item_id) else { return Ok(()) };
        match clawback_domain::clock::until(since, call.now) {
            age if age < PROCESSING => Err(outcome::ALREADY_PROCESSED),
            age if age < ACTIVE => Err(outcome::ACTIVE_SESSION),
            _ => {
                selling.remove(item_id);
                Ok(())
            }
        }
    }
}
