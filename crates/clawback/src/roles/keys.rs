//! Secrets are read again when their file changes.

use std::{sync::Arc, time::Duration};

use clawback_store::sql::Sql;
use tokio_util::sync::CancellationToken;

use super::{parts::Upstreams, webhooks::Endpoints};
use crate::{
    config::{Partner, Setup, check_key},
    context::follow_database_url,
};

/// A rotated key is in use this much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches every secret of a process until `shutdown`. What must not be used (a key of the other environment or of another partner,
/// the URL of another database) leaves the old one.
pub async fn watch(
    setup: Setup,
    store: Arc<Sql>,
    in_use: Option<(Arc<Upstreams>, Arc<Endpoints>)>,
    shutdown: CancellationToken,
) {
    let (upstreams, endpoints) = in_use.unzip();
    let mut complaints = Complaints::default();
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let tokens = setup.partners.iter().filter_map(|partner| partner.token.as_ref()).chain(&setup.ops_token);
        for token in tokens {
            match token.refresh() {
                Ok(true) => tracing::info!(from = ?token.source(), "a token was read again"),
                Ok(false) => {}
                Err(message) => complaints.say(message),
            }
        }
        for partner in &setup.partners {
            complaints.hear(refresh_key(partner, &setup, upstreams.as_deref()));
            complaints.hear(refresh_signing(partner, endpoints.as_deref()));
        }
        complaints.hear(follow_database_url(&setup, &store));
        // Its new connections ask by themselves; this tells of a file that is wrong before they do.
        complaints.hear(setup.amqp.as_ref().map_or(Ok(()), |url| url.refresh(|_| Ok(()))));
    }
}

/// A new key goes to the partner's client.
fn refresh_key(partner: &Partner, setup: &Setup, upstreams: Option<&Upstreams>) -> Result<(), String> {
    let refuse = |why| format!("partner {}: the new API key is not used: it {why}", partner.id);
    if partner.api_key.refresh_if(|key| take_key(partner, key, setup, upstreams).map_err(refuse))? {
        tracing::info!(partner = %partner.id, "the API key was read again and is in use");
    }
    Ok(())
}

/// From the next delivery on the new secrets sign.
fn refresh_signing(partner: &Partner, endpoints: Option<&Endpoints>) -> Result<(), String> {
    if endpoints.map_or(Ok(false), |endpoints| endpoints.refresh(partner))? {
        tracing::info!(partner = %partner.id, "the webhook's secrets were read again and sign from now on");
    }
    Ok(())
}

fn take_key(partner: &Partner, key: &str, setup: &Setup, upstreams: Option<&Upstreams>) -> Result<(), String> {
    check_key(key, &setup.upstream).map_err(|message| message.trim_start_matches("has ").to_owned())?;
    if let Some(other) = setup.partners.iter().find(|other| other.id != partner.id && other.api_key.is(key)) {
        return Err(format!("is the key of partner {}", other.id));
    }
    let upstream = upstreams.and_then(|upstreams| upstreams.0.iter().find(|upstream| upstream.id == partner.id));
    match upstream {
        Some(upstream) => upstream.key.replace(key).map_err(|error| format!("cannot be sent: {error}")),
        None => Ok(()),
    }
}

/// Says a thing once, not every second.
#[derive(Default)]
struct Complaints(std::collections::BTreeSet<String>);

impl Complaints {
    fn hear(&mut self, result: Result<(), String>) {
        if let Err(message) = result {
            self.say(message);
        }
    }

    /// Distinct complaints are few: each names a file of the configuration.
    fn say(&mut self, message: String) {
        if self.0.insert(message.clone()) {
            tracing::error!("{message}");
        }
    }
}
