//! Webhooks: whether their hosts may be delivered to, and how they stand.

use clawback_store::{Store, Webhook};
use clawback_webhook::look_up;

use super::Finding;
use crate::{
    config::{Partner, Setup},
    output::printable,
    roles::webhooks::endpoint,
};

/// Where each endpoint's host leads, as a delivery would find it. Nothing is sent.
pub async fn hosts(setup: &Setup) -> Vec<Finding> {
    let mut findings = Vec::new();
    for partner in setup.partners.iter().filter(|partner| partner.settings.webhook.is_some()) {
        findings.push(host(partner).await);
    }
    findings
}

async fn host(partner: &Partner) -> Finding {
    let part = format!("webhook of {}", partner.id);
    let endpoint = match endpoint(partner) {
        Ok(Some(endpoint)) => endpoint,
        Ok(None) => return Finding::ok(part, "none"),
        Err(why) => return Finding::wrong(part, why, "mend the partner's `webhook`"),
    };
    match look_up(&endpoint).await {
        Ok(_) => Finding::ok(part, format!("{endpoint}: its host is found, and may be delivered to")),
        Err(why) => {
            Finding::wrong(part, format!("{endpoint}: {why}"), "ask the partner for a public address; nothing is sent there")
        }
    }
}

/// Those that are delivered to as they should be are not worth a line.
pub async fn standing(store: &dyn Store) -> Vec<Finding> {
    match store.webhooks().await {
        Ok(webhooks) => webhooks.iter().filter_map(stands).collect(),
        Err(error) => vec![Finding::wrong("webhooks", error.to_string(), "check the store")],
    }
}

fn stands(webhook: &Webhook) -> Option<Finding> {
    let part = format!("webhook of {}", webhook.partner);
    if let Some((at, why)) = &webhook.disabled {
        let what = format!("disabled since {}: {}; {} wait", at.format("%F %T"), printable(why), webhook.waiting);
        return Some(Finding::wrong(part, what, "see deploy/runbooks/webhook-disabled.md"));
    }
    let held = webhook.breaker.held_until.map(|_| {
        let why = webhook.last_error.as_deref().unwrap_or("it fails");
        let what = format!("held after {} failures ({}); {} wait", webhook.breaker.failures, printable(why), webhook.waiting);
        Finding::warning(part.clone(), what, "it is probed again and again; tell the partner")
    });
    held.or_else(|| {
        let what = format!("{} deliveries were given up", webhook.given_up);
        (webhook.given_up > 0).then(|| Finding::warning(part, what, "`clawback webhooks replay --given-up` sends them again"))
    })
}
