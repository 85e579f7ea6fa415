//! How often each fault happens. Drawn per seed: about half of them are off, so that rare combinations of the others happen too.
//!
//! Faults come in waves. The first hits what buys and sells. In a third of the seeds a second follows, not as dense and much longer: it
//! hits the users' turns, for most warnings are due only then.

use std::time::Duration;

#[cfg(feature = "rehearsal")]
use clawback_domain::rehearsal::Point;
use clawback_sandbox::{Endpoint, Fault, Kind};

use crate::{chance::Chance, workload::FAULTS};

/// Until when things go wrong where there is a second wave.
const SECOND_WAVE: Duration = Duration::from_secs(720);
/// How much rarer faults are in the second wave: it lasts so much longer.
const RARER: u64 = 3;

/// When all heals.
pub fn heals_at(chance: &Chance) -> Duration {
    if chance.below("second wave", 3) == 0 { SECOND_WAVE } else { FAULTS }
}

/// The rate at `now` of what happens at `rate` in the first wave.
pub fn rate_at(now: Duration, rate: u64) -> u64 {
    if now < FAULTS { rate } else { rate.div_ceil(RARER) }
}

/// In a thousand.
#[derive(Debug, Clone)]
pub struct Rates {
    pub store_away: u64,
    pub store_slow: u64,
    pub commit_lost: u64,
    pub commit_answer_lost: u64,
    pub commit_answer_hangs: u64,
    pub publish_lost: u64,
    pub confirm_lost: u64,
    pub published_twice: u64,
    pub step_lost: u64,
    pub delivered_late: u64,
    pub settle_lost: u64,
    pub timer_late: u64,
    pub never_sent: u64,
    /// What came of `buy/init` is held for a minute before the worker goes on with it.
    pub answer_held: u64,
    /// A conclusion is on its way to the store for seconds.
    pub verdict_slow: u64,
    pub slow_upstream: u64,
    /// `buy/init` buys and answers with a 4xx that no page has.
    pub refused_after: u64,
    /// An inventory that shows nothing, as 404 or as an empty 200.
    pub blind_look: u64,
    /// For minutes the upstream does not know a user of whom we know pulls.
    pub blind_spell: u64,
    /// A partner's server.
    pub webhook_slow: u64,
    pub webhook_away: u64,
    pub webhook_answer_lost: u64,
    pub panic: u64,
    #[cfg(feature = "rehearsal")]
    points: Vec<(Point, u64)>,
    upstream: Vec<UpstreamFault>,
}

#[derive(Debug, Clone)]
pub struct UpstreamFault {
    pub endpoint: Endpoint,
    pub fault: Fault,
    pub rate: u64,
    pub site: String,
}

impl Rates {
    pub fn draw(chance: &Chance) -> Self {
        Self {
            store_away: chance.rate("store away", 60),
            store_slow: chance.rate("store slow", 50),
            commit_lost: chance.rate("commit lost", 40),
            commit_answer_lost: chance.rate("commit answer lost", 40),
            commit_answer_hangs: chance.rate("commit answer hangs", 5),
            publish_lost: chance.rate("publish lost", 60),
            confirm_lost: chance.rate("confirm lost", 60),
            published_twice: chance.rate("published twice", 60),
            step_lost: chance.rate("step lost", 200),
            delivered_late: chance.rate("delivered late", 60),
            settle_lost: chance.rate("settle lost", 60),
            timer_late: chance.rate("timer late", 20),
            never_sent: chance.rate("never sent", 100),
            answer_held: chance.rate("answer held", 80),
            verdict_slow: chance.rate("verdict slow", 500),
            slow_upstream: chance.rate("slow upstream", 60),
            refused_after: chance.rate("refused after", 40),
            blind_look: chance.rate("blind look", 50),
            blind_spell: chance.rate("blind spell", 100),
            webhook_slow: chance.rate("webhook slow", 100),
            webhook_away: chance.rate("webhook away", 300),
            webhook_answer_lost: chance.rate("webhook answer lost", 100),
            panic: chance.rate("panic", 10),
            #[cfg(feature = "rehearsal")]
            points: Point::ALL.iter().map(|point| (*point, chance.rate(point.as_str(), 10))).collect(),
            upstream: upstream(chance),
        }
    }

    #[cfg(feature = "rehearsal")]
    pub fn at_point(&self, point: Point) -> u64 {
        self.points.iter().find(|(at, _)| *at == point).map_or(0, |(_, rate)| *rate)
    }

    pub fn at_upstream(&self, endpoint: Endpoint) -> impl Iterator<Item = &UpstreamFault> {
        self.upstream.iter().filter(move |fault| fault.endpoint == endpoint)
    }
}

fn upstream(chance: &Chance) -> Vec<UpstreamFault> {
    use Kind as K;
    let on_the_way = [K::ResetBefore, K::TimeoutBefore, K::ErrorBefore, K::CutBody, K::Rubbish, K::RateLimited];
    let buying = [K::ResetAfter, K::TimeoutAfter, K::ErrorAfter, K::Redirect, K::OutOfStock, K::TransactionFailed];
    let kinds = |endpoint| match endpoint {
        Endpoint::Init => [&on_the_way[..], &buying].concat(),
        Endpoint::Status => [&on_the_way[..], &[K::TransactionFailed]].concat(),
        Endpoint::Inventory => [&on_the_way[..], &[K::InventoryLag]].concat(),
        Endpoint::Packs => on_the_way.to_vec(),
        Endpoint::Buyback => {
            [&on_the_way[..], &[K::ResetAfter, K::TimeoutAfter, K::ErrorAfter, K::Redirect, K::TransactionFailed]].concat()
        }
    };
    let fault = |endpoint, kind: Kind, most| {
        let site = format!("{endpoint} {kind}");
        let rate = chance.rate(&site, most);
        let fault = Fault::new(Some(endpoint), kind, 1.0).expect("these kinds can happen there");
        (rate > 0).then_some(UpstreamFault { endpoint, fault, rate, site })
    };
    let usual = Endpoint::ALL.into_iter().flat_map(|at| kinds(at).into_iter().filter_map(move |kind| fault(at, kind, 60)));
    let key = [Endpoint::Init, Endpoint::Status, Endpoint::Inventory, Endpoint::Buyback].into_iter();
    usual.chain(key.filter_map(|at| fault(at, K::Unauthorized, 6))).collect()
}
