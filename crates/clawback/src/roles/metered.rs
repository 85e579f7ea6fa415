//! An upstream that counts: how many calls, how long they took, how they ended.

use std::{future::Future, sync::Arc, time::Instant};

use async_trait::async_trait;
use clawback_domain::{
    PartnerId, SessionId, UserId,
    answer::{Answer, BuybackRequest, InitRequest, InventoryAnswer, PacksAnswer, StatusAnswer},
};
use clawback_phygitals::{Phygitals, Upstream};
use clawback_telemetry::names;
use metrics::SharedString;

/// A partner's client with its calls counted.
pub struct Metered {
    partner: PartnerId,
    client: Arc<Phygitals>,
}

impl Metered {
    pub fn new(partner: PartnerId, client: Arc<Phygitals>) -> Self {
        Self { partner, client }
    }

    async fn count<T>(&self, endpoint: &'static str, call: impl Future<Output = T>, outcome: fn(&T) -> &'static str) -> T {
        let began = Instant::now();
        let answer = call.await;
        let labels = [
            ("partner", SharedString::from(self.partner.shared())),
            ("endpoint", endpoint.into()),
            ("outcome", outcome(&answer).into()),
        ];
        metrics::counter!(names::UPSTREAM_CALLS, &labels).increment(1);
        metrics::histogram!(names::UPSTREAM_DURATION, &labels).record(began.elapsed());
        answer
    }

    fn in_flight(&self, gauge: &'static str) -> InFlight {
        let gauge = metrics::gauge!(gauge, "partner" => self.partner.shared());
        gauge.increment(1.0);
        InFlight(gauge)
    }
}

/// One call; it also ends when its future is dropped.
struct InFlight(metrics::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[async_trait]
impl Upstream for Metered {
    async fn buy_init(&self, request: InitRequest) -> Answer {
        let _in_flight = self.in_flight(names::INITS_IN_FLIGHT);
        self.count("init", self.client.buy_init(request), Answer::name).await
    }

    async fn buy_status(&self, session: &SessionId) -> StatusAnswer {
        let _in_flight = self.in_flight(names::POLLS_IN_FLIGHT);
        let outcome = |answer: &StatusAnswer| match answer {
            StatusAnswer::Fulfilled(_) => "fulfilled",
            StatusAnswer::Pending => "pending",
            StatusAnswer::TransactionFailed => "transaction_failed",
            StatusAnswer::Unauthorized => "unauthorized",
            StatusAnswer::Unreadable { .. } => "unreadable",
        };
        self.count("status", self.client.buy_status(session), outcome).await
    }

    async fn inventory(&self, user: &UserId) -> InventoryAnswer {
        let outcome = |answer: &InventoryAnswer| match answer {
            InventoryAnswer::Read(_) => "read",
            InventoryAnswer::UserNotFound => "user_not_found",
            InventoryAnswer::Unauthorized => "unauthorized",
            InventoryAnswer::Unreadable { .. } => "unreadable",
        };
        self.count("inventory", self.client.inventory(user), outcome).await
    }

    async fn packs(&self) -> PacksAnswer {
        let outcome = |answer: &PacksAnswer| match answer {
            PacksAnswer::Listed(_) => "listed",
            PacksAnswer::Unauthorized => "unauthorized",
            PacksAnswer::Unreadable { .. } => "unreadable",
        };
        self.count("packs", self.client.packs(), outcome).await
    }

    async fn buyback(&self, request: BuybackRequest) -> Answer {
        let outcome = |answer: &Answer| match answer {
            Answer::Refused { code, .. } => code.as_str(),
            other => other.name(),
        };
        self.count("buyback", self.client.buyback(request), outcome).await
    }

    fn key_fingerprint(&self) -> String {
        self.client.key_fingerprint()
    }
}
