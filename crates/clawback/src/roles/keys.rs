//! Secrets are read again when their file changes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::parts::Upstreams;
use crate::config::{Partner, Secret, check_key};

/// A rotated key is in use this much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches every secret of these partners until `shutdown`. A new key goes to the partner's client; one that must not be used (of
/// the other environment, or another partner's) leaves the old one.
pub async fn watch(
    partners: Vec<Partner>,
    others: Vec<Secret>,
    upstreams: Option<std::sync::Arc<Upstreams>>,
    base: String,
    shutdown: CancellationToken,
) {
    let mut complaints = Complaints::default();
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        for secret in partners.iter().filter_map(|partner| partner.token.as_ref()).chain(&others) {
            match secret.refresh() {
                Ok(true) => tracing::info!(from = ?secret.source(), "a token was read again"),
                Ok(false) => {}
                Err(message) => complaints.say(message),
            }
        }
        for partner in &partners {
            if let Err(message) = refresh_key(partner, &partners, upstreams.as_deref(), &base) {
                complaints.say(message);
            }
        }
    }
}

fn refresh_key(partner: &Partner, all: &[Partner], upstreams: Option<&Upstreams>, base: &str) -> Result<(), String> {
    let before = partner.api_key.expose();
    if !partner.api_key.refresh()? {
        return Ok(());
    }
    if let Err(why) = usable(partner, all, upstreams, base) {
        partner.api_key.restore(before);
        return Err(format!("partner {}: the new API key is not used: it {why}", partner.id));
    }
    tracing::info!(partner = %partner.id, "the API key was read again and is in use");
    Ok(())
}

fn usable(partner: &Partner, all: &[Partner], upstreams: Option<&Upstreams>, base: &str) -> Result<(), String> {
    let text = partner.api_key.expose();
    check_key(&partner.api_key, base).map_err(|message| message.trim_start_matches("has ").to_owned())?;
    if let Some(other) = all.iter().find(|other| other.id != partner.id && other.api_key.is(&text)) {
        return Err(format!("is the key of partner {}", other.id));
    }
    let upstream = upstreams.and_then(|upstreams| upstreams.0.iter().find(|upstream| upstream.id == partner.id));
    match upstream {
        Some(upstream) => upstream.key.replace(&text).map_err(|error| format!("cannot be sent: {error}")),
        None => Ok(()),
    }
}

/// Says a thing once, not every second.
#[derive(Default)]
struct Complaints(std::collections::BTreeSet<String>);

impl Complaints {
    /// Distinct complaints are few: each names a file of the configuration.
    fn say(&mut self, message: String) {
        if self.0.insert(message.clone()) {
            tracing::error!("{message}");
        }
    }
}
