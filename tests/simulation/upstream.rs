//! The upstream's door: the sandbox's engine at the far end of a slow and unreliable way, and what an honest client makes of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use clawback_domain::{
    Clock, ItemId, PartnerId, SessionId, Time, UserId,
    answer::{Answer, BuybackRequest, InitRequest, Inventory, InventoryAnswer, PacksAnswer, StatusAnswer},
    item::{HeldItem, Standing},
    planted::{Bug, planted},
    poll::Timeouts,
};
use clawback_phygitals::Upstream;
use clawback_sandbox::{Endpoint, Engine, Fault, Kind};
use clawback_store::Store;
use futures_util::future::{Either, select};

use crate::{doors::SimClock, faults::UpstreamFault, warned::Shown, workload, world::World};

/// One process's way to the upstream.
pub struct SimUpstream {
    pub world: World,
    pub partner: PartnerId,
    pub clock: Arc<SimClock>,
    pub timeouts: Timeouts,
}

/// No way takes longer: what left by `send_by` has had its effect by the attempt's deadline.
const SLOWEST: Duration = Duration::from_secs(30);

impl SimUpstream {
    /// The way there, the effect, the way back; `None` when the client gave up waiting.
    async fn call<T: Send + 'static>(
        &self,
        endpoint: Endpoint,
        timeout: Duration,
        effect: impl FnOnce(&mut Engine, Time, &str) -> T + Send + 'static,
    ) -> Option<T> {
        let (world, key) = (self.world.clone(), workload::key(&self.partner));
        let carried = self.world.carry(async move {
            world.on_the_way().await;
            let fault = world.fault_at(endpoint);
            let answer = {
                let mut engine = world.engine().lock();
                engine.set_faults(fault.iter().copied().collect());
                effect(&mut engine, world.upstream_now(), &key)
            };
            match fault.map(|fault| fault.kind()) {
                Some(Kind::TimeoutBefore | Kind::TimeoutAfter) => world.sleep(timeout * 2).await,
                _ => world.on_the_way().await,
            }
            answer
        });
        let given_up = self.world.handle().sleep(timeout);
        let answer = match select(std::pin::pin!(carried), given_up).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        };
        // Not where a delivery may still be rejected for it.
        if endpoint != Endpoint::Packs && self.world.fires("panic", self.world.rates().panic) {
            std::panic::resume_unwind(Box::new("a rehearsed panic"));
        }
        answer
    }
}

impl SimUpstream {
    async fn ask_inventory(&self, user: &UserId) -> InventoryAnswer {
        if let Some(blind) = self.world.is_blind(&self.partner, user).await {
            let look = self.call(Endpoint::Inventory, self.timeouts.inventory, move |_, _, _| blind);
            return look.await.unwrap_or(InventoryAnswer::Unreadable { why: "no answer in time".into() });
        }
        let (user, carrying) = (user.clone(), self.world.clone());
        let look = move |engine: &mut Engine, now, key: &str| {
            let answer = engine.read_inventory(now, key, &user);
            carrying.say("upstream", || format!("inventory of {user} comes to {}", shown(&answer)));
            answer
        };
        let answer = self.call(Endpoint::Inventory, self.timeouts.inventory, look).await;
        answer.unwrap_or(InventoryAnswer::Unreadable { why: "no answer in time".into() })
    }
}

impl World {
    async fn on_the_way(&self) {
        let slow = self.fires("slow upstream", self.rates().slow_upstream);
        let most = if slow { SLOWEST } else { Duration::from_millis(200) };
        self.sleep(self.chance().span("upstream latency", Duration::from_millis(1), most)).await;
    }

    fn fault_at(&self, endpoint: Endpoint) -> Option<Fault> {
        let hits = |fault: &&UpstreamFault| self.fires(&fault.site, fault.rate);
        self.rates().at_upstream(endpoint).find(hits).map(|fault| fault.fault)
    }

    /// An inventory that shows nothing. Only of users of whom a pull was seen before that nobody sells: of others nobody could tell that
    /// it lies.
    async fn is_blind(&self, partner: &PartnerId, user: &UserId) -> Option<InventoryAnswer> {
        let known = self.store().pulls_of_user(partner, user).await.expect("the model reads");
        if !known.iter().any(|pull| pull.standing() == Standing::Held && !self.is_for_sale(partner, &pull.item.item_id)) {
            return None;
        }
        if self.in_spell(partner, user) {
            return Some(InventoryAnswer::UserNotFound);
        }
        let blind = self.fires("blind look", self.rates().blind_look);
        let empty = || Inventory { user_id: user.clone(), items: Vec::new(), upstream_time: Some(self.upstream_now()) };
        blind.then(|| match self.chance().below("how blind", 2) {
            0 => InventoryAnswer::UserNotFound,
            _ => InventoryAnswer::Read(empty()),
        })
    }

    /// Whether somebody has ever asked to sell such an item.
    fn is_for_sale(&self, partner: &PartnerId, item: &ItemId) -> bool {
        self.watch().look(|seen| seen.for_sale.contains(&(partner.clone(), item.clone())))
    }

    fn in_spell(&self, partner: &PartnerId, user: &UserId) -> bool {
        let now = self.handle().now();
        let lasts = self
            .fires("blind spell", self.rates().blind_spell)
            .then(|| now + self.chance().span("blind for", Duration::from_secs(30), Duration::from_secs(400)));
        self.blind_until(partner, user, lasts).is_some_and(|until| now < until)
    }
}

/// An inventory in one line.
fn shown(answer: &InventoryAnswer) -> String {
    let InventoryAnswer::Read(inventory) = answer else { return format!("{answer:?}") };
    let item = |held: &HeldItem| {
        let at = held.purchased_at.map_or("?".into(), |at| at.format("%H:%M:%S%.3f").to_string());
        format!("{} of {} at {at}", held.item.item_id, held.claw_id.as_deref().unwrap_or("?"))
    };
    format!("[{}]", inventory.items.iter().map(item).collect::<Vec<_>>().join(", "))
}

#[async_trait]
impl Upstream for SimUpstream {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        let world = &self.world;
        if self.clock.now() > request.send_by && !planted(Bug::SendByIgnored) {
            return Answer::NeverSent { why: "send_by passed".into() };
        }
        if world.fires("never sent", world.rates().never_sent) {
            return Answer::NeverSent { why: "connection refused".into() };
        }
        world.say("buy/init", || request.reference.clone());
        world.watch().calls(&request.reference);
        let (reference, carrying) = (request.reference.clone(), world.clone());
        let answer = self.call(Endpoint::Init, self.timeouts.init, move |engine, now, key| {
            let answer = engine.buy_init(now, key, &request);
            carrying.say("upstream", || format!("buy/init {} comes to {answer:?}", request.reference));
            if carrying.is_cut_off() {
                return Answer::Unknown { why: "the way back is cut".into(), status: None };
            }
            match carrying.fires("refused after", carrying.rates().refused_after) {
                true => Answer::Unknown { why: "418 I am a teapot".into(), status: Some(418) },
                false => answer,
            }
        });
        let answer = answer.await.unwrap_or(Answer::Unknown { why: "no answer in time".into(), status: None });
        if world.fires("answer held", world.rates().answer_held) {
            world.sleep(world.chance().span("answer held for", Duration::from_secs(10), Duration::from_secs(180))).await;
        }
        world.watch().answered(world.process(), &reference, &answer);
        match answer {
            Answer::Unknown { why, .. } if planted(Bug::ResetIsNeverSent) && why.contains("reset") => Answer::NeverSent { why },
            answer => answer,
        }
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        let session = session.clone();
        let status = move |engine: &mut Engine, now, key: &str| engine.buy_status(now, key, &session);
        let answer = self.call(Endpoint::Status, self.timeouts.status, status).await;
        answer.unwrap_or(StatusAnswer::Unreadable { why: "no answer in time".into() })
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        let at = self.clock.now();
        let answer = self.ask_inventory(user).await;
        if let InventoryAnswer::Read(inventory) = &answer {
            let items = inventory.items.iter().map(|held| held.item.item_id.clone()).collect();
            self.world.watch().looked(&self.partner, user, Shown { at, items });
        }
        answer
    }

    async fn packs(&self) -> PacksAnswer {
        let answer = self.call(Endpoint::Packs, self.timeouts.inventory, |engine, now, key| engine.list_packs(now, key)).await;
        answer.unwrap_or(PacksAnswer::Unreadable { why: "no answer in time".into() })
    }

    async fn buyback(&self, request: BuybackRequest) -> Answer {
        let world = &self.world;
        if self.clock.now() > request.send_by {
            return Answer::NeverSent { why: "send_by passed".into() };
        }
        if world.fires("never sent", world.rates().never_sent) {
            return Answer::NeverSent { why: "connection refused".into() };
        }
        world.say("buyback", || format!("{} {}", request.reference, request.item_id));
        world.watch().calls(&request.reference);
        let (reference, carrying) = (request.reference.clone(), world.clone());
        let answer = self.call(Endpoint::Buyback, self.timeouts.buyback, move |engine, now, key| {
            let answer = engine.sell_back(now, key, &request);
            carrying.say("upstream", || format!("buyback {} comes to {answer:?}", request.reference));
            match carrying.is_cut_off() {
                true => Answer::Unknown { why: "the way back is cut".into(), status: None },
                false => answer,
            }
        });
        let answer = answer.await.unwrap_or(Answer::Unknown { why: "no answer in time".into(), status: None });
        if world.fires("answer held", world.rates().answer_held) {
            world.sleep(world.chance().span("answer held for", Duration::from_secs(10), Duration::from_secs(180))).await;
        }
        world.watch().answered(world.process(), &reference, &answer);
        answer
    }

    fn key_fingerprint(&self) -> String {
        workload::key(&self.partner)
    }
}
