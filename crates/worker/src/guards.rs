//! Guards: what stands between a purchase and its call.
//!
//! Pauses live in the store; every worker reads them twice a second, so that an operator's word holds everywhere within a second.

use std::{sync::Arc, time::Duration};

use clawback_domain::{
    PackId, PartnerId, Time,
    clock::after,
    pause::{CommandKind, Pause, PauseScope},
    planted::{Bug, planted},
    purchase::{Purchase, Rules},
    reason::{WaitCode, Waiting},
    sellback::Sellback,
};
use tokio::sync::watch;

use crate::{Doors, tenant::Tenant};

/// How often the pauses are read.
const READ_EVERY: Duration = Duration::from_millis(500);

/// By then every worker has read that a pause is gone. A row that comes due earlier is held once more by a worker that does not know
/// yet, and then waits for [`LOOK_AGAIN`].
const KNOWN_EVERYWHERE: Duration = Duration::from_millis(1200);

/// A row that is held by a pause looks again after this long by itself: it may have been stored by a worker that had not yet read
/// that the pause was lifted.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// The pauses as last read.
pub(crate) struct Pauses {
    current: watch::Sender<Arc<Vec<Pause>>>,
}

impl Pauses {
    pub fn new() -> Self {
        Self { current: watch::Sender::new(Arc::new(Vec::new())) }
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Vec<Pause>>> {
        self.current.subscribe()
    }

    fn set(&self, pauses: Vec<Pause>) {
        self.current.send_if_modified(|current| {
            let changed = **current != pauses;
            if changed {
                *current = Arc::new(pauses);
            }
            changed
        });
    }

    /// The pause that stops every command of this kind of this partner.
    pub fn of_partner(&self, partner: &PartnerId, kind: CommandKind) -> Option<Waiting> {
        if planted(Bug::PausesIgnored) {
            return None;
        }
        let pauses = self.current.borrow();
        let pause = pauses.iter().find(|pause| pause.scope.stops_partner(partner, kind))?;
        let code = if pause.refused_key.is_some() { WaitCode::Unauthorized } else { WaitCode::Paused };
        Some(Waiting { code, message: describe(pause), until: None })
    }

    fn of_pack(&self, partner: &PartnerId, pack: &PackId) -> Option<Waiting> {
        if planted(Bug::PausesIgnored) {
            return None;
        }
        let pauses = self.current.borrow();
        let pause = pauses.iter().find(|pause| pause.scope.stops_pack(partner, pack, CommandKind::Purchase))?;
        Some(Waiting { code: WaitCode::PackPaused, message: describe(pause), until: None })
    }

    /// Reads the pauses, again and again, and lifts those that a 401 made once the partner has another key.
    pub async fn watch(&self, doors: &Doors, tenant: impl Fn(&PartnerId) -> Option<Arc<Tenant>>) {
        loop {
            self.read(doors, &tenant).await;
            doors.clock.sleep(READ_EVERY).await;
        }
    }

    /// `false` when the store is away: what was last read still holds, for a pause must not end because of that.
    pub async fn read(&self, doors: &Doors, tenant: &impl Fn(&PartnerId) -> Option<Arc<Tenant>>) -> bool {
        match doors.store.pauses().await {
            Ok(pauses) => {
                for pause in &pauses {
                    let tenant = pause.scope.partner.as_ref().and_then(tenant);
                    if let Some(tenant) = tenant {
                        lift_if_rekeyed(doors, pause, &tenant).await;
                    }
                }
                self.set(pauses);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the pauses could not be read");
                false
            }
        }
    }

    /// The upstream refused `key` (its fingerprint, taken before the call: the key may have been replaced since): nothing of this
    /// partner is called until there is another.
    pub async fn refused_key(&self, doors: &Doors, tenant: &Tenant, key: String, message: &str) {
        let pause = Pause {
            scope: PauseScope::partner(tenant.id.clone()),
            by: "clawback".into(),
            reason: format!("the upstream refused the API key: {message}"),
            since: doors.clock.now(),
            refused_key: Some(key),
        };
        match doors.store.pause(pause).await {
            Ok(true) => tracing::error!(partner = %tenant.id, "paused: the upstream refused the API key"),
            Ok(false) => {}
            Err(error) => tracing::error!(partner = %tenant.id, %error, "the upstream refused the API key; not paused"),
        }
        if let Ok(pauses) = doors.store.pauses().await {
            self.set(pauses);
        }
    }
}

fn describe(pause: &Pause) -> String {
    format!("paused by {} since {}: {}", pause.by, pause.since.format("%Y-%m-%dT%H:%M:%SZ"), pause.reason)
}

async fn lift_if_rekeyed(doors: &Doors, pause: &Pause, tenant: &Tenant) {
    let Some(refused) = &pause.refused_key else { return };
    if *refused == tenant.upstream().key_fingerprint() {
        return;
    }
    let now = doors.clock.now();
    match doors.store.resume(&pause.scope, "clawback", "the partner has another API key", now).await {
        Ok(true) => {
            tracing::warn!(partner = %tenant.id, "resumed: the partner has another API key");
            let due = after(now, KNOWN_EVERYWHERE);
            let lifted = doors.store.lift(&pause.scope, &[WaitCode::Unauthorized], due, tenant.rate_per_second()).await;
            if let Err(error) = lifted {
                tracing::warn!(partner = %tenant.id, %error, "waiting purchases were not lifted; they come due by themselves");
            }
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(partner = %tenant.id, %error, "the pause could not be lifted"),
    }
}

/// What the guards say of an order that is accepted and not called.
pub(crate) enum Guard {
    Pass,
    Expired,
    SoldOut,
    Hold(Waiting),
}

pub(crate) async fn guard(doors: &Doors, pauses: &Pauses, tenant: &Tenant, purchase: &Purchase, rules: &Rules) -> Guard {
    match at_once(doors, pauses, tenant, purchase, rules) {
        Guard::Pass => {}
        stop => return stop,
    }
    if tenant.packs.is_sold_out(&purchase.command.pack_id, &*tenant.upstream(), &*doors.clock).await {
        return Guard::SoldOut;
    }
    // The list of packs may have been long in coming.
    at_once(doors, pauses, tenant, purchase, rules)
}

/// The guards that wait for nothing.
fn at_once(doors: &Doors, pauses: &Pauses, tenant: &Tenant, purchase: &Purchase, rules: &Rules) -> Guard {
    if is_expired(purchase, rules, doors.clock.now()) {
        return Guard::Expired;
    }
    match pauses.of_partner(&tenant.id, CommandKind::Purchase).or_else(|| pauses.of_pack(&tenant.id, &purchase.command.pack_id))
    {
        Some(waiting) => {
            let until = after(doors.clock.now(), doors.clock.jitter(LOOK_AGAIN));
            Guard::Hold(Waiting { until: Some(until), ..waiting })
        }
        None => Guard::Pass,
    }
}

/// The guards of a sellback, which wait for nothing. Pauses of packs do not concern what was drawn.
pub(crate) fn guard_sale(doors: &Doors, pauses: &Pauses, tenant: &Tenant, sellback: &Sellback) -> Guard {
    if doors.clock.now() >= sellback.expires_at(&tenant.rules()) {
        return Guard::Expired;
    }
    match pauses.of_partner(&tenant.id, CommandKind::Sellback) {
        Some(waiting) => {
            let until = after(doors.clock.now(), doors.clock.jitter(LOOK_AGAIN));
            Guard::Hold(Waiting { until: Some(until), ..waiting })
        }
        None => Guard::Pass,
    }
}

fn is_expired(purchase: &Purchase, rules: &Rules, now: Time) -> bool {
    now >= purchase.expires_at(rules) && !planted(Bug::ExpiryIgnored)
}
