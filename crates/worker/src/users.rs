//! A user's turn: their inventory is read, they are warned, and what is to be sold before it expires is handed over.
//!
//! ```text
//! step ─▶ place ─▶ turn taken ─▶ is a look wanted? ─▶ permit ─▶ ack ─▶ the inventory ─▶ sales handed over ─▶ one commit ─▶ its events
//! ```
//! What is due is decided by [`Turn`], before the look and after it. The turn moved `due_at` beyond everything that it may wait for; if the
//! worker dies, at any line, the user comes due again, and what was sent by then is not planned any more.

use std::{sync::Arc, time::Duration};

use clawback_broker::steps::{Row, Step, hand_over};
use clawback_domain::{
    PullId, RequestId, Time, UserId,
    change::Insertion,
    clock::{after, until},
    command::{SellbackCommand, Target},
    event::Event,
    rehearsal::{Point, reach},
    sellback::Sellback,
    trace::TraceContext,
    user::{Settling, User, Watching},
    warning::{Crowd, Offer, Turn, Wanted},
};
use clawback_store::{Inserted, StoreError};
use tokio::sync::SemaphorePermit;

use crate::{consume::InHand, lifecycle::Worker, permits::Urgent, tell, tenant::Tenant};

/// Beyond the wait for a permit and the time-out of the look, a turn takes no longer than this.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a digest may wait for a store that is away: what it says was read before.
const MOST_DELAY: Duration = Duration::from_secs(30);

impl Worker {
    /// Handles the step of a user.
    pub(crate) async fn step_user(&self, tenant: &Arc<Tenant>, hand: &InHand, id: &UserId, version: i64) {
        // Without a place nothing is written: the claim has moved `due_at` on, further with every time.
        let Some((_place, at_the_store)) = tenant.place(&*self.doors.clock, self.at_the_store()).await else {
            return hand.ack().await;
        };
        let cover = tenant.rules().timeouts.inventory + crate::tenant::LOOK_WAIT + MARGIN;
        let Some(user) = self.take_turn_of_user(tenant, id, version, cover).await else { return hand.ack().await };
        reach(Point::UserTurnTaken);
        let Some(watching) = self.watching(tenant, &user).await else { return hand.ack().await };
        let look = self.wants_look(tenant, &watching).await;
        drop(at_the_store);
        let good = match look {
            None => None,
            Some(wanted) => match self.look_permit(tenant, wanted).await {
                Permitted::Yes(permit) => {
                    hand.ack().await;
                    Some(self.look_at_user(tenant, id, permit).await)
                }
                Permitted::NotNow => Some(false),
                Permitted::Stopping => {
                    self.take_turn_of_user(tenant, id, user.version, Duration::ZERO).await;
                    return hand.ack().await;
                }
            },
        };
        hand.ack().await;
        reach(Point::UserLookedNotSettled);
        let _at_the_store = self.at_the_store().await;
        let watching = match good {
            None | Some(false) => Some(watching),
            Some(true) => {
                drop(watching);
                self.watching(tenant, &user).await
            }
        };
        if let Some(watching) = watching.filter(|watching| watching.user.version == user.version) {
            self.settle_turn(tenant, watching, good).await;
        }
    }

    /// A place among the few turns that are at the store.
    pub(crate) async fn at_the_store(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("it is never closed")
    }

    async fn take_turn_of_user(&self, tenant: &Tenant, id: &UserId, version: i64, due_in: Duration) -> Option<User> {
        let due_at = after(self.doors.clock.now(), due_in);
        match self.doors.store.take_turn_of_user(&tenant.id, id, version, due_at).await {
            Ok(user) => user,
            Err(error) => {
                tracing::warn!(partner = %tenant.id, user = %id, %error, "a user's turn could not be taken");
                None
            }
        }
    }

    async fn watching(&self, tenant: &Tenant, user: &User) -> Option<Watching> {
        match self.doors.store.watching(&tenant.id, &user.id).await {
            Ok(watching) => watching,
            Err(error) => {
                tracing::warn!(partner = %tenant.id, user = %user.id, %error, "what is known of a user could not be read");
                None
            }
        }
    }

    async fn wants_look(&self, tenant: &Tenant, watching: &Watching) -> Option<Wanted> {
        let configured = tenant.watched();
        let turn = Turn::new(watching, configured.watch(), self.doors.clock.now());
        let crowd = self.crowd(tenant, &turn).await;
        turn.look(crowd)
    }

    /// Those who are due together with the user. While it does not matter, or cannot be counted, nobody: then the user waits longer.
    async fn crowd(&self, tenant: &Tenant, turn: &Turn<'_>) -> Crowd {
        let reads_per_second = tenant.rate_per_second();
        let users = match turn.crowd() {
            Some((from, until)) => tenant.crowds.users(&*self.doors.store, &*self.doors.clock, &tenant.id, from, until).await,
            None => 0,
        };
        Crowd { users, reads_per_second }
    }

    async fn look_permit(&self, tenant: &Tenant, wanted: Wanted) -> Permitted {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Permitted::Stopping,
            permit = tenant.look_permit(&*self.doors.clock, wanted.by) => permit.map_or(Permitted::NotNow, Permitted::Yes),
        }
    }

    /// Whether the look was good, and what it showed is kept.
    async fn look_at_user(&self, tenant: &Tenant, id: &UserId, permit: Urgent) -> bool {
        let Some(reading) = self.read_inventory(tenant, id).await else { return false };
        drop(permit);
        let _at_the_store = self.at_the_store().await;
        let good = self.take_stock(tenant, id, &reading).await;
        tell::synced(&tenant.id, good);
        good
    }

    async fn settle_turn(&self, tenant: &Tenant, watching: Watching, good: Option<bool>) {
        let (configured, now) = (tenant.watched(), self.doors.clock.now());
        let (settling, user) = {
            let turn = Turn::new(&watching, configured.watch(), now);
            let crowd = self.crowd(tenant, &turn).await;
            let mut offered = Vec::new();
            for offer in turn.offers() {
                if self.offer(tenant, &watching.user.id, &offer).await {
                    offered.push(offer.pull.id);
                }
            }
            (turn.settle(crowd, good, offered), watching.user.id.clone())
        };
        drop(watching);
        let due: Vec<Time> =
            settling.digests.iter().flat_map(|digest| digest.items.iter().map(|(row, _)| row.moment())).collect();
        let Some(events) = self.settle_user(tenant, &user, &settling).await else { return };
        reach(Point::StoredNotPublished);
        tell::warned(&tenant.id, &events, &due, now);
        for event in events {
            self.announce(event).await;
        }
    }

    /// `None`: the row has moved on, or comes due again.
    async fn settle_user(&self, tenant: &Tenant, user: &UserId, settling: &Settling) -> Option<Vec<Event>> {
        let mut tries = 0;
        loop {
            match self.doors.store.settle_user(settling).await {
                Ok(events) => return events,
                // The version tells whether an earlier try stood.
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_)))
                    if until(settling.at, self.doors.clock.now()) < MOST_DELAY =>
                {
                    self.store_is_away(&mut tries, &error).await;
                }
                Err(error) => {
                    tracing::error!(partner = %tenant.id, %user, %error, "a user's turn could not be stored");
                    return None;
                }
            }
        }
    }

    /// Hands a sale over to the partner's sellbacks. Whether it stands: then it is not handed over again.
    async fn offer(&self, tenant: &Tenant, user: &UserId, offer: &Offer<'_>) -> bool {
        let Some(sellback) = self.automatic(tenant, user, offer) else { return false };
        let id = sellback.id;
        match self.doors.store.insert(Insertion::of(sellback.clone())).await {
            Ok(Inserted::New) => {
                reach(Point::OfferedNotStepped);
                let step = Step { row: Row::Order(id), version: sellback.version };
                if let Err(error) = hand_over(&*self.doors.broker, &tenant.id, step).await {
                    tracing::debug!(sellback.id = %id, %error, "a step was not confirmed; the row comes due");
                }
                true
            }
            Ok(Inserted::Exists(_)) => true,
            Err(error) => {
                tracing::warn!(sellback.id = %id, %error, "an automatic sale could not be stored");
                false
            }
        }
    }

    fn automatic(&self, tenant: &Tenant, user: &UserId, offer: &Offer<'_>) -> Option<Sellback> {
        let command = SellbackCommand {
            request_id: automatic_request(offer.pull.id)?,
            user_id: user.clone(),
            target: Target::Pull(offer.pull.id),
            min_price: offer.floor,
            not_after: Some(offer.until),
            metadata: None,
        };
        let trace = TraceContext::start(self.doors.clock.uuid(), self.doors.clock.draw());
        Some(Sellback::accept(tenant.id.clone(), command, self.doors.clock.now(), trace))
    }
}

enum Permitted {
    Yes(Urgent),
    /// None was had in time.
    NotNow,
    Stopping,
}

/// The reserved id of a pull's automatic sale: there is one, however often it is handed over.
fn automatic_request(pull: PullId) -> Option<RequestId> {
    RequestId::new(format!("auto:{pull}")).ok()
}
