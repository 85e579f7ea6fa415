//! From the configuration to what a worker is given.

use std::sync::Arc;

use clawback_domain::{Clock, PartnerId};
use clawback_phygitals::{ApiKey, Phygitals};
use clawback_worker::{Limits, Partner as WorkerPartner};

use super::{metered::Metered, webhooks::Endpoints};
use crate::{
    config::{Partner, Settings},
    failure::Failure,
};

/// A partner's client, and the cell that its key is replaced in.
pub struct Upstream {
    pub id: PartnerId,
    pub key: ApiKey,
    pub client: Arc<Phygitals>,
}

/// The clients of all partners, made once: a reload changes limits, not connections.
pub struct Upstreams(pub Vec<Upstream>);

impl Upstreams {
    /// # Errors
    /// A key that cannot be sent, or a base URL that is none.
    pub fn open(partners: &[Partner], base: &str, clock: &Arc<dyn Clock>) -> Result<Self, Failure> {
        let open = |partner: &Partner| {
            let refuse = |error: &dyn std::fmt::Display| Failure::usage(format!("partner {}: {error}", partner.id));
            let key = ApiKey::new(&partner.api_key.expose()).map_err(|error| refuse(&error))?;
            let client = Phygitals::new(base, key.clone(), partner.settings.timeouts, clock.clone());
            let client = Arc::new(client.map_err(|error| refuse(&error))?);
            Ok(Upstream { id: partner.id.clone(), key, client })
        };
        partners.iter().map(open).collect::<Result<_, Failure>>().map(Self)
    }
}

/// What the worker works for: each client with its partner's settings.
/// `item_ids_repeat`: of the upstream.
pub fn worker_partners(
    partners: &[Partner],
    upstreams: &Upstreams,
    endpoints: &Endpoints,
    item_ids_repeat: bool,
) -> Vec<WorkerPartner> {
    let settings = |id: &PartnerId| partners.iter().find(|partner| partner.id == *id).map(|partner| &partner.settings);
    upstreams
        .0
        .iter()
        .filter_map(|upstream| Some((upstream, settings(&upstream.id)?)))
        .map(|(upstream, settings)| WorkerPartner {
            id: upstream.id.clone(),
            upstream: Arc::new(Metered::new(upstream.id.clone(), upstream.client.clone())),
            limits: limits(settings),
            rules: settings.rules(item_ids_repeat),
            closed: settings.closed,
            webhook: endpoints.of(&upstream.id),
            warnings: settings.warnings.clone().map(Arc::new),
            sale: settings.sale,
        })
        .collect()
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        concurrency: settings.concurrency,
        poll_concurrency: settings.poll_concurrency,
        rate_per_second: settings.rate_per_second,
        sell_concurrency: settings.sell.concurrency,
        sells_per_second: settings.sell.rate_per_second,
    }
}
