//! What a worker is given: the doors, and the partners it works for.

use std::sync::Arc;

use clawback_broker::Broker;
use clawback_domain::{
    Clock, PartnerId, Tasks,
    purchase::Rules,
    warning::{SaleRule, WarningRules},
};
use clawback_phygitals::Upstream;
use clawback_store::Store;
use clawback_webhook::{Endpoint, Receiver};

/// Everything of the outside that all partners share.
#[derive(Clone)]
pub struct Doors {
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    /// Where partners' webhooks are.
    pub receiver: Arc<dyn Receiver>,
    pub clock: Arc<dyn Clock>,
    pub tasks: Arc<dyn Tasks>,
}

/// A partner as configured.
#[derive(Clone)]
pub struct Partner {
    pub id: PartnerId,
    pub upstream: Arc<dyn Upstream>,
    pub limits: Limits,
    pub rules: Rules,
    /// Takes no new commands; open ones are followed to their end.
    pub closed: bool,
    /// Where its events are delivered besides the event exchange. A reload changes its secrets, nothing else.
    pub webhook: Option<Endpoint>,
    /// When its users are warned. `None`: never.
    pub warnings: Option<Arc<WarningRules>>,
    /// What is sold before its window shuts, though nobody asked for it. `None`: nothing.
    pub sale: Option<SaleRule>,
}

/// For the whole installation; each worker takes its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `buy/init` calls in flight.
    pub concurrency: u32,
    /// `buy/status` calls in flight.
    pub poll_concurrency: u32,
    /// `buy/init` calls begun per second.
    pub rate_per_second: u32,
    /// `buyback` calls in flight.
    pub sell_concurrency: u32,
    /// `buyback` calls begun per second.
    pub sells_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 64, poll_concurrency: 1024, rate_per_second: 50, sell_concurrency: 16, sells_per_second: 20 }
    }
}

impl Limits {
    /// What one of `workers` may use, never nothing.
    pub(crate) fn share(self, workers: u32) -> Self {
        let part = |whole: u32| (whole / workers.max(1)).max(1);
        Self {
            concurrency: part(self.concurrency),
            poll_concurrency: part(self.poll_concurrency),
            rate_per_second: part(self.rate_per_second),
            sell_concurrency: part(self.sell_concurrency),
            sells_per_second: part(self.sells_per_second),
        }
    }
}
