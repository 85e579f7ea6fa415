//! Partners' webhooks: from the configuration to endpoints, and how they stand as metrics.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clawback_domain::{Clock, PartnerId, clock::until};
use clawback_store::{Store, Webhook};
use clawback_telemetry::names;
use clawback_webhook::{Endpoint, Https, Receiver, SigningSecrets, Timeouts};
use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::{config::Partner, failure::Failure};

/// Made once: a reload changes no endpoint, a rotated secret changes what it signs with.
#[derive(Default)]
pub struct Endpoints(BTreeMap<PartnerId, Endpoint>);

impl Endpoints {
    /// # Errors
    /// An URL that nothing is delivered to, or secrets that cannot sign.
    pub fn open(partners: &[Partner]) -> Result<Self, Failure> {
        let mut endpoints = BTreeMap::new();
        for partner in partners {
            let refuse = |why: String| Failure::usage(format!("partner {}: {why}", partner.id));
            if let Some(endpoint) = endpoint(partner).map_err(refuse)? {
                endpoints.insert(partner.id.clone(), endpoint);
            }
        }
        Ok(Self(endpoints))
    }

    pub fn of(&self, partner: &PartnerId) -> Option<Endpoint> {
        self.0.get(partner).cloned()
    }

    /// Takes a rotated secret, if its file has changed. `false` when it has not.
    ///
    /// # Errors
    /// A sentence without the secret; the old one is left.
    pub fn refresh(&self, partner: &Partner) -> Result<bool, String> {
        let secret = partner.settings.webhook.as_ref().and_then(|webhook| webhook.secret.as_ref());
        let (Some(secret), Some(endpoint)) = (secret, self.0.get(&partner.id)) else { return Ok(false) };
        let refuse = |why| format!("partner {}: the webhook's new secret is not used: the file {why}", partner.id);
        secret.refresh_if(|text| endpoint.secrets().replace(text).map_err(refuse))
    }
}

/// A partner's endpoint, if it has one.
///
/// # Errors
/// A sentence without URL and secret.
pub fn endpoint(partner: &Partner) -> Result<Option<Endpoint>, String> {
    let Some(webhook) = &partner.settings.webhook else { return Ok(None) };
    let text = webhook.secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
    let secrets = SigningSecrets::parse(&text).map_err(|why| format!("what the webhook's `secret_file` names {why}"))?;
    Endpoint::new(&webhook.url, secrets, webhook.allow_insecure).map(Some).map_err(|error| error.to_string())
}

/// # Errors
/// No root certificates are found.
pub fn receiver() -> Result<Arc<dyn Receiver>, Failure> {
    Ok(Arc::new(Https::new(Timeouts::default()).map_err(Failure::failed)?))
}

const COUNT_EVERY: Duration = Duration::from_secs(15);

/// Shows how each webhook stands until `shutdown`. Run it in one role only.
pub async fn watch(store: Arc<dyn Store>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    loop {
        match store.webhooks().await {
            Ok(webhooks) => webhooks.iter().for_each(|webhook| show(webhook, &*clock)),
            Err(error) => tracing::debug!(%error, "the webhooks could not be counted"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(COUNT_EVERY)).await.is_none() {
            return;
        }
    }
}

fn show(webhook: &Webhook, clock: &dyn Clock) {
    let partner = webhook.partner.shared();
    let age = webhook.oldest.map_or(Duration::ZERO, |oldest| until(oldest, clock.now()));
    gauge!(names::DELIVERIES_WAITING, "partner" => partner.clone()).set(webhook.waiting as f64);
    gauge!(names::DELIVERIES_GIVEN_UP, "partner" => partner.clone()).set(webhook.given_up as f64);
    gauge!(names::DELIVERY_AGE, "partner" => partner.clone()).set(age.as_secs_f64());
    gauge!(names::WEBHOOK_DISABLED, "partner" => partner).set(f64::from(u8::from(webhook.disabled.is_some())));
}
